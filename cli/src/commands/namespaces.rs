// SPDX-License-Identifier: MIT OR Apache-2.0

//! Asking one network namespace, or every one that a process is in.

use std::io::{self, Write};

use jiff::Timestamp;
use tcpstat::{Error, Namespace, Namespaces, Options, Sampler};

use super::{Failure, at_each_tick, print};
use crate::args::{Every, Everywhere, From};
use crate::output::Answer;

/// Asks each namespace that is meant and prints the answers as `text` puts them, as often as it is asked for.
pub(crate) fn answer<T>(
    from: &From,
    everywhere: &Everywhere,
    every: &Every,
    mut ask: impl FnMut(&mut Sampler) -> Result<T, Error>,
    text: impl Fn(&[Answer<T>], Timestamp) -> Result<String, Box<dyn std::error::Error>>,
) -> Result<(), Failure> {
    let mut asked = Asked::new(from, everywhere)?;
    at_each_tick(every, || {
        let timestamp = Timestamp::now();
        let answers = asked.ask(&mut ask)?;
        print(&text(&answers, timestamp).map_err(Failure::Format)?)
    })?;
    asked.finish()
}

/// Who is asked.
enum Asked {
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
    fn new(from: &From, everywhere: &Everywhere) -> Result<Self, Failure> {
        Ok(if everywhere.all_namespaces {
            Self::All {
                options: from.options(),
                told: false,
            }
        } else {
            Self::One(Box::new(from.sampler().map_err(Failure::Usage)?))
        })
    }

    /// Asks each of them. What goes wrong in one of several namespaces is said on standard error, and the others are
    /// asked nevertheless.
    fn ask<T>(
        &mut self,
        mut ask: impl FnMut(&mut Sampler) -> Result<T, Error>,
    ) -> Result<Vec<Answer<T>>, Failure> {
        let (options, told) = match self {
            Self::One(sampler) => {
                let answer = ask(sampler).map_err(Failure::Sample)?;
                return Ok(vec![Answer {
                    namespace: None,
                    answer,
                }]);
            }
            Self::All { options, told } => (options, told),
        };
        let namespaces = Namespaces::list(&options.proc_root).map_err(Failure::Sample)?;
        let complain = !*told;
        if let (Some(first), true) = (namespaces.hidden.first(), complain) {
            *told = true;
            let others = match namespaces.hidden.len() {
                1 => String::new(),
                count => format!(" and of {} others", count - 1),
            };
            say(format_args!(
                "the network namespace of process {first}{others} cannot be seen: EACCES\n\
                 It may be one of those that are shown, or not. Root sees them all (CAP_SYS_PTRACE)."
            ));
        }
        let mut answers = Vec::new();
        for mut namespace in namespaces.seen {
            let answer = match in_namespace(options, namespace, &mut ask) {
                Err(_) if is_gone(options, namespace) => {
                    let Some(other) = again(options, namespace.inode)? else {
                        continue;
                    };
                    namespace = other;
                    in_namespace(options, namespace, &mut ask)
                }
                answer => answer,
            };
            match answer {
                Ok(answer) => answers.push(Answer {
                    namespace: Some(namespace),
                    answer,
                }),
                Err(error) => {
                    *told = true;
                    let Namespace { inode, pid } = namespace;
                    say(format_args!("namespace {inode}, process {pid}: {error}"));
                }
            }
        }
        Ok(answers)
    }

    /// To be called at the end: an error if some namespace was left out.
    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::All { told: true, .. } => Err(Failure::Incomplete),
            _ => Ok(()),
        }
    }
}

fn in_namespace<T>(
    options: &Options,
    namespace: Namespace,
    ask: &mut impl FnMut(&mut Sampler) -> Result<T, Error>,
) -> Result<T, Error> {
    ask(&mut Sampler::new(Options {
        pid: Some(namespace.pid),
        ..options.clone()
    })?)
}

/// Whether the process has ended, so that its namespace has to be found by another one.
fn is_gone(options: &Options, namespace: Namespace) -> bool {
    let process = options.proc_root.join(namespace.pid.to_string());
    std::fs::read_link(process.join("ns/net")).is_err()
}

fn again(options: &Options, inode: u64) -> Result<Option<Namespace>, Failure> {
    let namespaces = Namespaces::list(&options.proc_root).map_err(Failure::Sample)?;
    Ok(namespaces
        .seen
        .into_iter()
        .find(|namespace| namespace.inode == inode))
}

fn say(message: impl std::fmt::Display) {
    // Where standard error cannot be written to, the exit code has to do.
    let _ = writeln!(io::stderr(), "tcpstat: {message}");
}
