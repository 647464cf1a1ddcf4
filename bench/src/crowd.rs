// SPDX-License-Identifier: GPL-2.0-only

//! A great many sockets in this network namespace, held by processes of their own, since one process may not have
//! so many descriptors.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;
use tcpstat_tests::naive;
use tcpstat_tests::sockets::Mix;

use crate::Outcome;

/// Descriptors that a process needs besides its sockets.
const SPARE: u64 = 100;

/// The most descriptors to ask for.
const MOST: u64 = 100_000;

/// Of so many connections, one is IPv6.
const ONE_IN_V6: u64 = 4;

/// Whose connections they are, which decides where the kernel's hash table has them: a local port is added to the hash
/// of everything else (`inet_ehashfn`), so that consecutive ones are in consecutive buckets.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Role {
    /// One local port, and as many peers as connections: in no order.
    Server,
    /// Fifty thousand local ports for each peer, one after the other.
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

/// The sockets, and what any correct count of them gives.
pub(crate) struct Crowd {
    role: Role,
    holders: Vec<Child>,
    expected: Counts,
    established: u64,
    per_holder: u64,
}

impl Crowd {
    /// Nobody yet.
    pub(crate) fn new(role: Role) -> Outcome<Crowd> {
        Ok(Crowd {
            role,
            holders: Vec::new(),
            expected: Counts::ZERO,
            established: 0,
            per_holder: allow_descriptors()? - SPARE,
        })
    }

    /// What there is to count in this namespace.
    pub(crate) fn expected(&self) -> Counts {
        self.expected
    }

    /// Adds connections until there are `total` sockets.
    pub(crate) fn grow_to(&mut self, total: u64) -> Outcome {
        let mut missing = total.saturating_sub(self.expected.total());
        let mut started = Vec::new();
        while missing > 0 {
            let count = missing.min(self.per_holder);
            let words = [
                "hold-established".to_owned(),
                self.role.name().to_owned(),
                self.established.to_string(),
                count.to_string(),
            ];
            started.push(self.start(&words)?);
            self.established += count;
            missing -= count;
        }
        for holder in started {
            self.wait_for(holder)?;
        }
        Ok(())
    }

    /// Adds sockets in several states.
    pub(crate) fn add(&mut self, mix: &Mix) -> Outcome {
        let holder = self.start(&["hold-mix".to_owned(), mix.to_string()])?;
        self.wait_for(holder)
    }

    /// Starts a process that holds sockets; gives its place among the others.
    fn start(&mut self, words: &[String]) -> Outcome<usize> {
        let child = Command::new("/proc/self/exe")
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        self.holders.push(child);
        Ok(self.holders.len() - 1)
    }

    /// Waits until its sockets are there, and counts them in.
    fn wait_for(&mut self, holder: usize) -> Outcome {
        let mut text = String::new();
        if let Some(stdout) = self.holders[holder].stdout.take() {
            for line in BufReader::new(stdout).lines().take(naive::NAMES.len()) {
                text += &(line? + "\n");
            }
        }
        let counts = naive::module_text(&text)
            .map_err(|e| format!("a process that makes sockets failed: {e}"))?;
        for (state, count) in counts.iter() {
            self.expected.set(state, self.expected.get(state) + count);
        }
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            let _ = holder.kill();
        }
        for holder in &mut self.holders {
            let _ = holder.wait();
        }
    }
}

/// Lets this process and its children have as many descriptors as they may; gives how many that is.
fn allow_descriptors() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.max(MOST);
    // Root may raise the hard limit, unless a sandbox says no.
    let allowed = match setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted) {
        Ok(()) => wanted,
        Err(_) => {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
            hard
        }
    };
    Ok(allowed.min(MOST))
}

/// The port of a server's connections.
const SERVER: u16 = 8443;

/// How many ports are used one after the other.
pub(crate) const PORTS: u64 = 50_000;

/// Holds the connections from the `from`th on: `ESTABLISHED` at once and with nobody, without a packet, by
/// `TCP_REPAIR`. The first of them is the listener that they might be from.
pub(crate) fn hold_established(role: Role, from: u64, count: u64) -> Outcome {
    allow_descriptors()?;
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
    hold(&counts)
}

/// Holds the sockets of a [`Mix`].
pub(crate) fn hold_mix(mix: &str) -> Outcome {
    let fixture = mix.parse::<Mix>()?.make()?;
    hold(&fixture.expected())
}

fn hold(counts: &Counts) -> Outcome {
    print!("{counts}");
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The service of both families.
fn listener() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    // Another process may have connections of this port already.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, SERVER)).into())?;
    socket.listen(4096)?;
    Ok(socket)
}

/// The `nth` connection: its own port and its peer, which no other has together.
fn established(role: Role, nth: u64) -> io::Result<Socket> {
    let v6 = nth % ONE_IN_V6 == ONE_IN_V6 - 1;
    // Only ::1 is routed here, so all difference between those is in the ports.
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
    let socket = Socket::new(Domain::for_address(own), Type::STREAM, None)?;
    setsockopt(&socket, sockopt::TcpRepair, &1)?;
    socket.bind(&own.into())?;
    socket.connect(&peer.into())?;
    Ok(socket)
}

fn port(number: u64) -> io::Result<u16> {
    u16::try_from(number).map_err(io::Error::other)
}
