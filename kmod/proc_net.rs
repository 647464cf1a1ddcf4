// SPDX-License-Identifier: GPL-2.0-only

//! Entries in `/proc`, as values that remove the entry when they are dropped, and the text that a
//! reader gets.
//!
//! C header: [`include/linux/proc_fs.h`](srctree/include/linux/proc_fs.h)

use core::fmt::{self, Write as _};
use core::ptr::{self, NonNull};
use core::slice;

use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::prelude::*;
use kernel::types::NotThreadSafe;

use crate::bindings;
use crate::interrupt;
use crate::net::Net;

/// The contents of a file in `/proc/net`.
pub(crate) trait Show {
    /// Writes the whole text for `net` to `text`. Called in process context, once for a snapshot.
    fn show(net: &Net, text: &mut Text) -> Result;
}

/// The text of an open file.
///
/// # Invariants
///
/// The file is open, and no other code uses it as long as this value exists.
pub(crate) struct Text(*mut bindings::tcpstat_file, NotThreadSafe);

impl Text {
    /// Sets the text, in memory of exactly its length.
    ///
    /// `content` is formatted twice, and must give the same both times. Fails with `ENOMEM`.
    pub(crate) fn set(&mut self, content: &impl fmt::Display) -> Result {
        let mut length = Length(0);
        write!(length, "{content}").map_err(|_| EINVAL)?;
        // SAFETY: By the type's invariant the file is open and only used here.
        let start = unsafe { bindings::tcpstat_text_alloc(self.0, length.0) };
        let start = NonNull::new(start).ok_or(ENOMEM)?;
        // SAFETY: The memory was just allocated, and any value is a valid byte. It is written
        // before it is read.
        unsafe { start.write_bytes(0, length.0) };
        // SAFETY: It is initialised, and only used here until this returns.
        let mut rest = Rest(unsafe { slice::from_raw_parts_mut(start.as_ptr(), length.0) });
        write!(rest, "{content}").map_err(|_| EINVAL)?;
        // Never zeros in place of the end of a text.
        if rest.0.is_empty() {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }
}

/// A text of which only the length in bytes is wanted.
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_add(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// The memory that is still to be filled with text.
struct Rest<'a>(&'a mut [u8]);

impl fmt::Write for Rest<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let rest = core::mem::take(&mut self.0);
        let (start, rest) = rest.split_at_mut_checked(text.len()).ok_or(fmt::Error)?;
        start.copy_from_slice(text.as_bytes());
        self.0 = rest;
        Ok(())
    }
}

/// Makes the text of a file for a reader: 0, or a negative errno.
///
/// # Safety
///
/// For the time of the call, `net` must be a network namespace that is initialised and not being
/// freed, and `file` an open file that no other code uses.
pub(crate) unsafe fn show<T: Show>(
    net: *mut bindings::net,
    file: *mut bindings::tcpstat_file,
) -> c_int {
    // SAFETY: The caller promises that the namespace is alive.
    let net = unsafe { Net::from_raw(net) };
    // INVARIANT: The caller promises that the file is open and not used elsewhere.
    let mut text = Text(file, NotThreadSafe);
    match T::show(net, &mut text) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// Fails with `EBUSY` if there is a file at `path`, and names it in the kernel's log. (`EEXIST` is
/// for a module that is loaded already.)
///
/// The kernel would only warn, and then have two files of one name. That another module makes it
/// right after this cannot be excluded.
pub(crate) fn ensure_free(path: &CStr) -> Result {
    // SAFETY: The string ends in NUL; a module is loaded in process context.
    if unsafe { bindings::tcpstat_exists(path.as_char_ptr()) } {
        // SAFETY: As above.
        unsafe { bindings::tcpstat_err_exists(path.as_char_ptr()) };
        return Err(EBUSY);
    }
    Ok(())
}

/// The files in `/proc/net` of every network namespace, existing and future (`files.c`).
///
/// Dropping it ends the walks in progress, removes the files from all namespaces, and waits until
/// no reader is in [`Show::show`].
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
        interrupt::end_walks();
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
