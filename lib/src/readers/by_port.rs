// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sockets counted by local port and state, from which services are made once all listeners are
//! known.

use std::collections::BTreeMap;

use crate::ports::Ports;
use crate::services::Service;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// The counts so far. The listener of a port may come before or after its connections.
#[derive(Debug)]
pub(crate) struct PortTable<'a> {
    /// Sockets at other ports are ignored.
    ports: Option<&'a Ports>,
    /// A count for each state of each port: 5.5 MiB, of which the system provides only the pages
    /// that are written.
    counts: Vec<u64>,
    listeners: BTreeMap<u16, Listeners>,
    total: Counts,
}

/// The listeners of a port together.
#[derive(Debug, Default)]
struct Listeners {
    number: u64,
    accept_queue: u64,
    backlog: Option<u64>,
    drops: Option<u64>,
}

/// What a source knows about a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    pub(crate) accept_queue: u32,
    pub(crate) backlog: Option<u32>,
    pub(crate) drops: Option<u32>,
}

impl<'a> PortTable<'a> {
    pub(crate) fn new(ports: Option<&'a Ports>) -> Self {
        Self {
            ports,
            counts: vec![0; (usize::from(u16::MAX) + 1) * State::COUNT],
            listeners: BTreeMap::new(),
            total: Counts::ZERO,
        }
    }

    /// Whether the sockets at `port` are counted.
    #[inline]
    fn is_asked_for(&self, port: u16) -> bool {
        self.ports.is_none_or(|ports| ports.contains(port))
    }

    /// Counts a socket, whether it listens or not.
    #[inline]
    pub(crate) fn add(&mut self, port: u16, state: State) {
        if self.is_asked_for(port) {
            self.counts[first(port) + usize::from(state.code()) - 1] += 1;
            self.total.add_one(state);
        }
    }

    /// Adds what is known about a listener; [`Self::add`] counts it.
    pub(crate) fn add_listener(&mut self, port: u16, listener: Listener) {
        if !self.is_asked_for(port) {
            return;
        }
        let all = self.listeners.entry(port).or_default();
        let add = |sum: Option<u64>, one: Option<u32>| {
            one.map(|one| sum.unwrap_or(0).saturating_add(one.into()))
        };
        all.number += 1;
        all.accept_queue += u64::from(listener.accept_queue);
        all.backlog = add(all.backlog, listener.backlog);
        all.drops = add(all.drops, listener.drops);
    }

    /// The services, by port in ascending order, and the sockets at ports without a listener:
    /// `None` if only some ports are asked for.
    pub(crate) fn services(self) -> (Vec<Service>, Option<Counts>) {
        let mut other = self.total;
        let services = self.listeners.iter().map(|(&port, listeners)| {
            let mut counts = Counts::ZERO;
            for (state, &count) in State::ALL.into_iter().zip(&self.counts[first(port)..]) {
                counts.set(state, count);
                other.set(state, other.get(state) - count);
            }
            Service {
                port,
                listeners: listeners.number,
                accept_queue: listeners.accept_queue,
                backlog: listeners.backlog,
                drops: listeners.drops,
                counts,
            }
        });
        let services = services.collect();
        (services, self.ports.is_none().then_some(other))
    }
}

/// Where the counts of `port` begin.
fn first(port: u16) -> usize {
    usize::from(port) * State::COUNT
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTENER: Listener = Listener {
        accept_queue: 3,
        backlog: Some(16),
        drops: Some(5),
    };

    fn counted(ports: Option<&Ports>) -> (Vec<Service>, Option<Counts>) {
        let mut table = PortTable::new(ports);
        // The connections of a port before its listeners, and after them.
        table.add(u16::MAX, State::CloseWait);
        table.add(80, State::Listen);
        table.add_listener(80, LISTENER);
        table.add(0, State::Established);
        for _ in 0..2 {
            table.add(u16::MAX, State::Listen);
            table.add_listener(u16::MAX, LISTENER);
        }
        table.add(80, State::Closing);
        table.services()
    }

    #[test]
    fn listeners_share_a_row_and_the_rest_is_other() {
        let (services, other) = counted(None);
        assert_eq!(
            services.iter().map(|row| row.port).collect::<Vec<_>>(),
            [80, 65535]
        );
        let [first, last] = services[..] else {
            panic!("{services:?}")
        };
        assert_eq!((first.listeners, first.counts.total()), (1, 2));
        assert_eq!(first.counts.get(State::Closing), 1);
        assert_eq!((last.listeners, last.accept_queue), (2, 6));
        assert_eq!((last.backlog, last.drops), (Some(32), Some(10)));
        assert_eq!(last.counts.get(State::Listen), 2);
        assert_eq!(last.counts.get(State::CloseWait), 1);
        let other = other.unwrap();
        assert_eq!((other.total(), other.get(State::Established)), (1, 1));
    }

    #[test]
    fn ports_that_are_not_asked_for_are_passed_over() {
        let (services, other) = counted(Some(&"0-100".parse().unwrap()));
        assert_eq!((services.len(), services[0].port), (1, 80));
        assert_eq!(other, None);
    }

    #[test]
    fn what_a_source_does_not_know_stays_unknown() {
        let mut table = PortTable::new(None);
        table.add(1, State::Listen);
        table.add_listener(
            1,
            Listener {
                backlog: None,
                drops: None,
                ..LISTENER
            },
        );
        let (services, other) = table.services();
        assert_eq!((services[0].backlog, services[0].drops), (None, None));
        assert_eq!(other, Some(Counts::ZERO));
    }
}
