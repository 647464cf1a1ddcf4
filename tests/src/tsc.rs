// SPDX-License-Identifier: GPL-2.0-only

//! How fast this machine's time stamp counter is, which is the one that an emulated machine has.
//!
//! A guest measures its counter against its timers, in vain where the host is busy: without ACPI it then falls back to
//! a clock that ticks every 4 ms. So it is told.

#[cfg(target_arch = "x86_64")]
use std::{
    arch::x86_64::_rdtsc,
    thread::sleep,
    time::{Duration, Instant},
};

/// The counter's frequency in kHz, which takes 50 ms to measure; `None` on other processors.
#[cfg(target_arch = "x86_64")]
pub fn khz() -> Option<u64> {
    // SAFETY: Every x86-64 processor has the instruction, and Linux lets programs use it.
    let counter = || unsafe { _rdtsc() };
    let (start, from) = (Instant::now(), counter());
    sleep(Duration::from_millis(50));
    let (took, to) = (start.elapsed(), counter());
    u64::try_from(u128::from(to.wrapping_sub(from)) * 1_000_000 / took.as_nanos()).ok()
}

/// The counter's frequency in kHz, which takes 50 ms to measure; `None` on other processors.
#[cfg(not(target_arch = "x86_64"))]
pub fn khz() -> Option<u64> {
    None
}
