// SPDX-License-Identifier: GPL-2.0-only

//! The names that every file of a module imports.

pub use core::ffi::CStr;

pub use crate::alloc::{KVVec, KVec};
pub use crate::error::{code::*, Error, Result};
pub use crate::module;
pub use crate::module::ThisModule;
pub use crate::str::CStrExt as _;
