// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module with one fault, when it is loaded: kind=leak, sleep, inversion, free, lockup or hang.
 * The debug kernel must report it: a clean kernel log is evidence only if planted faults show up
 * in it.
 */
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *kind = "";
module_param(kind, charp, 0);

static DEFINE_SPINLOCK(first);
static DEFINE_SPINLOCK(second);

/*
 * For kmemleak. Many objects, as if one were lost each time that the scenarios load the module: the
 * allocator's caches (struct slab_sheaf) keep the addresses of the last few objects that they
 * handed out, and kmemleak takes these for references.
 */
static noinline int leak(void)
{
	for (int i = 0; i < 200; i++) {
		void *lost = kmalloc(200, GFP_KERNEL);

		if (!lost)
			return -ENOMEM;
		memset(lost, 0x5a, 200);
		OPTIMIZER_HIDE_VAR(lost);
	}
	return 0;
}

/* For DEBUG_ATOMIC_SLEEP: this allocation may sleep, but rarely does. */
static int sleep(void)
{
	void *text;

	spin_lock(&first);
	text = kmalloc(64, GFP_KERNEL);
	spin_unlock(&first);
	kfree(text);
	return 0;
}

/* For PROVE_LOCKING: a possible deadlock, which does not happen here. */
static int inversion(void)
{
	spin_lock(&first);
	spin_lock(&second);
	spin_unlock(&second);
	spin_unlock(&first);

	spin_lock(&second);
	spin_lock(&first);
	spin_unlock(&first);
	spin_unlock(&second);
	return 0;
}

/* For KASAN, or for SLUB's poison, which is looked at when the memory is used again. */
static int use_after_free(void)
{
	char *text = kmalloc(64, GFP_KERNEL);

	if (!text)
		return -ENOMEM;
	kfree(text);
	OPTIMIZER_HIDE_VAR(text);
	WRITE_ONCE(text[8], 'x');
	for (int i = 0; i < 10; i++)
		kfree(kmalloc(64, GFP_KERNEL));
	return 0;
}

/* For the soft lockup detector, which reports after 2 s with kernel.watchdog_thresh=1. */
static int lockup(void)
{
	unsigned long end = jiffies + 5 * HZ;

	preempt_disable();
	while (time_before(jiffies, end))
		cpu_relax();
	preempt_enable();
	return 0;
}

/* For the hung task detector, with kernel.hung_task_timeout_secs=1. */
static int hang(void)
{
	schedule_timeout_uninterruptible(5 * HZ);
	return 0;
}

static int __init faulty_init(void)
{
	if (!strcmp(kind, "leak"))
		return leak();
	if (!strcmp(kind, "sleep"))
		return sleep();
	if (!strcmp(kind, "inversion"))
		return inversion();
	if (!strcmp(kind, "free"))
		return use_after_free();
	if (!strcmp(kind, "lockup"))
		return lockup();
	if (!strcmp(kind, "hang"))
		return hang();
	return -EINVAL;
}

static void __exit faulty_exit(void)
{
}

module_init(faulty_init);
module_exit(faulty_exit);
MODULE_DESCRIPTION("Faults for the debug kernel to find");
MODULE_LICENSE("GPL v2");
