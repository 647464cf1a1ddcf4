// SPDX-License-Identifier: MIT OR Apache-2.0

//! Prometheus' `promtool`, if it is there.

use std::io::Write;
use std::process::{Command, Stdio};

/// Whether it is there. If not, the tests that ask do nothing, unless `TCPSTAT_REQUIRE_PROMTOOL` is
/// set.
pub(crate) fn is_there() -> bool {
    let is_there = Command::new("promtool").arg("--version").output().is_ok();
    let required = std::env::var_os("TCPSTAT_REQUIRE_PROMTOOL").is_some();
    assert!(is_there || !required, "there is no promtool");
    is_there
}

/// Runs it with these arguments and `input`, and returns what it says. It must not fail.
pub(crate) fn must_accept(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}
