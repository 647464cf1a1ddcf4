// SPDX-License-Identifier: MIT OR Apache-2.0

//! The tcpstat command: does what the command line asks for, and ends with the exit code that tells how it went.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod explain;
mod expression;
mod format;

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use nix::errno::Errno;
use tcpstat::{Attempt, Error, Source};

use args::{Args, Command};
use commands::Failure;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(Failure::Usage(error)) if error.use_stderr() => {
            // Whether or not anybody reads it.
            let _ = error.print();
            if commands::check::is_meant(std::env::args_os().skip(1)) {
                return commands::check::refuse(&error);
            }
            ExitCode::from(2)
        }
        // --help and --version are no failures.
        Err(Failure::Usage(error)) => printed(error.print()),
        Err(Failure::Print(error)) => printed(Err(error)),
        Err(Failure::Sample(error)) => fail(match hint(&error) {
            Some(hint) => format!("{error}\n{hint}"),
            None => error.to_string(),
        }),
        Err(Failure::Format(error)) => fail(error),
        Err(Failure::Incomplete) => ExitCode::FAILURE,
        Err(Failure::Screen(error)) => fail(format_args!("cannot use the terminal: {error}")),
    }
}

fn run() -> Result<ExitCode, Failure> {
    let args = Args::try_parse().map_err(Failure::Usage)?;
    match args.command {
        None => commands::totals::run(&args.totals),
        Some(Command::Services(args)) => commands::services::run(&args),
        Some(Command::Check(args)) => return commands::check::run(&args),
        Some(Command::Connections(args)) => commands::connections::run(&args),
        Some(Command::Explain(args)) => commands::explain::run(&args),
        Some(Command::Watch(args)) => commands::watch::run(args),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn printed(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has seen enough: `tcpstat | head -1`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(format_args!("cannot write to standard output: {error}")),
    }
}

fn fail(error: impl Display) -> ExitCode {
    // Where standard error cannot be written to either, the exit code has to do.
    let _ = writeln!(io::stderr(), "tcpstat: {error}");
    ExitCode::FAILURE
}

/// What to try where there is no answer.
fn hint(error: &Error) -> Option<&'static str> {
    let tried = match error {
        Error::NoSource(tried) => tried,
        Error::Open { error, .. }
        | Error::Read { error, .. }
        | Error::Socket { error, .. }
        | Error::Receive { error }
        | Error::Answer { error } => return hint_for(Errno::from_raw(error.raw_os_error()?)),
        _ => return None,
    };
    let Attempt { source, error } = tried.last()?;
    Some(match (source, error) {
        (Source::Module, _) => "Load the module (modprobe tcpstat), or leave out --source.",
        (Source::Netlink | Source::NetlinkFull, Error::Answer { .. }) => {
            "Load the kernel's part of it (modprobe tcp_diag), or try --source procfs."
        }
        (Source::Netlink | Source::NetlinkFull, Error::Namespace { error, .. }) => {
            match error.kind() {
                ErrorKind::PermissionDenied => {
                    "Entering another network namespace takes root (CAP_SYS_ADMIN, CAP_SYS_PTRACE): try --source procfs."
                }
                _ => {
                    "The process may have ended, or be one of a saved sample: try --source procfs."
                }
            }
        }
        (Source::Netlink | Source::NetlinkFull, _) => {
            "A sandbox may forbid netlink sockets here (seccomp, SELinux, RestrictAddressFamilies=): try --source procfs."
        }
        (Source::Procfs, _) => {
            "Is a procfs mounted there (mount -t proc proc DIR)? --proc-root DIR names another. \
             Processes may be gone, or hidden (hidepid=)."
        }
    })
}

/// What to try where the source is there, and the system does not let it answer.
fn hint_for(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::EMFILE => "This process may open no more files: raise its limit (ulimit -n).",
        Errno::ENFILE => "The machine may open no more files: raise fs.file-max.",
        Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN => {
            "The kernel may be short of memory: try again, or another --source."
        }
        _ => return None,
    })
}
