// SPDX-License-Identifier: MIT OR Apache-2.0

//! Printing: answers to standard output, messages to standard error.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::Path;

use tcpstat::{Attempt, Namespace, Source};

use crate::failure::Failure;

/// The size of a write of a long answer, in bytes.
const BUFFER: usize = 32 * 1024;

/// Prints an answer, and flushes standard output.
pub(crate) fn print(text: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_ref())
        .and_then(|()| stdout.flush())
        .map_err(Failure::Print)
}

/// Prints an answer as `write` writes it, and flushes standard output.
pub(crate) fn print_by(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'_>>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    write(&mut stdout)?;
    stdout.flush().map_err(Failure::Print)
}

/// Prints a message to standard error.
pub(crate) fn say(message: impl Display) {
    // Ignore a failed write to stderr.
    let _ = writeln!(io::stderr(), "tcpstat: {message}");
}

/// Prints to standard error the sources that could not answer, then the source that answered and
/// its method. `namespace` is the namespace of the answer with `--all-namespaces`.
pub(crate) fn say_source(
    namespace: Option<Namespace>,
    tried: &[Attempt],
    source: Source,
    method: impl Display,
) {
    let of = namespace.map_or(String::new(), |namespace| format!("{namespace}: "));
    for attempt in tried {
        say(format_args!("{of}{}: {}", attempt.source, attempt.error));
    }
    say(format_args!("{of}{source}: {method}"));
}

/// Adds to a method the file of IPv6 that a saved sample does not have.
pub(crate) fn without(method: impl Display, missing: Option<&Path>) -> String {
    match missing {
        None => method.to_string(),
        Some(missing) => format!("{method}, of IPv4 alone: there is no {}", missing.display()),
    }
}
