// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is counted while all sockets are listed: by local port, by remote port, by destination. The
//! ports that clients choose would be new series all the time. They are told from those of services
//! by the listeners.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use tcpstat::{Connection, Counts, State};

use super::collectors::{Collector, Collectors};
use super::destinations::Destinations;

/// Sockets, while they are listed.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) destinations: Destinations,
    /// Connections from a local port without a listener, by remote port.
    pub(super) peer_ports: HashMap<u16, Counts>,
    /// Sockets at a local port with a listener, and all others.
    pub(super) local_ports: HashMap<u16, Counts>,
    pub(super) other: Counts,
}

impl Listed {
    /// Adds a socket to what these collectors show. `listening` are the ports with a listener.
    pub(super) fn add(
        &mut self,
        of: Collectors,
        listening: &HashSet<u16>,
        Connection {
            state,
            local,
            remote,
            ..
        }: &Connection,
    ) {
        let listens = listening.contains(&local.port());
        if of.has(Collector::LocalPorts) {
            let counts = match listens {
                true => self.local_ports.entry(local.port()).or_insert(Counts::ZERO),
                false => &mut self.other,
            };
            counts.add_one(*state);
        }
        if listens || *state == State::Listen {
            return;
        }
        if of.has(Collector::PeerPorts) {
            let counts = self.peer_ports.entry(remote.port());
            counts.or_insert(Counts::ZERO).add_one(*state);
        }
        if of.has(Collector::Destinations) {
            self.destinations.add(*remote);
        }
    }
}

/// The `most` ports with the most sockets, and with all others together as `other`; and how many
/// these are.
pub(super) fn largest(
    ports: HashMap<u16, Counts>,
    mut other: Counts,
    most: usize,
) -> (Vec<(String, Counts)>, u64) {
    let mut ports: Vec<(u16, Counts)> = ports.into_iter().collect();
    ports.sort_unstable_by_key(|(port, counts)| (Reverse(counts.total()), *port));
    let left_out = ports.split_off(most.min(ports.len()));
    other = left_out
        .iter()
        .map(|(_, counts)| *counts)
        .chain([other])
        .sum();
    ports.sort_unstable_by_key(|(port, _)| *port);
    let ports = ports
        .into_iter()
        .map(|(port, counts)| (port.to_string(), counts));
    let other = (other.total() > 0).then(|| ("other".to_owned(), other));
    (ports.chain(other).collect(), left_out.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::counts;

    #[test]
    fn ports_that_are_not_shown_are_added_up() {
        let of = |count| counts(&[(State::Established, count)]);
        let ports = HashMap::from([(1, of(1)), (2, of(5)), (3, of(2)), (4, of(2))]);
        let (shown, left_out) = largest(ports.clone(), of(10), 2);
        let text = |shown: Vec<(String, Counts)>| {
            let shown = shown
                .into_iter()
                .map(|(port, all)| format!("{port}:{}", all.total()));
            shown.collect::<Vec<_>>().join(" ")
        };
        assert_eq!((text(shown).as_str(), left_out), ("2:5 3:2 other:13", 2));
        let (shown, left_out) = largest(ports, Counts::ZERO, 4);
        assert_eq!((text(shown).as_str(), left_out), ("1:1 2:5 3:2 4:2", 0));
    }
}
