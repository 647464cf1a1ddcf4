// SPDX-License-Identifier: GPL-2.0-only
/*
 * The files in /proc/net of every network namespace, and the structures through which the kernel
 * calls the module.
 *
 * They are in C, since their layout changes between kernel versions, and so that the kernel has the
 * address of no Rust function: what it calls was compiled by its own compiler with all its flags,
 * and calls Rust directly.
 */
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/seq_file_net.h>
#include <net/net_namespace.h>

#include "helpers.h"

static int show_states(struct seq_file *seq, void *v)
{
	return tcpstat_show_states(seq_file_single_net(seq), seq);
}

static int show_services(struct seq_file *seq, void *v)
{
	return tcpstat_show_services(seq_file_single_net(seq), seq);
}

static const struct {
	const char *name;
	int (*show)(struct seq_file *seq, void *v);
} files[] = {
	{ "tcpstat", show_states },
	{ "tcpstat_services", show_services },
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
		if (!proc_create_net_single(files[i].name, 0444, net->proc_net, files[i].show,
					    NULL)) {
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

/* Creates the files in every network namespace, existing and future, or in none. */
int tcpstat_register_files(void)
{
	return register_pernet_subsys(&tcpstat_net_ops);
}

/* Removes them, and waits until no reader is in one. */
void tcpstat_unregister_files(void)
{
	unregister_pernet_subsys(&tcpstat_net_ops);
}
