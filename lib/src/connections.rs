// SPDX-License-Identifier: MIT OR Apache-2.0

//! A connection, and which of them are asked for.

use std::net::SocketAddr;

use tcpstat_census::state::State;

use crate::ports::Ports;

/// A TCP socket, be it connected or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Its state. A request socket, a handshake that has no full socket yet, is [`State::SynRecv`].
    pub state: State,
    /// This end. An IPv6 socket that speaks IPv4 has an address such as `::ffff:127.0.0.1`.
    pub local: SocketAddr,
    /// The other end; of a listener, all zeros.
    pub remote: SocketAddr,
    /// The user that it belongs to, as this process's user namespace numbers users; `None` where `inode` is.
    pub uid: Option<u32>,
    /// The inode, by which `/proc/PID/fd` names it. `None` where no process has it: time-wait and request sockets,
    /// what was closed and is not gone yet, and what nobody has accepted yet.
    pub inode: Option<u64>,
    /// Bytes that wait to be read. Of a listener, connections that wait for `accept`.
    pub receive_queue: u32,
    /// Bytes that the other end has not acknowledged yet. Of a listener, how many connections may wait for `accept`
    /// (the backlog): `None` where the source does not know it, procfs.
    pub send_queue: Option<u32>,
}

/// Which connections to list; without anything, all of them.
///
/// Netlink lets the kernel leave out the others.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those in one of these states.
    pub states: Option<Vec<State>>,
    /// Those at one of these local ports.
    pub local_ports: Option<Ports>,
    /// Those whose other end is at one of these ports.
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
