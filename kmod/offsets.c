// SPDX-License-Identifier: GPL-2.0-only
/*
 * The offsets and sizes in the kernel's structures that the module uses.
 *
 * This is compiled to assembly only, from which Kbuild makes offsets.rs, as the kernel makes its
 * asm-offsets.h: the compiler that decides where a field is says it, and there is no second one.
 */
#include <linux/kbuild.h>
#include <net/inet_hashtables.h>
#include <net/inet_timewait_sock.h>
#include <net/net_namespace.h>
#include <net/sock.h>

/* The offset of a field that Rust reads as `type`; another type is an error of the compiler. */
#define FIELD(name, structure, member, type)                                              \
	do {                                                                              \
		static_assert(__same_type(((struct structure *)0)->member, type),         \
			      "struct " #structure ": " #member " is no " #type);          \
		OFFSET(name, structure, member);                                          \
	} while (0)

static void __used offsets(void)
{
	FIELD(NET_HASHINFO, net, ipv4.tcp_death_row.hashinfo, struct inet_hashinfo *);
	FIELD(NET_INUM, net, ns.inum, unsigned int);

	FIELD(HASHINFO_EHASH, inet_hashinfo, ehash, struct inet_ehash_bucket *);
	FIELD(HASHINFO_EHASH_MASK, inet_hashinfo, ehash_mask, unsigned int);
	FIELD(HASHINFO_LHASH2, inet_hashinfo, lhash2, struct inet_listen_hashbucket *);
	FIELD(HASHINFO_LHASH2_MASK, inet_hashinfo, lhash2_mask, unsigned int);

	DEFINE(EHASH_BUCKET_SIZE, sizeof(struct inet_ehash_bucket));
	FIELD(EHASH_BUCKET_CHAIN, inet_ehash_bucket, chain, struct hlist_nulls_head);
	DEFINE(LISTEN_BUCKET_SIZE, sizeof(struct inet_listen_hashbucket));
	FIELD(LISTEN_BUCKET_LOCK, inet_listen_hashbucket, lock, spinlock_t);
	FIELD(LISTEN_BUCKET_CHAIN, inet_listen_hashbucket, nulls_head, struct hlist_nulls_head);

	/* What the end of a chain of listeners has in front of the number of its bucket. */
	DEFINE(LISTENING_NULLS_BASE, LISTENING_NULLS_BASE);
	FIELD(NULLS_HEAD_FIRST, hlist_nulls_head, first, struct hlist_nulls_node *);
	FIELD(NULLS_NODE_NEXT, hlist_nulls_node, next, struct hlist_nulls_node *);

	/* The fields that full, request and time-wait sockets have in common. */
	FIELD(SKC_NUM, sock_common, skc_num, __u16);
	FIELD(SKC_RCV_SADDR, sock_common, skc_rcv_saddr, __be32);
	FIELD(SKC_FAMILY, sock_common, skc_family, unsigned short);
	/* Without CONFIG_IPV6 there are no sockets of that family, and no such field. */
#if IS_ENABLED(CONFIG_IPV6)
	FIELD(SKC_V6_RCV_SADDR, sock_common, skc_v6_rcv_saddr, struct in6_addr);
#else
	DEFINE(SKC_V6_RCV_SADDR, 0);
#endif
	FIELD(SKC_STATE, sock_common, skc_state, unsigned char);
	FIELD(SKC_NULLS_NODE, sock_common, skc_nulls_node, struct hlist_nulls_node);
	/* Without CONFIG_NET_NS there is one namespace, init_net, and no field. */
	DEFINE(NET_NS, IS_ENABLED(CONFIG_NET_NS));
#ifdef CONFIG_NET_NS
	FIELD(SKC_NET, sock_common, skc_net.net, struct net *);
#else
	OFFSET(SKC_NET, sock_common, skc_net);
#endif
	/* Whether lockdep knows when rcu_read_lock() is held. */
	DEFINE(PROVE_RCU, IS_ENABLED(CONFIG_PROVE_RCU));
	FIELD(TW_SUBSTATE, inet_timewait_sock, tw_substate, unsigned char);
}
