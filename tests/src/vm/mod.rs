// SPDX-License-Identifier: GPL-2.0-only

//! What happens inside the virtual machine: its start and end ([`boot`]), the run of the scenarios ([`runner`]),
//! and the scenarios themselves, a file for each topic.
//!
//! Each scenario is a process of its own, so that one that panics, hangs or stays in another namespace harms
//! no other. It finds the module loaded, in a network namespace that has no sockets.

use std::error::Error;

pub mod boot;
pub mod helper;
pub mod module;
pub mod reading;
pub mod runner;

mod agreement;
mod command;
mod lifetime;
mod namespaces;
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

/// All scenarios, in the order in which they run.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    [
        text::SCENARIOS,
        agreement::SCENARIOS,
        namespaces::SCENARIOS,
        command::SCENARIOS,
        lifetime::SCENARIOS,
    ]
    .into_iter()
    .flatten()
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
