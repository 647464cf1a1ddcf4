// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads one network namespace, or all network namespaces that have a process or a name.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::vec;

use tcpstat::{Counts, Error, Named, Namespace, Namespaces, Options, Sampler, Source, Target};

use crate::failure::Failure;
use crate::flags::{NamespaceFlags, SourceFlags};
use crate::format::Answer;
use crate::output::say;

/// The network namespaces that a command reads, once or at an interval.
pub(crate) enum Scope {
    /// The namespace of `--pid`, or of the caller.
    One(Box<Sampler>),
    /// Every namespace, listed again for each reading.
    All {
        options: Options,
        /// Whether only the totals are read, which the module counts for all of them at once.
        totals: bool,
        /// Whether it was printed that some namespaces cannot be seen.
        said: bool,
    },
}

/// The result of reading the network namespaces.
#[must_use = "a namespace may be missing"]
pub(crate) enum Reading<T> {
    /// Every namespace answered.
    Complete(T),
    /// Some could not be seen or did not answer. Messages on standard error name them.
    Incomplete(T),
}

impl<T> Reading<T> {
    /// The reading; `complete` is cleared if a namespace is missing.
    pub(crate) fn unless_missing(self, complete: &mut bool) -> T {
        match self {
            Self::Complete(read) => read,
            Self::Incomplete(read) => {
                *complete = false;
                read
            }
        }
    }
}

/// The end of a command: a failure if a namespace was missing from some reading.
pub(crate) fn end(complete: bool) -> Result<(), Failure> {
    if complete {
        Ok(())
    } else {
        Err(Failure::Incomplete)
    }
}

impl Scope {
    /// The scope for these flags.
    pub(crate) fn new(source: &SourceFlags, namespaces: &NamespaceFlags) -> Result<Self, Failure> {
        Ok(if namespaces.all_namespaces {
            Self::All {
                options: source.options(),
                totals: false,
                said: false,
            }
        } else {
            Self::One(Box::new(source.sampler()?))
        })
    }

    /// The scope of a command that reads totals alone. With all namespaces, the module counts them
    /// in one walk, if it is loaded and may be asked.
    pub(crate) fn of_totals(
        source: &SourceFlags,
        namespaces: &NamespaceFlags,
    ) -> Result<Self, Failure> {
        let mut scope = Self::new(source, namespaces)?;
        if let Self::All { totals, .. } = &mut scope {
            *totals = matches!(source.source(), None | Some(Source::Module));
        }
        Ok(scope)
    }

    /// Asks each namespace in turn.
    pub(crate) fn read<T>(
        &mut self,
        mut ask: impl FnMut(&mut Sampler) -> Result<T, Error>,
    ) -> Result<Reading<Vec<Answer<T>>>, Failure> {
        let mut round = self.round()?;
        let mut answers = Vec::new();
        while let Some(answer) = round.next(&mut ask)? {
            answers.push(answer);
        }
        round.end(answers)
    }

    /// Begins a reading, which asks the namespaces one by one.
    pub(crate) fn round(&mut self) -> Result<Round<'_>, Failure> {
        match self {
            Self::One(sampler) => Ok(Round::One(Some(sampler))),
            Self::All {
                options,
                totals,
                said,
            } => {
                let root = &options.proc_root;
                let counted = match totals {
                    true => Namespaces::counts(root).map_err(Failure::Sample)?,
                    false => None,
                };
                let namespaces = Namespaces::list(root).map_err(Failure::Sample)?;
                // Nothing is hidden from the module.
                *said = *said || (counted.is_none() && say_what_is_hidden(&namespaces));
                let hides = counted.is_none() && !namespaces.hidden.is_empty();
                let places = places(namespaces, counted.as_ref());
                Ok(Round::All {
                    options,
                    hides,
                    missing: *said,
                    namespaces: places.into_iter(),
                    counted: counted.unwrap_or_default(),
                    answered: false,
                    failed: false,
                })
            }
        }
    }
}

/// Where a network namespace was found.
pub(crate) enum Place {
    /// In a process; in none, if the module alone knows of it.
    Process(Namespace),
    /// It has a name alone.
    File(Named),
}

/// The places of all namespaces: those that were found, and those that the module knows besides.
fn places(namespaces: Namespaces, counted: Option<&BTreeMap<u64, Counts>>) -> Vec<Place> {
    let seen = namespaces.seen.iter().map(|one| one.inode);
    let named = namespaces.named.iter().map(|one| one.inode);
    let found: HashSet<u64> = seen.chain(named).collect();
    let others = counted.into_iter().flat_map(|counted| counted.keys());
    let others = others.filter(|inode| !found.contains(inode));
    let others = others.map(|inode| Place::Process(Namespace::new(*inode, None)));
    let others: Vec<_> = others.collect();
    let seen = namespaces.seen.into_iter().map(Place::Process);
    let named = namespaces.named.into_iter().map(Place::File);
    seen.chain(named).chain(others).collect()
}

/// A reading in progress.
pub(crate) enum Round<'a> {
    /// The only namespace; `None` after it was asked.
    One(Option<&'a mut Sampler>),
    /// The namespaces that are still to be asked, and the outcome of the others.
    All {
        options: &'a Options,
        namespaces: vec::IntoIter<Place>,
        /// What the module has counted, by the inode number.
        counted: BTreeMap<u64, Counts>,
        /// Whether the namespaces of some processes cannot be seen.
        hides: bool,
        /// Whether it was printed that some namespaces cannot be seen.
        missing: bool,
        answered: bool,
        failed: bool,
    },
}

impl Round<'_> {
    /// The answer of the next namespace that answers; `None` after the last. With
    /// `--all-namespaces`, a failure is printed to standard error.
    pub(crate) fn next<T>(
        &mut self,
        ask: &mut impl FnMut(&mut Sampler) -> Result<T, Error>,
    ) -> Result<Option<Answer<T>>, Failure> {
        while let Some((namespace, answer)) = self.ask_next(ask) {
            match answer {
                Ok(answer) => return Ok(Some(Answer { namespace, answer })),
                Err(error) => self.failed(namespace, error)?,
            }
        }
        Ok(None)
    }

    /// Asks the next namespace; `None` after the last. One that has ended is skipped.
    pub(crate) fn ask_next<T>(
        &mut self,
        ask: &mut impl FnMut(&mut Sampler) -> Result<T, Error>,
    ) -> Option<(Option<Namespace>, Result<T, Error>)> {
        match self {
            Self::One(sampler) => Some((None, ask(sampler.take()?))),
            Self::All {
                options,
                namespaces,
                counted,
                answered,
                ..
            } => {
                let mut asked = namespaces.filter_map(|place| {
                    let inode = match &place {
                        Place::Process(namespace) => namespace.inode,
                        Place::File(named) => named.inode,
                    };
                    let mut options = options.clone();
                    options.counted = counted.get(&inode).copied();
                    match place {
                        Place::Process(namespace) => in_namespace(&options, namespace, ask),
                        Place::File(named) => in_named(&options, &named, ask),
                    }
                });
                let (namespace, answer) = asked.next()?;
                *answered |= answer.is_ok();
                Some((Some(namespace), answer))
            }
        }
    }

    /// Whether there may be namespaces that cannot be seen.
    pub(crate) fn is_partial(&self) -> bool {
        matches!(self, Self::All { missing: true, .. })
    }

    /// Records that a namespace did not answer completely. Returns the error if it is the only one.
    pub(crate) fn failed(
        &mut self,
        namespace: Option<Namespace>,
        error: Error,
    ) -> Result<(), Failure> {
        match (self, namespace) {
            (Self::All { failed, .. }, Some(namespace)) => {
                *failed = true;
                say(format_args!("{namespace}: {error}"));
                Ok(())
            }
            _ => Err(Failure::Sample(error)),
        }
    }

    /// The end of the reading; an error if no namespace answered.
    pub(crate) fn end<T>(self, read: T) -> Result<Reading<T>, Failure> {
        match self {
            Self::One(_) => Ok(Reading::Complete(read)),
            Self::All {
                answered: true,
                failed: false,
                missing: false,
                ..
            } => Ok(Reading::Complete(read)),
            Self::All { answered: true, .. } => Ok(Reading::Incomplete(read)),
            Self::All { failed, hides, .. } if failed || hides => Err(Failure::Incomplete),
            // All namespaces have ended.
            Self::All { options, .. } => Err(Failure::Sample(Error::NoProcesses {
                proc_root: PathBuf::clone(&options.proc_root),
            })),
        }
    }
}

/// Asks a namespace through its process. If the process has left it, asks through another one;
/// `None` if there is no other. The returned namespace has the process that was used.
fn in_namespace<T>(
    options: &Options,
    namespace: Namespace,
    ask: &mut impl FnMut(&mut Sampler) -> Result<T, Error>,
) -> Option<(Namespace, Result<T, Error>)> {
    let mut through = |namespace| {
        let mut options = options.clone();
        options.target = Target::Namespace(namespace);
        ask(&mut Sampler::new(options)?)
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

/// Asks a namespace that has a name alone; `None` if the name is gone, or another namespace's.
fn in_named<T>(
    options: &Options,
    named: &Named,
    ask: &mut impl FnMut(&mut Sampler) -> Result<T, Error>,
) -> Option<(Namespace, Result<T, Error>)> {
    let mut options = options.clone();
    options.target = Target::File {
        path: named.path.clone(),
        inode: Some(named.inode),
    };
    let answer = Sampler::new(options).and_then(|mut sampler| ask(&mut sampler));
    let has_left = |error: &Error| match error {
        Error::OtherNamespace { .. } => true,
        Error::Namespace { error, .. } => error.kind() == ErrorKind::NotFound,
        _ => false,
    };
    match answer {
        Err(error) if has_left(&error) => None,
        answer => Some((Namespace::new(named.inode, None), answer)),
    }
}

/// Whether the cause of the error is that the process has ended or moved to another namespace.
fn has_left(proc_root: &Path, namespace: Namespace, error: &Error) -> bool {
    matches!(error, Error::OtherNamespace { .. })
        || namespace.pid.is_some_and(
            |pid| matches!(Namespace::of(proc_root, pid), Ok(now) if now != Some(namespace)),
        )
}

/// Prints a message if some namespaces cannot be seen. Returns whether it did.
fn say_what_is_hidden(namespaces: &Namespaces) -> bool {
    const MAYBE: &str =
        "may or may not be among those shown. Run as root (CAP_SYS_PTRACE) to see all.";
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
