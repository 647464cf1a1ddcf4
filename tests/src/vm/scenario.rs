// SPDX-License-Identifier: GPL-2.0-only

//! What a scenario is, and how it fails or is skipped.

use std::error::Error;

/// Nothing, or the reason of the failure.
pub type Outcome = Result<(), Box<dyn Error>>;

/// One test in the machine.
pub struct Scenario {
    /// Its name in the results: a short sentence.
    pub name: &'static str,
    /// Its time limit in seconds, on an emulated processor.
    pub seconds: u64,
    /// The test.
    pub run: fn() -> Outcome,
}

/// How the line begins by which a scenario says that it cannot run on this kernel.
pub(super) const SKIPPED: &str = "skipped: ";

/// Makes the result of this scenario "skipped", for a kernel that lacks what the scenario tests.
pub(super) fn skip(reason: &str) -> Outcome {
    println!("{SKIPPED}{reason}");
    Ok(())
}

/// Returns an `Err` with a formatted reason.
macro_rules! fail {
    ($($arg:tt)*) => {
        return Err(format!($($arg)*).into())
    };
}

/// Fails with a formatted reason unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($arg:tt)*) => {
        if !$condition {
            $crate::vm::scenario::fail!($($arg)*);
        }
    };
}

pub(crate) use {ensure, fail};
