// SPDX-License-Identifier: GPL-2.0-only
/*
 * The files in /proc/net of every network namespace, the one in /proc with all of them, and the
 * structures through which the kernel calls the module.
 *
 * They are in C, since their layout changes between kernel versions, and so that the kernel has the
 * address of no Rust function: what it calls was compiled by its own compiler with all its flags,
 * and calls Rust directly.
 *
 * An open file has one snapshot. A read at offset 0 makes it, by one walk; the reads after it copy
 * from it; it is freed at the end of the file, or when the file is closed. seq_file would walk again
 * for each doubling of its buffer, and keep the buffer until the file is closed.
 */
#include <linux/capability.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <linux/user_namespace.h>
#include <net/net_namespace.h>

#include "helpers.h"

struct tcpstat_file {
	/* The namespace, to which the file has a reference; of the file with all of them, the first. */
	struct net *net;
	/* Writes the text of `net` by tcpstat_text_alloc(): 0, or a negative errno. */
	int (*show)(struct net *net, struct tcpstat_file *file);
	/* Processes may share the open file; one of them reads at a time. */
	struct mutex lock;
	/* The text of the snapshot, or NULL. */
	char *text;
	/* Its length in bytes, also after it was freed at the end of the file. */
	size_t len;
};

/* Memory for a text of `len` bytes, charged to the control group of the reader; or NULL. */
char *tcpstat_text_alloc(struct tcpstat_file *file, size_t len)
{
	file->text = kvmalloc(len, GFP_KERNEL_ACCOUNT);
	file->len = file->text ? len : 0;
	return file->text;
}

static void free_text(struct tcpstat_file *file)
{
	kvfree(file->text);
	file->text = NULL;
}

static int make_text(struct tcpstat_file *file)
{
	int error;

	free_text(file);
	file->len = 0;
	error = file->show(file->net, file);
	if (error) {
		free_text(file);
		file->len = 0;
	}
	return error;
}

/* Takes over the reference to @net, also if it fails. NULL is a namespace that is ending. */
static int tcpstat_open(struct file *filp, struct net *net,
			int (*show)(struct net *net, struct tcpstat_file *file))
{
	struct tcpstat_file *file;

	if (IS_ERR_OR_NULL(net))
		return net ? PTR_ERR(net) : -ENXIO;
	file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);
	if (!file) {
		put_net(net);
		return -ENOMEM;
	}
	file->net = net;
	file->show = show;
	mutex_init(&file->lock);
	filp->private_data = file;
	return 0;
}

static ssize_t tcpstat_read(struct kiocb *iocb, struct iov_iter *to)
{
	struct tcpstat_file *file = iocb->ki_filp->private_data;
	size_t copied = 0, left;
	int error;

	if (!iov_iter_count(to))
		return 0;
	error = mutex_lock_killable(&file->lock);
	if (error)
		return error;
	/* The offset is the length only where a reader has come to the end before. */
	if (!iocb->ki_pos || (!file->text && iocb->ki_pos != file->len))
		error = make_text(file);
	if (error)
		goto out;
	if (iocb->ki_pos >= file->len) {
		free_text(file);
		goto out;
	}
	left = file->len - iocb->ki_pos;
	copied = copy_to_iter(file->text + iocb->ki_pos, left, to);
	if (!copied)
		error = -EFAULT;
	iocb->ki_pos += copied;
out:
	mutex_unlock(&file->lock);
	return error ?: copied;
}

static int tcpstat_release(struct inode *inode, struct file *filp)
{
	struct tcpstat_file *file = filp->private_data;

	free_text(file);
	put_net(file->net);
	mutex_destroy(&file->lock);
	kfree(file);
	return 0;
}

/* A namespace that is ending has no readers, as for the files of seq_open_net(). */
static struct net *namespace_of(struct inode *inode, struct file *filp)
{
	return maybe_get_net(tcpstat_pde_data(inode));
}

/*
 * The owner may be root of a container, who must not see the host: without a user namespace of its
 * own a container's root is that of the machine, but for the capabilities.
 */
static struct net *if_admin(struct inode *inode, struct file *filp)
{
	if (!file_ns_capable(filp, &init_user_ns, CAP_NET_ADMIN))
		return ERR_PTR(-EPERM);
	return get_net(&init_net);
}

/*
 * tcpstat_states_ops and so on: as `show` these have functions of C, of which the address is taken
 * here. `get` gives the namespace, with a reference.
 */
#define TCPSTAT_OPS(name, get)                                                       \
	static int show_##name(struct net *net, struct tcpstat_file *file)            \
	{                                                                             \
		return tcpstat_show_##name(net, file);                                \
	}                                                                             \
	static int open_##name(struct inode *inode, struct file *filp)                \
	{                                                                             \
		return tcpstat_open(filp, get(inode, filp), show_##name);             \
	}                                                                             \
	static const struct proc_ops tcpstat_##name##_ops = {                         \
		.proc_open = open_##name,                                             \
		.proc_read_iter = tcpstat_read,                                       \
		.proc_lseek = default_llseek,                                         \
		.proc_release = tcpstat_release,                                      \
	}

TCPSTAT_OPS(states, namespace_of);
TCPSTAT_OPS(services, namespace_of);
TCPSTAT_OPS(namespaces, if_admin);

static const char namespaces_name[] = "tcpstat_namespaces";

static const struct {
	const char *name;
	const struct proc_ops *ops;
} files[] = {
	{ "tcpstat", &tcpstat_states_ops },
	{ "tcpstat_services", &tcpstat_services_ops },
};

/* Removes the first `count` files, and waits for their readers. */
static void remove_files(struct net *net, size_t count)
{
	while (count--)
		remove_proc_entry(files[count].name, net->proc_net);
}

static int __net_init tcpstat_net_init(struct net *net)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		if (!proc_create_data(files[i].name, 0444, net->proc_net, files[i].ops, net)) {
			remove_files(net, i);
			return -ENOMEM;
		}
	}
	return 0;
}

static void __net_exit tcpstat_net_exit(struct net *net)
{
	remove_files(net, ARRAY_SIZE(files));
}

static struct pernet_operations tcpstat_net_ops = {
	.init = tcpstat_net_init,
	.exit = tcpstat_net_exit,
};

/*
 * Creates the file in /proc, and the others in every network namespace, existing and future; or
 * none of them.
 */
int tcpstat_register_files(void)
{
	int error;

	if (!proc_create(namespaces_name, 0400, NULL, &tcpstat_namespaces_ops))
		return -ENOMEM;
	error = register_pernet_subsys(&tcpstat_net_ops);
	if (error)
		remove_proc_entry(namespaces_name, NULL);
	return error;
}

/* Removes them, and waits until no reader is in one. */
void tcpstat_unregister_files(void)
{
	remove_proc_entry(namespaces_name, NULL);
	unregister_pernet_subsys(&tcpstat_net_ops);
}
