// SPDX-License-Identifier: GPL-2.0-only

//! What a scenario is, and how it fails or is skipped.

use std::error::Error;

use super::need::Need;

/// Nothing, or the reason of the failure.
pub type Outcome = Result<(), Box<dyn Error>>;

/// One test in the machine.
pub struct Scenario {
    /// Its name in the results: a short sentence.
    pub name: &'static str,
    /// Its time limit in seconds, on an emulated processor.
    pub seconds: u64,
    /// What it needs of the kernel. Without, it is skipped.
    pub needs: &'static [Need],
    /// The test.
    pub run: fn() -> Outcome,
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
