// SPDX-License-Identifier: GPL-2.0-only
/*
 * One-line wrappers of the kernel's macros and inline functions, as in the kernel's rust/helpers/.
 *
 * What differs between kernel versions is here and nowhere else, with the release that changed it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bottom_half.h>
#include <linux/in.h>
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/net.h>
#include <linux/path.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <net/sock.h>
#include <net/tcp_states.h>

#include "helpers.h"

/* The kernel's module! macro has no field for the version. */
MODULE_VERSION(TCPSTAT_VERSION);

void *tcpstat_pde_data(const struct inode *inode)
{
	/* 5.17 renamed PDE_DATA() and made it a function. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 17, 0)
	return pde_data(inode);
#else
	return PDE_DATA(inode);
#endif
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

void tcpstat_local_bh_disable(void)
{
	local_bh_disable();
}

void tcpstat_local_bh_enable(void)
{
	local_bh_enable();
}

void tcpstat_cond_resched(void)
{
	cond_resched();
}

/*
 * Without PROVE_RCU, nothing. rcu_dereference() would check this in C. In the table of connections
 * nothing else could show that the lock is missing, since disabled softirqs delay grace periods too.
 */
void tcpstat_assert_rcu_read_lock(void)
{
	RCU_LOCKDEP_WARN(!rcu_read_lock_held(),
			 "tcpstat reads a chain without rcu_read_lock()");
}

bool tcpstat_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

/* Whether `size` bytes could be read; a bad address is no fault. */
bool tcpstat_read_nofault(void *to, const void *from, size_t size)
{
	return !copy_from_kernel_nofault(to, from, size);
}

/*
 * Whether a TCP socket has its fields where the tree of the build has them: 0, -ENOEXEC if not, or
 * the error of making one. The socket is never bound. What its fields must be is known, and they lie
 * around those that the module reads; skc_refcnt is the last of those that all sockets share.
 */
int tcpstat_same_sockets(void)
{
	struct socket *socket;
	const struct sock *sk;
	int error;

	error = sock_create_kern(&init_net, PF_INET, SOCK_STREAM, IPPROTO_TCP, &socket);
	if (error)
		/* That is what sock_create() says if there is no memory for an inode. */
		return error == -ENFILE ? -ENOMEM : error;
	sk = socket->sk;
	if (sk->sk_family != AF_INET || sk->sk_state != TCP_CLOSE || sock_net(sk) != &init_net ||
	    refcount_read(&sk->sk_refcnt) != 1 || sk->sk_socket != socket ||
	    sk->sk_type != SOCK_STREAM || sk->sk_protocol != IPPROTO_TCP)
		error = -ENOEXEC;
	sock_release(socket);
	return error;
}

/* Whether there is a file, as seen by this process. */
bool tcpstat_exists(const char *name)
{
	struct path path;

	if (kern_path(name, 0, &path))
		return false;
	path_put(&path);
	return true;
}

void tcpstat_err_exists(const char *path)
{
	pr_err("%s exists already, made by something else\n", path);
}

void tcpstat_err_other_kernel(const char *what)
{
	pr_err("%s is not where it was in the tree that this module was built with: build it with that of the running kernel\n",
	       what);
}

void tcpstat_warn_unknown_state(u8 state)
{
	pr_warn_once("a socket is in state %u, which this version does not know\n", state);
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

bool tcpstat_sk_v6only(const struct sock_common *skc)
{
	return skc->skc_ipv6only;
}
