// SPDX-License-Identifier: MIT OR Apache-2.0

//! Printing: answers to standard output, messages to standard error.

use std::fmt::Display;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;

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

/// Where an answer goes: to standard output, or to a file that it replaces.
pub(crate) enum Output<'a> {
    Stdout(BufWriter<StdoutLock<'a>>),
    File(BufWriter<File>, NewFile),
}

/// A file beside the one that it is going to replace. It is removed unless it has replaced it.
pub(crate) struct NewFile {
    beside: PathBuf,
    path: PathBuf,
    replaced: bool,
}

impl Output<'_> {
    /// Begins an answer.
    pub(crate) fn begin(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            let stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
            return Ok(Self::Stdout(stdout));
        };
        let failed = |error| Failure::File(path.to_owned(), error);
        // A device or a pipe would be replaced by a file.
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        let name = path.file_name();
        let name = name.ok_or_else(|| failed(io::Error::other("it is no name of a file")))?;
        // Hidden, and not ending in .prom, which the textfile collector would read.
        let name = format!(".{}.{}.tmp", name.to_string_lossy(), process::id());
        let beside = path.with_file_name(name);
        // What a process with this ID may have left, when it was killed.
        let _ = fs::remove_file(&beside);
        let file = File::options().write(true).create_new(true).open(&beside);
        let file = file.map_err(failed)?;
        let new = NewFile {
            beside,
            path: path.to_owned(),
            replaced: false,
        };
        // Readable for everyone, whatever the umask: another user's exporter reads it.
        let mode = file.set_permissions(Permissions::from_mode(0o644));
        mode.map_err(failed)?;
        Ok(Self::File(BufWriter::with_capacity(BUFFER, file), new))
    }

    /// Ends an answer: all of it is written, and a file is in its place.
    pub(crate) fn end(self) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut stdout) => stdout.flush().map_err(Failure::Print),
            Self::File(file, mut new) => {
                let replaced = file
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)
                    .and_then(|file| file.sync_all())
                    .and_then(|()| fs::rename(&new.beside, &new.path));
                new.replaced = replaced.is_ok();
                replaced.map_err(|error| Failure::File(new.path.clone(), error))
            }
        }
    }

    /// The failure to write this answer.
    fn failure(&self, error: io::Error) -> Failure {
        match self {
            Self::Stdout(_) => Failure::Print(error),
            Self::File(_, new) => Failure::File(new.path.clone(), error),
        }
    }

    /// Writes a part of an answer.
    pub(crate) fn print(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.write_all(text).map_err(|error| self.failure(error))
    }

    /// Hands the text that was written to standard output over.
    pub(crate) fn flush_stdout(&mut self) -> Result<(), Failure> {
        match self {
            Self::Stdout(stdout) => stdout.flush().map_err(Failure::Print),
            Self::File(..) => Ok(()),
        }
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File(file, _) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File(file, _) => file.flush(),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.replaced {
            // The error that it is removed for is reported.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// Prints an answer as `write` writes it: to standard output, or to a file that it replaces.
pub(crate) fn print_by(
    path: Option<&Path>,
    write: impl FnOnce(&mut Output<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut output = Output::begin(path)?;
    if let Err(failure) = write(&mut output) {
        return Err(match failure {
            Failure::Print(error) => output.failure(error),
            failure => failure,
        });
    }
    output.end()
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
