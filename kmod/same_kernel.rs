// SPDX-License-Identifier: GPL-2.0-only

//! A check that the running kernel has the tables and sockets that the tree of the build has.
//!
//! The kernel compares the name of the release when it loads a module. A tree of the same name with
//! another configuration has other offsets, and the module would read the wrong bytes, without an
//! error. What can be seen from here: the fields of a new socket; and that a chain ends with the
//! number of its bucket, so that an empty bucket with its own number was found by the right
//! offsets.

use kernel::error::to_result;
use kernel::prelude::*;

use crate::bindings::{self, field};

/// A table has been found when this many buckets are empty and have their own number.
const ENOUGH: usize = 64;

/// No more buckets of a table are looked at, so that the check takes a few milliseconds at most.
const AT_MOST: usize = 1 << 16;

/// Where a table is in `struct inet_hashinfo`.
struct Place {
    name: &'static CStr,
    /// The offsets of the address and the mask.
    buckets: usize,
    mask: usize,
    /// The size of a bucket, and the offset of its chain.
    size: usize,
    chain: usize,
    /// The number at the end of the first bucket's chain (`INIT_HLIST_NULLS_HEAD`).
    base: usize,
}

const TABLES: [Place; 2] = [
    Place {
        name: c"the table of established sockets (ehash)",
        buckets: bindings::HASHINFO_EHASH,
        mask: bindings::HASHINFO_EHASH_MASK,
        size: bindings::EHASH_BUCKET_SIZE,
        chain: bindings::EHASH_BUCKET_CHAIN,
        base: 0,
    },
    Place {
        name: c"the table of listening sockets (lhash2)",
        buckets: bindings::HASHINFO_LHASH2,
        mask: bindings::HASHINFO_LHASH2_MASK,
        size: bindings::LISTEN_BUCKET_SIZE,
        chain: bindings::LISTEN_BUCKET_CHAIN,
        base: bindings::LISTENING_NULLS_BASE,
    },
];

impl Place {
    /// The number of empty buckets that were found, or `None` if this is no such table.
    fn empty_buckets(&self, hashinfo: *const bindings::inet_hashinfo) -> Option<usize> {
        let start: *const u8 = read(field::<_, usize>(hashinfo, self.buckets)).map(address)?;
        let buckets = (read(field::<_, u32>(hashinfo, self.mask))? as usize).wrapping_add(1);
        if !buckets.is_power_of_two() {
            return None;
        }
        let mut empty = 0usize;
        for number in 0..buckets.min(AT_MOST) {
            let bucket = start.wrapping_byte_add(number.wrapping_mul(self.size));
            let first = read(field::<_, usize>(bucket, self.chain))?;
            if first & 1 == 0 {
                // A socket, whose address is not 0.
                (first != 0).then_some(())?;
            } else if first == (self.base.wrapping_add(number) << 1) | 1 {
                empty = empty.wrapping_add(1);
            } else {
                return None;
            }
            if empty == ENOUGH {
                break;
            }
        }
        Some(empty)
    }
}

/// Fails with `ENOEXEC` unless the fields of sockets, and the tables of the initial namespace, are
/// where they are in the tree of the build; names in the kernel's log what is not. Fails with
/// `ENOMEM` if there is no memory for a socket.
pub(crate) fn ensure() -> Result {
    // SAFETY: A module is loaded in process context, in which sockets can be made.
    match to_result(unsafe { bindings::tcpstat_same_sockets() }) {
        Err(ENOEXEC) => return refuse(c"a field of TCP's sockets"),
        made => made?,
    }
    let net = &raw const bindings::init_net;
    let hashinfo = read(field::<_, usize>(net, bindings::NET_HASHINFO)).map(address);
    let mut empty = 0usize;
    for table in &TABLES {
        let Some(more) = hashinfo.and_then(|hashinfo| table.empty_buckets(hashinfo)) else {
            return refuse(table.name);
        };
        empty = empty.wrapping_add(more);
    }
    // Without one empty bucket in both tables there is no evidence.
    if empty == 0 {
        return refuse(c"an empty bucket");
    }
    Ok(())
}

fn refuse(what: &CStr) -> Result {
    // SAFETY: The string ends in NUL.
    unsafe { bindings::tcpstat_err_other_kernel(what.as_char_ptr()) };
    Err(ENOEXEC)
}

/// A pointer to what is at an address of the kernel, which is not dereferenced.
fn address<T>(address: usize) -> *const T {
    core::ptr::with_exposed_provenance(address)
}

/// A type of which any bytes are a value.
trait Bytes: Copy {
    const ZERO: Self;
}

impl Bytes for u32 {
    const ZERO: Self = 0;
}

impl Bytes for usize {
    const ZERO: Self = 0;
}

/// The value at an address, or `None` if nothing can be read there.
fn read<T: Bytes>(from: *const T) -> Option<T> {
    let mut value = T::ZERO;
    // SAFETY: `value` has this many bytes, of which any are a value; `from` may be any address.
    let done = unsafe {
        bindings::tcpstat_read_nofault((&raw mut value).cast(), from.cast(), size_of::<T>())
    };
    done.then_some(value)
}
