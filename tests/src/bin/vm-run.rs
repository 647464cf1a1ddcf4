// SPDX-License-Identifier: GPL-2.0-only

//! The host's side of the virtual machine: runs the command that starts it, and judges the results.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use tcpstat_tests::launch;
use tcpstat_tests::tsc;
use tcpstat_tests::verdict::Verdict;
use tcpstat_tests::vm::runner::MEASURED;

/// How many lines of the console are shown after a failure.
const CONSOLE_LINES: usize = 40;

/// Runs a virtual machine that tests tcpstat, and judges the run.
///
/// Good means: every planned test passed or was skipped, but not all were skipped; the command
/// ended by itself with success; and the console has neither a panic nor any other complaint of the
/// kernel. Exit codes: 0 good, 1 not good, 2 usage.
#[derive(Parser)]
#[command(name = "tcpstat-vm-run")]
struct Args {
    /// Seconds after which the command and all that it started are killed
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// The file that the command writes the machine's verdict port to
    #[arg(long, value_name = "FILE")]
    ktap: PathBuf,
    /// Where to keep the console, which is the command's output
    #[arg(long, value_name = "FILE")]
    console: PathBuf,
    /// Where to write how many tests passed, were skipped and failed, and which were skipped
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// A skipped test fails the run, for a machine on which all of them must run
    #[arg(long)]
    no_skips: bool,
    /// Do not show the console while the machine runs
    #[arg(long)]
    quiet: bool,
    /// The command that starts the machine, and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            println!("PROBLEM {e}\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<bool> {
    let stop = launch::stop_on_signals()?;
    // The verdict of an earlier run must not count as this run's.
    for old in [Some(&args.ktap), args.summary.as_ref()]
        .into_iter()
        .flatten()
    {
        match fs::remove_file(old) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(io::Error::new(
                    e.kind(),
                    format!("cannot remove the old {}: {e}", old.display()),
                ));
            }
            _ => {}
        }
    }
    let mut command = Command::new(&args.command[0]);
    command.args(&args.command[1..]);
    if let Some(khz) = tsc::khz() {
        command.env("TCPSTAT_TSC_KHZ", khz.to_string());
    }
    let timeout = Duration::from_secs(args.timeout);
    let (end, console) = launch::run(command, timeout, &args.console, !args.quiet, &stop)?;
    let ktap = match fs::read(&args.ktap) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => {
            return Err(io::Error::new(
                e.kind(),
                format!("reading {}: {e}", args.ktap.display()),
            ));
        }
    };
    let mut verdict = Verdict::new(&end, ktap.as_deref(), &console);
    if args.no_skips {
        verdict.forbid_skips();
    }
    if let Some(path) = &args.summary {
        fs::write(path, verdict.summary())
            .map_err(|e| io::Error::new(e.kind(), format!("writing {}: {e}", path.display())))?;
    }
    if !verdict.is_good() {
        let lines: Vec<&str> = console.lines().collect();
        let shown = &lines[lines.len().saturating_sub(CONSOLE_LINES)..];
        println!(
            "\nThe last {} lines of the console (all of it: {}):",
            shown.len(),
            args.console.display()
        );
        for line in shown {
            println!("    {}", line.trim_end());
        }
    }
    for result in &verdict.report.results {
        for note in result.notes.iter().filter_map(|n| n.split_once(MEASURED)) {
            println!("        {}: {}", result.name, note.1);
        }
    }
    print!("\n{verdict}");
    Ok(verdict.is_good())
}
