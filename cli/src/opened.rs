// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a service shows when it is opened on a screen: its listeners, and the units and peers that
//! have its connections.

use std::cmp::Reverse;
use std::path::Path;

use tcpstat::{
    AcceptQueue, Counts, Error, Filter, Grouping, Groups, Key, Listener, Ports, Sampler, State,
    Weight,
};

use crate::owners::Owners;

/// The most units, and the most peers.
const MOST: usize = 50;

/// What only an opened service shows.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    /// The fullest first, each with its unit if that is known.
    pub(crate) listeners: Vec<(Listener, Option<String>)>,
    pub(crate) peers: Largest,
    /// Why units are not known, if so.
    pub(crate) units: Result<Largest, String>,
}

/// The groups with the most sockets.
#[derive(Clone, Debug)]
pub(crate) struct Largest {
    pub(crate) groups: Vec<(String, Counts)>,
    /// The number of all other groups.
    pub(crate) others: usize,
}

impl Largest {
    fn of(groups: &Groups) -> Self {
        let largest = groups.iter().take(MOST);
        let largest = largest.map(|group| (group.key.to_string(), group.counts));
        Self {
            others: groups.len().saturating_sub(MOST),
            groups: largest.collect(),
        }
    }
}

/// What a network namespace says of a port.
pub(crate) struct Found {
    listeners: Vec<Listener>,
    peers: Grouping,
    units: Result<Grouping, Error>,
}

impl Found {
    /// Asks for the sockets at `port` now.
    pub(crate) fn ask(sampler: &mut Sampler, port: u16) -> Result<Self, Error> {
        let ports: Option<Ports> = port.to_string().parse().ok();
        let listeners = sampler.listeners(ports.as_ref())?.listeners;
        let mut filter = Filter::default();
        filter.local_ports = ports;
        let connections = State::ALL.into_iter().filter(|&one| one != State::Listen);
        filter.states = Some(connections.collect());
        let mut ask = |keys: &[Key]| {
            let new = |&key: &Key| Grouping::new(key, Weight::Total);
            let mut groupings: Vec<_> = keys.iter().map(new).collect();
            let asked = sampler.group_each(&filter, &mut groupings, |(), _| ());
            asked.map(|_| groupings)
        };
        // Not every source knows units; peers need not fail with them.
        let (mut peers, units) = match ask(&[Key::Peer, Key::Unit]) {
            Ok(mut both) => {
                let unit = both.pop();
                (both, Ok(unit))
            }
            Err(error) => (ask(&[Key::Peer])?, Err(error)),
        };
        let new = |key| Grouping::new(key, Weight::Total);
        Ok(Self {
            listeners,
            peers: peers.pop().unwrap_or_else(|| new(Key::Peer)),
            units: units.map(|unit| unit.unwrap_or_else(|| new(Key::Unit))),
        })
    }

    /// Names the owners, and puts what matters first.
    pub(crate) fn finish(self, proc_root: &Path, owners: &mut Owners) -> Result<Opened, Error> {
        let mut listeners = self.listeners;
        listeners.sort_by_key(|one| Reverse(one.queue().unwrap_or(AcceptQueue::EMPTY)));
        let with_unit = |listener: Listener| {
            let unit = owners.unit(listener.cgroup);
            (listener, unit)
        };
        let largest = |groups: Grouping| groups.finish(proc_root).map(|all| Largest::of(&all));
        let units = self.units.and_then(largest);
        Ok(Opened {
            listeners: listeners.into_iter().map(with_unit).collect(),
            peers: largest(self.peers)?,
            units: units.map_err(|error| error.to_string()),
        })
    }
}
