// SPDX-License-Identifier: MIT OR Apache-2.0

//! Counts for each service: a local port with a listener.

use std::path::PathBuf;

use tcpstat_census::counts::Counts;
use tcpstat_census::queue::AcceptQueue;
use tcpstat_census::state::State;

use crate::error::Attempt;
use crate::source::Source;

/// The sockets of one local port that has a listener: the listeners, and their connections. A
/// connection is one of theirs if a listener of its local port has its family, or is IPv6 and takes
/// IPv4 too, and the unspecified address or the connection's own local address. With listeners at
/// more than eight addresses, every connection of the port is. Procfs does not know whether a
/// listener takes IPv6 alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Service {
    /// The port.
    pub port: u16,
    /// The number of sockets that listen on it: several if they share it (`SO_REUSEPORT`) or have
    /// different addresses. 0 from the module if the last one was closed during the count.
    pub listeners: u64,
    /// Connections that wait for `accept`: the sum over all listeners (`sk_ack_backlog`).
    pub accept_queue: u64,
    /// The sum of the listeners' backlogs (`sk_max_ack_backlog`); each queue holds one connection
    /// more than its backlog. `None` if the source does not know it (procfs).
    pub backlog: Option<u64>,
    /// The queue of the fullest listener, which a sum over all listeners would hide. `None` if the
    /// source does not know it (procfs, or an older module).
    pub fullest: Option<AcceptQueue>,
    /// The drops of the current listeners since each started (`sk_drops`): refused handshakes,
    /// mostly because a queue was full. `None` if the source does not know them (procfs).
    pub drops: Option<u64>,
    /// The sockets at this port by state, the listeners included.
    pub counts: Counts,
    /// The bytes in the queues of its connections. `None` if the source does not know them (the
    /// module).
    pub queues: Option<Queues>,
}

/// The bytes in the queues of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Queues {
    /// Bytes that wait to be read.
    pub receive: u64,
    /// Bytes that the peers have not acknowledged yet.
    pub send: u64,
}

impl Queues {
    /// Adds the queues of a connection, or of several.
    pub(crate) fn add(&mut self, receive: u64, send: u64) {
        self.receive = self.receive.saturating_add(receive);
        self.send = self.send.saturating_add(send);
    }
}

impl Service {
    /// A service at `port` without sockets; `backlog`, `fullest`, `drops` and `queues` are `None`.
    pub fn new(port: u16) -> Self {
        Self {
            port,
            listeners: 0,
            accept_queue: 0,
            backlog: None,
            fullest: None,
            drops: None,
            counts: Counts::ZERO,
            queues: None,
        }
    }

    /// The number of connections: all sockets at this port except its listeners. Shares of a
    /// service are shares of this number.
    pub fn connections(&self) -> u64 {
        let mut connections = self.counts;
        connections.set(State::Listen, 0);
        connections.total()
    }

    /// The use of the fullest listener's accept queue: 0 is empty, 1 is full, slightly above 1 is
    /// possible. `None` if the source does not know it.
    pub fn accept_queue_ratio(&self) -> Option<f64> {
        self.fullest.map(AcceptQueue::ratio)
    }
}

/// Every service of a network namespace, and the source that counted.
#[derive(Debug)]
#[non_exhaustive]
pub struct Services {
    /// The services, by port in ascending order.
    pub services: Vec<Service>,
    /// The sockets that no listener has, mostly outgoing connections. `None` if only some ports
    /// were requested.
    pub other: Option<Counts>,
    /// The bytes in the queues of all connections, or of those at the requested ports. `None` if
    /// the source does not know them (the module).
    pub queues: Option<Queues>,
    /// The source that answered.
    pub source: Source,
    /// The file of IPv6 that a saved sample does not have: only IPv4 was counted then.
    pub missing: Option<PathBuf>,
    /// The sources that were tried before it, and could not answer.
    pub tried: Vec<Attempt>,
}

impl Services {
    /// No services, counted by `source`; no other source was tried.
    pub fn new(source: Source) -> Self {
        Self {
            services: Vec::new(),
            other: None,
            queues: None,
            source,
            missing: None,
            tried: Vec::new(),
        }
    }

    /// The service at `port`, if something listens there.
    pub fn get(&self, port: u16) -> Option<&Service> {
        let index = self
            .services
            .binary_search_by_key(&port, |service| service.port);
        index.ok().map(|index| &self.services[index])
    }
}
