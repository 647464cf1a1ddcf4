// SPDX-License-Identifier: GPL-2.0-only

//! Ordinary sockets on loopback, brought into every TCP state for real and held there.
//!
//! A [`Mix`] gives the numbers; [`Mix::make`] makes the sockets in the network namespace of the
//! calling thread, waits until the kernel has each in its state, and gives a [`Fixture`] that holds
//! them and has every count, including those of the other ends and of the listeners that were
//! needed.
//!
//! How the states are held: a request socket by `TCP_DEFER_ACCEPT`; a Fast Open child by a client
//! that drops every segment that it receives; a FIN by a closed window, since the other end has a
//! tiny receive buffer that it never reads. The first to change its state is a Fast Open child,
//! which gives up after about a minute; a time-wait socket stays 60 s, one in `FIN_WAIT2`
//! `tcp_fin_timeout` (60 s).

use std::fmt;
use std::io::{self, Write as _};
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, SockAddr, SockFilter, Socket, Type};
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use crate::limits::allow_many_files;
use crate::netns;

/// The time limit of each step. Generous, since an emulated processor is slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most requests in the queue of a listener: a quarter of its backlog, since a listener whose
/// queue is half full drops old requests early (`reqsk_timer_handler`).
const PER_LISTENER: u32 = 256;

/// The addresses that the sockets use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// 127.0.0.1.
    #[default]
    V4,
    /// ::1.
    V6,
    /// ::ffff:127.0.0.1: IPv6 sockets of IPv4 connections, listed in `/proc/net/tcp6`.
    V4Mapped,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 3] = [Family::V4, Family::V6, Family::V4Mapped];

    fn any_port(self) -> SocketAddr {
        let ip: IpAddr = match self {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
            Family::V4Mapped => Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
        };
        SocketAddr::new(ip, 0)
    }

    fn socket(self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.any_port()), Type::STREAM, None)?;
        if self != Family::V4 {
            socket.set_only_v6(false)?;
        }
        // These also limit connect() and accept().
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket)
    }
}

/// How many sockets to make in each state. The others that these need (the other ends, listeners)
/// are counted in [`Fixture::expected`] only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    /// The addresses that they use.
    pub family: Family,
    /// `LISTEN`: half of them with a port each, the others at one port by `SO_REUSEPORT`.
    pub listen: u32,
    /// `SYN_SENT`: the queue of the listener is full.
    pub syn_sent: u32,
    /// `SYN_RECV` as a request socket. The other end is `ESTABLISHED`.
    pub syn_recv_request: u32,
    /// `SYN_RECV` as a full socket, the child of a Fast Open request. The other end is `SYN_SENT`.
    pub syn_recv_fastopen: u32,
    /// `ESTABLISHED` pairs: each is two sockets.
    pub established: u32,
    /// `FIN_WAIT1`: the FIN waits behind a closed window. The other end is `ESTABLISHED`.
    pub fin_wait1: u32,
    /// `FIN_WAIT2` as a full socket, after `shutdown`. The other end is `CLOSE_WAIT`.
    pub fin_wait2_full: u32,
    /// `FIN_WAIT2` as a time-wait socket, after `close`. The other end is `CLOSE_WAIT`.
    pub fin_wait2_timewait: u32,
    /// `TIME_WAIT`. The other end is gone.
    pub time_wait: u32,
    /// `CLOSE_WAIT`. The other end is `FIN_WAIT2`.
    pub close_wait: u32,
    /// `LAST_ACK`: the FIN waits behind a closed window. The other end is `FIN_WAIT2`.
    pub last_ack: u32,
    /// `CLOSING`: both closed at once, and the FIN of this one waits behind a closed window. The
    /// other end is `FIN_WAIT2`.
    pub closing: u32,
    /// Bound to a port and otherwise unused: not counted.
    pub bound_unused: u32,
    /// Not even bound: not counted.
    pub unconnected: u32,
}

impl Mix {
    /// `count` of everything.
    pub fn of_each(family: Family, count: u32) -> Mix {
        let mut mix = Mix {
            family,
            ..Mix::default()
        };
        for (_, field) in mix.fields() {
            *field = count;
        }
        mix
    }

    /// Up to `most` of each, pseudo-random: the same seed gives the same mix.
    pub fn random(seed: u64, most: u32) -> Mix {
        // splitmix64, for which every seed is good.
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut mix = Mix {
            family: Family::ALL[(next() % 3) as usize],
            ..Mix::default()
        };
        for (_, field) in mix.fields() {
            *field = (next() % (u64::from(most) + 1)) as u32;
        }
        mix
    }

    /// The counts by the names of the fields.
    fn fields(&mut self) -> [(&'static str, &mut u32); 14] {
        [
            ("listen", &mut self.listen),
            ("syn_sent", &mut self.syn_sent),
            ("syn_recv_request", &mut self.syn_recv_request),
            ("syn_recv_fastopen", &mut self.syn_recv_fastopen),
            ("established", &mut self.established),
            ("fin_wait1", &mut self.fin_wait1),
            ("fin_wait2_full", &mut self.fin_wait2_full),
            ("fin_wait2_timewait", &mut self.fin_wait2_timewait),
            ("time_wait", &mut self.time_wait),
            ("close_wait", &mut self.close_wait),
            ("last_ack", &mut self.last_ack),
            ("closing", &mut self.closing),
            ("bound_unused", &mut self.bound_unused),
            ("unconnected", &mut self.unconnected),
        ]
    }

    /// Makes the sockets, and waits until the kernel has each in its state.
    ///
    /// To be called in a new namespace, since it turns on Fast Open for the namespace's servers if
    /// it needs it.
    pub fn make(&self) -> io::Result<Fixture> {
        allow_many_files()?;
        let mut maker = Maker {
            family: self.family,
            kept: Vec::new(),
            expected: Counts::ZERO,
        };
        let steps: [(&str, u32, Step); 14] = [
            ("bound, unused", self.bound_unused, Maker::bound_unused),
            ("unconnected", self.unconnected, Maker::unconnected),
            ("LISTEN", self.listen, Maker::listen),
            ("ESTABLISHED", self.established, Maker::established),
            ("FIN_WAIT1", self.fin_wait1, Maker::fin_wait1),
            ("FIN_WAIT2", self.fin_wait2_full, Maker::fin_wait2_full),
            ("CLOSE_WAIT", self.close_wait, Maker::close_wait),
            ("LAST_ACK", self.last_ack, Maker::last_ack),
            ("CLOSING", self.closing, Maker::closing),
            ("SYN_SENT", self.syn_sent, Maker::syn_sent),
            // The states that a timer ends come last.
            (
                "SYN_RECV, request",
                self.syn_recv_request,
                Maker::syn_recv_request,
            ),
            (
                "SYN_RECV, Fast Open",
                self.syn_recv_fastopen,
                Maker::syn_recv_fastopen,
            ),
            (
                "FIN_WAIT2, time-wait",
                self.fin_wait2_timewait,
                Maker::fin_wait2_timewait,
            ),
            ("TIME_WAIT", self.time_wait, Maker::time_wait),
        ];
        for (name, count, step) in steps {
            if count > 0 {
                step(&mut maker, count).map_err(|e| {
                    io::Error::new(
                        e.kind(),
                        format!("making {count} × {name} ({:?}): {e}", self.family),
                    )
                })?;
            }
        }
        let fixture = Fixture {
            sockets: maker.kept,
            expected: maker.expected,
        };
        fixture.check()?;
        Ok(fixture)
    }
}

/// The mix as words that [`FromStr`](std::str::FromStr) reads: `V6 listen=2 established=3`.
impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.family)?;
        let mut mix = *self;
        for (name, count) in mix.fields() {
            if *count > 0 {
                write!(f, " {name}={count}")?;
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let mut mix = Mix::default();
        for word in text.split_whitespace() {
            if let Some(family) = Family::ALL
                .into_iter()
                .find(|family| format!("{family:?}") == word)
            {
                mix.family = family;
                continue;
            }
            let (name, count) = word
                .split_once('=')
                .ok_or_else(|| format!("no count in {word:?}"))?;
            let count = count
                .parse()
                .map_err(|_| format!("no number in {word:?}"))?;
            match mix.fields().into_iter().find(|(field, _)| *field == name) {
                Some((_, field)) => *field = count,
                None => return Err(format!("no state is called {name:?}")),
            }
        }
        Ok(mix)
    }
}

/// Sockets that are held in their states as long as this lives.
///
/// Dropping it closes them in order, which leaves time-wait sockets in the namespace.
pub struct Fixture {
    /// The sockets that have a descriptor, each with its state.
    sockets: Vec<(Socket, State)>,
    expected: Counts,
}

impl Fixture {
    /// The correct counts of this namespace, if it has no other sockets than this fixture's.
    pub fn expected(&self) -> Counts {
        self.expected
    }

    /// An error if a socket that has a descriptor is not in its state (any longer).
    pub fn check(&self) -> io::Result<()> {
        self.sockets
            .iter()
            .try_for_each(|(socket, state)| wait_for(socket, *state))
    }
}

/// A socket that is `ESTABLISHED` at once and without a packet, by `TCP_REPAIR`: the other end does
/// not exist. Without `from` the kernel chooses the local port.
///
/// Needs `CAP_NET_ADMIN`. Dropping it sends no packet and leaves no time-wait socket.
pub fn repaired_between(from: Option<SocketAddr>, to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    setsockopt(&socket, sockopt::TcpRepair, &1)?;
    if let Some(from) = from {
        socket.bind(&from.into())?;
    }
    socket.connect(&to.into())?;
    Ok(socket)
}

/// `count` sockets as [`repaired_between`] makes them, half of them IPv4, half of them IPv6.
pub fn repaired(count: u32) -> io::Result<Vec<Socket>> {
    allow_many_files()?;
    (0..count)
        .map(|i| {
            let family = if i % 2 == 0 { Family::V4 } else { Family::V6 };
            // 20,000 of a family share a remote port, so that the local ports suffice.
            let port = u16::try_from(10_000 + i / 40_000).map_err(io::Error::other)?;
            let mut to = family.any_port();
            to.set_port(port);
            repaired_between(None, to)
        })
        .collect()
}

/// Makes a number of sockets in one state.
type Step = fn(&mut Maker, u32) -> io::Result<()>;

/// The sockets made so far.
struct Maker {
    family: Family,
    kept: Vec<(Socket, State)>,
    expected: Counts,
}

impl Maker {
    /// Keeps `socket`, which is or will be in `state` and counts as that.
    fn keep(&mut self, socket: Socket, state: State) {
        self.kept.push((socket, state));
        self.count(state);
    }

    /// Counts a socket that has no descriptor.
    fn count(&mut self, state: State) {
        self.expected.add_one(state);
    }

    fn bound(&self) -> io::Result<Socket> {
        let socket = self.family.socket()?;
        socket.bind(&self.family.any_port().into())?;
        Ok(socket)
    }

    fn listener(&self, backlog: u32) -> io::Result<Socket> {
        let socket = self.bound()?;
        socket.listen(backlog as i32)?;
        Ok(socket)
    }

    /// A listener whose children close their window after very little data.
    fn tight_listener(&self) -> io::Result<Socket> {
        let socket = self.bound()?;
        // The kernel makes this its minimum; children inherit it.
        socket.set_recv_buffer_size(1)?;
        socket.listen(1)?;
        Ok(socket)
    }

    /// A connection to `listener`: the client's end, and the server's.
    fn pair(&self, listener: &Socket) -> io::Result<(Socket, Socket)> {
        let client = self.family.socket()?;
        client.connect(&listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        wait_for(&server, State::Established)?;
        Ok((client, server))
    }

    /// A connection whose client has sent more than the server's buffer takes.
    fn stuffed_pair(&self, listener: &Socket) -> io::Result<(Socket, Socket)> {
        let (client, server) = self.pair(listener)?;
        client.set_send_buffer_size(32 * 1024)?;
        client.set_nonblocking(true)?;
        loop {
            match (&client).write(&[0; 4096]) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok((client, server)),
                Err(e) => return Err(e),
            }
        }
    }

    fn bound_unused(&mut self, count: u32) -> io::Result<()> {
        for _ in 0..count {
            let socket = self.bound()?;
            self.kept.push((socket, State::Close));
        }
        Ok(())
    }

    fn unconnected(&mut self, count: u32) -> io::Result<()> {
        for _ in 0..count {
            let socket = self.family.socket()?;
            self.kept.push((socket, State::Close));
        }
        Ok(())
    }

    fn listen(&mut self, count: u32) -> io::Result<()> {
        let separate = count / 2;
        for _ in 0..separate {
            let socket = self.listener(16)?;
            self.keep(socket, State::Listen);
        }
        let mut address: SockAddr = self.family.any_port().into();
        for _ in separate..count {
            let socket = self.family.socket()?;
            socket.set_reuse_port(true)?;
            socket.bind(&address)?;
            socket.listen(16)?;
            address = socket.local_addr()?;
            self.keep(socket, State::Listen);
        }
        Ok(())
    }

    fn established(&mut self, count: u32) -> io::Result<()> {
        let listener = self.listener(16)?;
        for _ in 0..count {
            let (client, server) = self.pair(&listener)?;
            self.keep(client, State::Established);
            self.keep(server, State::Established);
        }
        Ok(())
    }

    fn syn_sent(&mut self, count: u32) -> io::Result<()> {
        // A backlog of 0 has room for one connection. After that, requests are dropped unanswered.
        let listener = self.listener(0)?;
        let filler = self.family.socket()?;
        filler.connect(&listener.local_addr()?)?;
        wait_until("the queue of the listener to be full", || {
            Ok(readable(&listener)?.then_some(()))
        })?;
        self.keep(filler, State::Established);
        // The filler's other end, in the queue.
        self.count(State::Established);
        for _ in 0..count {
            let client = self.family.socket()?;
            client.set_nonblocking(true)?;
            in_progress(client.connect(&listener.local_addr()?))?;
            self.keep(client, State::SynSent);
        }
        self.keep(listener, State::Listen);
        Ok(())
    }

    fn syn_recv_request(&mut self, count: u32) -> io::Result<()> {
        for chunk in chunks(count) {
            let listener = self.bound()?;
            // The seconds for which a request waits for data before its ACK is accepted without
            // data.
            set_tcp_option(&listener, libc::TCP_DEFER_ACCEPT, 120)?;
            listener.listen(4 * PER_LISTENER as i32)?;
            for _ in 0..chunk {
                let client = self.family.socket()?;
                client.connect(&listener.local_addr()?)?;
                self.keep(client, State::Established);
                self.count(State::SynRecv);
            }
            self.keep(listener, State::Listen);
        }
        Ok(())
    }

    fn syn_recv_fastopen(&mut self, count: u32) -> io::Result<()> {
        // Bit 0 for clients, bit 1 for servers (Documentation/networking/ip-sysctl.rst).
        let allowed = netns::sysctl("net/ipv4/tcp_fastopen")?;
        let allowed = u32::from_str_radix(
            allowed.trim_start_matches("0x"),
            if allowed.contains('x') { 16 } else { 10 },
        )
        .map_err(|_| io::Error::other(format!("net/ipv4/tcp_fastopen is {allowed:?}")))?;
        netns::set_sysctl("net/ipv4/tcp_fastopen", &(allowed | 3).to_string())?;
        for chunk in chunks(count) {
            let listener = self.bound()?;
            set_tcp_option(&listener, libc::TCP_FASTOPEN, 4 * PER_LISTENER as i32)?;
            set_tcp_option(&listener, libc::TCP_FASTOPEN_NO_COOKIE, 1)?;
            listener.listen(4 * PER_LISTENER as i32)?;
            for _ in 0..chunk {
                let client = self.family.socket()?;
                set_tcp_option(&client, libc::TCP_FASTOPEN_NO_COOKIE, 1)?;
                // `ret 0` drops every segment: the SYN-ACK does not arrive and is not acknowledged.
                client.attach_filter(&[SockFilter::new(
                    (libc::BPF_RET | libc::BPF_K) as u16,
                    0,
                    0,
                    0,
                )])?;
                client.set_nonblocking(true)?;
                in_progress(
                    client
                        .send_to_with_flags(b"?", &listener.local_addr()?, libc::MSG_FASTOPEN)
                        .map(drop),
                )?;
                let (child, _) = listener.accept()?;
                self.keep(client, State::SynSent);
                self.keep(child, State::SynRecv);
            }
            self.keep(listener, State::Listen);
        }
        Ok(())
    }

    fn fin_wait1(&mut self, count: u32) -> io::Result<()> {
        let listener = self.tight_listener()?;
        for _ in 0..count {
            let (client, server) = self.stuffed_pair(&listener)?;
            shut(&client)?;
            self.keep(client, State::FinWait1);
            self.keep(server, State::Established);
        }
        Ok(())
    }

    fn fin_wait2_full(&mut self, count: u32) -> io::Result<()> {
        let listener = self.listener(16)?;
        for _ in 0..count {
            let (client, server) = self.pair(&listener)?;
            shut(&client)?;
            wait_for(&server, State::CloseWait)?;
            self.keep(client, State::FinWait2);
            self.keep(server, State::CloseWait);
        }
        Ok(())
    }

    fn close_wait(&mut self, count: u32) -> io::Result<()> {
        let listener = self.listener(16)?;
        for _ in 0..count {
            let (client, server) = self.pair(&listener)?;
            shut(&server)?;
            wait_for(&client, State::CloseWait)?;
            self.keep(client, State::CloseWait);
            self.keep(server, State::FinWait2);
        }
        Ok(())
    }

    fn last_ack(&mut self, count: u32) -> io::Result<()> {
        let listener = self.tight_listener()?;
        for _ in 0..count {
            let (client, server) = self.stuffed_pair(&listener)?;
            shut(&server)?;
            wait_for(&client, State::CloseWait)?;
            shut(&client)?;
            self.keep(client, State::LastAck);
            self.keep(server, State::FinWait2);
        }
        Ok(())
    }

    fn closing(&mut self, count: u32) -> io::Result<()> {
        let listener = self.tight_listener()?;
        for _ in 0..count {
            let (client, server) = self.stuffed_pair(&listener)?;
            // The server closes before the client's FIN reaches it, so that for the client both
            // closed at once.
            shut(&client)?;
            wait_for(&client, State::FinWait1)?;
            shut(&server)?;
            self.keep(client, State::Closing);
            self.keep(server, State::FinWait2);
        }
        Ok(())
    }

    fn fin_wait2_timewait(&mut self, count: u32) -> io::Result<()> {
        let listener = self.listener(16)?;
        for _ in 0..count {
            let (client, server) = self.pair(&listener)?;
            shut(&client)?;
            wait_for(&client, State::FinWait2)?;
            drop(client);
            self.count(State::FinWait2);
            self.keep(server, State::CloseWait);
        }
        Ok(())
    }

    fn time_wait(&mut self, count: u32) -> io::Result<()> {
        let listener = self.listener(16)?;
        for _ in 0..count {
            let (client, server) = self.pair(&listener)?;
            shut(&client)?;
            wait_for(&client, State::FinWait2)?;
            shut(&server)?;
            // The time-wait socket replaces the client's socket in the table, whose descriptor then
            // is in CLOSE.
            wait_for(&client, State::Close)?;
            wait_for(&server, State::Close)?;
            self.count(State::TimeWait);
        }
        Ok(())
    }
}

/// `count` in parts of at most [`PER_LISTENER`].
fn chunks(count: u32) -> impl Iterator<Item = u32> {
    (0..count)
        .step_by(PER_LISTENER as usize)
        .map(move |done| PER_LISTENER.min(count - done))
}

fn shut(socket: &Socket) -> io::Result<()> {
    socket.shutdown(std::net::Shutdown::Write)
}

/// Accepts EINPROGRESS, with which a nonblocking connect "fails".
fn in_progress(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other,
    }
}

/// Whether `socket` has something to read or to accept.
fn readable(socket: &Socket) -> io::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
}

/// Waits until `socket` is in `state`.
pub(crate) fn wait_for(socket: &Socket, state: State) -> io::Result<()> {
    let mut last = None;
    wait_until("", || {
        last = Some(state_of(socket)?);
        Ok((last == Some(state.code())).then_some(()))
    })
    .map_err(|e| match last {
        Some(code) if e.kind() == io::ErrorKind::TimedOut => {
            let is = State::from_code(code).map_or("no state", State::name);
            io::Error::new(
                e.kind(),
                format!("a socket that should be {} is {is}", state.name()),
            )
        }
        _ => e,
    })
}

/// Repeats `ask` until it gives an answer, for at most [`PATIENCE`].
fn wait_until<T>(what: &str, mut ask: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if start.elapsed() > PATIENCE {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("timed out waiting for {what}"),
            ));
        }
        sleep(Duration::from_millis(1));
    }
}

/// The kernel's number of the state that `socket` is in (`TCP_INFO`, tcp(7)).
fn state_of(socket: &Socket) -> io::Result<u8> {
    // SAFETY: `tcp_info` is plain numbers; all zeros is a valid value of it.
    let mut info: libc::tcp_info = unsafe { zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `info`, and both live until the call
    // returns.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info.tcpi_state)
}

/// Sets an option of tcp(7) whose value is an `int`.
pub(crate) fn set_tcp_option(
    socket: &Socket,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the kernel reads one `int` from `value`, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result != 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_can_be_printed_and_parsed() {
        for seed in 0..50 {
            let mix = Mix::random(seed, 9);
            assert_eq!(mix.to_string().parse(), Ok(mix));
        }
        assert!("listen".parse::<Mix>().is_err());
        assert!("listening=3".parse::<Mix>().is_err());
        assert!("listen=-3".parse::<Mix>().is_err());
    }

    #[test]
    fn parts_add_up() {
        for count in [0, 1, 255, 256, 257, 1000] {
            assert_eq!(chunks(count).sum::<u32>(), count);
            assert!(chunks(count).all(|part| (1..=PER_LISTENER).contains(&part)));
        }
    }
}
