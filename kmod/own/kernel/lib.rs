// SPDX-License-Identifier: GPL-2.0-only

//! The part of the kernel's `kernel` crate that this module uses, under the same names, for kernel
//! trees that have no such crate.
//!
//! It rests on the C functions in `own.c` only. A name that the kernel's crate does not have, or
//! that means something else there, would be a mistake: the same sources are built with both.

#![no_std]

pub mod alloc;
pub mod error;
pub mod ffi;
pub mod module;
mod panic;
pub mod prelude;
pub mod str;
pub mod sync;
pub mod types;

pub use module::{Module, ThisModule};
