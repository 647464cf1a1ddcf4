// SPDX-License-Identifier: MIT OR Apache-2.0

//! A connection, and the filter that selects connections.

use std::net::SocketAddr;

use tcpstat_census::state::State;

use crate::networks::{Networks, is_loopback};
use crate::ports::Ports;

/// A TCP socket, connected or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Connection {
    /// Its state. A request socket, a handshake that has no full socket yet, is [`State::SynRecv`].
    pub state: State,
    /// The local address and port. An IPv6 socket that is used for IPv4 has an address such as
    /// `::ffff:127.0.0.1`.
    pub local: SocketAddr,
    /// The remote address and port; all zeros for a listener.
    pub remote: SocketAddr,
    /// The ID of the user that owns it, in this process's user namespace; `None` if `inode` is
    /// `None`.
    pub uid: Option<u32>,
    /// The inode, as in `/proc/PID/fd`. `None` if no process has it: time-wait and request sockets,
    /// closed sockets with unsent data, connections that wait for `accept`.
    pub inode: Option<u64>,
    /// Bytes that wait to be read; for a listener, connections that wait for `accept`.
    pub receive_queue: u32,
    /// Bytes that the peer has not acknowledged yet; for a listener, its backlog, or `None` if the
    /// source does not know it (procfs).
    pub send_queue: Option<u32>,
    /// The index of the interface that it is bound to (`SO_BINDTODEVICE`, or a link-local address);
    /// see [`Connections::interface`](crate::Connections::interface). `None` if it is bound to
    /// none, or if the source does not know it (procfs).
    pub interface: Option<u32>,
    /// The ID of the cgroup that made it; see [`Units`](crate::Units). `None` if it has none, as
    /// time-wait and request sockets, or if the source does not know it (procfs, Linux before 5.9).
    pub cgroup: Option<u64>,
}

impl Connection {
    /// A connection without queues, owner, interface and cgroup.
    #[cfg(test)]
    pub(crate) fn between(local: &str, remote: &str, state: State) -> Self {
        Self {
            state,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            uid: None,
            inode: None,
            receive_queue: 0,
            send_queue: None,
            interface: None,
            cgroup: None,
        }
    }
}

/// Which connections to list, or to count in groups; by default, all of them.
///
/// With netlink, the kernel filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Only connections in one of these states.
    pub states: Option<Vec<State>>,
    /// Only connections at one of these local ports.
    pub local_ports: Option<Ports>,
    /// Only connections to one of these remote ports.
    pub remote_ports: Option<Ports>,
    /// Only connections at a local address in one of these networks. The address of a socket that
    /// is bound to all addresses is `0.0.0.0` or `::`.
    pub local_addresses: Option<Networks>,
    /// Only connections to a remote address in one of these networks. A listener has the remote
    /// address `0.0.0.0` or `::`.
    pub remote_addresses: Option<Networks>,
    /// No sockets that have a loopback address at either end: in 127.0.0.0/8, or `::1`.
    pub no_loopback: bool,
}

impl Filter {
    /// Whether `connection` is listed.
    pub fn accepts(&self, connection: &Connection) -> bool {
        let Connection {
            state,
            local,
            remote,
            ..
        } = connection;
        let at = |ports: &Option<Ports>, address: &SocketAddr| {
            ports
                .as_ref()
                .is_none_or(|ports| ports.contains(address.port()))
        };
        let within = |networks: &Option<Networks>, address: &SocketAddr| {
            networks
                .as_ref()
                .is_none_or(|networks| networks.contains(address.ip()))
        };
        let states = self.states.as_ref();
        states.is_none_or(|states| states.contains(state))
            && at(&self.local_ports, local)
            && at(&self.remote_ports, remote)
            && within(&self.local_addresses, local)
            && within(&self.remote_addresses, remote)
            && !(self.no_loopback && (is_loopback(local.ip()) || is_loopback(remote.ip())))
    }

    /// The sockets that listen at `ports`.
    pub(crate) fn of_listeners(ports: Option<&Ports>) -> Self {
        Self {
            states: Some(vec![State::Listen]),
            local_ports: ports.cloned(),
            ..Self::default()
        }
    }

    /// Whether it accepts every connection.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(local: &str, remote: &str) -> Connection {
        Connection::between(local, remote, State::Established)
    }

    #[test]
    fn every_condition_must_hold() {
        let inside = connection("10.0.0.1:443", "[::ffff:192.0.2.7]:50000");
        let mut filter = Filter::default();
        assert!(filter.is_empty() && filter.accepts(&inside));
        filter.local_addresses = Some("10.0.0.0/8,::1".parse().unwrap());
        filter.remote_addresses = Some("192.0.2.0/24".parse().unwrap());
        filter.no_loopback = true;
        assert!(!filter.is_empty() && filter.accepts(&inside));
        for (local, remote) in [
            ("11.0.0.1:443", "192.0.2.7:50000"),
            ("10.0.0.1:443", "192.0.3.7:50000"),
            ("[::1]:443", "192.0.2.7:50000"),
        ] {
            assert!(!filter.accepts(&connection(local, remote)), "{local}");
        }
        filter.no_loopback = false;
        assert!(filter.accepts(&connection("[::1]:443", "192.0.2.7:50000")));
        filter.remote_ports = Some("1-2".parse().unwrap());
        assert!(!filter.accepts(&inside));
    }

    #[test]
    fn a_loopback_address_at_either_end_is_enough() {
        let filter = Filter {
            no_loopback: true,
            ..Filter::default()
        };
        for (local, remote, expected) in [
            ("10.0.0.1:1", "10.0.0.2:2", true),
            ("127.0.0.1:1", "0.0.0.0:0", false),
            ("10.0.0.1:1", "[::ffff:127.0.0.9]:2", false),
            ("[::1]:1", "[::1]:2", false),
            ("[::]:1", "[::]:0", true),
        ] {
            let connection = connection(local, remote);
            assert_eq!(filter.accepts(&connection), expected, "{local} {remote}");
        }
    }
}
