/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What bindgen reads to make bindings_generated.rs: the kernel's headers, and this module's helpers.
 */
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <net/inet_hashtables.h>
#include <net/inet_timewait_sock.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "helpers.h"
