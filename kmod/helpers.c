// SPDX-License-Identifier: GPL-2.0-only
/*
 * One-line wrappers of the kernel's macros and inline functions, as in the kernel's rust/helpers/.
 */
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/seq_file_net.h>
#include <net/inet_timewait_sock.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "helpers.h"

/* The kernel's module! macro has no field for the version. */
MODULE_VERSION(TCPSTAT_VERSION);

const struct tcpstat_layout tcpstat_layout = {
	.net_proc_net = offsetof(struct net, proc_net),
	.net_hashinfo = offsetof(struct net, ipv4.tcp_death_row.hashinfo),
	.hashinfo_ehash = offsetof(struct inet_hashinfo, ehash),
	.hashinfo_ehash_mask = offsetof(struct inet_hashinfo, ehash_mask),
	.hashinfo_lhash2 = offsetof(struct inet_hashinfo, lhash2),
	.hashinfo_lhash2_mask = offsetof(struct inet_hashinfo, lhash2_mask),
	.ehash_bucket = sizeof(struct inet_ehash_bucket),
	.ehash_bucket_chain = offsetof(struct inet_ehash_bucket, chain),
	.listen_bucket = sizeof(struct inet_listen_hashbucket),
	.listen_bucket_lock = offsetof(struct inet_listen_hashbucket, lock),
	.listen_bucket_nulls_head = offsetof(struct inet_listen_hashbucket, nulls_head),
	.skc_num = offsetof(struct sock_common, skc_num),
	.skc_state = offsetof(struct sock_common, skc_state),
	.skc_net = offsetof(struct sock_common, skc_net),
	.skc_nulls_node = offsetof(struct sock_common, skc_nulls_node),
	.tw_substate = offsetof(struct inet_timewait_sock, tw_substate),
	.nulls_node_next = offsetof(struct hlist_nulls_node, next),
	.pernet = sizeof(struct pernet_operations),
	.pernet_init = offsetof(struct pernet_operations, init),
	.pernet_exit = offsetof(struct pernet_operations, exit),
};

struct net *tcpstat_seq_file_single_net(struct seq_file *seq)
{
	return seq_file_single_net(seq);
}

size_t tcpstat_seq_get_buf(struct seq_file *seq, char **buf)
{
	return seq_get_buf(seq, buf);
}

void tcpstat_seq_commit(struct seq_file *seq, int num)
{
	seq_commit(seq, num);
}

spinlock_t *tcpstat_inet_ehash_lockp(struct inet_hashinfo *hashinfo, unsigned int hash)
{
	return inet_ehash_lockp(hashinfo, hash);
}

void tcpstat_spin_lock(spinlock_t *lock)
{
	spin_lock(lock);
}

void tcpstat_spin_unlock(spinlock_t *lock)
{
	spin_unlock(lock);
}

void tcpstat_spin_lock_bh(spinlock_t *lock)
{
	spin_lock_bh(lock);
}

void tcpstat_spin_unlock_bh(spinlock_t *lock)
{
	spin_unlock_bh(lock);
}

void tcpstat_cond_resched(void)
{
	cond_resched();
}

static const struct sock *tcpstat_full_sock(const struct sock_common *skc)
{
	return container_of_const(skc, struct sock, __sk_common);
}

u32 tcpstat_sk_ack_backlog(const struct sock_common *skc)
{
	return READ_ONCE(tcpstat_full_sock(skc)->sk_ack_backlog);
}

u32 tcpstat_sk_max_ack_backlog(const struct sock_common *skc)
{
	return READ_ONCE(tcpstat_full_sock(skc)->sk_max_ack_backlog);
}

u32 tcpstat_sk_drops(const struct sock_common *skc)
{
	return sk_drops_read(tcpstat_full_sock(skc));
}
