// SPDX-License-Identifier: MIT OR Apache-2.0

//! Asking one network namespace, or every one that a process is in.

use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use tcpstat::{Error, Namespace, Namespaces, Options, Sampler};

use super::{Failure, at_each_tick, print};
use crate::args::{Every, Everywhere, From};
use crate::format::Answer;

/// Asks each namespace that is meant and prints the answers as `text` puts them, as often as it is asked for. With
/// `--verbose`, `explain` says who gave each of them.
pub(crate) fn answer<T>(
    from: &From,
    everywhere: &Everywhere,
    every: &Every,
    mut ask: impl FnMut(&mut Sampler) -> Result<T, Error>,
    explain: impl Fn(&Answer<T>),
    text: impl Fn(&[Answer<T>], Timestamp) -> Result<String, Box<dyn std::error::Error>>,
) -> Result<(), Failure> {
    let mut asked = Asked::new(from, everywhere)?;
    at_each_tick(every, || {
        let timestamp = Timestamp::now();
        let mut answers = Vec::new();
        asked.each(&mut ask, |answer| {
            if from.verbose {
                explain(&answer);
            }
            answers.push(answer);
            Ok(())
        })?;
        print(&text(&answers, timestamp).map_err(Failure::Format)?)
    })?;
    asked.finish()
}

/// Who is asked.
pub(crate) enum Asked {
    /// The namespace of `--pid`, or one's own.
    One(Box<Sampler>),
    /// Every namespace, anew each time.
    All {
        options: Options,
        /// Whether it was said that some cannot be seen.
        told: bool,
    },
}

impl Asked {
    /// As the command line says.
    pub(crate) fn new(from: &From, everywhere: &Everywhere) -> Result<Self, Failure> {
        Ok(if everywhere.all_namespaces {
            Self::All {
                options: from.options(),
                told: false,
            }
        } else {
            Self::One(Box::new(from.sampler().map_err(Failure::Usage)?))
        })
    }

    /// Asks each of them, one after the other, and hands the answers to `found`. What goes wrong in one of several
    /// namespaces is said on standard error, and the others are asked nevertheless.
    pub(crate) fn each<T>(
        &mut self,
        mut ask: impl FnMut(&mut Sampler) -> Result<T, Error>,
        mut found: impl FnMut(Answer<T>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (options, told) = match self {
            Self::One(sampler) => {
                let answer = ask(sampler).map_err(Failure::Sample)?;
                return found(Answer {
                    namespace: None,
                    answer,
                });
            }
            Self::All { options, told } => (options, told),
        };
        let namespaces = Namespaces::list(&options.proc_root).map_err(Failure::Sample)?;
        if !*told {
            *told = say_what_is_hidden(&namespaces);
        }
        let (mut answered, mut failed) = (false, false);
        for &namespace in &namespaces.seen {
            let Some((namespace, answer)) = in_namespace(options, namespace, &mut ask) else {
                continue;
            };
            let answer = answer.map(|answer| Answer {
                namespace: Some(namespace),
                answer,
            });
            match answer.map_err(Failure::Sample).and_then(&mut found) {
                Ok(()) => answered = true,
                Err(Failure::Sample(error)) => {
                    failed = true;
                    say(format_args!("{namespace}: {error}"));
                }
                Err(other) => return Err(other),
            }
        }
        *told |= failed;
        if answered {
            Ok(())
        } else if failed || !namespaces.hidden.is_empty() {
            Err(Failure::Incomplete)
        } else {
            // All that there were have ended.
            let proc_root = options.proc_root.clone();
            Err(Failure::Sample(Error::NoProcesses { proc_root }))
        }
    }

    /// To be called at the end: an error if some namespace was left out.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::All { told: true, .. } => Err(Failure::Incomplete),
            _ => Ok(()),
        }
    }
}

/// Asks a namespace through its process, and where that has left it, once more through another; `None` if there is no
/// other any more. Says which process it was in the end.
fn in_namespace<T>(
    options: &Options,
    namespace: Namespace,
    ask: &mut impl FnMut(&mut Sampler) -> Result<T, Error>,
) -> Option<(Namespace, Result<T, Error>)> {
    let mut through = |namespace: Namespace| {
        ask(&mut Sampler::new(Options {
            pid: Some(namespace.pid),
            inode: Some(namespace.inode),
            ..options.clone()
        })?)
    };
    match through(namespace) {
        Err(error) if has_left(&options.proc_root, namespace, &error) => {
            match namespace.by_another(&options.proc_root) {
                Ok(other) => other.map(|other| (other, through(other))),
                Err(error) => Some((namespace, Err(error))),
            }
        }
        answer => Some((namespace, answer)),
    }
}

/// Whether it failed because the process has ended, or is in another namespace now.
fn has_left(proc_root: &Path, namespace: Namespace, error: &Error) -> bool {
    matches!(error, Error::OtherNamespace { .. })
        || matches!(Namespace::of(proc_root, namespace.pid), Ok(now) if now != Some(namespace))
}

/// Says that some namespaces cannot be seen, if that is so.
fn say_what_is_hidden(namespaces: &Namespaces) -> bool {
    const MAYBE: &str = "may be one of those that are shown, or not. To see every one takes CAP_SYS_PTRACE, which root \
                         of the machine has.";
    if let [first, others @ ..] = &namespaces.hidden[..] {
        let others = match others.len() {
            0 => String::new(),
            count => format!(" and of {count} others"),
        };
        say(format_args!(
            "the network namespace of process {first}{others} cannot be seen: EACCES\nIt {MAYBE}"
        ));
    } else if namespaces.invisible {
        say(format_args!(
            "processes are hidden (hidepid=): their network namespaces cannot be seen\nEach {MAYBE}"
        ));
    } else {
        return false;
    }
    true
}

fn say(message: impl std::fmt::Display) {
    // Where standard error cannot be written to, the exit code has to do.
    let _ = writeln!(io::stderr(), "tcpstat: {message}");
}
