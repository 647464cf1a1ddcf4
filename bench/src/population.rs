// SPDX-License-Identifier: GPL-2.0-only

//! Up to a million sockets in this network namespace, held by several processes, since a process
//! has a limit of open files.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;

use socket2::{Domain, Socket, Type};
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;
use tcpstat_tests::holder::{self, Holder};
use tcpstat_tests::limits::allow_many_files;
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Mix, repaired_between};

use crate::outcome::Outcome;

/// Descriptors that a process needs besides its sockets.
const SPARE: u64 = 100;

/// One of this many connections is IPv6.
const ONE_IN_V6: u64 = 4;

/// Whose connections they are, which decides their order in the kernel's hash table: the local port
/// is added to the hash of the other parts (`inet_ehashfn`), so that consecutive local ports are in
/// consecutive buckets.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Role {
    /// One local port and a remote address for each connection: in no order.
    Server,
    /// Fifty thousand consecutive local ports for each remote address.
    Client,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Server => "server",
            Role::Client => "client",
        }
    }
}

/// The sockets, and their correct counts.
pub(crate) struct Population {
    role: Role,
    holders: Vec<Holder>,
    expected: Counts,
    established: u64,
    per_holder: u64,
}

impl Population {
    /// No sockets yet.
    pub(crate) fn new(role: Role) -> Outcome<Population> {
        Ok(Population {
            role,
            holders: Vec::new(),
            expected: Counts::ZERO,
            established: 0,
            per_holder: allow_many_files()? - SPARE,
        })
    }

    /// The correct counts of this namespace.
    pub(crate) fn expected(&self) -> Counts {
        self.expected
    }

    /// Adds connections until there are `total` sockets.
    pub(crate) fn grow_to(&mut self, total: u64) -> Outcome {
        let mut missing = total.saturating_sub(self.expected.total());
        let mut started = Vec::new();
        while missing > 0 {
            let count = missing.min(self.per_holder);
            started.push(Holder::start(&[
                "hold-established",
                self.role.name(),
                &self.established.to_string(),
                &count.to_string(),
            ])?);
            self.established += count;
            missing -= count;
        }
        started.into_iter().try_for_each(|holder| self.keep(holder))
    }

    /// Adds `each` connections in each of `count` new network namespaces. They are not in the
    /// counts, which are those of this one.
    pub(crate) fn spread(&mut self, count: u64, each: u64) -> Outcome {
        let (role, each) = (self.role.name(), each.to_string());
        let start = || -> io::Result<Holder> {
            netns::enter_new()?;
            // From 1: a listener is none of them.
            Holder::start(&["hold-established", role, "1", &each])
        };
        for _ in 0..count {
            // A process starts in the namespace of the thread that starts it.
            let started = thread::scope(|scope| scope.spawn(start).join());
            let mut holder = started.map_err(|_| "a thread panicked")??;
            holder.wait_until_ready()?;
            self.holders.push(holder);
        }
        Ok(())
    }

    /// Adds sockets in several states.
    pub(crate) fn add(&mut self, mix: &Mix) -> Outcome {
        self.keep(Holder::start(&["hold-mix", &mix.to_string()])?)
    }

    /// Waits until the holder's sockets exist, and adds them to the counts.
    fn keep(&mut self, mut holder: Holder) -> Outcome {
        holder.wait_until_ready()?;
        self.expected = [self.expected, holder.expected].into_iter().sum();
        self.holders.push(holder);
        Ok(())
    }
}

impl Drop for Population {
    fn drop(&mut self) {
        // All at once: closing their sockets takes long.
        self.holders.iter_mut().for_each(Holder::kill);
    }
}

/// The port of a server's connections.
const SERVER: u16 = 8443;

/// How many consecutive ports are used.
pub(crate) const PORTS: u64 = 50_000;

/// Makes and holds `count` connections from the `from`th on: `ESTABLISHED` at once, without a
/// packet and without another end. The first of all is the listener instead.
pub(crate) fn hold_established(role: Role, from: u64, count: u64) -> Outcome {
    allow_many_files()?;
    let _sockets: Vec<Socket> = (from..from + count)
        .map(|nth| {
            if nth == 0 {
                listener()
            } else {
                established(role, nth)
            }
        })
        .collect::<io::Result<_>>()
        .map_err(|e| format!("making {count} connections: {e}"))?;
    let mut counts = Counts::ZERO;
    let listeners = u64::from(from == 0 && count > 0);
    counts.set(State::Listen, listeners);
    counts.set(State::Established, count - listeners);
    Ok(holder::hold(&counts)?)
}

/// Makes and holds the sockets of a [`Mix`].
pub(crate) fn hold_mix(mix: &str) -> Outcome {
    let fixture = mix.parse::<Mix>()?.make()?;
    Ok(holder::hold(&fixture.expected())?)
}

/// The server's listener for both families.
fn listener() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    // Another process may already have connections of this port.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, SERVER)).into())?;
    socket.listen(4096)?;
    Ok(socket)
}

/// The `nth` connection. No other has the same local port and remote address.
fn established(role: Role, nth: u64) -> io::Result<Socket> {
    let v6 = nth % ONE_IN_V6 == ONE_IN_V6 - 1;
    // Only ::1 is routed here, so IPv6 connections differ in the ports only.
    let (own, peer_ip, peer) = match (role, v6) {
        (Role::Server, false) => (SERVER.into(), nth / 16, 40_000 + nth % 16),
        (Role::Server, true) => {
            let nth = nth / ONE_IN_V6;
            (u64::from(SERVER) + nth / PORTS, 0, 10_000 + nth % PORTS)
        }
        (Role::Client, false) => (10_000 + nth % PORTS, nth / PORTS, 443),
        (Role::Client, true) => {
            let nth = nth / ONE_IN_V6;
            (10_000 + nth % PORTS, 0, 443 + nth / PORTS)
        }
    };
    let address = |ip: IpAddr, number| Ok::<_, io::Error>(SocketAddr::new(ip, port(number)?));
    let (own, peer) = if v6 {
        let ip = Ipv6Addr::LOCALHOST.into();
        (address(ip, own)?, address(ip, peer)?)
    } else {
        let peer_ip = u32::from(Ipv4Addr::new(127, 1, 0, 0)) + peer_ip as u32;
        (
            address(Ipv4Addr::LOCALHOST.into(), own)?,
            address(Ipv4Addr::from(peer_ip).into(), peer)?,
        )
    };
    repaired_between(Some(own), peer)
}

fn port(number: u64) -> io::Result<u16> {
    u16::try_from(number).map_err(io::Error::other)
}
