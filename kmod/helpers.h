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
/* skc_num: the local port, in host byte order; ir_num of a request socket, tw_num of a time-wait socket. */
enum { TCPSTAT_SKC_NUM = offsetof(struct sock_common, skc_num) };

/*
 * Where the kernel's compiler has what this module reads, for layout.rs to compare with what bindgen made of it.
 * The two parse the same headers with different compilers, and nothing else would notice if they disagreed.
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

/* Of a full socket, which begins with its struct sock_common. */
u32 tcpstat_sk_ack_backlog(const struct sock_common *skc);
u32 tcpstat_sk_max_ack_backlog(const struct sock_common *skc);
u32 tcpstat_sk_drops(const struct sock_common *skc);

#endif
