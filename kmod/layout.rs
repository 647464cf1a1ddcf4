// SPDX-License-Identifier: GPL-2.0-only

//! A check that bindgen and the kernel's compiler agree on the layout of the kernel's structures.
//!
//! The kernel is compiled by one compiler; for the module, libclang parses its headers, and rustc
//! computes the layout again. If a field had another offset there, the module would read the wrong
//! bytes, without an error.

use core::mem::{offset_of, size_of};

use kernel::prelude::*;

use crate::bindings::{self, *};

/// Compares every size and offset that this module relies on. Fails with `ENOEXEC`, and writes the
/// differences to the kernel's log.
pub(crate) fn check() -> Result {
    // SAFETY: This is a constant of the module, which is never written.
    let kernel = unsafe { &bindings::tcpstat_layout };
    let mut result = Ok(());
    macro_rules! compare {
        ($($field:ident: $here:expr,)*) => {
            $(if kernel.$field != $here {
                pr_err!(
                    "bindgen and the kernel's compiler disagree on {}: {} and {}\n",
                    stringify!($field),
                    $here,
                    kernel.$field
                );
                result = Err(ENOEXEC);
            })*
        };
    }
    compare! {
        net_proc_net: offset_of!(net, proc_net),
        net_hashinfo: offset_of!(net, ipv4.tcp_death_row.hashinfo),
        hashinfo_ehash: offset_of!(inet_hashinfo, ehash),
        hashinfo_ehash_mask: offset_of!(inet_hashinfo, ehash_mask),
        hashinfo_lhash2: offset_of!(inet_hashinfo, lhash2),
        hashinfo_lhash2_mask: offset_of!(inet_hashinfo, lhash2_mask),
        ehash_bucket: size_of::<inet_ehash_bucket>(),
        ehash_bucket_chain: offset_of!(inet_ehash_bucket, chain),
        listen_bucket: size_of::<inet_listen_hashbucket>(),
        listen_bucket_lock: offset_of!(inet_listen_hashbucket, lock),
        listen_bucket_nulls_head: offset_of!(inet_listen_hashbucket, nulls_head),
        skc_num: TCPSTAT_SKC_NUM as usize,
        skc_state: offset_of!(sock_common, skc_state),
        skc_net: offset_of!(sock_common, skc_net),
        skc_nulls_node: TCPSTAT_SKC_NULLS_NODE as usize,
        tw_substate: offset_of!(inet_timewait_sock, tw_substate),
        nulls_node_next: offset_of!(hlist_nulls_node, next),
        pernet: size_of::<pernet_operations>(),
        pernet_init: offset_of!(pernet_operations, init),
        pernet_exit: offset_of!(pernet_operations, exit),
    }
    result
}
