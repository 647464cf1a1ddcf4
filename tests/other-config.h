/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Included by a build of the module after the kernel's configuration, so that it is one against a
 * tree of the same release with another configuration. The module must refuse to be loaded.
 */
#ifdef TCPSTAT_OTHER_SOCKETS
/* Sockets have no namespace, and the fields behind it are 8 bytes nearer. */
#undef CONFIG_NET_NS
#endif
#ifdef TCPSTAT_OTHER_NET
/* struct net has fewer fields in front of the tables. */
#undef CONFIG_SYSCTL
#endif
