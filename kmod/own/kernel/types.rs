// SPDX-License-Identifier: GPL-2.0-only

//! Types for values that C owns.

use core::cell::UnsafeCell;
use core::marker::{PhantomData, PhantomPinned};
use core::mem::MaybeUninit;

/// A value of C, about which Rust assumes nothing: it may be uninitialised, and others may write
/// it.
#[repr(transparent)]
pub struct Opaque<T>(UnsafeCell<MaybeUninit<T>>, PhantomPinned);

impl<T> Opaque<T> {
    /// The address of the value.
    pub const fn get(&self) -> *mut T {
        self.0.get().cast()
    }
}

/// A field that keeps a type on the thread that made it.
pub type NotThreadSafe = PhantomData<*mut ()>;

/// The value of that field.
#[allow(non_upper_case_globals)]
pub const NotThreadSafe: NotThreadSafe = PhantomData;
