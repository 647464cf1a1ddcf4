// SPDX-License-Identifier: GPL-2.0-only
/*
 * The C side of our own `kernel` crate: wrappers of the kernel's macros and inline functions, and
 * the functions that the kernel calls to start and end the module.
 */
#include <linux/bug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "own.h"

void *tcpstat_own_kmalloc_account(size_t size)
{
	return kmalloc(size, GFP_KERNEL_ACCOUNT);
}

void *tcpstat_own_kvmalloc_account(size_t size)
{
	return kvmalloc(size, GFP_KERNEL_ACCOUNT);
}

void tcpstat_own_kvfree(void *memory)
{
	kvfree(memory);
}

void tcpstat_own_rcu_read_lock(void)
{
	rcu_read_lock();
}

void tcpstat_own_rcu_read_unlock(void)
{
	rcu_read_unlock();
}

/* Never returns, which the compiler must not know: see panic.rs. */
void tcpstat_own_panic(const char *text, size_t len)
{
	pr_emerg(KBUILD_MODNAME ": %.*s\n", (int)len, text);
	BUG_ON(text);
}

static int __init tcpstat_init(void)
{
	return tcpstat_own_init();
}
module_init(tcpstat_init);

static void __exit tcpstat_exit(void)
{
	tcpstat_own_exit();
}
module_exit(tcpstat_exit);
