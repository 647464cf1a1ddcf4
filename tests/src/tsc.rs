// SPDX-License-Identifier: GPL-2.0-only

//! The frequency of this machine's time stamp counter, which an emulated machine has too.
//!
//! A guest measures its counter against its timers, which fails on a busy host: without ACPI it
//! then falls back to a clock that ticks every 4 ms. So the guest is given the frequency.

#[cfg(target_arch = "x86_64")]
use std::{
    arch::x86_64::_rdtsc,
    thread::sleep,
    time::{Duration, Instant},
};

/// The counter's frequency in kHz, which takes 50 ms to measure; `None` on other processors.
#[cfg(target_arch = "x86_64")]
pub fn khz() -> Option<u64> {
    // SAFETY: every x86-64 processor has the instruction, and Linux lets programs use it.
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
