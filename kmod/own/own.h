/* SPDX-License-Identifier: GPL-2.0-only */
/* The functions between own.c and the `kernel` crate beside it. */
#ifndef TCPSTAT_OWN_H
#define TCPSTAT_OWN_H

#include <linux/types.h>

/* own.c, declared for Rust where they are used. */
void *tcpstat_own_kmalloc_account(size_t size);
void *tcpstat_own_kvmalloc_account(size_t size);
void tcpstat_own_kvfree(void *memory);
void tcpstat_own_rcu_read_lock(void);
void tcpstat_own_rcu_read_unlock(void);
void tcpstat_own_panic(const char *text, size_t len);

/* Defined by the module! macro. */
int tcpstat_own_init(void);
void tcpstat_own_exit(void);

#endif
