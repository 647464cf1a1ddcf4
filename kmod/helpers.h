/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the module needs of the kernel's macros and inline functions, as functions and constants.
 *
 * bindgen reads this file. It translates neither macros nor inlines, and gives the kernel's anonymous unions
 * names that change from one release to the next, so that their members are found by offset.
 */
#ifndef TCPSTAT_HELPERS_H
#define TCPSTAT_HELPERS_H

#include <linux/spinlock.h>
#include <net/inet_hashtables.h>
#include <net/sock.h>

/* skc_nulls_node: what links a socket into its chain, in the established and the listening table alike. */
enum { TCPSTAT_SKC_NULLS_NODE = offsetof(struct sock_common, skc_nulls_node) };

struct net;
struct seq_file;

struct net *tcpstat_seq_file_single_net(struct seq_file *seq);
spinlock_t *tcpstat_inet_ehash_lockp(struct inet_hashinfo *hashinfo, unsigned int hash);
void tcpstat_spin_lock(spinlock_t *lock);
void tcpstat_spin_unlock(spinlock_t *lock);
void tcpstat_spin_lock_bh(spinlock_t *lock);
void tcpstat_spin_unlock_bh(spinlock_t *lock);
void tcpstat_cond_resched(void);

#endif
