// SPDX-License-Identifier: MIT OR Apache-2.0

//! Drops as counters. The kernel counts them for each listening socket. Their sum falls when one is
//! closed, which Prometheus would take for a reset, so increases are added up here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use tcpstat::{Listener, Service};

/// Where listeners are that are shown together: several sockets may share an address and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) port: u16,
    pub(super) address: IpAddr,
    /// The name of the interface that they are bound to, or its index; empty if to none.
    pub(super) interface: String,
}

impl Place {
    pub(super) fn of(listener: &Listener) -> Self {
        let interface = listener.interface.as_ref();
        let interface = interface.map(|one| one.name.clone().unwrap_or(one.index.to_string()));
        Self {
            port: listener.local.port(),
            address: listener.local.ip(),
            interface: interface.unwrap_or_default(),
        }
    }
}

/// The number of places without a listener whose drops are remembered.
const GONE: usize = 4096;

/// The drops since the first reading. What listeners had dropped before is not counted: an exporter
/// that starts again would begin with a part of what it had shown, and Prometheus would take all of
/// that for new drops.
#[derive(Debug, Default)]
pub(super) struct Drops {
    /// Of each listening socket, by inode, at the last reading.
    sockets: HashMap<u64, u32>,
    by_port: BTreeMap<u16, u64>,
    /// The ports where the last reading found new drops.
    increased: BTreeSet<u16>,
    by_place: BTreeMap<Place, u64>,
    /// The sum over the listeners of a port at the last reading, if they are not listed.
    sums: HashMap<u16, u64>,
    /// Whether the last reading listed the listeners.
    listed: Option<bool>,
}

impl Drops {
    /// Adds what was dropped since the last reading.
    pub(super) fn add(&mut self, listeners: &[Listener]) {
        // After no reading, or one of the other kind, there is nothing to compare with.
        let compares = self.listed.replace(true) == Some(true);
        self.increased.clear();
        let mut sockets = HashMap::with_capacity(listeners.len());
        let mut present: BTreeMap<Place, ()> = BTreeMap::new();
        for listener in listeners {
            let (Some(inode), Some(now)) = (listener.inode, listener.drops) else {
                continue;
            };
            // A socket that was not there, or another one with the inode of an old one, has
            // dropped all of these since the last reading.
            let before = self.sockets.get(&inode).copied().unwrap_or(0);
            let increase = u64::from(now.checked_sub(before).unwrap_or(now));
            let increase = if compares { increase } else { 0 };
            sockets.insert(inode, now);
            let place = Place::of(listener);
            self.add_increase(place.port, increase);
            *self.by_place.entry(place.clone()).or_insert(0) += increase;
            present.insert(place, ());
        }
        self.sockets = sockets;
        // There are at most 65,536 ports; addresses may come and go without end.
        if self.by_place.len() > present.len() + GONE {
            self.by_place.retain(|place, _| present.contains_key(place));
        }
    }

    /// The same where the source does not list listeners: by the sums of ports. A drop at a
    /// listener is missed if another one of the port was closed since the last reading.
    pub(super) fn add_sums(&mut self, services: &[Service]) {
        let compares = self.listed.replace(false) == Some(false);
        self.increased.clear();
        let mut sums = HashMap::with_capacity(services.len());
        for service in services {
            let Some(now) = service.drops else { continue };
            let before = self.sums.get(&service.port).copied().unwrap_or(0);
            let increase = match compares {
                true => now.saturating_sub(before),
                false => 0,
            };
            self.add_increase(service.port, increase);
            sums.insert(service.port, now);
        }
        self.sums = sums;
    }

    fn add_increase(&mut self, port: u16, increase: u64) {
        *self.by_port.entry(port).or_insert(0) += increase;
        if increase > 0 {
            self.increased.insert(port);
        }
    }

    /// Whether the last reading found new drops at a port.
    pub(super) fn has_increased(&self, port: u16) -> bool {
        self.increased.contains(&port)
    }

    /// The drops at a port; `None` if they are not known.
    pub(super) fn of_port(&self, port: u16) -> Option<u64> {
        self.by_port.get(&port).copied()
    }

    /// The drops at a place; `None` if they are not known.
    pub(super) fn of_place(&self, place: &Place) -> Option<u64> {
        self.by_place.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // `Listener` can only be made by the library: the rules are tested on sums here, and on sockets
    // by cli/tests/exporter.rs.
    #[test]
    fn a_sum_begins_at_zero_and_one_that_falls_is_no_reset() {
        let mut drops = Drops::default();
        let mut at = |sum| {
            let mut service = Service::new(80);
            service.drops = Some(sum);
            drops.add_sums(&[service]);
            (drops.of_port(80).unwrap(), drops.has_increased(80))
        };
        let expected = [(0, false), (2, true), (2, false), (3, true)];
        assert_eq!([at(5), at(7), at(2), at(3)], expected);
        assert_eq!(drops.of_port(81), None);
    }
}
