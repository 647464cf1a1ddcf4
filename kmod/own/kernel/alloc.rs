// SPDX-License-Identifier: GPL-2.0-only

//! Memory: vectors of a fixed length.
//!
//! C header: [`include/linux/slab.h`](srctree/include/linux/slab.h)

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use crate::ffi::c_void;

extern "C" {
    fn tcpstat_own_kmalloc_account(size: usize) -> *mut c_void;
    fn tcpstat_own_kvmalloc_account(size: usize) -> *mut c_void;
    fn tcpstat_own_kvfree(memory: *mut c_void);
}

/// How to allocate.
#[derive(Clone, Copy)]
pub struct Flags(());

/// The flags by name. `own.c` knows the kernel's numbers, so each has functions of its own there.
pub mod flags {
    use super::Flags;

    /// It may sleep, and is charged to the control group of the caller.
    pub const GFP_KERNEL_ACCOUNT: Flags = Flags(());
}

/// There is no memory.
#[derive(Debug)]
pub struct AllocError;

/// Memory that is contiguous (`kmalloc`).
pub struct Kmalloc;

/// Memory that may be contiguous in virtual addresses only (`kvmalloc`).
pub struct KVmalloc;

/// The two kinds of memory.
pub trait Allocator {
    /// Memory of `size` bytes, aligned to 8 bytes, or a null pointer.
    fn alloc(size: usize, flags: Flags) -> *mut c_void;
}

impl Allocator for Kmalloc {
    fn alloc(size: usize, _: Flags) -> *mut c_void {
        // SAFETY: It may be called with any size, in process context.
        unsafe { tcpstat_own_kmalloc_account(size) }
    }
}

impl Allocator for KVmalloc {
    fn alloc(size: usize, _: Flags) -> *mut c_void {
        // SAFETY: It may be called with any size, in process context.
        unsafe { tcpstat_own_kvmalloc_account(size) }
    }
}

/// A vector that does not grow.
///
/// # Invariants
///
/// The pointer is that of memory from `A` with this number of initialised values, or dangling if
/// they have no bytes.
pub struct Vec<T, A: Allocator>(NonNull<T>, usize, PhantomData<(T, A)>);

/// A vector in contiguous memory.
pub type KVec<T> = Vec<T, Kmalloc>;

/// A vector in memory that may be contiguous in virtual addresses only.
pub type KVVec<T> = Vec<T, KVmalloc>;

impl<T: Copy, A: Allocator> Vec<T, A> {
    /// A vector of `len` times `value`.
    ///
    /// The kernel's takes any `Clone`. `Copy` is all that is needed, and cannot fail half-way.
    pub fn from_elem(value: T, len: usize, flags: Flags) -> Result<Self, AllocError> {
        // The least alignment of kmalloc on the supported architectures; kvmalloc aligns to pages.
        const { assert!(align_of::<T>() <= 8) };
        let size = len.checked_mul(size_of::<T>()).ok_or(AllocError)?;
        // INVARIANT: No values, or values without bytes, need no memory.
        if size == 0 {
            return Ok(Self(NonNull::dangling(), len, PhantomData));
        }
        let memory = NonNull::new(A::alloc(size, flags).cast::<T>()).ok_or(AllocError)?;
        for n in 0..len {
            // SAFETY: It is within the memory that was just allocated.
            unsafe { memory.add(n).write(value) };
        }
        // INVARIANT: All values were just written.
        Ok(Self(memory, len, PhantomData))
    }
}

impl<T, A: Allocator> Deref for Vec<T, A> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: By the type's invariant the values are initialised.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr(), self.1) }
    }
}

impl<T, A: Allocator> DerefMut for Vec<T, A> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: By the type's invariant the values are initialised; `self` is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_ptr(), self.1) }
    }
}

impl<T, A: Allocator> Drop for Vec<T, A> {
    /// Frees the memory. The values are `Copy`, and so need no drop.
    fn drop(&mut self) {
        if self.1 != 0 && size_of::<T>() != 0 {
            // SAFETY: By the type's invariant it was allocated, and is used no longer; kvfree takes
            // memory of both kinds.
            unsafe { tcpstat_own_kvfree(self.0.as_ptr().cast()) };
        }
    }
}
