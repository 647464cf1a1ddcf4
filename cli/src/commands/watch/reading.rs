// SPDX-License-Identifier: MIT OR Apache-2.0

//! A reading for the screen or the lines: the totals, the services, the groups, and what an opened
//! service shows.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tcpstat::{
    Counts, Error, Filter, Grouping, Key, Namespace, Origin, Ports, Processes, Sampler, Service,
    Source, Weight,
};

use crate::commands::namespaces::Scope;
use crate::commands::services::formats::OwnedServices;
use crate::failure::Failure;
use crate::hints;
use crate::netns_name::Names;
use crate::opened::{Found, Opened};
use crate::output::{say_source, without};
use crate::owners::{Owners, processes_text};

/// The most groups that are rows; the others are one row.
const MOST_GROUPS: usize = 1000;

/// How long the names of namespaces and the processes of listeners are kept: they cost more than
/// counts.
const KEPT: Duration = Duration::from_secs(10);

/// What rows can be grouped by, in the order of the key `b`: `None` for services, by port.
pub(super) const GROUPINGS: [Option<Key>; 4] =
    [None, Some(Key::Unit), Some(Key::Process), Some(Key::Peer)];

/// Identifies a row from one reading to the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum RowKey {
    /// The port of a service, and its network namespace with `--all-namespaces`.
    Port(Option<u64>, u16),
    Group(String),
    /// The sockets of no service, or of no listed group.
    Other,
}

/// What a reading is to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// One of [`GROUPINGS`].
    pub(super) by: Option<Key>,
    /// The service that is open.
    pub(super) opened: Option<RowKey>,
}

/// A service, or a group of sockets.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) key: RowKey,
    /// With `--all-namespaces`, and its name or its inode number.
    pub(super) namespace: Option<(Namespace, String)>,
    pub(super) service: Option<Service>,
    /// Of the listeners, if it is known.
    pub(super) unit: Option<String>,
    pub(super) counts: Counts,
}

/// The totals and the rows at one time.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) query: Query,
    /// When the reading began.
    pub(super) at: Timestamp,
    /// The same, for rates.
    pub(super) instant: Instant,
    pub(super) source: Source,
    /// The sockets at all ports, of all namespaces.
    pub(super) totals: Counts,
    /// The services, and the sockets of none.
    pub(super) services: Vec<Row>,
    /// The groups, if something else is grouped by than the port.
    pub(super) groups: Vec<Row>,
    /// The service that is open, and the processes of each of its listeners.
    pub(super) opened: Option<(Opened, Vec<String>)>,
    /// Whether all of what was asked for was read.
    pub(super) complete: bool,
    /// What is missing, and why.
    pub(super) notes: Vec<String>,
}

/// Takes the readings.
pub(super) struct Reader {
    scope: Scope,
    proc_root: PathBuf,
    ports: Option<Ports>,
    /// Whether to print which source answered.
    verbose: bool,
    owners: Owners,
    names: Names,
    processes: Option<Processes>,
    /// When names and processes were read.
    read: Option<Instant>,
    /// The note that some namespaces cannot be seen.
    unseen: Option<String>,
}

impl Reader {
    pub(super) fn new(
        scope: Scope,
        proc_root: PathBuf,
        ports: Option<Ports>,
        verbose: bool,
    ) -> Self {
        Self {
            owners: Owners::new(&proc_root),
            scope,
            proc_root,
            ports,
            verbose,
            names: Names::default(),
            processes: None,
            read: None,
            unseen: None,
        }
    }

    /// From now on, after the first reading, a screen is in use: what was printed is a note for it.
    pub(super) fn use_screen(&mut self, first: &Reading) {
        self.verbose = false;
        let unseen = "some network namespaces cannot be seen: run as root to see all";
        self.unseen = (!first.complete).then(|| unseen.to_owned());
        if let Scope::All { said, .. } = &mut self.scope {
            *said = true;
        }
    }

    /// Reads now. A namespace that does not answer is a note, if there are others.
    pub(super) fn read(&mut self, query: &Query) -> Result<Reading, Failure> {
        let mut reading = Reading {
            query: query.clone(),
            at: Timestamp::now(),
            instant: Instant::now(),
            source: Source::Netlink,
            totals: Counts::ZERO,
            services: Vec::new(),
            groups: Vec::new(),
            opened: None,
            complete: true,
            notes: self.unseen.iter().cloned().collect(),
        };
        if self.read.is_none_or(|read| read.elapsed() > KEPT) {
            self.names = Names::read(&self.proc_root);
            self.processes = None;
            self.read = Some(reading.instant);
        }
        self.read_services(query, &mut reading)?;
        if let Some(key) = query.by {
            // Not every source knows units.
            if let Err(failure) = self.read_groups(key, &mut reading) {
                reading.notes.push(failure_text(failure));
            }
        }
        Ok(reading)
    }

    fn read_services(&mut self, query: &Query, reading: &mut Reading) -> Result<(), Failure> {
        let ports = self.ports.as_ref();
        let mut ask = |sampler: &mut Sampler| {
            let services = sampler.services(ports)?;
            // Every socket is at the port of a service, or at another.
            let totals = match services.other {
                Some(_) => None,
                None => Some(sampler.sample()?.counts),
            };
            let owners = match services.source {
                Source::Procfs => None,
                _ => sampler.owners_of_services(ports, Source::Netlink)?,
            };
            let found = match query.opened {
                Some(RowKey::Port(netns, port)) if is_of(sampler, netns) => {
                    Some(Found::ask(sampler, port))
                }
                _ => None,
            };
            Ok((services, totals, owners, found))
        };
        let parts = ask_all(&mut self.scope, &mut ask, reading)?;
        let mut others = Vec::new();
        for (namespace, (services, totals, owners, found)) in parts {
            let owned = OwnedServices::new(services, owners, &mut self.owners);
            let services = &owned.services;
            if self.verbose {
                let found = format!("{} services", services.services.len());
                let found = without(found, services.missing.as_deref());
                say_source(namespace, &services.tried, services.source, found);
            }
            reading.source = services.source;
            let namespace = namespace.map(|one| match self.names.name(one) {
                name if name.is_empty() => (one, one.inode.to_string()),
                name => (one, name),
            });
            let inode = namespace.as_ref().map(|(one, _)| one.inode);
            let rows = services.services.iter().map(|service| Row {
                namespace: namespace.clone(),
                service: Some(*service),
                unit: owned.unit(service.port),
                ..Row::of(RowKey::Port(inode, service.port), service.counts)
            });
            reading.services.extend(rows);
            others.extend(services.other);
            reading.totals = [reading.totals].into_iter().chain(totals).sum();
            match found {
                Some(Ok(found)) => reading.opened = Some(self.opened(found, &mut reading.notes)?),
                // The module does not list.
                Some(Err(error)) => reading.notes.push(hints::explained(&error)),
                None => {}
            }
        }
        if !others.is_empty() {
            let others = Row::of(RowKey::Other, others.into_iter().sum());
            reading.services.push(others);
            reading.totals = reading.services.iter().map(|row| row.counts).sum();
        }
        Ok(())
    }

    /// What was found of a service that is open, and the processes of its listeners.
    fn opened(
        &mut self,
        found: Found,
        notes: &mut Vec<String>,
    ) -> Result<(Opened, Vec<String>), Failure> {
        let opened = found.finish(&self.proc_root, &mut self.owners);
        let opened = opened.map_err(Failure::Sample)?;
        if self.processes.is_none() {
            let read = Processes::read(&self.proc_root);
            self.processes = Some(read.map_err(Failure::Sample)?);
        }
        let listeners = opened.listeners.iter();
        let names = self.processes.as_ref().map(|processes| {
            notes.extend(hidden(processes.hidden(), processes.invisible()));
            let of = |inode| processes_text(processes.of(inode));
            listeners.map(|(one, _)| of(one.inode)).collect()
        });
        Ok((opened, names.unwrap_or_default()))
    }

    fn read_groups(&mut self, key: Key, reading: &mut Reading) -> Result<(), Failure> {
        let mut filter = Filter::default();
        filter.local_ports.clone_from(&self.ports);
        let mut grouping = Grouping::new(key, Weight::Total);
        let mut ask = |sampler: &mut Sampler| sampler.group(&filter, &mut grouping);
        ask_all(&mut self.scope, &mut ask, reading)?;
        let groups = grouping.finish(&self.proc_root).map_err(Failure::Sample)?;
        let hidden = hidden(groups.hidden, groups.invisible);
        reading.notes.extend(hidden);
        let listed = groups.iter().take(MOST_GROUPS);
        let rows = listed.map(|one| Row::of(RowKey::Group(one.key.to_string()), one.counts));
        reading.groups = rows.collect();
        let other = Some(groups.other(MOST_GROUPS)).filter(|other| other.total() > 0);
        reading
            .groups
            .extend(other.map(|counts| Row::of(RowKey::Other, counts)));
        Ok(())
    }
}

impl Row {
    pub(super) fn of(key: RowKey, counts: Counts) -> Self {
        Self {
            key,
            namespace: None,
            service: None,
            unit: None,
            counts,
        }
    }
}

/// Whether `sampler` is of this namespace; of any, if there is only one.
fn is_of(sampler: &Sampler, netns: Option<u64>) -> bool {
    let is =
        |wanted| matches!(sampler.origin(), Ok(Origin::Namespace { inode, .. }) if inode == wanted);
    netns.is_none_or(is)
}

/// Asks every namespace of the scope. One that does not answer is a note, if there are others.
fn ask_all<T>(
    scope: &mut Scope,
    ask: &mut impl FnMut(&mut Sampler) -> Result<T, Error>,
    reading: &mut Reading,
) -> Result<Vec<(Option<Namespace>, T)>, Failure> {
    let mut round = scope.round()?;
    let (mut parts, mut failed) = (Vec::new(), Vec::new());
    while let Some((namespace, answer)) = round.ask_next(ask) {
        match answer {
            Ok(answer) => parts.push((namespace, answer)),
            Err(error) => failed.push((namespace, error)),
        }
    }
    reading.complete &= failed.is_empty() && !round.is_partial();
    match (failed.pop(), parts.is_empty()) {
        (Some((_, error)), true) => return Err(Failure::Sample(error)),
        // All namespaces have ended, or none can be seen.
        (None, true) => round.end(())?.unless_missing(&mut true),
        (Some((Some(namespace), error)), false) => {
            let all = failed.len() + 1;
            reading.notes.push(format!(
                "{all} namespaces did not answer: {namespace}: {error}"
            ));
        }
        _ => {}
    }
    Ok(parts)
}

/// The note that processes cannot be looked at.
fn hidden(hidden: u64, invisible: bool) -> Option<String> {
    let note = "the processes of some sockets are not known: run as root to see all";
    (hidden > 0 || invisible).then(|| note.to_owned())
}

/// The text of a failed reading, and what to try.
pub(super) fn failure_text(failure: Failure) -> String {
    match failure {
        Failure::Sample(error) => hints::explained(&error),
        _ => "no network namespace could be read".to_owned(),
    }
}
