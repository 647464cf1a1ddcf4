/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The functions between C and Rust: wrappers in helpers.c, files in files.c, which bindings.rs
 * declares for Rust; and the functions in Rust that files.c calls.
 */
#ifndef TCPSTAT_HELPERS_H
#define TCPSTAT_HELPERS_H

#include <linux/spinlock.h>
#include <net/inet_hashtables.h>
#include <net/sock.h>

struct net;
struct seq_file;

/* helpers.c */
size_t tcpstat_seq_get_buf(struct seq_file *seq, char **buf);
void tcpstat_seq_commit(struct seq_file *seq, int num);
spinlock_t *tcpstat_inet_ehash_lockp(struct inet_hashinfo *hashinfo, unsigned int hash);
void tcpstat_spin_lock(spinlock_t *lock);
void tcpstat_spin_unlock(spinlock_t *lock);
void tcpstat_spin_lock_bh(spinlock_t *lock);
void tcpstat_spin_unlock_bh(spinlock_t *lock);
void tcpstat_cond_resched(void);
void tcpstat_warn_unknown_state(u8 state);

/* These take the struct sock_common at the start of a full socket. */
u32 tcpstat_sk_ack_backlog(const struct sock_common *skc);
u32 tcpstat_sk_max_ack_backlog(const struct sock_common *skc);
u32 tcpstat_sk_drops(const struct sock_common *skc);

/* files.c */
int tcpstat_register_files(void);
void tcpstat_unregister_files(void);

/* tcpstat_main.rs */
int tcpstat_show_states(struct net *net, struct seq_file *seq);
int tcpstat_show_services(struct net *net, struct seq_file *seq);

#endif
