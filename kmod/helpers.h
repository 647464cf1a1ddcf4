/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions and constants for the kernel's macros and inline functions that the module uses.
 *
 * bindgen reads this file. It translates neither macros nor inline functions. It gives the kernel's
 * anonymous unions names that change from release to release, so their members are accessed by
 * offset.
 */
#ifndef TCPSTAT_HELPERS_H
#define TCPSTAT_HELPERS_H

#include <linux/spinlock.h>
#include <net/inet_hashtables.h>
#include <net/sock.h>

/* skc_nulls_node: links a socket into its chain, in the established and in the listening table. */
enum { TCPSTAT_SKC_NULLS_NODE = offsetof(struct sock_common, skc_nulls_node) };
/* skc_num: the local port in host byte order; ir_num of request, tw_num of time-wait sockets. */
enum { TCPSTAT_SKC_NUM = offsetof(struct sock_common, skc_num) };

/*
 * The layout of what this module reads, by the kernel's compiler. layout.rs compares it with the
 * layout by bindgen. The two are different compilers that parse the same headers, and nothing else
 * would notice if they disagreed.
 */
struct tcpstat_layout {
	size_t net_proc_net;
	size_t net_hashinfo;
	size_t hashinfo_ehash;
	size_t hashinfo_ehash_mask;
	size_t hashinfo_lhash2;
	size_t hashinfo_lhash2_mask;
	size_t ehash_bucket;
	size_t ehash_bucket_chain;
	size_t listen_bucket;
	size_t listen_bucket_lock;
	size_t listen_bucket_nulls_head;
	size_t skc_num;
	size_t skc_state;
	size_t skc_net;
	size_t skc_nulls_node;
	size_t tw_substate;
	size_t nulls_node_next;
	size_t pernet;
	size_t pernet_init;
	size_t pernet_exit;
};
extern const struct tcpstat_layout tcpstat_layout;

struct net;
struct seq_file;

struct net *tcpstat_seq_file_single_net(struct seq_file *seq);
size_t tcpstat_seq_get_buf(struct seq_file *seq, char **buf);
void tcpstat_seq_commit(struct seq_file *seq, int num);
spinlock_t *tcpstat_inet_ehash_lockp(struct inet_hashinfo *hashinfo, unsigned int hash);
void tcpstat_spin_lock(spinlock_t *lock);
void tcpstat_spin_unlock(spinlock_t *lock);
void tcpstat_spin_lock_bh(spinlock_t *lock);
void tcpstat_spin_unlock_bh(spinlock_t *lock);
void tcpstat_cond_resched(void);

/* These take the struct sock_common at the start of a full socket. */
u32 tcpstat_sk_ack_backlog(const struct sock_common *skc);
u32 tcpstat_sk_max_ack_backlog(const struct sock_common *skc);
u32 tcpstat_sk_drops(const struct sock_common *skc);

#endif
