/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bindgen generates bindings_generated.rs from this: the kernel's headers, and the helpers of this
 * module.
 */
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <net/inet_hashtables.h>
#include <net/inet_timewait_sock.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "helpers.h"
