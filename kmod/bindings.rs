// SPDX-License-Identifier: GPL-2.0-only

//! What the module uses of the kernel's C: structures, offsets, functions.
//!
//! The offsets are in the generated `offsets.rs`; see `offsets.c`. The functions are those of
//! `helpers.h`, and two of the kernel's own; the types of their arguments are kept the same as in
//! C by hand.

#![allow(non_camel_case_types)]

use kernel::ffi::{c_char, c_int, c_uint, c_void};

include!(env!("TCPSTAT_OFFSETS"));

/// Declares structures of C of which Rust knows only where some of the fields are.
macro_rules! structures {
    ($($name:ident)*) => {
        $(
            #[repr(C)]
            pub(crate) struct $name {
                _fields: [u8; 0],
            }
        )*
    };
}

structures! {
    hlist_nulls_head
    hlist_nulls_node
    inet_hashinfo
    net
    proc_dir_entry
    sock_common
    spinlock_t
    tcpstat_file
}

/// `struct inet_ehash_bucket`, of which there are arrays.
#[repr(C)]
pub(crate) struct inet_ehash_bucket([usize; EHASH_BUCKET_SIZE / size_of::<usize>()]);

/// `struct inet_listen_hashbucket`, of which there are arrays.
#[repr(C)]
pub(crate) struct inet_listen_hashbucket([usize; LISTEN_BUCKET_SIZE / size_of::<usize>()]);

const _: () = {
    assert!(size_of::<inet_ehash_bucket>() == EHASH_BUCKET_SIZE);
    assert!(size_of::<inet_listen_hashbucket>() == LISTEN_BUCKET_SIZE);
};

/// The field of type `F` at `offset` bytes in the structure at `base`.
pub(crate) fn field<S, F>(base: *const S, offset: usize) -> *const F {
    base.wrapping_byte_add(offset).cast()
}

/// Reads a value that others may write meanwhile (`READ_ONCE`).
///
/// # Safety
///
/// `from` must be aligned, and point to an initialised value of one, two, four or eight bytes that
/// is written by single instructions only.
pub(crate) unsafe fn read_once<T: Copy>(from: *const T) -> T {
    const { assert!(matches!(size_of::<T>(), 1 | 2 | 4 | 8)) };
    // SAFETY: The caller promises a valid value, and a volatile read of that size is one load.
    unsafe { from.read_volatile() }
}

extern "C" {
    pub(crate) static init_net: net;

    pub(crate) fn proc_remove(entry: *mut proc_dir_entry);
    pub(crate) fn proc_symlink(
        name: *const c_char,
        parent: *mut proc_dir_entry,
        target: *const c_char,
    ) -> *mut proc_dir_entry;

    pub(crate) fn tcpstat_inet_ehash_lockp(
        hashinfo: *mut inet_hashinfo,
        hash: c_uint,
    ) -> *mut spinlock_t;
    pub(crate) fn tcpstat_spin_lock(lock: *mut spinlock_t);
    pub(crate) fn tcpstat_spin_unlock(lock: *mut spinlock_t);
    pub(crate) fn tcpstat_local_bh_disable();
    pub(crate) fn tcpstat_local_bh_enable();
    pub(crate) fn tcpstat_cond_resched();
    pub(crate) fn tcpstat_assert_rcu_read_lock();
    pub(crate) fn tcpstat_fatal_signal_pending() -> bool;
    pub(crate) fn tcpstat_read_nofault(to: *mut c_void, from: *const c_void, size: usize) -> bool;
    pub(crate) fn tcpstat_same_sockets() -> c_int;
    pub(crate) fn tcpstat_exists(path: *const c_char) -> bool;
    pub(crate) fn tcpstat_err_exists(path: *const c_char);
    pub(crate) fn tcpstat_err_other_kernel(what: *const c_char);
    pub(crate) fn tcpstat_warn_unknown_state(state: u8);
    pub(crate) fn tcpstat_sk_ack_backlog(skc: *const sock_common) -> u32;
    pub(crate) fn tcpstat_sk_max_ack_backlog(skc: *const sock_common) -> u32;
    pub(crate) fn tcpstat_sk_drops(skc: *const sock_common) -> u32;
    pub(crate) fn tcpstat_sk_v6only(skc: *const sock_common) -> bool;
    pub(crate) fn tcpstat_get_namespaces(
        nets: *mut *mut net,
        room: usize,
        len: *mut usize,
        all: *mut usize,
    ) -> c_int;
    pub(crate) fn tcpstat_put_net(net: *mut net);
    pub(crate) fn tcpstat_text_alloc(file: *mut tcpstat_file, len: usize) -> *mut c_char;
    pub(crate) fn tcpstat_register_files() -> c_int;
    pub(crate) fn tcpstat_unregister_files();
}
