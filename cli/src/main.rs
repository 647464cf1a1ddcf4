// SPDX-License-Identifier: MIT OR Apache-2.0

//! The tcpstat program; all of it is in the library beside this file, for `examples/dist.rs` too.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    tcpstat_cli::main()
}
