// SPDX-License-Identifier: MIT OR Apache-2.0

//! A connection, and the filter that selects connections.

use std::net::SocketAddr;

use tcpstat_census::state::State;

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
}

/// Which connections to list; by default, all of them.
///
/// With netlink, the kernel filters.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Filter {
    /// Only connections in one of these states.
    pub states: Option<Vec<State>>,
    /// Only connections at one of these local ports.
    pub local_ports: Option<Ports>,
    /// Only connections to one of these remote ports.
    pub remote_ports: Option<Ports>,
}

impl Filter {
    /// Whether `connection` is listed.
    pub fn accepts(&self, connection: &Connection) -> bool {
        let has = |ports: &Option<Ports>, address: SocketAddr| match ports {
            None => true,
            Some(ports) => ports.contains(address.port()),
        };
        let states = self.states.as_ref();
        states.is_none_or(|states| states.contains(&connection.state))
            && has(&self.local_ports, connection.local)
            && has(&self.remote_ports, connection.remote)
    }
}
