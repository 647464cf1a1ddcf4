// SPDX-License-Identifier: MIT OR Apache-2.0

//! The tcpstat command: takes a snapshot, or one at each tick, and prints it.
#![forbid(unsafe_code)]

mod args;
mod output;

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::errno::Errno;
use tcpstat::{Attempt, Error, Sampler, Snapshot, Source};

use args::Args;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) if error.use_stderr() => {
            // Whether or not anybody reads it.
            let _ = error.print();
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
    }
}

/// Why the command ends before it has done everything.
enum Failure {
    Usage(clap::Error),
    Sample(Error),
    Format(Box<dyn std::error::Error>),
    Print(io::Error),
}

fn run() -> Result<(), Failure> {
    let (args, mut sampler) = Args::parse().map_err(Failure::Usage)?;
    let Some(interval) = args.interval else {
        return print(&args, &mut sampler);
    };
    let start = Instant::now();
    let mut printed = 0;
    loop {
        print(&args, &mut sampler)?;
        printed += 1;
        if args.count.is_some_and(|count| printed >= count) {
            return Ok(());
        }
        thread::sleep(until_next_tick(start.elapsed(), interval));
    }
}

fn print(args: &Args, sampler: &mut Sampler) -> Result<(), Failure> {
    let timestamp = Timestamp::now();
    let snapshot = sampler.sample().map_err(Failure::Sample)?;
    if args.verbose {
        explain(&snapshot);
    }
    let text = args
        .format
        .text(&snapshot, timestamp)
        .map_err(Failure::Format)?;
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(Failure::Print)
}

/// Says who answered, and how.
fn explain(snapshot: &Snapshot) {
    let Snapshot {
        source,
        method,
        tried,
        ..
    } = snapshot;
    // Whether or not anybody reads it.
    let mut stderr = io::stderr().lock();
    for Attempt { source, error } in tried {
        let _ = writeln!(stderr, "tcpstat: {source}: {error}");
    }
    let _ = writeln!(stderr, "tcpstat: {source}: {method}");
}

/// How long it is to the next of the ticks that are `interval` apart. Those that were missed are gone.
fn until_next_tick(elapsed: Duration, interval: Duration) -> Duration {
    // Nanoseconds of a Duration are below 2^94, and what is left of a division is below `interval`.
    let since_tick = elapsed.as_nanos() % interval.as_nanos();
    interval - Duration::from_nanos(since_tick as u64)
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
        (Source::Netlink | Source::NetlinkFull, _) => {
            "A sandbox may forbid netlink sockets here (seccomp, RestrictAddressFamilies=): try --source procfs."
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_do_not_drift_and_missed_ones_are_skipped() {
        let ms = Duration::from_millis;
        assert_eq!(until_next_tick(ms(0), ms(10)), ms(10));
        assert_eq!(until_next_tick(ms(3), ms(10)), ms(7));
        assert_eq!(until_next_tick(ms(13), ms(10)), ms(7));
        assert_eq!(until_next_tick(ms(57), ms(10)), ms(3));
        assert_eq!(
            until_next_tick(Duration::from_nanos(1), Duration::from_nanos(1)),
            Duration::from_nanos(1)
        );
    }
}
