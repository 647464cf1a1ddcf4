// SPDX-License-Identifier: GPL-2.0-only

//! Measures a whole process with its start and its children: CPU time, time and memory.
//!
//! A small process starts it and waits for it. The kernel counts a new process's peak of memory
//! from what its parent had, so the parent must be small.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;
use crate::results::Run;

/// The result of a process.
#[derive(Serialize, Deserialize)]
struct Answer {
    run: Run,
    status: String,
    success: bool,
    output: String,
    errors: String,
}

/// Runs `command`. Gives its cost and what it printed.
///
/// # Errors
/// If it cannot be started, fails, or writes to standard error.
pub(crate) fn measure(command: &[String]) -> Outcome<(Run, String)> {
    let typed = command.join(" ");
    let output = Command::new("/proc/self/exe")
        .args(["measure", "--"])
        .args(command)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{typed}: {}", errors.trim()).into());
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)?;
    if !answer.success || !answer.errors.is_empty() {
        return Err(format!("{typed}: {} {}", answer.status, answer.errors.trim()).into());
    }
    Ok((answer.run, answer.output))
}

/// What [`measure`] starts. The command is its only child.
pub(crate) fn measure_here(command: &[String]) -> Outcome {
    let start = Instant::now();
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot start {}: {e}", command[0]))?;
    let (mut output, mut errors) = (String::new(), String::new());
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut output)?;
    }
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_string(&mut errors)?;
    }
    let status = child.wait()?;
    let wall = start.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time() + usage.system_time();
    let answer = Answer {
        run: Run {
            cpu: cpu.num_microseconds() as f64 / 1e6,
            wall: wall.as_secs_f64(),
            peak_kib: Some(usage.max_rss() as u64),
        },
        status: status.to_string(),
        success: status.success(),
        output,
        errors,
    };
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}
