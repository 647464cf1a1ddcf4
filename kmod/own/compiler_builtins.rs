// SPDX-License-Identifier: GPL-2.0-only

//! An empty crate. rustc wants one of this name beside `core`, with the arithmetic of floats and of
//! 128 bits. A module may use neither: one that does is refused by modpost, with the name of the
//! missing function.

#![allow(internal_features)]
#![feature(compiler_builtins)]
#![compiler_builtins]
#![no_builtins]
#![no_std]
