// SPDX-License-Identifier: GPL-2.0-only

//! Whether bindgen has the kernel's structures where the kernel's compiler has them.
//!
//! The kernel is compiled by one compiler, and its headers are parsed by libclang for bindgen and laid out again by
//! rustc. A field that were elsewhere would be read without an error, and be something else.

use core::mem::{offset_of, size_of};

use kernel::prelude::*;

use crate::bindings::{self, *};

/// Compares every size and offset that this module relies on. Fails with `ENOEXEC`, and says in the kernel's log
/// where they differ.
pub(crate) fn check() -> Result {
    // SAFETY: A constant of this module that is never written.
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
