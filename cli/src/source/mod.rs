// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which sources there are, which of them is asked, and what is done when one cannot answer.

mod difference;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod module;
mod namespace;
mod netlink;
mod procfs;
mod sockstat;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub use difference::{Method, Reason};

use crate::{Attempt, Counts, Error};
use sockstat::Sockstat;

/// Where counts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `/proc/tcpstat`, counted in the kernel by the tcpstat module.
    Module,
    /// `NETLINK_SOCK_DIAG`, a message for every connection in the states that are few; the two that are many are from
    /// the kernel's counters, `/proc/net/sockstat` and `sockstat6`. Where these do not do, as [`Source::NetlinkFull`].
    Netlink,
    /// `NETLINK_SOCK_DIAG`, a message for every connection, as `ss` uses it.
    NetlinkFull,
    /// `/proc/net/tcp` and `/proc/net/tcp6`, a line of text for every connection.
    Procfs,
}

impl Source {
    /// The order in which sources are tried: the cheapest first.
    const AUTO: [Source; 3] = [Source::Module, Source::Netlink, Source::Procfs];

    /// The source's name: `module`, `netlink`, `netlink-full` or `procfs`.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Module => "module",
            Source::Netlink => "netlink",
            Source::NetlinkFull => "netlink-full",
            Source::Procfs => "procfs",
        }
    }

    const fn is_netlink(self) -> bool {
        matches!(self, Source::Netlink | Source::NetlinkFull)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What to count, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The source to use, or `None` for the first that answers: module, netlink, procfs.
    pub source: Option<Source>,
    /// The process, in `proc_root`, whose network namespace is meant; one's own, or that of `proc_root`, if `None`.
    pub pid: Option<u32>,
    /// The root of the procfs to read; `/proc` unless told. Another may be a host's, mounted in a container, or a
    /// saved sample.
    pub proc_root: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: None,
            pid: None,
            proc_root: PathBuf::from(Self::PROC_ROOT),
        }
    }
}

impl Options {
    /// Where procfs is on every Linux machine.
    pub const PROC_ROOT: &'static str = "/proc";

    /// Whether netlink would answer for other connections than those of `proc_root`. The namespace of a process it
    /// enters.
    fn is_elsewhere(&self) -> bool {
        self.pid.is_none() && self.proc_root != Path::new(Self::PROC_ROOT)
    }

    /// Where the files are: the procfs, or a process's directory in it.
    fn root(&self) -> PathBuf {
        match self.pid {
            None => self.proc_root.clone(),
            Some(pid) => self.proc_root.join(pid.to_string()),
        }
    }
}

/// How many connections are in each state, and who says so.
#[derive(Debug)]
pub struct Snapshot {
    /// The connections of the network namespace, IPv4 and IPv6 together.
    pub counts: Counts,
    /// The source that answered.
    pub source: Source,
    /// How it found the answer; its `Display` is a line for people.
    pub method: Method,
    /// The sources that were tried before it, and could not answer.
    pub tried: Vec<Attempt>,
}

/// Takes snapshots. Its buffers are allocated on first use and kept.
#[derive(Debug)]
pub struct Sampler {
    options: Options,
    /// Where the files are.
    root: PathBuf,
    module: module::Module,
    netlink: netlink::Netlink,
    procfs: procfs::Procfs,
}

impl Sampler {
    /// A sampler; nothing is opened or read yet.
    ///
    /// # Errors
    /// [`Error::Elsewhere`] if netlink is asked for together with another procfs than `/proc`.
    pub fn new(options: Options) -> Result<Self, Error> {
        if options.source.is_some_and(Source::is_netlink) && options.is_elsewhere() {
            return Err(Error::Elsewhere {
                proc_root: options.proc_root,
            });
        }
        let root = options.root();
        let namespace = options.pid.map(|_| root.join("ns/net"));
        Ok(Self {
            options,
            root,
            module: module::Module::default(),
            netlink: netlink::Netlink::new(namespace),
            procfs: procfs::Procfs::default(),
        })
    }

    /// Counts the connections, now. Which source answers is found out anew each time.
    ///
    /// # Errors
    /// [`Error::NoSource`] if every source is absent or refused. Any other error is from a source that is there
    /// but did not answer as it should, or about a process that is not there; the sampler can be used again.
    pub fn sample(&mut self) -> Result<Snapshot, Error> {
        let sources = match &self.options.source {
            None => &Source::AUTO[..],
            Some(source) => std::slice::from_ref(source),
        };
        if self.options.pid.is_some() && !self.root.exists() {
            return Err(Error::NoProcess {
                path: self.root.clone(),
            });
        }
        let mut tried = Vec::new();
        for &source in sources {
            let root = &self.root;
            let whole = |counts| (counts, Method::Whole);
            let answer = match source {
                Source::Module => self.module.sample(root).map(whole),
                Source::Netlink | Source::NetlinkFull if self.options.is_elsewhere() => {
                    Err(Error::Elsewhere {
                        proc_root: root.clone(),
                    })
                }
                Source::Netlink => {
                    let net = match self.options.pid {
                        Some(_) => root.join("net"),
                        // Of the namespace of this thread, as a netlink socket is, and not of the process's first one.
                        None => root.join("thread-self/net"),
                    };
                    let counters = Sockstat::open(&net);
                    difference::count(&mut self.netlink, counters, difference::FEW)
                }
                Source::NetlinkFull => self.netlink.sample().map(whole),
                Source::Procfs => self.procfs.sample(root).map(whole),
            };
            match answer {
                Ok((counts, method)) => {
                    return Ok(Snapshot {
                        counts,
                        source,
                        method,
                        tried,
                    });
                }
                Err(error) if error.is_absence_or_refusal() => {
                    tried.push(Attempt { source, error })
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::NoSource(tried))
    }
}

/// Opens the first of the files `names` that is there, and says which; where none is, the error is about the first.
///
/// `/proc/net` is a link to `self/net`. A procfs mounted with `subset=pid` has only what it links to.
fn open_first(proc_root: &Path, names: &[&str]) -> Result<(PathBuf, File), (PathBuf, io::Error)> {
    let mut missing = None;
    for name in names {
        let path = proc_root.join(name);
        match File::open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing.get_or_insert((path, error));
            }
            Err(error) => return Err((path, error)),
        }
    }
    Err(missing.unwrap_or_else(|| (proc_root.to_owned(), io::ErrorKind::NotFound.into())))
}

#[cfg(test)]
mod tests {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    /// Takes what the hard limit allows: the soft one is 1,024 in many a shell.
    pub(super) fn allow_many_files() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    }
}
