// SPDX-License-Identifier: MIT OR Apache-2.0

//! Runs one test at a time. Tests that start processes need this if others count sockets exactly:
//! between `fork` and `exec` a process holds the descriptors of all tests, and with them sockets
//! that another test has closed.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for the other tests that call this, and keeps them waiting while the guard lives.
pub(crate) fn serial() -> MutexGuard<'static, ()> {
    static SERIAL: Mutex<()> = Mutex::new(());
    // The failure of a test must not fail the next one.
    SERIAL.lock().unwrap_or_else(PoisonError::into_inner)
}
