// SPDX-License-Identifier: GPL-2.0-only

//! The types of C as the kernel has them: `char` is unsigned, and `long` is as wide as a pointer.

pub use core::ffi::c_void;

macro_rules! types {
    ($($name:ident = $type:ty;)*) => {
        $(
            #[allow(missing_docs, non_camel_case_types)]
            pub type $name = $type;
            const _: () = assert!(size_of::<$name>() == size_of::<core::ffi::$name>());
        )*
    };
}

types! {
    c_char = u8;
    c_int = i32;
    c_uint = u32;
}

// Numbers of 64 bits are formatted by division, which a 32-bit kernel has no function for.
const _: () = assert!(usize::BITS == 64, "tcpstat is for 64-bit kernels only");
