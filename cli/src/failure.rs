// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why a command ends before it has done everything.

use std::io;

use tcpstat::Error;

/// Why a command ends before it has done everything.
pub(crate) enum Failure {
    /// Arguments that make no sense together; the reason.
    Usage(String),
    /// There is no answer.
    Sample(Error),
    /// Something is missing from the answer; what, was said already.
    Incomplete,
    /// The answer could not be written in the format that was asked for.
    Format(Box<dyn std::error::Error>),
    /// The answer could not be printed.
    Print(io::Error),
    /// The terminal could not be used as a screen.
    Screen(io::Error),
}
