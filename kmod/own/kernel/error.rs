// SPDX-License-Identifier: GPL-2.0-only

//! Errors, as the kernel's negative numbers.
//!
//! C header:
//! [`include/uapi/asm-generic/errno-base.h`](srctree/include/uapi/asm-generic/errno-base.h)

use crate::alloc::AllocError;
use crate::ffi::c_int;

/// A kernel error: a negative errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(c_int);

/// The result of a function that can fail.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

impl Error {
    /// The errno, which is negative.
    pub const fn to_errno(self) -> c_int {
        self.0
    }
}

/// The errnos by name.
pub mod code {
    use super::Error;

    macro_rules! codes {
        ($($name:ident = $number:literal, $text:literal;)*) => {
            $(
                #[doc = $text]
                pub const $name: Error = Error(-$number);
            )*
        };
    }

    codes! {
        EINTR = 4, "Interrupted system call.";
        ENOEXEC = 8, "Exec format error.";
        EAGAIN = 11, "Try again.";
        ENOMEM = 12, "Out of memory.";
        EBUSY = 16, "Device or resource busy.";
        ENODEV = 19, "No such device.";
        EINVAL = 22, "Invalid argument.";
        ERANGE = 34, "Math result not representable.";
    }
}

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        code::ENOMEM
    }
}

/// The result of a C function that returns 0 or a negative errno.
pub fn to_result(returned: c_int) -> Result {
    if returned < 0 {
        Err(Error(returned))
    } else {
        Ok(())
    }
}
