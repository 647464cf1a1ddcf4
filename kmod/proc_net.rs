// SPDX-License-Identifier: GPL-2.0-only

//! Entries in `/proc`, as values that remove the entry when they are dropped, and the text that a
//! reader gets.
//!
//! C headers: [`include/linux/proc_fs.h`](srctree/include/linux/proc_fs.h),
//! [`include/linux/seq_file.h`](srctree/include/linux/seq_file.h)

use core::fmt;
use core::ptr::{self, NonNull};

use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::prelude::*;
use kernel::types::NotThreadSafe;

use crate::bindings;
use crate::net::Net;

/// The contents of a file in `/proc/net`.
pub(crate) trait Show {
    /// Writes the whole text for `net` to `text`; what it wrote is discarded if it fails.
    ///
    /// Called in process context; if the text does not fit, it is called again with a buffer twice
    /// as large.
    fn show(net: &Net, text: &mut Text) -> Result;
}

/// The text of an open file (`struct seq_file`).
///
/// # Invariants
///
/// The file is open, and no other code uses it as long as this value exists.
pub(crate) struct Text(*mut bindings::seq_file, NotThreadSafe);

impl Text {
    /// Whether `bytes` more fit. If not, the file is marked as full: [`Show::show`] then returns,
    /// and is called again with a buffer twice as large.
    ///
    /// To be called before work that would be wasted then.
    pub(crate) fn has_room(&mut self, bytes: usize) -> bool {
        let mut start = ptr::null_mut();
        // SAFETY: By the type's invariant the file is open and only used here.
        if unsafe { bindings::tcpstat_seq_get_buf(self.0, &mut start) } >= bytes {
            return true;
        }
        // SAFETY: As for `tcpstat_seq_get_buf`.
        unsafe { bindings::tcpstat_seq_commit(self.0, -1) };
        false
    }
}

impl fmt::Write for Text {
    /// Fails if the text does not fit; the kernel remembers that, and shows the file again.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: By the type's invariant the file is open and only used here.
        match unsafe { bindings::seq_write(self.0, text.as_ptr().cast(), text.len()) } {
            0 => Ok(()),
            _ => Err(fmt::Error),
        }
    }
}

/// Writes the text of a file for a reader: 0, or a negative errno.
///
/// # Safety
///
/// For the time of the call, `net` must be a network namespace that is initialised and not being
/// freed, and `seq` an open file that no other code uses.
pub(crate) unsafe fn show<T: Show>(net: *mut bindings::net, seq: *mut bindings::seq_file) -> c_int {
    // SAFETY: The caller promises that the namespace is alive.
    let net = unsafe { Net::from_raw(net) };
    // INVARIANT: The caller promises that the file is open and not used elsewhere.
    let mut text = Text(seq, NotThreadSafe);
    match T::show(net, &mut text) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// The files in `/proc/net` of every network namespace, existing and future (`files.c`).
///
/// Dropping it removes them from all namespaces, and waits until no reader is in [`Show::show`].
///
/// # Invariants
///
/// The files are registered.
pub(crate) struct NetFiles(());

impl NetFiles {
    /// Creates the files. To be called once.
    ///
    /// Fails with `ENOMEM` if one of them cannot be created in a namespace; then there are none.
    pub(crate) fn register() -> Result<Self> {
        // SAFETY: Everything that the files need is initialised before the module is.
        to_result(unsafe { bindings::tcpstat_register_files() })?;
        // INVARIANT: They were just registered.
        Ok(Self(()))
    }
}

impl Drop for NetFiles {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant they are registered.
        unsafe { bindings::tcpstat_unregister_files() };
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
