// SPDX-License-Identifier: MIT OR Apache-2.0

//! Listening sockets, one by one: several may share a port.

use std::net::SocketAddr;
use std::path::PathBuf;

use tcpstat_census::queue::AcceptQueue;
use tcpstat_census::state::State;

use crate::connections::Connection;
use crate::error::Attempt;
use crate::source::Source;

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Listener {
    /// The address and port that it listens at.
    pub local: SocketAddr,
    /// The interface that it is bound to (`SO_BINDTODEVICE`, or a link-local address). `None` if it
    /// is bound to none, or if the source does not know it (procfs).
    pub interface: Option<Interface>,
    /// Connections that wait for `accept`.
    pub accept_queue: u32,
    /// How many may wait; the kernel accepts one more. `None` if the source does not know it
    /// (procfs).
    pub backlog: Option<u32>,
    /// Its drops since it started: refused handshakes, mostly because its queue was full. `None` if
    /// the source does not know them (procfs).
    pub drops: Option<u32>,
    /// The ID of the user that owns it, in this process's user namespace; `None` if `inode` is
    /// `None`.
    pub uid: Option<u32>,
    /// The inode, as in `/proc/PID/fd`; see [`Processes`](crate::Processes). `None` if no process
    /// has it.
    pub inode: Option<u64>,
    /// The ID of the cgroup that made it; see [`Units`](crate::Units). `None` if the source does
    /// not know it (procfs, Linux before 5.9).
    pub cgroup: Option<u64>,
}

impl Listener {
    /// What a connection that listens is known to be; its drops and its interface are not known.
    pub(crate) fn of(connection: Connection) -> Option<Self> {
        (connection.state == State::Listen).then_some(Self {
            local: connection.local,
            interface: None,
            accept_queue: connection.receive_queue,
            backlog: connection.send_queue,
            drops: None,
            uid: connection.uid,
            inode: connection.inode,
            cgroup: connection.cgroup,
        })
    }

    /// Its accept queue; `None` if the source does not know the backlog.
    pub fn queue(&self) -> Option<AcceptQueue> {
        self.backlog.map(|backlog| AcceptQueue {
            length: self.accept_queue,
            backlog,
        })
    }
}

/// Whose a listening socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owner {
    /// The port that it listens at.
    pub port: u16,
    /// The ID of its cgroup, as in [`Listener::cgroup`].
    pub cgroup: Option<u64>,
    /// Its inode, as in [`Listener::inode`].
    pub inode: Option<u64>,
}

impl Owner {
    /// The owner of a socket that listens.
    pub(crate) fn of(connection: &Connection, cgroup: Option<u64>) -> Self {
        Self {
            port: connection.local.port(),
            cgroup,
            inode: connection.inode,
        }
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Interface {
    /// Its index in the listener's network namespace.
    pub index: u32,
    /// Its name there. `None` if it could not be found out, or if the interface is gone.
    pub name: Option<String>,
}

/// Every listening socket of a network namespace, and the source that listed them.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listeners {
    /// The listeners, by port, address and inode in ascending order.
    pub listeners: Vec<Listener>,
    /// The source that answered.
    pub source: Source,
    /// The file of IPv6 that a saved sample does not have: only IPv4 is listed then.
    pub missing: Option<PathBuf>,
    /// The sources that were tried before it, and could not answer.
    pub tried: Vec<Attempt>,
}
