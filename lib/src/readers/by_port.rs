// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sockets counted by local port and state, once all listeners are known.
//!
//! A connection is counted at its local port if it is that of a listener there: see
//! [`LocalAddresses`]. So one from `127.0.0.88:7103` is none of a listener at `127.0.0.1:7103`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::ports::Ports;
use crate::services::{Queues, Service};
use tcpstat_census::counts::Counts;
use tcpstat_census::local_addresses::LocalAddresses;
use tcpstat_census::queue::AcceptQueue;
use tcpstat_census::state::State;

/// The counts so far.
#[derive(Debug)]
pub(crate) struct PortTable<'a> {
    /// Sockets at other ports are not counted.
    ports: Option<&'a Ports>,
    /// For each port the number of its row, or [`OTHER`].
    numbers: Vec<u32>,
    /// The first row is that of the sockets that no listener has.
    rows: Vec<Row>,
    listeners: BTreeMap<u16, Listeners>,
}

/// The sockets at a port.
#[derive(Clone, Debug, Default)]
struct Row {
    counts: Counts,
    queues: Queues,
    addresses: LocalAddresses,
}

/// The number of the row of all sockets that have no other.
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
    pub(crate) address: IpAddr,
    /// Whether it takes no IPv4, though its address is the unspecified one of IPv6. Procfs does not
    /// know it, and says no.
    pub(crate) v6only: bool,
    pub(crate) accept_queue: u32,
    pub(crate) backlog: Option<u32>,
    pub(crate) drops: Option<u32>,
}

impl<'a> PortTable<'a> {
    /// No sockets yet. All listeners must be added before the first connection.
    pub(crate) fn new(ports: Option<&'a Ports>) -> Self {
        Self {
            ports,
            numbers: vec![OTHER; usize::from(u16::MAX) + 1],
            rows: vec![Row::default()],
            listeners: BTreeMap::new(),
        }
    }

    /// Whether the sockets at `port` are counted.
    #[inline]
    fn is_asked_for(&self, port: u16) -> bool {
        self.ports.is_none_or(|ports| ports.contains(port))
    }

    /// Counts a socket that does not listen, and the bytes in its receive and send queues. Its
    /// local address is read only where it matters.
    #[inline]
    pub(crate) fn add<E>(
        &mut self,
        port: u16,
        state: State,
        (receive, send): (u32, u32),
        address: impl FnOnce() -> Result<IpAddr, E>,
    ) -> Result<(), E> {
        if !self.is_asked_for(port) {
            return Ok(());
        }
        let mut number = self.numbers[usize::from(port)];
        if number != OTHER {
            let addresses = &self.rows[number as usize].addresses;
            if !addresses.is_all() && !addresses.contains(address()?) {
                number = OTHER;
            }
        }
        let row = &mut self.rows[number as usize];
        row.counts.add_one(state);
        row.queues.add(receive.into(), send.into());
        Ok(())
    }

    /// Counts a listener, with its queue.
    pub(crate) fn add_listener(&mut self, port: u16, listener: Listener) {
        if !self.is_asked_for(port) {
            return;
        }
        let number = &mut self.numbers[usize::from(port)];
        if *number == OTHER {
            // At most one row for each port, and OTHER.
            *number = self.rows.len() as u32;
            self.rows.push(Row::default());
        }
        let row = &mut self.rows[*number as usize];
        row.counts.add_one(State::Listen);
        row.addresses.insert(listener.address, listener.v6only);
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

    /// The services, by port in ascending order; the sockets that no listener has, `None` where
    /// only some ports are asked for; and the queues of all.
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
        let other = self
            .ports
            .is_none()
            .then(|| self.rows[OTHER as usize].counts);
        (services, other, all)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tcpstat_census::local_addresses::MOST;

    use super::*;

    const LISTENER: Listener = Listener {
        address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        v6only: false,
        accept_queue: 3,
        backlog: Some(16),
        drops: Some(5),
    };

    fn add_at(table: &mut PortTable<'_>, port: u16, state: State, address: &str) {
        let address = || Ok::<_, Infallible>(address.parse().unwrap());
        let Ok(()) = table.add(port, state, (0, 0), address);
    }

    fn add(table: &mut PortTable<'_>, port: u16, state: State) {
        let unread = || -> Result<IpAddr, Infallible> { panic!("the address does not matter") };
        let Ok(()) = table.add(port, state, (0, 0), unread);
    }

    fn counted(ports: Option<&Ports>) -> (Vec<Service>, Option<Counts>) {
        let mut table = PortTable::new(ports);
        table.add_listener(80, LISTENER);
        for _ in 0..2 {
            table.add_listener(u16::MAX, LISTENER);
        }
        add(&mut table, u16::MAX, State::CloseWait);
        add(&mut table, 0, State::Established);
        add(&mut table, 80, State::Closing);
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
    fn sockets_are_those_of_listeners_of_their_family_and_address() {
        // Listeners; whether they are IPv6 only; local addresses of their connections; of others.
        type Case<'a> = (&'a [&'a str], bool, &'a [&'a str], &'a [&'a str]);
        let cases: [Case<'_>; 8] = [
            (
                &["127.0.0.1"],
                false,
                &["127.0.0.1", "::ffff:127.0.0.1"],
                &["127.0.0.88", "::1"],
            ),
            (
                &["0.0.0.0"],
                false,
                &["10.0.0.1", "::ffff:10.0.0.1"],
                &["::1"],
            ),
            (&["::"], false, &["::1", "10.0.0.1", "::ffff:10.0.0.1"], &[]),
            (&["::"], true, &["::1"], &["10.0.0.1", "::ffff:10.0.0.1"]),
            (&["::1"], true, &["::1"], &["fd00::1", "127.0.0.1"]),
            (
                &["::ffff:10.0.0.1"],
                false,
                &["10.0.0.1"],
                &["10.0.0.2", "::1"],
            ),
            (&["::ffff:0.0.0.0"], false, &["10.0.0.1"], &["::1"]),
            (
                &["127.0.0.1", "::", "127.0.0.1"],
                true,
                &["127.0.0.1", "::1"],
                &["127.0.0.2"],
            ),
        ];
        for (listeners, v6only, own, others) in cases {
            let mut table = PortTable::new(None);
            for address in listeners {
                let address = address.parse().unwrap();
                let listener = Listener {
                    address,
                    v6only,
                    ..LISTENER
                };
                table.add_listener(7103, listener);
            }
            for address in own {
                add_at(&mut table, 7103, State::Established, address);
            }
            for address in others {
                add_at(&mut table, 7103, State::SynSent, address);
            }
            let (services, other, _) = table.services();
            let [service] = services[..] else {
                panic!("{services:?}")
            };
            let counted = |counts: Counts| {
                [State::Established, State::SynSent].map(|state| counts.get(state) as usize)
            };
            assert_eq!(counted(service.counts), [own.len(), 0], "{listeners:?}");
            assert_eq!(counted(other.unwrap()), [0, others.len()], "{listeners:?}");
        }
    }

    #[test]
    fn listeners_at_many_addresses_have_every_socket_of_the_port() {
        for (addresses, expected) in [(MOST, 0), (MOST + 1, 1)] {
            let mut table = PortTable::new(None);
            for number in (0..addresses).chain(0..addresses) {
                let address = Ipv4Addr::new(127, 0, 0, number as u8).into();
                let listener = Listener {
                    address,
                    ..LISTENER
                };
                table.add_listener(80, listener);
            }
            add_at(&mut table, 80, State::TimeWait, "10.0.0.1");
            let (services, ..) = table.services();
            assert_eq!(services[0].counts.get(State::TimeWait), expected);
        }
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
        table.add_listener(80, LISTENER);
        for (port, queues) in [(80, (5, 7)), (80, (u32::MAX, 0)), (9, (1, 100))] {
            let address = || Ok::<_, Infallible>(Ipv4Addr::LOCALHOST.into());
            let Ok(()) = table.add(port, State::CloseWait, queues, address);
        }
        let (services, _, all) = table.services();
        let queues = |receive, send| Queues { receive, send };
        assert_eq!(services[0].queues, Some(queues(5 + u64::from(u32::MAX), 7)));
        assert_eq!(all, queues(6 + u64::from(u32::MAX), 107));
    }

    #[test]
    fn connections_at_many_ports_get_no_rows() {
        let mut table = PortTable::new(None);
        table.add_listener(80, LISTENER);
        for port in 0..=u16::MAX {
            add(&mut table, port, State::Established);
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
            table.add_listener(port, LISTENER);
        }
        add(&mut table, u16::MAX, State::TimeWait);
        let (services, other, _) = table.services();
        assert_eq!(services.len(), 65_536);
        assert_eq!(services[65_535].counts.total(), 2);
        assert_eq!(other, Some(Counts::ZERO));
    }
}
