// SPDX-License-Identifier: GPL-2.0-only
/*
 * The list of network namespaces.
 */
#include <linux/list.h>
#include <linux/rwsem.h>
#include <linux/sort.h>
#include <net/net_namespace.h>

#include "helpers.h"

static int by_inum(const void *a, const void *b)
{
	const struct net *const *first = a, *const *second = b;

	if ((*first)->ns.inum == (*second)->ns.inum)
		return 0;
	return (*first)->ns.inum < (*second)->ns.inum ? -1 : 1;
}

/*
 * Takes a reference to each network namespace, if there is room for all: 0, or -EINTR.
 * @len: how many are written to @nets, in the order of their inode numbers
 * @all: how many there are, also those that are ending, to which no reference can be had
 */
int tcpstat_get_namespaces(struct net **nets, size_t room, size_t *len, size_t *all)
{
	struct net *net;

	*len = 0;
	*all = 0;
	if (down_read_killable(&net_rwsem))
		return -EINTR;
	for_each_net(net)
		++*all;
	if (*all <= room) {
		for_each_net(net)
			if (maybe_get_net(net))
				nets[(*len)++] = net;
	}
	up_read(&net_rwsem);
	sort(nets, *len, sizeof(*nets), by_inum, NULL);
	return 0;
}

void tcpstat_put_net(struct net *net)
{
	put_net(net);
}
