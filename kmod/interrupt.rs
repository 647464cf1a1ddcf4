// SPDX-License-Identifier: GPL-2.0-only

//! Why a walk ends before the end of the table: the reader is being killed, or the module unloaded.

use core::sync::atomic::{AtomicBool, Ordering};

use kernel::prelude::*;

use crate::bindings;

/// Whether the module is being unloaded.
static UNLOADING: AtomicBool = AtomicBool::new(false);

/// Makes every walk end at its next pause, from now on.
pub(crate) fn end_walks() {
    UNLOADING.store(true, Ordering::Relaxed);
}

/// Whether a walk goes on.
///
/// Fails with `ENODEV` while the module is being unloaded, and with `EINTR` if the current process
/// has been killed, which then never sees the error.
pub(crate) fn check() -> Result {
    if UNLOADING.load(Ordering::Relaxed) {
        return Err(ENODEV);
    }
    // SAFETY: A walk is in process context, so there is a current process.
    if unsafe { bindings::tcpstat_fatal_signal_pending() } {
        return Err(EINTR);
    }
    Ok(())
}
