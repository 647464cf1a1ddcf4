// SPDX-License-Identifier: GPL-2.0-only

//! A live network namespace.
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)

use kernel::types::Opaque;

use crate::bindings::{self, field};

/// A network namespace (`struct net`).
///
/// # Invariants
///
/// The namespace is initialised, and remains so as long as a reference to this exists.
#[repr(transparent)]
pub(crate) struct Net(Opaque<bindings::net>);

/// The identity of a network namespace (`net_eq`): the address of its `struct net`, which is only
/// compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct NetId(*const bindings::net);

impl Net {
    /// Makes a reference to a namespace from the kernel's pointer.
    ///
    /// # Safety
    ///
    /// For all of `'a`, `net` must point to a network namespace that is initialised and not being
    /// freed.
    pub(crate) unsafe fn from_raw<'a>(net: *mut bindings::net) -> &'a Self {
        // SAFETY: The caller promises that `net` is valid for `'a`; `Net` is a transparent wrapper.
        unsafe { &*net.cast() }
    }

    /// The kernel's pointer.
    pub(crate) fn as_raw(&self) -> *mut bindings::net {
        self.0.get()
    }

    /// The identity of this namespace.
    pub(crate) fn id(&self) -> NetId {
        NetId(self.as_raw())
    }
}

/// The namespace that a socket belongs to (`sock_net`).
///
/// # Safety
///
/// `sk` must point to a socket whose `skc_net` is set, as it is once the socket is in a hash table.
pub(crate) unsafe fn sock_net(sk: *const bindings::sock_common) -> NetId {
    if bindings::NET_NS == 0 {
        return NetId(&raw const bindings::init_net);
    }
    // SAFETY: The caller promises a valid socket, whose namespace does not change while it is in a
    // table.
    NetId(unsafe { field::<_, *const bindings::net>(sk, bindings::SKC_NET).read() })
}
