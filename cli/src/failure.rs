// SPDX-License-Identifier: MIT OR Apache-2.0

//! The error type of the commands.

use std::io;
use std::path::PathBuf;

use tcpstat::Error;

/// Why a command ended early.
pub(crate) enum Failure {
    /// Arguments that contradict each other; the reason.
    Usage(String),
    /// The connections could not be counted or listed.
    Sample(Error),
    /// The answer is incomplete. A message on standard error has named the missing part.
    Incomplete,
    /// The answer could not be written in the requested format.
    Format(Box<dyn std::error::Error>),
    /// The answer could not be written to this file.
    File(PathBuf, io::Error),
    /// The answer could not be printed.
    Print(io::Error),
    /// The exporter could not begin to serve, or had to end; the reason.
    Serve(String),
    /// The terminal could not be used as a screen.
    Screen(io::Error),
}
