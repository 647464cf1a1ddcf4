// SPDX-License-Identifier: GPL-2.0-only

//! Live network namespaces.
//!
//! C header: [`include/net/net_namespace.h`](srctree/include/net/net_namespace.h)

use core::ptr;

use kernel::alloc::flags::GFP_KERNEL_ACCOUNT;
use kernel::error::to_result;
use kernel::prelude::*;
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
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
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

    /// The inode number by which users know it.
    pub(crate) fn inode(&self) -> u32 {
        let inode: *const u32 = field(self.as_raw(), bindings::NET_INUM);
        // SAFETY: By the type's invariant it is initialised, and the number never changes.
        unsafe { inode.read() }
    }
}

/// Every network namespace that is not ending, in ascending order of the inode numbers.
///
/// # Invariants
///
/// The first `len` pointers are those of namespaces, to which this has a reference each.
pub(crate) struct Namespaces {
    nets: KVVec<*mut bindings::net>,
    len: usize,
}

impl Namespaces {
    /// How often they are listed again because their number grew meanwhile.
    const TRIES: usize = 10;

    /// Takes a reference to each.
    ///
    /// Fails with `ENOMEM`, with `EINTR` if the process was killed meanwhile, and with `EAGAIN` if
    /// their number keeps growing.
    pub(crate) fn get() -> Result<Self> {
        let mut room = 64usize;
        for _ in 0..Self::TRIES {
            let mut nets = KVVec::from_elem(ptr::null_mut(), room, GFP_KERNEL_ACCOUNT)?;
            let (mut len, mut all) = (0, 0);
            // SAFETY: There is room for this number of pointers.
            to_result(unsafe {
                bindings::tcpstat_get_namespaces(nets.as_mut_ptr(), room, &mut len, &mut all)
            })?;
            if all <= room {
                // INVARIANT: It wrote so many pointers, each with a reference.
                return Ok(Self { nets, len });
            }
            room = all.saturating_add(all / 8);
        }
        Err(EAGAIN)
    }

    /// Their number.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Net> {
        let nets = self.nets.iter().take(self.len);
        // SAFETY: By the type's invariant this has a reference to it, so that it is initialised and
        // not being freed.
        nets.map(|&net| unsafe { Net::from_raw(net) })
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for &net in self.nets.iter().take(self.len) {
            // SAFETY: By the type's invariant this has a reference, which is not used any more.
            unsafe { bindings::tcpstat_put_net(net) };
        }
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
