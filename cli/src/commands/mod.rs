// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the command can do: a file for each command, and here what they share.

pub(crate) mod check;
pub(crate) mod connections;
pub(crate) mod explain;
mod namespaces;
pub(crate) mod services;
pub(crate) mod totals;
pub(crate) mod watch;

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use tcpstat::{Attempt, Error, Namespace, Source};

use crate::args::Every;

/// Why a command ends before it has done everything.
pub(crate) enum Failure {
    /// The command line makes no sense.
    Usage(clap::Error),
    /// There is no answer.
    Sample(Error),
    /// Something was left out of the answer; what, was said already.
    Incomplete,
    /// The answer could not be written as it was asked for.
    Format(Box<dyn std::error::Error>),
    /// The answer could not be printed.
    Print(io::Error),
    /// The terminal could not be used as a screen.
    Screen(io::Error),
}

/// Does `once` as often as it is asked for, at ticks that do not drift.
pub(crate) fn at_each_tick(
    every: &Every,
    mut once: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some(interval) = every.interval else {
        return once();
    };
    let start = Instant::now();
    let mut times = 0;
    loop {
        once()?;
        times += 1;
        if every.count.is_some_and(|count| times >= count) {
            return Ok(());
        }
        thread::sleep(until_next_tick(start.elapsed(), interval));
    }
}

/// How long it is to the next of the ticks that are `interval` apart. Those that were missed are gone.
fn until_next_tick(elapsed: Duration, interval: Duration) -> Duration {
    // Nanoseconds of a Duration are below 2^94, and what is left of a division is below `interval`.
    let since_tick = elapsed.as_nanos() % interval.as_nanos();
    interval - Duration::from_nanos(since_tick as u64)
}

/// Prints an answer, and whatever was printed before it.
pub(crate) fn print(text: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_ref())
        .and_then(|()| stdout.flush())
        .map_err(Failure::Print)
}

/// Says on standard error who answered, and how; and who could not. `namespace` is whose answer it is where several are
/// asked.
pub(crate) fn explain(
    namespace: Option<Namespace>,
    tried: &[Attempt],
    source: Source,
    method: impl std::fmt::Display,
) {
    let of = namespace.map_or(String::new(), |namespace| format!("{namespace}: "));
    // Whether or not anybody reads it.
    let mut stderr = io::stderr().lock();
    for Attempt { source, error } in tried {
        let _ = writeln!(stderr, "tcpstat: {of}{source}: {error}");
    }
    let _ = writeln!(stderr, "tcpstat: {of}{source}: {method}");
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
