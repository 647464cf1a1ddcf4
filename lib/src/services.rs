// SPDX-License-Identifier: MIT OR Apache-2.0

//! Counts for each service: a local port that something listens on.

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use crate::error::Attempt;
use crate::source::Source;

/// The sockets of one local port that has a listener: the listeners, and every connection at that port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The port.
    pub port: u16,
    /// How many sockets listen on it: several where they share it (`SO_REUSEPORT`), or have an address each.
    /// From the module 0 where the last of them closed while it was counting.
    pub listeners: u64,
    /// Connections that wait for `accept`, in the queues of all listeners together (`sk_ack_backlog`).
    pub accept_queue: u64,
    /// How many these queues may hold together (`sk_max_ack_backlog`). One more than that may wait. `None` where the
    /// source does not know: procfs.
    pub backlog: Option<u64>,
    /// What was dropped at the listeners since they began to listen (`sk_drops`): handshakes that were refused, since
    /// a queue was full most of all. `None` where the source does not know: procfs.
    pub drops: Option<u64>,
    /// The sockets at this port by state, the listeners included.
    pub counts: Counts,
}

impl Service {
    /// The connections: all sockets at this port but those that listen. What a share of the service is a share of,
    /// since listeners are set up once, and say nothing of how its connections are.
    pub fn connections(&self) -> u64 {
        let states = self.counts.iter();
        let connections = states.filter(|&(state, _)| state != State::Listen);
        connections.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// How full the accept queues are: 0 is empty, 1 is full, and it may be a little more. `None` where the source
    /// does not know the backlog.
    pub fn accept_queue_ratio(&self) -> Option<f64> {
        match self.backlog? {
            // Such a queue holds one connection.
            0 => Some(self.accept_queue as f64),
            backlog => Some(self.accept_queue as f64 / backlog as f64),
        }
    }
}

/// Every service of a network namespace, and who says so.
#[derive(Debug)]
pub struct Services {
    /// The services, by port in ascending order.
    pub services: Vec<Service>,
    /// The sockets at ports that nobody listens on, outgoing connections most of all. `None` where only some ports
    /// were asked for.
    pub other: Option<Counts>,
    /// The source that answered.
    pub source: Source,
    /// The sources that were tried before it, and could not answer.
    pub tried: Vec<Attempt>,
}

impl Services {
    /// The service at `port`, if something listens there.
    pub fn get(&self, port: u16) -> Option<&Service> {
        let index = self
            .services
            .binary_search_by_key(&port, |service| service.port);
        index.ok().map(|index| &self.services[index])
    }
}
