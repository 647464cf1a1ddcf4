// SPDX-License-Identifier: GPL-2.0-only

//! What happens inside the virtual machine: its start and end ([`boot`]), the run of the scenarios ([`runner`]),
//! and the scenarios themselves, a file for each topic.
//!
//! Each scenario is a process of its own, so that one that panics, hangs or stays in another namespace harms
//! no other. It finds the module loaded, in a network namespace that has no sockets.

use std::error::Error;
use std::fs;

pub mod boot;
pub mod descriptors;
pub mod helper;
pub mod module;
pub mod reading;
pub mod runner;

mod agreement;
mod churn;
mod command;
mod endings;
mod injection;
mod leaks;
mod lifetime;
mod locks;
mod namespaces;
mod services;
mod text;

/// Nothing, or the reason why not.
pub type Outcome = Result<(), Box<dyn Error>>;

/// One thing to prove.
pub struct Scenario {
    /// Its name in the results: a short sentence.
    pub name: &'static str,
    /// How many seconds it may take, on an emulated processor.
    pub seconds: u64,
    /// What it does.
    pub run: fn() -> Outcome,
}

/// All scenarios for this kernel, in the order in which they run.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    let everywhere: [&[Scenario]; 10] = [
        text::SCENARIOS,
        descriptors::SCENARIOS,
        agreement::SCENARIOS,
        services::SCENARIOS,
        namespaces::SCENARIOS,
        endings::SCENARIOS,
        command::SCENARIOS,
        lifetime::SCENARIOS,
        churn::SCENARIOS,
        locks::SCENARIOS,
    ];
    let (first, last): (&[_], [&[Scenario]; 2]) = if on_debug_kernel() {
        (leaks::WATCHED, [injection::SCENARIOS, leaks::SCENARIOS])
    } else {
        (&[], [&[], &[]])
    };
    first
        .iter()
        .chain(everywhere.into_iter().chain(last).flatten())
}

/// Whether the kernel's command line says that this is the debug kernel, which then must have what the scenarios
/// for it need.
pub fn on_debug_kernel() -> bool {
    fs::read_to_string("/proc/cmdline")
        .is_ok_and(|words| words.split_whitespace().any(|word| word == boot::DEBUG))
}

/// How often to do what is done `times` elsewhere: on the debug kernel, where everything takes ten times as long and
/// once is enough to be complained of, a third as often.
pub fn repeat(times: u32) -> u32 {
    if on_debug_kernel() {
        times.div_ceil(3)
    } else {
        times
    }
}

/// `Err` with a formatted reason.
macro_rules! fail {
    ($($arg:tt)*) => {
        return Err(format!($($arg)*).into())
    };
}

/// Fails with a formatted reason unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($arg:tt)*) => {
        if !$condition {
            $crate::vm::fail!($($arg)*);
        }
    };
}

pub(crate) use {ensure, fail};
