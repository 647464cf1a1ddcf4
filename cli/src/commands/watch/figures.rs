// SPDX-License-Identifier: MIT OR Apache-2.0

//! A reading, and its changes since the previous reading.

use std::collections::HashMap;

use jiff::Timestamp;
use tcpstat::{Counts, Service, Services, Source};

/// A reading of the totals and the services.
pub(crate) struct Reading {
    /// When the reading began.
    pub(crate) at: Timestamp,
    /// The sockets at all ports.
    pub(crate) totals: Counts,
    /// The services, in the order of the screen.
    pub(crate) services: Services,
}

/// A reading, and the numbers of the previous one.
pub(crate) struct Figures {
    /// When the reading began.
    pub(crate) at: Timestamp,
    /// The source that answered.
    pub(crate) source: Source,
    /// The sockets at all ports.
    pub(crate) totals: Change,
    /// The services in the order of the screen, then the sockets at all other ports.
    pub(crate) rows: Vec<Row>,
}

/// The sockets of one port with a listener, or of all ports without a listener.
pub(crate) struct Row {
    /// The service; `None` for the sockets at ports without a listener.
    pub(crate) service: Option<Service>,
    /// The sockets by state.
    pub(crate) counts: Change,
    /// The drops at the previous reading, if known.
    pub(crate) drops_before: Option<u64>,
}

/// The counts of this reading and of the previous one.
#[derive(Clone, Copy)]
pub(crate) struct Change {
    pub(crate) now: Counts,
    /// `None` at the first reading.
    pub(crate) before: Option<Counts>,
}

impl Figures {
    /// The figures for `reading`, with the numbers of `before`. A new service had no sockets then.
    pub(crate) fn new(reading: &Reading, before: Option<&Self>) -> Self {
        let services = &reading.services;
        // By port; `None` is the row of the ports without a listener.
        let rows_before: HashMap<Option<u16>, &Row> = before
            .iter()
            .flat_map(|figures| &figures.rows)
            .map(|row| (row.service.map(|service| service.port), row))
            .collect();
        let counts_before = |port| {
            let row = rows_before.get(&port);
            before.map(|_| row.map_or(Counts::ZERO, |row| row.counts.now))
        };
        let mut rows: Vec<Row> = services
            .services
            .iter()
            .map(|service| {
                let port = Some(service.port);
                Row {
                    service: Some(*service),
                    counts: Change {
                        now: service.counts,
                        before: counts_before(port),
                    },
                    drops_before: match rows_before.get(&port) {
                        Some(row) => row.service.and_then(|service| service.drops),
                        None => before.map(|_| 0),
                    },
                }
            })
            .collect();
        rows.extend(services.other.map(|now| Row {
            service: None,
            counts: Change {
                now,
                before: counts_before(None),
            },
            drops_before: None,
        }));
        Self {
            at: reading.at,
            source: services.source,
            totals: Change {
                now: reading.totals,
                before: before.map(|figures| figures.totals.now),
            },
            rows,
        }
    }

    /// The number of services.
    pub(crate) fn services(&self) -> usize {
        self.rows.iter().filter(|row| row.service.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use tcpstat::State;

    use super::*;
    use crate::format::service;

    fn reading(ports: &[u16], drops: Option<u64>) -> Reading {
        let counts = |count| {
            let mut counts = Counts::ZERO;
            counts.set(State::Established, count);
            counts
        };
        let service = |&port: &u16| {
            let states = [(State::Established, port.into())];
            service(port, 1, (0, None), drops, &states)
        };
        let mut services = Services::new(Source::Netlink);
        services.services = ports.iter().map(service).collect();
        services.other = Some(counts(7));
        Reading {
            at: Timestamp::UNIX_EPOCH,
            totals: counts(1000),
            services,
        }
    }

    fn established(counts: Option<Counts>) -> Option<u64> {
        counts.map(|counts| counts.get(State::Established))
    }

    #[test]
    fn rows_are_compared_by_their_port_whatever_the_order() {
        let first = Figures::new(&reading(&[80, 22], Some(3)), None);
        assert_eq!(first.services(), 2);
        assert!(first.totals.before.is_none());
        assert!(
            first
                .rows
                .iter()
                .all(|row| row.counts.before.is_none() && row.drops_before.is_none())
        );

        let second = Figures::new(&reading(&[22, 443, 80], Some(4)), Some(&first));
        let before: Vec<_> = second
            .rows
            .iter()
            .map(|row| (established(row.counts.before), row.drops_before))
            .collect();
        assert_eq!(
            before,
            [
                (Some(22), Some(3)),
                // A new service had no sockets.
                (Some(0), Some(0)),
                (Some(80), Some(3)),
                // The ports without a service.
                (Some(7), None),
            ]
        );
        assert_eq!(established(second.totals.before), Some(1000));
    }

    #[test]
    fn unknown_drops_are_not_compared() {
        let first = Figures::new(&reading(&[22], None), None);
        let second = Figures::new(&reading(&[22], Some(4)), Some(&first));
        assert_eq!(second.rows[0].drops_before, None);
    }
}
