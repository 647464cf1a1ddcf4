// SPDX-License-Identifier: MIT OR Apache-2.0

//! Runs the command.

use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;

/// The command with these arguments.
pub(crate) fn tcpstat(arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin!("tcpstat"));
    command.args(arguments);
    command
}

/// The same, with `--proc-root`.
pub(crate) fn tcpstat_on(root: &Path, arguments: &[&str]) -> Command {
    let mut command = tcpstat(arguments);
    command.arg("--proc-root").arg(root);
    command
}

/// The exit code, standard output and standard error.
pub(crate) fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let (stdout, stderr) = texts(&output);
    (output.status.code(), stdout, stderr)
}

/// Standard output and standard error.
pub(crate) fn texts(output: &Output) -> (String, String) {
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    assert!(!stderr.contains("panicked"), "{stderr}");
    (stdout, stderr)
}
