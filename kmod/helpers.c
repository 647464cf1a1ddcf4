// SPDX-License-Identifier: GPL-2.0-only
/*
 * One-line wrappers for the kernel's macros and inline functions, as in the kernel's own rust/helpers/.
 */
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/seq_file_net.h>

#include "helpers.h"

/* The kernel's module! macro has no field for the version. */
MODULE_VERSION(TCPSTAT_VERSION);

struct net *tcpstat_seq_file_single_net(struct seq_file *seq)
{
	return seq_file_single_net(seq);
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
