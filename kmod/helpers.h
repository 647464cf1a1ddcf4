/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The functions between C and Rust: wrappers in helpers.c, files in files.c, which bindings.rs
 * declares for Rust; and the functions in Rust that files.c calls.
 */
#ifndef TCPSTAT_HELPERS_H
#define TCPSTAT_HELPERS_H

#include <linux/spinlock.h>
#include <net/inet_hashtables.h>
#include <net/sock.h>

struct inode;
struct net;
struct tcpstat_file;

/* helpers.c */
void *tcpstat_pde_data(const struct inode *inode);
spinlock_t *tcpstat_inet_ehash_lockp(struct inet_hashinfo *hashinfo, unsigned int hash);
void tcpstat_spin_lock(spinlock_t *lock);
void tcpstat_spin_unlock(spinlock_t *lock);
void tcpstat_local_bh_disable(void);
void tcpstat_local_bh_enable(void);
void tcpstat_cond_resched(void);
void tcpstat_assert_rcu_read_lock(void);
bool tcpstat_fatal_signal_pending(void);
bool tcpstat_read_nofault(void *to, const void *from, size_t size);
int tcpstat_same_sockets(void);
bool tcpstat_exists(const char *path);
void tcpstat_err_exists(const char *path);
void tcpstat_err_other_kernel(const char *what);
void tcpstat_warn_unknown_state(u8 state);

/* These take the struct sock_common at the start of a full socket. */
u32 tcpstat_sk_ack_backlog(const struct sock_common *skc);
u32 tcpstat_sk_max_ack_backlog(const struct sock_common *skc);
u32 tcpstat_sk_drops(const struct sock_common *skc);
bool tcpstat_sk_v6only(const struct sock_common *skc);

/* namespaces.c */
int tcpstat_get_namespaces(struct net **nets, size_t room, size_t *len, size_t *all);
void tcpstat_put_net(struct net *net);

/* files.c */
char *tcpstat_text_alloc(struct tcpstat_file *file, size_t len);
int tcpstat_register_files(void);
void tcpstat_unregister_files(void);

/* tcpstat_main.rs */
int tcpstat_show_states(struct net *net, struct tcpstat_file *file);
int tcpstat_show_services(struct net *net, struct tcpstat_file *file);
int tcpstat_show_namespaces(struct net *net, struct tcpstat_file *file);

#endif
