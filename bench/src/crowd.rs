// SPDX-License-Identifier: GPL-2.0-only

//! A great many sockets in this network namespace, held by processes of their own, since one process may not have
//! so many descriptors.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
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

/// The sockets, and what any correct count of them gives.
pub(crate) struct Crowd {
    holders: Vec<Child>,
    expected: Counts,
    established: u64,
    per_holder: u64,
}

impl Crowd {
    /// Nobody yet.
    pub(crate) fn new() -> Outcome<Crowd> {
        Ok(Crowd {
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

/// The port of the connections, where most of them have one of this machine's.
const SERVER: u16 = 8443;

/// Holds the connections from the `from`th on: `ESTABLISHED` at once and with nobody, without a packet, by
/// `TCP_REPAIR`. The first of them is the listener that they might be from.
pub(crate) fn hold_established(from: u64, count: u64) -> Outcome {
    allow_descriptors()?;
    let _sockets: Vec<Socket> = (from..from + count)
        .map(|nth| {
            if nth == 0 {
                listener()
            } else {
                established(nth)
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
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, SERVER)).into())?;
    socket.listen(4096)?;
    Ok(socket)
}

/// The `nth` connection: one port of this machine, as a server has it, and a peer that no other has.
fn established(nth: u64) -> io::Result<Socket> {
    let (own, peer) = if nth % ONE_IN_V6 == ONE_IN_V6 - 1 {
        // Only ::1 is routed here, so all difference is in the ports.
        const PORTS: u64 = 50_000;
        let nth = nth / ONE_IN_V6;
        let ip = Ipv6Addr::LOCALHOST;
        let (own, peer) = (u64::from(SERVER) + nth / PORTS, 10_000 + nth % PORTS);
        (
            SocketAddr::new(ip.into(), port(own)?),
            SocketAddr::new(ip.into(), port(peer)?),
        )
    } else {
        const PORTS: u64 = 16;
        let own = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), SERVER);
        let peer = u32::from(Ipv4Addr::new(127, 1, 0, 0)) + (nth / PORTS) as u32;
        (
            own,
            SocketAddr::new(Ipv4Addr::from(peer).into(), port(40_000 + nth % PORTS)?),
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
