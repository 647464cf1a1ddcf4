// SPDX-License-Identifier: GPL-2.0-only

//! Listeners at specified addresses, sockets at the same ports and other addresses, and how many of
//! them each listener has.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tcpstat_census::state::State;

use crate::sockets::{repaired_between, set_tcp_option, wait_for};

/// The sockets, until this is dropped.
pub struct AtAddresses {
    _listeners: Vec<Socket>,
    _connections: Vec<Socket>,
}

/// The states of which there are sockets beside `LISTEN`, in the order of the numbers below.
pub const STATES: [State; 3] = [State::Established, State::SynRecv, State::TimeWait];

/// Each port with the number of its sockets in each of [`STATES`].
pub const COUNTS: [(u16, [u64; 3]); 9] = [
    (7103, [2, 0, 1]),
    (7104, [2, 0, 0]),
    (7105, [1, 0, 1]),
    (7106, [3, 0, 0]),
    // The listener takes IPv6 alone, which procfs does not know.
    (ONLY_V6, [1, 0, 0]),
    // Listeners at nine addresses.
    (7108, [3, 0, 0]),
    // Requests, which are sockets of another kind, as those in TIME_WAIT are.
    (7110, [0, 1, 0]),
    (7111, [0, 1, 0]),
    // Listeners that share the port, two of them at one address.
    (7112, [2, 0, 0]),
];

/// The port at which procfs counts more.
pub const ONLY_V6: u16 = 7107;

/// How many more established connections procfs counts there.
pub const PROCFS_MORE: u64 = 1;

/// The number of sockets that no listener has, in each of [`STATES`].
pub const OTHER: [u64; 3] = [8, 0, 2];

const LISTENERS: [(&str, bool); 10] = [
    ("127.0.0.1:7103", false),
    ("0.0.0.0:7104", false),
    ("[::1]:7105", false),
    ("[::]:7106", false),
    ("[::]:7107", true),
    ("127.0.0.1:7110", false),
    ("[::1]:7111", false),
    ("127.0.0.1:7112", false),
    ("127.0.0.1:7112", false),
    ("127.0.0.2:7112", false),
];

const ENDS: [(&str, &str); 20] = [
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
    ("127.0.0.1:7112", V4),
    ("127.0.0.2:7112", V4),
    ("127.0.0.88:7112", V4),
];

const V4: &str = "127.0.0.9:5432";
const V6: &str = "[::1]:5432";
const MAPPED: &str = "[::ffff:127.0.0.9]:5433";

/// Listeners, and from where a connection is made to each: from an address at a port that another
/// has, or from anywhere. The end that has an address here is in TIME_WAIT in the end, or else the
/// listener's.
const ENDED: [(&str, Option<&str>); 4] = [
    ("127.0.0.1:7103", None),
    ("127.0.0.1:7103", Some("127.0.0.88:7112")),
    ("[::1]:7105", None),
    ("[::1]:7105", Some("[::1]:7112")),
];

/// The listeners that have a request.
const REQUESTED: [&str; 2] = ["127.0.0.1:7110", "[::1]:7111"];

impl AtAddresses {
    /// Makes them in this network namespace, which has none.
    pub fn new() -> io::Result<Self> {
        let nine = (1..=9).map(|last| (format!("127.0.0.{last}:7108"), false));
        let listeners = LISTENERS.map(|(text, v6only)| (text.to_owned(), v6only));
        let listeners = listeners
            .into_iter()
            .chain(nine)
            .map(|(text, v6only)| listen(address(&text)?, v6only))
            .collect::<io::Result<Vec<_>>>()?;
        // First, since their ends are at addresses that others have in the end.
        for (at, from) in ENDED {
            let from = from.map(address).transpose()?;
            connect_and_close(find(&listeners, address(at)?)?, from)?;
        }
        let connect = |(from, to)| repaired_between(Some(address(from)?), address(to)?);
        let mut connections = ENDS
            .into_iter()
            .map(connect)
            .collect::<io::Result<Vec<_>>>()?;
        for at in REQUESTED {
            let client = stream(address(at)?)?;
            client.connect(&address(at)?.into())?;
            connections.push(client);
        }
        Ok(Self {
            _listeners: listeners,
            _connections: connections,
        })
    }
}

fn address(text: &str) -> io::Result<SocketAddr> {
    text.parse().map_err(io::Error::other)
}

/// A socket of the family of `address`.
fn stream(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(address), Type::STREAM, None)
}

/// A listener at `address`. It accepts no connection that has not sent anything, if it is one of
/// [`REQUESTED`].
fn listen(address: SocketAddr, v6only: bool) -> io::Result<Socket> {
    let socket = stream(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(v6only)?;
    }
    if REQUESTED.contains(&address.to_string().as_str()) {
        set_tcp_option(&socket, libc::TCP_DEFER_ACCEPT, 120)?;
    }
    socket.set_reuse_port(address.port() == 7112)?;
    socket.bind(&address.into())?;
    socket.listen(16)?;
    Ok(socket)
}

fn find(listeners: &[Socket], at: SocketAddr) -> io::Result<&Socket> {
    for listener in listeners {
        if listener.local_addr()?.as_socket() == Some(at) {
            return Ok(listener);
        }
    }
    Err(io::Error::other(format!("there is no listener at {at}")))
}

/// Makes a connection to `listener` and closes it: first its end that is at `from`, which is then
/// in TIME_WAIT, or else the listener's.
fn connect_and_close(listener: &Socket, from: Option<SocketAddr>) -> io::Result<()> {
    let to = listener.local_addr()?;
    let client = stream(to.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?)?;
    if let Some(from) = from {
        // The port has listeners that share it, at other addresses or of another family.
        client.set_reuse_port(true)?;
        client.bind(&from.into())?;
    }
    client.connect(&to)?;
    let (server, _) = listener.accept()?;
    let (first, second) = match from {
        Some(_) => (client, server),
        None => (server, client),
    };
    first.shutdown(std::net::Shutdown::Write)?;
    wait_for(&first, State::FinWait2)?;
    second.shutdown(std::net::Shutdown::Write)?;
    wait_for(&first, State::Close)?;
    wait_for(&second, State::Close)
}
