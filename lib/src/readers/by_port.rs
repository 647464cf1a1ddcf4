// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sockets counted by local port and state, from which services are made once all listeners are
//! known.

use std::collections::BTreeMap;

use crate::ports::Ports;
use crate::services::{Queues, Service};
use tcpstat_census::counts::Counts;
use tcpstat_census::queue::AcceptQueue;
use tcpstat_census::state::State;

/// The counts so far.
#[derive(Debug)]
pub(crate) struct PortTable<'a> {
    /// Sockets at other ports are not counted.
    ports: Option<&'a Ports>,
    /// For each port the number of its row, or [`OTHER`].
    numbers: Vec<u32>,
    /// The first row is that of the ports without a listener.
    rows: Vec<Row>,
    /// Whether a port without a row may still get one.
    grows: bool,
    listeners: BTreeMap<u16, Listeners>,
}

/// The sockets at a port.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    counts: Counts,
    queues: Queues,
}

/// The number of the row of all ports that have no other.
const OTHER: u32 = 0;

/// The listeners of a port together.
#[derive(Debug, Default)]
struct Listeners {
    number: u64,
    accept_queue: u64,
    backlog: Option<u64>,
    fullest: Option<AcceptQueue>,
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
    /// No sockets yet. Connections and listeners may follow in any order.
    pub(crate) fn new(ports: Option<&'a Ports>) -> Self {
        Self {
            ports,
            numbers: vec![OTHER; usize::from(u16::MAX) + 1],
            rows: vec![Row::default()],
            grows: true,
            listeners: BTreeMap::new(),
        }
    }

    /// Call this when all listeners are counted. Ports without a row get none from now on, so that
    /// memory does not grow with the number of ports that connections use.
    pub(crate) fn listeners_are_complete(&mut self) {
        self.grows = false;
    }

    /// Whether the sockets at `port` are counted.
    #[inline]
    fn is_asked_for(&self, port: u16) -> bool {
        self.ports.is_none_or(|ports| ports.contains(port))
    }

    /// Counts a socket, whether it listens or not, and the bytes in its receive and send queues: those
    /// of a listener are no bytes, and are ignored.
    #[inline]
    pub(crate) fn add(&mut self, port: u16, state: State, receive: u32, send: u32) {
        if self.is_asked_for(port) {
            let mut number = self.numbers[usize::from(port)];
            if number == OTHER && self.grows {
                number = self.add_row(port);
            }
            let row = &mut self.rows[number as usize];
            row.counts.add_one(state);
            if state != State::Listen {
                row.queues.add(receive.into(), send.into());
            }
        }
    }

    #[cold]
    fn add_row(&mut self, port: u16) -> u32 {
        // At most one row for each port, and OTHER.
        let number = self.rows.len() as u32;
        self.rows.push(Row::default());
        self.numbers[usize::from(port)] = number;
        number
    }

    /// Adds the numbers of a listener, after [`PortTable::add`] has counted it.
    pub(crate) fn add_listener(&mut self, port: u16, listener: Listener) {
        if !self.is_asked_for(port) {
            return;
        }
        let all = self.listeners.entry(port).or_default();
        let add = |sum: Option<u64>, one: Option<u32>| {
            one.map(|one| sum.unwrap_or(0).saturating_add(one.into()))
        };
        let queue = listener.backlog.map(|backlog| AcceptQueue {
            length: listener.accept_queue,
            backlog,
        });
        all.number += 1;
        all.accept_queue += u64::from(listener.accept_queue);
        all.backlog = add(all.backlog, listener.backlog);
        all.fullest = all.fullest.max(queue);
        all.drops = add(all.drops, listener.drops);
    }

    /// The services, by port in ascending order; the sockets at ports without a listener, `None`
    /// where only some ports are asked for; and the queues of all.
    pub(crate) fn services(mut self) -> (Vec<Service>, Option<Counts>, Queues) {
        let mut all = Queues::default();
        for Row { queues, .. } in &self.rows {
            all.add(queues.receive, queues.send);
        }
        let services = self.listeners.iter().map(|(&port, listeners)| {
            let number = self.numbers[usize::from(port)] as usize;
            let row = std::mem::take(&mut self.rows[number]);
            Service {
                port,
                listeners: listeners.number,
                accept_queue: listeners.accept_queue,
                backlog: listeners.backlog,
                fullest: listeners.fullest,
                drops: listeners.drops,
                counts: row.counts,
                queues: Some(row.queues),
            }
        });
        let services = services.collect();
        // The rows of ports that turned out to have no listener are left.
        let rows = self.rows.into_iter().map(|row| row.counts);
        let other = self.ports.is_none().then(|| rows.sum());
        (services, other, all)
    }
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
        table.add(u16::MAX, State::CloseWait, 0, 0);
        table.add(80, State::Listen, 0, 0);
        table.add_listener(80, LISTENER);
        table.add(0, State::Established, 0, 0);
        for _ in 0..2 {
            table.add(u16::MAX, State::Listen, 0, 0);
            table.add_listener(u16::MAX, LISTENER);
        }
        table.add(80, State::Closing, 0, 0);
        let (services, other, _) = table.services();
        (services, other)
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
        let queue = |length, backlog| Some(AcceptQueue { length, backlog });
        assert_eq!(last.fullest, queue(3, 16));
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
        table.add(1, State::Listen, 0, 0);
        table.add_listener(
            1,
            Listener {
                backlog: None,
                drops: None,
                ..LISTENER
            },
        );
        let (services, other, _) = table.services();
        assert_eq!((services[0].backlog, services[0].drops), (None, None));
        assert_eq!(services[0].accept_queue_ratio(), None);
        assert_eq!(other, Some(Counts::ZERO));
    }

    #[test]
    fn a_full_listener_is_seen_beside_others_that_are_empty() {
        let mut table = PortTable::new(None);
        for accept_queue in [0, 65, 0, 1] {
            table.add(8500, State::Listen, 0, 0);
            table.add_listener(
                8500,
                Listener {
                    accept_queue,
                    backlog: Some(64),
                    ..LISTENER
                },
            );
        }
        let (services, ..) = table.services();
        let service = services[0];
        assert_eq!((service.accept_queue, service.backlog), (66, Some(256)));
        let fullest = service.fullest.unwrap();
        assert_eq!((fullest.length, fullest.backlog), (65, 64));
        assert_eq!(service.accept_queue_ratio(), Some(65.0 / 64.0));
    }

    #[test]
    fn bytes_in_queues_are_those_of_connections() {
        let mut table = PortTable::new(None);
        table.add(80, State::Listen, 3, 16);
        table.add_listener(80, LISTENER);
        table.add(80, State::Established, 5, 7);
        table.add(80, State::CloseWait, u32::MAX, 0);
        table.add(9, State::FinWait1, 1, 100);
        let (services, _, all) = table.services();
        let queues = |receive, send| Queues { receive, send };
        assert_eq!(services[0].queues, Some(queues(5 + u64::from(u32::MAX), 7)));
        assert_eq!(all, queues(6 + u64::from(u32::MAX), 107));
    }

    #[test]
    fn once_the_listeners_are_complete_no_port_gets_a_row() {
        let mut table = PortTable::new(None);
        table.add(80, State::Listen, 0, 0);
        table.add_listener(80, LISTENER);
        table.listeners_are_complete();
        for port in 0..=u16::MAX {
            table.add(port, State::Established, 0, 0);
        }
        assert_eq!(table.rows.len(), 2);
        let (services, other, _) = table.services();
        assert_eq!(services.len(), 1);
        assert_eq!(services[0].counts.total(), 2);
        assert_eq!(other.unwrap().total(), u64::from(u16::MAX));
    }

    #[test]
    fn every_port_can_have_a_row() {
        let mut table = PortTable::new(None);
        for port in 0..=u16::MAX {
            table.add(port, State::TimeWait, 0, 0);
        }
        table.add_listener(u16::MAX, LISTENER);
        let (services, other, _) = table.services();
        assert_eq!(services[0].counts.total(), 1);
        assert_eq!(other.unwrap().total(), u64::from(u16::MAX));
    }
}
