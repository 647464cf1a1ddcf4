// SPDX-License-Identifier: GPL-2.0-only

//! Listeners at specified addresses, connections at the same ports and other addresses, and how many
//! connections each listener has.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

use crate::sockets::repaired_between;

/// The sockets, until this is dropped.
pub struct AtAddresses {
    _listeners: Vec<TcpListener>,
    _connections: Vec<Socket>,
}

/// Each port with the number of its connections.
pub const CONNECTIONS: [(u16, u64); 6] = [
    (7103, 2),
    (7104, 2),
    (7105, 1),
    (7106, 3),
    // The listener takes IPv6 alone, which procfs does not know.
    (7107, 1),
    // Listeners at nine addresses.
    (7108, 3),
];

/// How many more connections procfs counts for the port 7107.
pub const PROCFS_MORE: u64 = 1;

/// The number of connections that no listener has.
pub const OTHER: u64 = 5;

const LISTENERS: [(&str, bool); 5] = [
    ("127.0.0.1:7103", false),
    ("0.0.0.0:7104", false),
    ("[::1]:7105", false),
    ("[::]:7106", false),
    ("[::]:7107", true),
];

const ENDS: [(&str, &str); 17] = [
    ("127.0.0.1:7103", V4),
    ("[::ffff:127.0.0.1]:7103", MAPPED),
    ("127.0.0.88:7103", V4),
    ("[::1]:7103", V6),
    ("127.0.0.88:7104", V4),
    ("[::ffff:127.0.0.88]:7104", MAPPED),
    ("[::1]:7104", V6),
    ("127.0.0.88:7105", V4),
    ("[::1]:7105", V6),
    ("127.0.0.88:7106", V4),
    ("[::1]:7106", V6),
    ("[::ffff:127.0.0.88]:7106", MAPPED),
    ("[::1]:7107", V6),
    ("127.0.0.88:7107", V4),
    ("127.0.0.1:7108", V4),
    ("127.0.0.88:7108", V4),
    ("[::1]:7108", V6),
];

const V4: &str = "127.0.0.9:5432";
const V6: &str = "[::1]:5432";
const MAPPED: &str = "[::ffff:127.0.0.9]:5433";

impl AtAddresses {
    /// Makes them in this network namespace, which has none.
    pub fn new() -> io::Result<Self> {
        let address = |text: &str| text.parse::<SocketAddr>().map_err(io::Error::other);
        let nine = (1..=9).map(|last| (format!("127.0.0.{last}:7108"), false));
        let listeners = LISTENERS.map(|(text, v6only)| (text.to_owned(), v6only));
        let listeners = listeners
            .into_iter()
            .chain(nine)
            .map(|(text, v6only)| listen(address(&text)?, v6only));
        let listeners = listeners.collect::<io::Result<_>>()?;
        let connect = |(from, to)| repaired_between(Some(address(from)?), address(to)?);
        Ok(Self {
            _listeners: listeners,
            _connections: ENDS.into_iter().map(connect).collect::<io::Result<_>>()?,
        })
    }
}

fn listen(address: SocketAddr, v6only: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(v6only)?;
    }
    socket.bind(&address.into())?;
    socket.listen(16)?;
    Ok(socket.into())
}
