// SPDX-License-Identifier: MIT OR Apache-2.0

//! The tcpstat program. Its code is in the library, so that `examples/dist.rs` can use it too.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    tcpstat_cli::main()
}
