// SPDX-License-Identifier: GPL-2.0-only
/*
 * One-line wrappers of the kernel's macros and inline functions, as in the kernel's rust/helpers/.
 *
 * What differs between kernel versions is here and nowhere else, with the release that changed it.
 */
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/version.h>
#include <net/sock.h>

#include "helpers.h"

/* The kernel's module! macro has no field for the version. */
MODULE_VERSION(TCPSTAT_VERSION);

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

void tcpstat_warn_unknown_state(u8 state)
{
	pr_warn_once("tcpstat: a socket is in state %u, which this version does not know\n", state);
}

static const struct sock *tcpstat_full_sock(const struct sock_common *skc)
{
	return container_of(skc, const struct sock, __sk_common);
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
	/* 6.18 split the counter of some sockets in two ("net: add sk_drops_read()"). */
#ifdef HAVE_SK_DROPS_READ
	return sk_drops_read(tcpstat_full_sock(skc));
#else
	return atomic_read(&tcpstat_full_sock(skc)->sk_drops);
#endif
}
