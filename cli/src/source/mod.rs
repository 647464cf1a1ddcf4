// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which sources there are, which of them is asked, and what is done when one cannot answer.

mod by_port;
mod difference;
mod filter;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod lines;
mod module;
mod module_services;
mod namespace;
mod netlink;
mod procfs;
mod root;
mod sockstat;

use std::fmt;
use std::path::{Path, PathBuf};

pub use difference::{Method, Reason};

use crate::{Attempt, Connection, Connections, Counts, Error, Filter, Ports, Services};
use netlink::Netlink;
use root::Root;

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

    /// The same of those that tell of each connection.
    const LISTING: [Source; 2] = [Source::Netlink, Source::Procfs];

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
    /// The inode number of the network namespace that this process is in, as [`Namespaces`](crate::Namespaces) found
    /// it: then no other one is counted, should the process change it or its number be another's by now.
    pub inode: Option<u64>,
    /// The root of the procfs to read; `/proc` unless told, and then the network namespace of the calling thread is
    /// meant, whatever the source. Another may be a host's, mounted in a container, or a saved sample.
    pub proc_root: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: None,
            pid: None,
            inode: None,
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
    root: Root,
    module: module::Module,
    netlink: Netlink,
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
        let root = Root::of(&options);
        Ok(Self {
            options,
            root,
            module: module::Module::default(),
            netlink: Netlink::default(),
            procfs: procfs::Procfs::default(),
        })
    }

    /// Counts the connections, now. Which source answers is found out anew each time.
    ///
    /// # Errors
    /// [`Error::NoSource`] if every source is absent or refused. Any other error is from a source that is there
    /// but did not answer as it should, or about a process that is not there; the sampler can be used again.
    pub fn sample(&mut self) -> Result<Snapshot, Error> {
        let (options, root) = (&self.options, &self.root);
        let whole = |counts| (counts, Method::Whole);
        let first = options.first_of(&Source::AUTO, |source| match source {
            Source::Module => self.module.sample(root).map(whole),
            Source::Netlink => self.netlink.within(root.namespace()?, |netlink| {
                let counters = netlink.counters();
                difference::count(netlink, counters, difference::FEW)
            }),
            Source::NetlinkFull => {
                let counts = self.netlink.within(root.namespace()?, Netlink::sample);
                counts.map(whole)
            }
            Source::Procfs => self.procfs.sample(root).map(whole),
        })?;
        let ((counts, method), source, tried) = first;
        Ok(Snapshot {
            counts,
            source,
            method,
            tried,
        })
    }

    /// Counts the connections of each service, now: of every port that something listens on, or of those of `ports`.
    ///
    /// The module counts in the kernel; all other sources are told of every socket, of the given ports if they can.
    /// [`Source::Netlink`] and [`Source::NetlinkFull`] are the same here.
    ///
    /// # Errors
    /// As of [`Sampler::sample`].
    pub fn services(&mut self, ports: Option<&Ports>) -> Result<Services, Error> {
        let (options, root) = (&self.options, &self.root);
        let first = options.first_of(&Source::AUTO, |source| match source {
            Source::Module => {
                let (services, other) = module_services::services(root, ports)?;
                Ok((services, ports.is_none().then_some(other)))
            }
            Source::Netlink | Source::NetlinkFull => {
                let table = self
                    .netlink
                    .within(root.namespace()?, |netlink| netlink.services(ports));
                Ok(table?.services())
            }
            Source::Procfs => Ok(self.procfs.services(root, ports)?.services()),
        })?;
        let ((services, other), source, tried) = first;
        Ok(Services {
            services,
            other,
            source,
            tried,
        })
    }

    /// Lists the connections that `filter` accepts, one by one: the cheap replacement of a call that builds a list of
    /// all of them, such as `psutil.net_connections()`. The kernel is asked as the iterator goes on, and the memory is
    /// the same for ten connections and for a million.
    ///
    /// Netlink answers, or procfs where netlink is absent or refused. [`Source::Netlink`] and [`Source::NetlinkFull`]
    /// are the same here.
    ///
    /// ```no_run
    /// use tcpstat::{Filter, Options, Sampler, State};
    ///
    /// // Who keeps connections to a database open that the database has closed?
    /// let filter = Filter {
    ///     states: Some(vec![State::CloseWait]),
    ///     remote_ports: Some("5432".parse()?),
    ///     ..Filter::default()
    /// };
    /// for connection in Sampler::new(Options::default())?.connections(filter)? {
    ///     let connection = connection?;
    ///     println!("{} to {}, inode {:?}", connection.local, connection.remote, connection.inode);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As of [`Sampler::sample`]; and [`Error::NotListed`] if the module is asked for. Once there is an iterator, every
    /// error that it gives is one of the source that answers, and no other is asked.
    pub fn connections(&self, filter: Filter) -> Result<Connections, Error> {
        let (options, root) = (&self.options, &self.root);
        let first = options.first_of(&Source::LISTING, |source| match source {
            Source::Module => Err(Error::NotListed),
            Source::Netlink | Source::NetlinkFull => {
                let netlink = Netlink::new(root.namespace()?);
                netlink.connections(&filter).map(Listing::Netlink)
            }
            Source::Procfs => procfs::Listing::start(root).map(Listing::Procfs),
        })?;
        let (listing, source, tried) = first;
        Ok(Connections {
            listing,
            filter,
            source,
            tried,
        })
    }
}

/// The connections that a source tells of.
#[derive(Debug)]
pub(crate) enum Listing {
    Netlink(netlink::Listing),
    Procfs(procfs::Listing),
}

impl Iterator for Listing {
    type Item = Result<Connection, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Netlink(listing) => listing.next(),
            Self::Procfs(listing) => listing.next(),
        }
    }
}

impl Options {
    /// Asks the source that is named, or those of `auto` in order until one is neither absent nor refused.
    fn first_of<T>(
        &self,
        auto: &[Source],
        mut ask: impl FnMut(Source) -> Result<T, Error>,
    ) -> Result<(T, Source, Vec<Attempt>), Error> {
        let root = Root::of(self);
        root.check()?;
        let sources = match &self.source {
            None => auto,
            Some(source) => std::slice::from_ref(source),
        };
        let mut tried = Vec::new();
        for &source in sources {
            let answer = if source.is_netlink() && self.is_elsewhere() {
                Err(Error::Elsewhere {
                    proc_root: root.path.clone(),
                })
            } else {
                ask(source)
            };
            match answer {
                Ok(answer) => return Ok((answer, source, tried)),
                Err(error) if error.is_absence_or_refusal() => {
                    tried.push(Attempt { source, error });
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::NoSource(tried))
    }
}
