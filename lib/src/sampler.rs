// SPDX-License-Identifier: MIT OR Apache-2.0

//! The sampler: asks the sources in order, until one can answer.

use std::collections::HashMap;
use std::path::Path;

use crate::connections::{Connection, Filter};
use crate::error::{Attempt, Error};
use crate::grouping::{Grouping, Groups};
use crate::groups::{Key, Weight};
use crate::kernel::Kernel;
use crate::listeners::{Interface, Listener, Listeners, Owner};
use crate::namespaces::Origin;
use crate::options::{Options, Target};
use crate::ports::Ports;
use crate::readers::by_port::PortTable;
use crate::readers::netlink::{self, Netlink};
use crate::readers::root::Root;
use crate::readers::{difference, kernel, module, module_services, procfs};
use crate::services::Services;
use crate::snapshot::{Method, Snapshot};
use crate::source::Source;

/// Takes snapshots. Its buffers are allocated on first use and kept.
#[derive(Debug)]
pub struct Sampler {
    options: Options,
    root: Root,
    module: module::Module,
    /// For the datagrams of netlink.
    buffer: Vec<u8>,
    procfs: procfs::Procfs,
}

impl Sampler {
    /// A sampler. Looks at what [`Options::proc_root`] is; nothing is opened or read yet.
    ///
    /// # Errors
    /// [`Error::Elsewhere`] if the source is netlink with a saved sample.
    pub fn new(options: Options) -> Result<Self, Error> {
        let root = Root::of(&options);
        if options.source.is_some_and(Source::is_netlink) && root.is_elsewhere() {
            return Err(Error::Elsewhere {
                proc_root: options.proc_root,
            });
        }
        Ok(Self {
            options,
            root,
            module: module::Module::default(),
            buffer: Vec::new(),
            procfs: procfs::Procfs::default(),
        })
    }

    /// The network namespace whose connections are counted. That of a process is opened here, if
    /// there was no reading yet.
    ///
    /// # Errors
    /// Same as [`Sampler::sample`] about a process that does not exist.
    pub fn origin(&self) -> Result<Origin, Error> {
        self.root.origin()
    }

    /// Counts the connections now. Each call selects the source again.
    ///
    /// # Errors
    /// [`Error::NoSource`] if every source is absent or refused. Any other error is a failure of a
    /// source that exists, or about a process that does not exist; the sampler can be used again.
    pub fn sample(&mut self) -> Result<Snapshot, Error> {
        if let Some(counts) = self.options.counted {
            return Ok(Snapshot::new(Source::Module, counts));
        }
        let (options, root) = (&self.options, &self.root);
        let whole = |counts| (counts, Method::Whole);
        let first = options.first_of(root, &Source::AUTO, |source| match source {
            Source::Module => self.module.sample(root).map(whole),
            Source::Netlink => {
                let mut netlink = Netlink::of(root, &mut self.buffer)?;
                let counters = netlink.counters();
                difference::count(&mut netlink, counters, difference::FEW)
            }
            Source::NetlinkFull => {
                let counts = Netlink::of(root, &mut self.buffer)?.sample();
                counts.map(whole)
            }
            Source::Procfs => {
                let (counts, missing) = self.procfs.sample(root)?;
                let method =
                    missing.map_or(Method::Whole, |missing| Method::WithoutIpv6 { missing });
                Ok((counts, method))
            }
        })?;
        let ((counts, method), source, tried) = first;
        Ok(Snapshot {
            counts,
            source,
            method,
            tried,
        })
    }

    /// Counts the connections of each service now: of every port with a listener, or only of
    /// `ports`.
    ///
    /// The module counts in the kernel. All other sources list every socket; netlink only those at
    /// the given ports. [`Source::Netlink`] and [`Source::NetlinkFull`] are the same here.
    ///
    /// # Errors
    /// Same as [`Sampler::sample`].
    pub fn services(&mut self, ports: Option<&Ports>) -> Result<Services, Error> {
        let whole = |table: PortTable<'_>| {
            let (services, other, queues) = table.services();
            (services, other, Some(queues))
        };
        let (options, root) = (&self.options, &self.root);
        let first = options.first_of(root, &Source::AUTO, |source| match source {
            Source::Module => {
                let (services, other) = module_services::services(root, ports)?;
                let other = ports.is_none().then_some(other);
                Ok(((services, other, None), None))
            }
            Source::Netlink | Source::NetlinkFull => {
                let mut netlink = Netlink::of(root, &mut self.buffer)?;
                Ok((whole(netlink.services(ports)?), None))
            }
            Source::Procfs => {
                let (table, missing) = self.procfs.services(root, ports)?;
                Ok((whole(table), missing))
            }
        })?;
        let (((services, other, queues), missing), source, tried) = first;
        Ok(Services {
            services,
            other,
            queues,
            source,
            missing,
            tried,
        })
    }

    /// Lists the listening sockets now, or only those at `ports`.
    ///
    /// Netlink answers, or procfs if netlink is absent or refused. [`Source::Netlink`] and
    /// [`Source::NetlinkFull`] are the same here.
    ///
    /// ```
    /// use tcpstat::{Options, Sampler};
    ///
    /// for listener in Sampler::new(Options::default())?.listeners(None)?.listeners {
    ///     println!("{}: {} wait for accept", listener.local, listener.accept_queue);
    /// }
    /// # Ok::<(), tcpstat::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`Sampler::sample`], and [`Error::NotListed`] if the source is the module.
    pub fn listeners(&mut self, ports: Option<&Ports>) -> Result<Listeners, Error> {
        let (options, root) = (&self.options, &self.root);
        let first = options.first_of(root, &Source::LISTING, |source| match source {
            Source::Module => Err(Error::NotListed),
            Source::Netlink | Source::NetlinkFull => {
                let mut netlink = Netlink::of(root, &mut self.buffer)?;
                Ok((netlink.listeners(ports)?, None))
            }
            Source::Procfs => {
                let filter = Filter::of_listeners(ports);
                let listing = procfs::Listing::start(root)?;
                let missing = listing.missing.clone();
                let listeners = listing.filter_map(|connection| match connection {
                    Ok(connection) if filter.accepts(&connection) => {
                        Listener::of(connection).map(Ok)
                    }
                    Ok(_) => None,
                    Err(error) => Some(Err(error)),
                });
                Ok((listeners.collect::<Result<_, _>>()?, missing))
            }
        })?;
        let ((mut listeners, missing), source, tried): ((Vec<Listener>, _), _, _) = first;
        listeners.sort_by_key(|one| (one.local.port(), one.local.ip(), one.inode));
        Ok(Listeners {
            listeners,
            source,
            tried,
            missing,
        })
    }

    /// Counts the sockets that `filter` accepts in groups that have `key` in common, now. To weigh
    /// them by a state, or to add up network namespaces, see [`Grouping`].
    ///
    /// Netlink answers, or procfs if netlink is absent or refused and `key` is no cgroup.
    /// [`Source::Netlink`] and [`Source::NetlinkFull`] are the same here. Memory does not grow with
    /// the number of groups, except by [`Key::Process`], where it grows with the number of sockets.
    ///
    /// ```
    /// use tcpstat::{Filter, Key, Options, Sampler};
    ///
    /// let mut filter = Filter::default();
    /// filter.local_ports = Some("443".parse()?);
    /// let groups = Sampler::new(Options::default())?.groups(Key::Peer, &filter)?;
    /// for group in groups.iter().take(20) {
    ///     println!("{} has {} connections", group.key, group.total);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`Sampler::group`] and [`Grouping::finish`].
    pub fn groups(&mut self, key: Key, filter: &Filter) -> Result<Groups, Error> {
        let mut grouping = Grouping::new(key, Weight::Total);
        self.group(filter, &mut grouping)?;
        grouping.finish(&self.options.proc_root)
    }

    /// Adds the sockets that `filter` accepts to `grouping`, now; nothing, if there is an error.
    ///
    /// By [`Key::State`] and [`Key::Netns`] without a filter, the sockets are counted like those of
    /// [`Sampler::sample`], also by the module.
    ///
    /// # Errors
    /// Same as [`Sampler::sample`]; [`Error::NotListed`] if the source is the module. In
    /// [`Error::NoSource`], [`Error::NotKnown`] if procfs is asked for cgroups, and
    /// [`Error::NoCgroupIds`] of older kernels.
    pub fn group(&mut self, filter: &Filter, grouping: &mut Grouping) -> Result<Grouped, Error> {
        let key = grouping.key();
        let (part, source, tried, missing) = match key {
            Key::State | Key::Netns if filter.is_empty() => {
                let netns = match key {
                    Key::Netns => self.netns()?,
                    _ => None,
                };
                let snapshot = self.sample()?;
                let mut part = grouping.part(netns);
                part.add_counts(&snapshot.counts);
                let missing = match snapshot.method {
                    Method::WithoutIpv6 { missing } => Some(missing),
                    _ => None,
                };
                (part, snapshot.source, snapshot.tried, missing)
            }
            _ => {
                let groupings = std::slice::from_mut(grouping);
                let ((), grouped) = self.group_each(filter, groupings, |(), _| ())?;
                return Ok(grouped);
            }
        };
        grouping.add(part, source, missing);
        Ok(Grouped { source, tried })
    }

    /// Adds the sockets that `filter` accepts to each of `groupings`, now, by listing them once;
    /// nothing, if there is an error. Calls `each` for every one of them, with a value that is
    /// returned: it begins anew if another source has to be asked.
    ///
    /// ```
    /// use tcpstat::{Filter, Grouping, Key, Options, Sampler, Weight};
    ///
    /// let keys = [Key::LocalPort, Key::PeerPort];
    /// let mut groupings = keys.map(|key| Grouping::new(key, Weight::Total));
    /// let mut sampler = Sampler::new(Options::default())?;
    /// let count = |count: &mut u64, _: &_| *count += 1;
    /// let (sockets, _) = sampler.group_each(&Filter::default(), &mut groupings, count)?;
    /// println!("{sockets} sockets");
    /// # Ok::<(), tcpstat::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`Sampler::group`].
    pub fn group_each<T: Default>(
        &mut self,
        filter: &Filter,
        groupings: &mut [Grouping],
        mut each: impl FnMut(&mut T, &Connection),
    ) -> Result<(T, Grouped), Error> {
        let netns = match groupings.iter().any(|one| one.key() == Key::Netns) {
            true => self.netns()?,
            false => None,
        };
        let of_cgroup = groupings.iter().find(|one| one.key().is_of_cgroup());
        let of_cgroup = of_cgroup.map(Grouping::key);
        let new = || {
            let parts = groupings.iter().map(|grouping| grouping.part(netns));
            (parts.collect::<Vec<_>>(), T::default())
        };
        let (options, root) = (&self.options, &self.root);
        let first =
            options.first_of(root, &Source::LISTING, |source| match (source, of_cgroup) {
                (Source::Module, _) => Err(Error::NotListed),
                (Source::Netlink | Source::NetlinkFull, _) => {
                    let (mut parts, mut value) = new();
                    let mut lacks = false;
                    let mut netlink = Netlink::of(root, &mut self.buffer)?;
                    netlink.connections(filter, |connection, message| {
                        let cgroup = of_cgroup.and_then(|_| message.cgroup());
                        lacks |= of_cgroup.is_some() && cgroup.is_none() && message.is_full();
                        parts
                            .iter_mut()
                            .for_each(|part| part.add(connection, cgroup));
                        each(&mut value, connection);
                    })?;
                    match lacks {
                        true => Err(Error::NoCgroupIds),
                        false => Ok((parts, value, None)),
                    }
                }
                (Source::Procfs, Some(key)) => Err(Error::NotKnown { key }),
                (Source::Procfs, None) => {
                    let (mut parts, mut value) = new();
                    let listing = procfs::Listing::start(root)?;
                    let missing = listing.missing.clone();
                    for connection in listing {
                        let connection = connection?;
                        if filter.accepts(&connection) {
                            parts
                                .iter_mut()
                                .for_each(|part| part.add(&connection, None));
                            each(&mut value, &connection);
                        }
                    }
                    Ok((parts, value, missing))
                }
            })?;
        let ((parts, value, missing), source, tried) = first;
        for (grouping, part) in groupings.iter_mut().zip(parts) {
            grouping.add(part, source, missing.clone());
        }
        Ok((value, Grouped { source, tried }))
    }

    /// The inode number of the network namespace whose connections are counted, if it is known.
    fn netns(&self) -> Result<Option<u64>, Error> {
        Ok(match (&self.options.target, self.options.counted) {
            (Target::Namespace(namespace), Some(_)) => Some(namespace.inode),
            _ => match self.origin()? {
                Origin::Namespace { inode, .. } => Some(inode),
                Origin::Own | Origin::Files { .. } => None,
            },
        })
    }

    /// Reads the kernel's counters of events that explain the states, and its limits, now. No
    /// sockets are counted for it.
    ///
    /// # Errors
    /// If a file is there and cannot be read, or is malformed; about a process that does not exist.
    pub fn kernel(&self) -> Result<Kernel, Error> {
        self.root.hold()?;
        kernel::read(&self.root)
    }

    /// Whose the sockets are that listen at `ports`, in no particular order: what
    /// [`Sampler::services`] does not say. `source` is the one to ask, whatever that of the
    /// options: netlink, which takes little time, or procfs, which knows no cgroups. `None` if it
    /// is absent or refused.
    ///
    /// # Errors
    /// Any other failure of the source; [`Error::NotListed`] if it is the module.
    pub fn owners_of_services(
        &mut self,
        ports: Option<&Ports>,
        source: Source,
    ) -> Result<Option<Vec<Owner>>, Error> {
        let root = &self.root;
        let owners = match source {
            Source::Module => Err(Error::NotListed),
            _ if source.is_netlink() && root.is_elsewhere() => return Ok(None),
            Source::Netlink | Source::NetlinkFull => {
                Netlink::of(root, &mut self.buffer).and_then(|mut netlink| netlink.owners(ports))
            }
            Source::Procfs => procfs::Listing::start(root).and_then(|listing| {
                let filter = Filter::of_listeners(ports);
                let mut owners = Vec::new();
                for connection in listing {
                    let connection = connection?;
                    if filter.accepts(&connection) {
                        owners.push(Owner::of(&connection, None));
                    }
                }
                Ok(owners)
            }),
        };
        match owners {
            Ok(owners) => Ok(Some(owners)),
            Err(error) if error.is_absence_or_refusal() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists the connections that `filter` accepts, one by one. The iterator reads from the kernel
    /// as it advances, so that memory does not grow with the number of connections.
    ///
    /// Netlink answers, or procfs if netlink is absent or refused. [`Source::Netlink`] and
    /// [`Source::NetlinkFull`] are the same here.
    ///
    /// ```
    /// use tcpstat::{Filter, Options, Sampler, State};
    ///
    /// // Connections to a database that only the database has closed.
    /// let mut filter = Filter::default();
    /// filter.states = Some(vec![State::CloseWait]);
    /// filter.remote_ports = Some("5432".parse()?);
    /// for connection in Sampler::new(Options::default())?.connections(filter)? {
    ///     let connection = connection?;
    ///     println!("{} to {}, inode {:?}", connection.local, connection.remote, connection.inode);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`Sampler::sample`], and [`Error::NotListed`] if the source is the module. After an
    /// error from the iterator, no other source is tried.
    pub fn connections(&self, filter: Filter) -> Result<Connections, Error> {
        let (options, root) = (&self.options, &self.root);
        let first = options.first_of(root, &Source::LISTING, |source| match source {
            Source::Module => Err(Error::NotListed),
            Source::Netlink | Source::NetlinkFull => {
                let namespace = root.namespace()?;
                netlink::Listing::start(namespace, &filter).map(Listing::Netlink)
            }
            Source::Procfs => procfs::Listing::start(root).map(Listing::Procfs),
        })?;
        let (listing, source, tried) = first;
        Ok(Connections {
            listing,
            filter,
            source,
            tried,
            interfaces: None,
        })
    }
}

/// How sockets were added to a [`Grouping`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Grouped {
    /// The source that answered.
    pub source: Source,
    /// The sources that were tried before it, and could not answer.
    pub tried: Vec<Attempt>,
}

/// The connections that a source lists.
#[derive(Debug)]
enum Listing {
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
    /// Asks the source of the options, or those of `auto` in order until one is neither absent nor
    /// refused.
    fn first_of<T>(
        &self,
        root: &Root,
        auto: &[Source],
        mut ask: impl FnMut(Source) -> Result<T, Error>,
    ) -> Result<(T, Source, Vec<Attempt>), Error> {
        root.hold()?;
        let sources = match &self.source {
            None => auto,
            Some(source) => std::slice::from_ref(source),
        };
        let mut tried = Vec::new();
        for &source in sources {
            let answer = if source.is_netlink() && root.is_elsewhere() {
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

/// The connections of a network namespace, one by one, in no particular order, in constant memory.
/// See [`Sampler::connections`].
///
/// Connections come and go while they are listed: one that changes meanwhile may be missed, or
/// listed twice. An error ends the list; the connections before it are valid.
#[derive(Debug)]
pub struct Connections {
    listing: Listing,
    filter: Filter,
    source: Source,
    tried: Vec<Attempt>,
    /// Read when the first is asked for.
    interfaces: Option<HashMap<u32, String>>,
}

impl Connections {
    /// The interface that a connection of this list is bound to, if it is bound to one, with its
    /// name.
    pub fn interface(&mut self, connection: &Connection) -> Option<Interface> {
        let index = connection.interface?;
        let names = self.interfaces.get_or_insert_with(|| match &self.listing {
            Listing::Netlink(listing) => listing.interfaces(),
            Listing::Procfs(_) => HashMap::new(),
        });
        let name = names.get(&index).cloned();
        Some(Interface { index, name })
    }

    /// The source that answers.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The file of IPv6 that a saved sample does not have: only IPv4 is listed then.
    pub fn missing(&self) -> Option<&Path> {
        match &self.listing {
            Listing::Netlink(_) => None,
            Listing::Procfs(listing) => listing.missing.as_deref(),
        }
    }

    /// The sources that were tried before it, and could not answer.
    pub fn tried(&self) -> &[Attempt] {
        &self.tried
    }
}

impl Iterator for Connections {
    type Item = Result<Connection, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self {
            listing, filter, ..
        } = self;
        listing.find(|connection| {
            connection
                .as_ref()
                .map_or(true, |connection| filter.accepts(connection))
        })
    }
}

impl std::iter::FusedIterator for Connections {}
