// SPDX-License-Identifier: GPL-2.0-only

//! Strings of C.

use crate::ffi::c_char;

/// What the kernel's crate adds to [`CStr`](core::ffi::CStr).
pub trait CStrExt {
    /// The address of the first character, in the kernel's type.
    fn as_char_ptr(&self) -> *const c_char;
}

impl CStrExt for core::ffi::CStr {
    fn as_char_ptr(&self) -> *const c_char {
        self.to_bytes_with_nul().as_ptr()
    }
}
