// SPDX-License-Identifier: MIT OR Apache-2.0

//! One test at a time, where tests count sockets exactly and start processes: between `fork` and `exec` a process
//! holds every descriptor of all of them, and with it sockets that another test has closed.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for the other tests; they wait while the guard lives.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed is no reason to fail the next.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
