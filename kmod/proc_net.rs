// SPDX-License-Identifier: GPL-2.0-only

//! Entries in `/proc`, as values that remove the entry when they are dropped.
//!
//! C header: [`include/linux/proc_fs.h`](srctree/include/linux/proc_fs.h)

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use kernel::error::{from_result, to_result};
use kernel::ffi::{c_int, c_void};
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::types::Opaque;

use crate::bindings;
use crate::net::Net;

/// The name and the contents of a file in `/proc/net`.
pub(crate) trait Show {
    /// The file's name in `/proc/net`.
    const NAME: &'static CStr;

    /// Writes the whole text for `net` to `m`; what it wrote is discarded if it fails.
    ///
    /// Called in process context; if the text does not fit, it is called again with a buffer twice
    /// as large.
    fn show(net: &Net, m: &SeqFile) -> Result;
}

/// Whether `bytes` more fit into `m`. If not, `m` is marked as full: [`Show::show`] then returns,
/// and is called again with a buffer twice as large.
///
/// To be called before work that would be wasted then.
pub(crate) fn has_room(m: &SeqFile, bytes: usize) -> bool {
    let seq = ptr::from_ref(m).cast_mut().cast();
    let mut start = ptr::null_mut();
    // SAFETY: A `SeqFile` is an open `struct seq_file` that only this call uses.
    if unsafe { bindings::tcpstat_seq_get_buf(seq, &mut start) } >= bytes {
        return true;
    }
    // SAFETY: As for `tcpstat_seq_get_buf`.
    unsafe { bindings::tcpstat_seq_commit(seq, -1) };
    false
}

/// A file of mode 0444 in `/proc/net` of every network namespace, existing and future.
///
/// Dropping it removes the file from all of them, and waits until no reader is in [`Show::show`].
///
/// # Invariants
///
/// `ops` is registered with `register_pernet_subsys`, and is not changed or moved while registered.
#[pin_data(PinnedDrop)]
pub(crate) struct NetFile<T: Show> {
    #[pin]
    ops: Opaque<bindings::pernet_operations>,
    _show: PhantomData<T>,
}

// SAFETY: A registration may be dropped on any thread.
unsafe impl<T: Show> Send for NetFile<T> {}
// SAFETY: There are no methods that take `&self`.
unsafe impl<T: Show> Sync for NetFile<T> {}

impl<T: Show> NetFile<T> {
    /// Creates the file in every network namespace, existing and future.
    ///
    /// Fails with `ENOMEM` if the file cannot be created in one of them; then it is in none.
    pub(crate) fn register() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            ops <- Opaque::try_ffi_init(|slot: *mut bindings::pernet_operations| {
                let ops = bindings::pernet_operations {
                    init: Some(Self::init_net),
                    exit: Some(Self::exit_net),
                    ..Default::default()
                };
                // SAFETY: `slot` is valid for writing.
                unsafe { slot.write(ops) };
                // SAFETY: `slot` was just written, is pinned, and is unregistered before it is
                // freed.
                // INVARIANT: On success `ops` is registered.
                to_result(unsafe { bindings::register_pernet_subsys(slot) })
            }),
            _show: PhantomData,
        })
    }

    /// Creates the file in a namespace (`pernet_operations.init`).
    ///
    /// # Safety
    ///
    /// `net` must be a network namespace that is being set up or in use.
    unsafe extern "C" fn init_net(net: *mut bindings::net) -> c_int {
        // SAFETY: `net` is valid, its `proc_net` was created by an earlier `pernet_operations`, and
        // `show` stays callable until `exit_net` removes the file, before this module's code is
        // freed.
        let entry = unsafe {
            bindings::proc_create_net_single(
                T::NAME.as_char_ptr(),
                0o444,
                (*net).proc_net,
                Some(Self::show),
                ptr::null_mut(),
            )
        };
        if entry.is_null() {
            ENOMEM.to_errno()
        } else {
            0
        }
    }

    /// Removes the file from a namespace (`pernet_operations.exit`), and waits for its readers.
    ///
    /// # Safety
    ///
    /// `net` must be a network namespace for which `init_net` succeeded.
    unsafe extern "C" fn exit_net(net: *mut bindings::net) {
        // SAFETY: `net` is valid, and its `proc_net` has this file, which `init_net` created.
        unsafe { bindings::remove_proc_entry(T::NAME.as_char_ptr(), (*net).proc_net) };
    }

    /// Writes the text for a reader (`proc_dir_entry.single_show`).
    ///
    /// # Safety
    ///
    /// `seq` must be the open file that the kernel calls this for, and no other code may use it
    /// meanwhile.
    unsafe extern "C" fn show(seq: *mut bindings::seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: The file was opened by `single_open_net`, which holds a reference to the
        // namespace as long as the file is open.
        let net = unsafe { Net::from_raw(bindings::tcpstat_seq_file_single_net(seq)) };
        // SAFETY: The caller promises that `seq` is valid, and only used here during this call.
        let m = unsafe { SeqFile::from_raw(seq.cast()) };
        from_result(|| T::show(net, m).map(|()| 0))
    }
}

#[pinned_drop]
impl<T: Show> PinnedDrop for NetFile<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type's invariant `ops` is registered.
        unsafe { bindings::unregister_pernet_subsys(self.ops.get()) };
    }
}

/// A symbolic link in `/proc`.
///
/// # Invariants
///
/// `0` is an existing entry, which no other code removes.
pub(crate) struct Symlink(NonNull<bindings::proc_dir_entry>);

// SAFETY: An entry may be removed on any thread.
unsafe impl Send for Symlink {}
// SAFETY: There are no methods that take `&self`.
unsafe impl Sync for Symlink {}

impl Symlink {
    /// Makes `/proc/NAME` a link to `target`. Fails with `ENOMEM`.
    pub(crate) fn new(name: &CStr, target: &CStr) -> Result<Self> {
        // SAFETY: The kernel copies both strings, which end in NUL, and takes a null parent for
        // `/proc`.
        let entry = unsafe {
            bindings::proc_symlink(name.as_char_ptr(), ptr::null_mut(), target.as_char_ptr())
        };
        // INVARIANT: The entry was just created, and no other code has the pointer.
        NonNull::new(entry).map(Self).ok_or(ENOMEM)
    }
}

impl Drop for Symlink {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant the entry exists, and no other code removes it.
        unsafe { bindings::proc_remove(self.0.as_ptr()) };
    }
}
