// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's answer over `NETLINK_SOCK_DIAG`: a dump of binary messages, a message for each socket. To count by
//! state, one byte of each is read; to count by port, three.
//!
//! A dump is of all states, or of some; of all ports, or of some.
//!
//! Sources: `include/uapi/linux/inet_diag.h`, `net/ipv4/inet_diag.c` and `tcp_diag.c`, `net/netlink/af_netlink.c`;
//! `netlink(7)` and `sock_diag(7)`.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use netlink_packet_core::{
    NLA_HEADER_SIZE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkBuffer, NlaBuffer, NlasIterator,
};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::by_port::{ByPort, Listener};
use super::filter;
use super::interrupted::retried;
use super::namespace::{Handle, inside};
use super::sockstat::Sockstat;
use crate::connections::Connection;
use crate::connections::Filter;
use crate::error::{Error, errno};
use crate::ports::Ports;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// The kernel fills a datagram of a dump up to 32 KiB, if the reader's buffer takes as much (`netlink_dump`).
const BUFFER: usize = 32 * 1024;

/// The kernel makes each part of the answer while the one before is received, so this is never waited for.
const PATIENCE: TimeVal = TimeVal::new(5, 0);

/// The size of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The size of `struct inet_diag_msg`, and where its members are.
const DIAG_MESSAGE: usize = 72;
const IDIAG_STATE: usize = 1;
const IDIAG_SPORT: usize = 4;
const IDIAG_DPORT: usize = 6;
const IDIAG_SRC: usize = 8;
const IDIAG_DST: usize = 24;
const IDIAG_RQUEUE: usize = 56;
const IDIAG_WQUEUE: usize = 60;
const IDIAG_UID: usize = 64;
const IDIAG_INODE: usize = 68;

/// The attribute of a request with the program that says which sockets to leave out.
const INET_DIAG_REQ_BYTECODE: u16 = 1;

/// The attribute with a socket's memory and drops, and which of its numbers these are (`sk_get_meminfo`).
const INET_DIAG_SKMEMINFO: u16 = 7;
const SK_MEMINFO_DROPS: usize = 8;

/// The first attribute of every full socket, and of no other (`inet_diag_msg_attrs_fill`, which only
/// `inet_sk_diag_fill` calls): in 5.10 as in 7.3, whatever is asked for and whoever asks.
const INET_DIAG_SHUTDOWN: u16 = 8;

/// Which states to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct States(u32);

impl States {
    /// Every state that has a name. A request socket has a state of its own, which newer kernels add when asked for
    /// `SYN_RECV`; bound-but-unused sockets (13) are no connections.
    pub(crate) const ALL: Self = Self(0b1_1111_1111_1110);

    /// The sockets that listen.
    const LISTEN: Self = Self(1 << State::Listen.code());

    /// These, and a request socket's where `SYN_RECV` is one of them.
    fn of(states: &[State]) -> Self {
        Self(
            (0..32)
                .filter(|&code| State::from_code(code).is_some_and(|state| states.contains(&state)))
                .fold(0, |states, code| states | (1 << code)),
        )
    }

    /// All of these but `state`.
    pub(crate) const fn without(self, state: State) -> Self {
        Self(self.0 & !(1 << state.code()))
    }
}

/// What a dump found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The connections by state.
    pub(crate) counts: Counts,
    /// Those of `SYN_RECV` that are request sockets: handshakes that have no full socket yet. The others of
    /// `SYN_RECV` are full: children of Fast Open requests, and those that the last ACK has made this instant.
    pub(crate) request_sockets: u64,
    /// Those of `FIN_WAIT2` that are time-wait sockets: closed, so that no full socket is needed any longer.
    pub(crate) fin_wait2_timewait: u64,
}

impl Tally {
    /// Counts the socket that `message` is about, a `struct inet_diag_msg` with its attributes.
    #[inline]
    pub(crate) fn add(&mut self, message: &[u8]) -> Result<(), String> {
        let state = state(message)?;
        self.counts.add_one(state);
        match state {
            State::SynRecv if !is_full(message) => self.request_sockets += 1,
            State::FinWait2 if !is_full(message) => self.fin_wait2_timewait += 1,
            _ => {}
        }
        Ok(())
    }
}

#[inline]
fn state(message: &[u8]) -> Result<State, String> {
    let code = message[IDIAG_STATE];
    State::from_code(code).ok_or_else(|| format!("unknown state {code}"))
}

#[inline]
fn port(message: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([message[at], message[at + 1]])
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// What a message with `INET_DIAG_SKMEMINFO` says of a socket that listens (`tcp_diag_get_info`).
fn listener(message: &[u8]) -> Result<Listener, String> {
    let memory = NlasIterator::new(&message[DIAG_MESSAGE..])
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == INET_DIAG_SKMEMINFO)
        .ok_or("a listener without INET_DIAG_SKMEMINFO")?;
    let drops = number(memory.value(), 4 * SK_MEMINFO_DROPS)
        .ok_or("INET_DIAG_SKMEMINFO has no SK_MEMINFO_DROPS")?;
    Ok(Listener {
        accept_queue: number(message, IDIAG_RQUEUE).unwrap_or(0),
        backlog: number(message, IDIAG_WQUEUE),
        drops: Some(drops),
    })
}

/// Whether a message is about a full socket.
fn is_full(message: &[u8]) -> bool {
    // `struct nlattr`: two bytes for the length, two for the type.
    let first = message.get(DIAG_MESSAGE + 2..DIAG_MESSAGE + 4);
    first == Some(&INET_DIAG_SHUTDOWN.to_ne_bytes())
}

/// Lists sockets by their states.
pub(crate) trait List {
    /// Counts the connections that are in `states`. Ends early, with an incomplete tally, once `go_on` says no of it.
    ///
    /// A connection that changes its state meanwhile may be listed in a state that was not asked for.
    fn list(&mut self, states: States, go_on: impl Fn(&Tally) -> bool) -> Result<Tally, Error>;
}

#[derive(Debug, Default)]
pub(crate) struct Netlink {
    /// The network namespace to ask, if it is not the calling thread's.
    namespace: Option<Handle>,
    buffer: Vec<u8>,
}

impl List for Netlink {
    fn list(&mut self, states: States, go_on: impl Fn(&Tally) -> bool) -> Result<Tally, Error> {
        self.tally(self.ask(Query::of(states))?, go_on)
    }
}

impl Netlink {
    /// Netlink in this network namespace; in the calling thread's, if there is none.
    pub(crate) fn new(namespace: Option<Handle>) -> Self {
        Self {
            namespace,
            ..Self::default()
        }
    }

    /// Lets `ask` use netlink in a network namespace, which is held no longer than that.
    pub(crate) fn within<T>(
        &mut self,
        namespace: Option<Handle>,
        ask: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.namespace = namespace;
        let answer = ask(self);
        self.namespace = None;
        answer
    }

    /// The counters of the network namespace that is asked.
    pub(crate) fn counters(&self) -> Result<Sockstat, Error> {
        // Of the thread that opens them, as a netlink socket is. Those of a procfs that is named may be saved ones.
        let net = Path::new("/proc/thread-self/net");
        inside(self.namespace.as_ref(), || Sockstat::open(net))
    }

    /// Counts every connection of this network namespace.
    pub(crate) fn sample(&mut self) -> Result<Counts, Error> {
        Ok(self.list(States::ALL, |_| true)?.counts)
    }

    fn tally(
        &mut self,
        mut answer: Answer,
        go_on: impl Fn(&Tally) -> bool,
    ) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        while answer.receive(self.buffer(), |message| tally.add(message))? && go_on(&tally) {}
        Ok(tally)
    }

    /// Counts by port: first the listeners, whose messages have more in them, then all others.
    pub(crate) fn services<'a>(&mut self, ports: Option<&'a Ports>) -> Result<ByPort<'a>, Error> {
        let mut table = ByPort::new(ports);
        let [listeners, others] = Query::by_port(ports);
        self.each(listeners, |message| add_listener(&mut table, message))?;
        self.each(others, |message| add(&mut table, message))?;
        Ok(table)
    }

    /// Hands on the messages of a whole answer; returns how many sockets the kernel told of.
    fn each(
        &mut self,
        query: Query,
        mut each: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<u64, Error> {
        let mut answer = self.ask(query)?;
        while answer.receive(self.buffer(), &mut each)? {}
        Ok(answer.dump.sockets)
    }

    /// Lists connections, of which the kernel may leave out those that `filter` does not accept.
    pub(crate) fn connections(&self, filter: &Filter) -> Result<Listing, Error> {
        let states = filter.states.as_deref();
        Listing::start(self.ask(Query {
            states: states.map_or(States::ALL, States::of),
            extensions: 0,
            program: filter::program(filter.local_ports.as_ref(), filter.remote_ports.as_ref()),
        })?)
    }

    fn ask(&self, query: Query) -> Result<Answer, Error> {
        Answer::ask(self.namespace.clone(), query)
    }

    fn buffer(&mut self) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER];
        }
        &mut self.buffer
    }
}

/// Counts the socket that `message` is about at its local port.
#[inline]
pub(crate) fn add(table: &mut ByPort<'_>, message: &[u8]) -> Result<(), String> {
    table.add(port(message, IDIAG_SPORT), state(message)?);
    Ok(())
}

/// The same, and its queue if it listens.
pub(crate) fn add_listener(table: &mut ByPort<'_>, message: &[u8]) -> Result<(), String> {
    add(table, message)?;
    if state(message)? == State::Listen {
        table.add_listener(port(message, IDIAG_SPORT), listener(message)?);
    }
    Ok(())
}

/// The connections that an answer tells of, a datagram at a time.
#[derive(Debug)]
pub(crate) struct Listing {
    answer: Answer,
    buffer: Vec<u8>,
    /// What the last datagram told, and is not handed on yet.
    told: VecDeque<Result<Connection, Error>>,
    goes_on: bool,
}

impl Listing {
    /// Receives the first datagram as well: in it the kernel refuses.
    fn start(answer: Answer) -> Result<Self, Error> {
        let mut listing = Self {
            answer,
            buffer: vec![0; BUFFER],
            told: VecDeque::new(),
            goes_on: true,
        };
        listing.receive()?;
        Ok(listing)
    }

    fn receive(&mut self) -> Result<(), Error> {
        self.goes_on = false;
        self.goes_on = self.answer.receive(&mut self.buffer, |message| {
            self.told.push_back(Ok(connection(message)?));
            Ok(())
        })?;
        Ok(())
    }
}

impl Iterator for Listing {
    type Item = Result<Connection, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.told.is_empty() && self.goes_on {
            if let Err(error) = self.receive() {
                self.told.push_back(Err(error));
            }
        }
        self.told.pop_front()
    }
}

/// The connection that `message` is about, a `struct inet_diag_msg`.
pub(crate) fn connection(message: &[u8]) -> Result<Connection, String> {
    let numbers = [IDIAG_RQUEUE, IDIAG_WQUEUE, IDIAG_UID, IDIAG_INODE];
    let [receive_queue, send_queue, uid, inode] =
        numbers.map(|at| number(message, at).unwrap_or(0));
    let inode = (inode != 0).then_some(inode);
    Ok(Connection {
        state: state(message)?,
        local: SocketAddr::new(address(message, IDIAG_SRC)?, port(message, IDIAG_SPORT)),
        remote: SocketAddr::new(address(message, IDIAG_DST)?, port(message, IDIAG_DPORT)),
        uid: inode.map(|_| uid),
        inode: inode.map(u64::from),
        receive_queue,
        send_queue: Some(send_queue),
    })
}

/// The address at `at`, of the family of the socket.
fn address(message: &[u8], at: usize) -> Result<IpAddr, String> {
    const INET: u8 = AddressFamily::Inet as u8;
    const INET6: u8 = AddressFamily::Inet6 as u8;
    let bytes = &message[at..];
    match (message[0], bytes.first_chunk(), bytes.first_chunk()) {
        (INET, Some(&bytes), _) => Ok(Ipv4Addr::from(bytes).into()),
        (INET6, _, Some(&bytes)) => Ok(Ipv6Addr::from(bytes).into()),
        (family, ..) => Err(format!("unknown address family {family}")),
    }
}

/// What to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    states: States,
    /// A bit for each attribute that messages shall have (`idiag_ext`).
    extensions: u8,
    /// Which sockets the kernel leaves out; where it is empty, none. See [`filter::program`].
    program: Vec<u8>,
}

impl Query {
    /// All sockets in `states`, and the least about each.
    pub(crate) const fn of(states: States) -> Self {
        Self {
            states,
            extensions: 0,
            program: Vec::new(),
        }
    }

    /// The sockets that listen at `ports`, with what a service's row says of them, and all others there.
    fn by_port(ports: Option<&Ports>) -> [Self; 2] {
        let program = filter::program(ports, None);
        let listeners = Self {
            states: States::LISTEN,
            extensions: 1 << (INET_DIAG_SKMEMINFO - 1),
            program: program.clone(),
        };
        let others = Self {
            states: States::ALL.without(State::Listen),
            extensions: 0,
            program,
        };
        [listeners, others]
    }
}

/// The answer to a query, while it is received.
#[derive(Debug)]
pub(crate) struct Answer {
    /// A new one for each answer: nothing of another, that failed or was ended early, can be left in it.
    socket: OwnedFd,
    namespace: Option<Handle>,
    query: Query,
    dump: Dump,
    /// What is to be requested after this dump.
    rest: &'static [Request],
}

impl Answer {
    /// Asks a network namespace, or that of the calling thread.
    pub(crate) fn ask(namespace: Option<Handle>, query: Query) -> Result<Self, Error> {
        Self::ask_by(Request::BothFamilies, &[], namespace, query)
    }

    fn ask_by(
        first: Request,
        rest: &'static [Request],
        namespace: Option<Handle>,
        query: Query,
    ) -> Result<Self, Error> {
        let answer = Self {
            socket: inside(namespace.as_ref(), open)?,
            namespace,
            query,
            dump: Dump::new(first, 1),
            rest,
        };
        answer.send()?;
        Ok(answer)
    }

    fn send(&self) -> Result<(), Error> {
        let request = self.dump.request(&self.query);
        let flags = MsgFlags::empty();
        match retried(|| Ok(send(self.socket.as_raw_fd(), &request, flags)?)) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Socket {
                call: "write to",
                error,
            }),
        }
    }

    /// Hands the messages of the next datagram to `each`; it may say that one is malformed. Returns whether the
    /// answer goes on.
    ///
    /// Where the kernel does not have the request, each family is asked for.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        mut each: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<bool, Error> {
        // With MSG_TRUNC, the length is the datagram's, whatever the buffer took of it.
        let length = retried(|| Ok(recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?))
            .map_err(|error| Error::Receive { error })?;
        match (self.dump.feed(buffer, length, &mut each), self.rest) {
            (Ok(true), []) => Ok(false),
            (Ok(true), &[next, ref rest @ ..]) => {
                self.dump = Dump::new(next, self.dump.sequence.wrapping_add(1));
                self.rest = rest;
                self.send()?;
                Ok(true)
            }
            (Ok(false), _) => Ok(true),
            (Err(Error::Answer { error }), _) if self.dump.is_unknown(errno(&error)) => {
                let [first, rest @ ..] = &Request::BY_FAMILY;
                let (namespace, query) = (self.namespace.clone(), self.query.clone());
                *self = Self::ask_by(*first, rest, namespace, query)?;
                self.receive(buffer, each)
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// A socket to the kernel and nobody else, for the network namespace of the calling thread.
fn open() -> Result<OwnedFd, Error> {
    let failed = |call| {
        move |errno: Errno| Error::Socket {
            call,
            error: errno.into(),
        }
    };
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )
    .map_err(failed("open"))?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &PATIENCE)
        .map_err(failed("set the timeout of"))?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(failed("connect"))?;
    Ok(socket)
}

/// What to ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// `TCPDIAG_GETSOCK` with `struct inet_diag_req`: the older request, and the only one that brings IPv4 and IPv6
    /// in a single walk over the table (`inet_diag_dump_compat` ignores the family).
    BothFamilies,
    /// `SOCK_DIAG_BY_FAMILY` with `struct inet_diag_req_v2`.
    Family(AddressFamily),
    /// No kernel has it.
    #[cfg(test)]
    Unknown,
}

impl Request {
    const BY_FAMILY: [Self; 2] = [
        Self::Family(AddressFamily::Inet),
        Self::Family(AddressFamily::Inet6),
    ];

    /// The type of the request, and of the messages that answer it.
    const fn message_type(self) -> u16 {
        match self {
            Self::BothFamilies => 18,
            Self::Family(_) => 20,
            #[cfg(test)]
            Self::Unknown => 23,
        }
    }

    /// The structure after the header. What stays zero is not asked about: addresses, and ports, since the program
    /// knows ranges of them.
    fn payload(self, query: &Query) -> Vec<u8> {
        let states = query.states.0.to_ne_bytes();
        match self {
            #[cfg(test)]
            Self::Unknown => vec![0; 60],
            Self::BothFamilies => {
                let mut payload = vec![0; 60];
                payload[3] = query.extensions;
                payload[52..56].copy_from_slice(&states);
                payload
            }
            Self::Family(family) => {
                let mut payload = vec![0; 56];
                payload[0] = family as u8;
                payload[1] = nix::libc::IPPROTO_TCP as u8;
                payload[2] = query.extensions;
                payload[4..8].copy_from_slice(&states);
                payload
            }
        }
    }
}

/// The answer to one request, datagram by datagram. It knows no socket.
#[derive(Debug)]
pub(crate) struct Dump {
    by: Request,
    sequence: u32,
    datagrams: u64,
    /// How many messages were about a socket.
    sockets: u64,
}

impl Dump {
    pub(crate) const fn new(by: Request, sequence: u32) -> Self {
        Self {
            by,
            sequence,
            datagrams: 0,
            sockets: 0,
        }
    }

    /// The request, ready to be sent.
    fn request(&self, query: &Query) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.extend(self.by.payload(query));
        if !query.program.is_empty() {
            let mut attribute = vec![0; NLA_HEADER_SIZE];
            attribute.extend(&query.program);
            let length = attribute.len() as u16;
            let mut header = NlaBuffer::new(&mut attribute);
            header.set_length(length);
            header.set_kind(INET_DIAG_REQ_BYTECODE);
            bytes.extend(attribute);
        }
        let length = bytes.len() as u32;
        let mut header = NetlinkBuffer::new(&mut bytes[..]);
        header.set_length(length);
        header.set_message_type(self.by.message_type());
        header.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
        header.set_sequence_number(self.sequence);
        bytes
    }

    /// Whether this error, and nothing before it, says that the kernel does not have a request that others replace.
    fn is_unknown(&self, errno: Errno) -> bool {
        self.sockets == 0
            && !matches!(self.by, Request::Family(_))
            && matches!(errno, Errno::EOPNOTSUPP | Errno::EINVAL)
    }

    /// Hands on the messages of the next datagram that are about a socket, each a whole `struct inet_diag_msg` with
    /// its attributes. The datagram has `length` bytes, the first of them in `buffer`.
    ///
    /// Returns whether the answer is complete.
    pub(crate) fn feed(
        &mut self,
        buffer: &[u8],
        length: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<bool, Error> {
        self.datagrams += 1;
        let datagram = self.datagrams;
        let bad = |offset, problem: String| Error::Message {
            datagram,
            offset,
            problem,
        };
        let Some(bytes) = buffer.get(..length) else {
            return Err(bad(
                buffer.len(),
                format!("{length} bytes were sent, of which only so many arrived"),
            ));
        };
        if bytes.is_empty() {
            return Err(bad(0, "it is empty".into()));
        }

        let mut offset = 0;
        while offset < bytes.len() {
            let message = NetlinkBuffer::new_checked(&bytes[offset..]).map_err(|_| {
                bad(
                    offset,
                    format!(
                        "the message is cut, {} bytes are there",
                        bytes.len() - offset
                    ),
                )
            })?;
            let next = offset + (message.length() as usize).next_multiple_of(4);
            if next > bytes.len() {
                return Err(bad(offset, "the padding of the message is cut".into()));
            }
            if message.sequence_number() != self.sequence {
                let (found, expected) = (message.sequence_number(), self.sequence);
                return Err(bad(
                    offset,
                    format!("sequence number {found} instead of {expected}"),
                ));
            }
            if message.flags() & NLM_F_DUMP_INTR != 0 {
                return Err(bad(
                    offset,
                    "the kernel says that the dump is inconsistent (NLM_F_DUMP_INTR)".into(),
                ));
            }
            let payload = message.payload();
            match message.message_type() {
                found if found == self.by.message_type() => {
                    if payload.len() < DIAG_MESSAGE {
                        return Err(bad(
                            offset,
                            format!("{} bytes are too few for a socket", payload.len()),
                        ));
                    }
                    self.sockets += 1;
                    each(payload).map_err(|problem| bad(offset, problem))?;
                }
                found @ (NLMSG_DONE | NLMSG_ERROR) => {
                    let errno = payload
                        .first_chunk()
                        .map(|&errno| i32::from_ne_bytes(errno));
                    return match errno {
                        Some(0) if found == NLMSG_DONE && next == bytes.len() => Ok(true),
                        Some(0) if found == NLMSG_DONE => {
                            Err(bad(next, "there is more after the end".into()))
                        }
                        Some(errno @ ..0) if errno != i32::MIN => Err(Error::Answer {
                            error: io::Error::from_raw_os_error(-errno),
                        }),
                        Some(errno) => Err(bad(
                            offset,
                            format!("message type {found} with errno {errno}"),
                        )),
                        None => Err(bad(offset, format!("message type {found} without errno"))),
                    };
                }
                found => return Err(bad(offset, format!("unexpected message type {found}"))),
            }
            offset = next;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use tcpstat_tests::netns;
    use tcpstat_tests::sockets::{Family, Mix, repaired};

    use super::*;
    use crate::readers::procfs::Procfs;

    const SEQUENCE: u32 = 7;

    fn message(message_type: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; (HEADER + payload.len()).next_multiple_of(4)];
        let mut header = NetlinkBuffer::new(&mut bytes[..]);
        header.set_length((HEADER + payload.len()) as u32);
        header.set_message_type(message_type);
        header.set_flags(flags);
        header.set_sequence_number(sequence);
        bytes[HEADER..][..payload.len()].copy_from_slice(payload);
        bytes
    }

    /// A message about a socket, with a one-byte attribute (`INET_DIAG_SHUTDOWN`) as the kernel appends it.
    fn socket_message(code: u8) -> Vec<u8> {
        let mut payload = [0; DIAG_MESSAGE + 8];
        payload[IDIAG_STATE] = code;
        payload[DIAG_MESSAGE..].copy_from_slice(&[5, 0, 8, 0, 3, 0, 0, 0]);
        message(18, 2, SEQUENCE, &payload)
    }

    fn done(errno: i32) -> Vec<u8> {
        message(NLMSG_DONE, 2, SEQUENCE, &errno.to_ne_bytes())
    }

    /// A dump, and what it counts.
    struct Counted(Dump, Tally);

    impl Counted {
        fn feed(&mut self, bytes: &[u8], length: usize) -> Result<bool, Error> {
            let Self(dump, tally) = self;
            dump.feed(bytes, length, |message| tally.add(message))
        }
    }

    fn dump() -> Counted {
        Counted(Dump::new(Request::BothFamilies, SEQUENCE), Tally::default())
    }

    /// The counts, if the answer is complete.
    fn fed(bytes: &[u8]) -> Result<Option<Counts>, Error> {
        let mut dump = dump();
        let complete = dump.feed(bytes, bytes.len())?;
        Ok(complete.then_some(dump.1.counts))
    }

    fn problem(bytes: &[u8]) -> String {
        match fed(bytes) {
            Err(Error::Message {
                datagram: 1,
                problem,
                ..
            }) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_are_as_the_kernel_lays_them_out() {
        let request = |by, query: &Query| Dump::new(by, SEQUENCE).request(query);
        let all = Query::of(States::ALL);
        let both = request(Request::BothFamilies, &all);
        assert_eq!(both.len(), 76);
        assert_eq!(both[..4], 76u32.to_ne_bytes());
        assert_eq!(both[4..6], 18u16.to_ne_bytes());
        assert_eq!(both[6..8], 0x301u16.to_ne_bytes());
        assert_eq!(both[8..12], SEQUENCE.to_ne_bytes());
        assert_eq!(both[68..72], 0x1ffeu32.to_ne_bytes());
        let v6 = request(Request::BY_FAMILY[1], &all);
        assert_eq!(v6.len(), 72);
        assert_eq!(v6[4..6], 20u16.to_ne_bytes());
        assert_eq!(v6[16..18], [10, 6]);
        assert_eq!(v6[20..24], 0x1ffeu32.to_ne_bytes());
        let few = States::ALL
            .without(State::Established)
            .without(State::TimeWait);
        let few = request(Request::BothFamilies, &Query::of(few));
        assert_eq!(few[68..72], 0x1fbcu32.to_ne_bytes());

        let more = Query {
            states: States::LISTEN,
            extensions: 0x40,
            program: vec![1, 4, 4, 0],
        };
        let both = request(Request::BothFamilies, &more);
        assert_eq!(both[..4], 84u32.to_ne_bytes());
        assert_eq!(both[19], 0x40);
        assert_eq!(
            both[76..80],
            [8u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat()
        );
        assert_eq!(both[80..], more.program);
        let v4 = request(Request::BY_FAMILY[0], &more);
        assert_eq!(v4[..4], 80u32.to_ne_bytes());
        assert_eq!((v4[18], &v4[76..]), (0x40, &more.program[..]));
    }

    #[test]
    fn counts_over_several_datagrams() {
        let mut dump = dump();
        let first = [socket_message(1), socket_message(10)].concat();
        let last = [
            socket_message(12),
            socket_message(3),
            socket_message(6),
            done(0),
        ]
        .concat();
        assert!(!dump.feed(&first, first.len()).unwrap());
        assert!(dump.feed(&last, last.len()).unwrap());
        let counts = dump.1.counts;
        assert_eq!(counts.get(State::Established), 1);
        assert_eq!(counts.get(State::Listen), 1);
        assert_eq!(counts.get(State::SynRecv), 2);
        assert_eq!(counts.get(State::TimeWait), 1);
        assert_eq!(counts.total(), 5);
    }

    #[test]
    fn an_answer_cut_at_any_byte_is_never_complete() {
        let messages = [socket_message(1), socket_message(10), done(0)];
        let answer = messages.concat();
        let ends = [messages[0].len(), messages[0].len() + messages[1].len()];
        for cut in 0..answer.len() {
            match fed(&answer[..cut]) {
                Ok(None) => assert!(ends.contains(&cut), "cut at byte {cut}"),
                Ok(Some(_)) => panic!("complete, cut at byte {cut}"),
                Err(Error::Message { .. }) => {}
                Err(other) => panic!("cut at byte {cut}: {other}"),
            }
            // The same datagram, sent whole but received into a buffer that is too small.
            let error = dump().feed(&answer[..cut], answer.len()).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains(&format!("{} bytes were sent", answer.len())),
                "{error}"
            );
        }
    }

    #[test]
    fn only_full_sockets_have_a_shutdown() {
        let with = |code: u8, attributes: &[u8]| {
            let mut payload = vec![0; DIAG_MESSAGE];
            payload[IDIAG_STATE] = code;
            payload.extend(attributes);
            message(18, 2, SEQUENCE, &payload)
        };
        // INET_DIAG_MARK, which is all that the others have, for those who may see it.
        let mark = [8, 0, 15, 0, 0, 0, 0, 0];
        let shutdown = [5, 0, 8, 0, 0, 0, 0, 0];
        let mut dump = dump();
        for (code, attributes) in [
            (3, &[][..]),
            (3, &mark),
            (3, &shutdown),
            (3, &[5, 0, 8]),
            (5, &[]),
            (5, &mark),
            (5, &[shutdown, mark].concat()),
            (5, &[mark, shutdown].concat()),
            (6, &mark),
            (1, &shutdown),
        ] {
            let bytes = with(code, attributes);
            assert!(!dump.feed(&bytes, bytes.len()).unwrap());
        }
        let Tally {
            counts,
            request_sockets,
            fin_wait2_timewait,
        } = dump.1;
        assert_eq!((counts.get(State::SynRecv), request_sockets), (4, 3));
        assert_eq!((counts.get(State::FinWait2), fin_wait2_timewait), (4, 3));
    }

    #[test]
    fn messages_are_padded_to_four_bytes() {
        let mut payload = [0; DIAG_MESSAGE + 1];
        payload[IDIAG_STATE] = 10;
        let padded = message(18, 2, SEQUENCE, &payload);
        assert_eq!(padded.len(), HEADER + DIAG_MESSAGE + 4);
        let counts = fed(&[padded.clone(), socket_message(1), done(0)].concat());
        assert_eq!(counts.unwrap().unwrap().total(), 2);
        assert_eq!(
            problem(&padded[..padded.len() - 1]),
            "the padding of the message is cut"
        );
    }

    #[test]
    fn errors_of_the_kernel_are_errors() {
        let mut error = (-(Errno::EOPNOTSUPP as i32)).to_ne_bytes().to_vec();
        error.extend([0; 16]);
        for (answer, expected) in [
            (message(NLMSG_ERROR, 0, SEQUENCE, &error), Errno::EOPNOTSUPP),
            (done(-(Errno::ENOENT as i32)), Errno::ENOENT),
            (
                [socket_message(1), done(-(Errno::ENOENT as i32))].concat(),
                Errno::ENOENT,
            ),
            (done(-(Errno::ENOMEM as i32)), Errno::ENOMEM),
        ] {
            match fed(&answer) {
                Err(Error::Answer { error }) => assert_eq!(errno(&error), expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let mut socket = [0; DIAG_MESSAGE];
        socket[IDIAG_STATE] = 1;
        assert_eq!(
            problem(&message(18, 2, 8, &socket)),
            "sequence number 8 instead of 7"
        );
        assert_eq!(
            problem(&message(NLMSG_DONE, 2, 6, &[0; 4])),
            "sequence number 6 instead of 7"
        );
        assert_eq!(
            problem(&message(20, 2, SEQUENCE, &socket)),
            "unexpected message type 20"
        );
        assert_eq!(
            problem(&message(1, 2, SEQUENCE, &[])),
            "unexpected message type 1"
        );
        assert_eq!(
            problem(&message(4, 2, SEQUENCE, &[])),
            "unexpected message type 4"
        );
        assert_eq!(
            problem(&message(18, 2, SEQUENCE, &socket[..71])),
            "71 bytes are too few for a socket"
        );
        assert_eq!(problem(&socket_message(0)), "unknown state 0");
        assert_eq!(problem(&socket_message(13)), "unknown state 13");
        assert_eq!(
            problem(&message(NLMSG_ERROR, 0, SEQUENCE, &[0; 20])),
            "message type 2 with errno 0"
        );
        assert_eq!(problem(&done(5)), "message type 3 with errno 5");
        assert_eq!(
            problem(&done(i32::MIN)),
            "message type 3 with errno -2147483648"
        );
        assert_eq!(
            problem(&message(NLMSG_DONE, 2, SEQUENCE, &[0; 3])),
            "message type 3 without errno"
        );
        assert_eq!(
            problem(&[done(0), socket_message(1)].concat()),
            "there is more after the end"
        );
        assert!(
            problem(&message(18, 2 | NLM_F_DUMP_INTR, SEQUENCE, &socket))
                .contains("NLM_F_DUMP_INTR")
        );
        assert!(
            problem(&message(NLMSG_DONE, NLM_F_DUMP_INTR, SEQUENCE, &[0; 4]))
                .contains("NLM_F_DUMP_INTR")
        );
        assert_eq!(problem(&[]), "it is empty");
        // Lengths that would not get the reader any further, or far beyond the end.
        for length in [0u32, 1, 15, 1000, u32::MAX, u32::MAX - 2] {
            let mut answer = socket_message(1);
            answer[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(problem(&answer).contains("is cut"), "length {length}");
        }
    }

    /// On the kernel that runs the tests; needs `CAP_SYS_ADMIN` for the namespace.
    #[test]
    fn one_dump_and_two_agree_with_procfs_on_every_state() {
        for family in Family::ALL {
            netns::in_new(|| {
                let fixture = Mix::of_each(family, 2).make().unwrap();
                let mut netlink = Netlink::default();
                let expected = fixture.expected();
                assert_eq!(netlink.sample().unwrap(), expected, "{family:?}, one dump");
                let one = netlink.list(States::ALL, |_| true).unwrap();
                assert_eq!(one.counts, expected, "{family:?}, one dump");
                assert_eq!(one.request_sockets, 2, "{family:?}");
                assert_eq!(one.fin_wait2_timewait, 2, "{family:?}");
                let mut by = |first, rest| {
                    let answer = Answer::ask_by(first, rest, None, Query::of(States::ALL));
                    netlink.tally(answer.unwrap(), |_| true).unwrap()
                };
                let [v4, v6] = &Request::BY_FAMILY;
                assert_eq!(
                    by(*v4, std::slice::from_ref(v6)),
                    one,
                    "{family:?}, two dumps"
                );
                assert_eq!(
                    by(Request::Unknown, &[]),
                    one,
                    "{family:?}, after a refusal"
                );
                let procfs = Procfs::default()
                    .sample(&Path::new("/proc/thread-self").into())
                    .unwrap();
                assert_eq!(procfs, expected, "{family:?}, procfs");
            })
            .unwrap();
        }
    }

    /// How many sockets the kernel tells of, and how many of these are asked for.
    fn told(filter: &Filter) -> (u64, usize) {
        let mut listing = Netlink::default().connections(filter).unwrap();
        let asked_for = listing.by_ref().map(Result::unwrap);
        let asked_for = asked_for.filter(|connection| filter.accepts(connection));
        let asked_for = asked_for.count();
        (listing.answer.dump.sockets, asked_for)
    }

    #[test]
    fn the_kernel_leaves_out_what_is_not_asked_for() {
        netns::in_new(|| {
            let _fixture = Mix::of_each(Family::V6, 2).make().unwrap();
            let _repaired = repaired(1000).unwrap();
            let all: Vec<Connection> = Netlink::default()
                .connections(&Filter::default())
                .unwrap()
                .map(Result::unwrap)
                .collect();
            let filters = all.iter().step_by(100).flat_map(|connection| {
                let ports = |port: u16| -> Option<Ports> {
                    Some(format!("{port},1-2,{}", port.max(3) - 1).parse().unwrap())
                };
                let none = Filter::default();
                let states = Filter {
                    states: Some(vec![connection.state]),
                    ..none.clone()
                };
                let local = Filter {
                    local_ports: ports(connection.local.port()),
                    ..states.clone()
                };
                let remote = Filter {
                    remote_ports: ports(connection.remote.port()),
                    ..local.clone()
                };
                let only_remote = Filter {
                    remote_ports: ports(connection.remote.port()),
                    ..none
                };
                [states, local, remote, only_remote]
            });
            for filter in filters {
                let expected = all.iter().filter(|&one| filter.accepts(one)).count();
                assert!(expected > 0);
                assert_eq!(told(&filter), (expected as u64, expected), "{filter:?}");
            }
            // More than the kernel is bothered with: it tells of all, and who asked picks.
            let ports: Vec<String> = (0..100).map(|port| (2 * port + 1).to_string()).collect();
            let filter = Filter {
                local_ports: Some(ports.join(",").parse().unwrap()),
                ..Filter::default()
            };
            assert_eq!(told(&filter), (all.len() as u64, 0));
            let no_state = Filter {
                states: Some(Vec::new()),
                ..Filter::default()
            };
            assert_eq!(told(&no_state), (0, 0));

            // Both questions that services are made of.
            let told_by_port = |ports: Option<&Ports>| {
                Query::by_port(ports)
                    .map(|query| Netlink::default().each(query, |_| Ok(())).unwrap())
            };
            let at = |ports: Option<&Ports>| {
                let (listeners, others): (Vec<&Connection>, _) = (all.iter())
                    .filter(|one| ports.is_none_or(|ports| ports.contains(one.local.port())))
                    .partition(|one| one.state == State::Listen);
                [listeners, others].map(|sockets| sockets.len() as u64)
            };
            assert_eq!(told_by_port(None), at(None));
            let (services, _) = Netlink::default().services(None).unwrap().services();
            assert!(services.len() > 1);
            for service in services {
                let ports: Ports = service.port.to_string().parse().unwrap();
                assert_eq!(told_by_port(Some(&ports)), at(Some(&ports)), "{ports:?}");
                assert_eq!(at(Some(&ports)).iter().sum::<u64>(), service.counts.total());
            }
        })
        .unwrap();
    }

    #[test]
    fn says_what_waits_at_a_listener_that_is_full_and_what_it_drops() {
        netns::in_new(|| {
            let mix = Mix {
                syn_sent: 3,
                ..Mix::default()
            };
            let _fixture = mix.make().unwrap();
            let table = Netlink::default().services(None).unwrap();
            let (services, _) = table.services();
            let [service] = services[..] else {
                panic!("{services:?}")
            };
            assert_eq!((service.listeners, service.accept_queue), (1, 1));
            assert_eq!(service.backlog, Some(0));
            assert_eq!(service.accept_queue_ratio(), Some(1.0));
            // Each of the three, and again where it is sent again.
            assert!(service.drops >= Some(3), "{service:?}");
        })
        .unwrap();
    }

    /// A message about a listener at port 80 of ::1, with one attribute before the memory and one after it.
    fn listener_message(memory: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; DIAG_MESSAGE];
        payload[0] = 10;
        payload[IDIAG_STATE] = State::Listen.code();
        payload[IDIAG_SPORT + 1] = 80;
        payload[IDIAG_SRC + 15] = 1;
        payload[IDIAG_RQUEUE..][..4].copy_from_slice(&3u32.to_ne_bytes());
        payload[IDIAG_WQUEUE..][..4].copy_from_slice(&16u32.to_ne_bytes());
        payload[IDIAG_UID..][..4].copy_from_slice(&1000u32.to_ne_bytes());
        payload[IDIAG_INODE..][..4].copy_from_slice(&4711u32.to_ne_bytes());
        payload.extend([5, 0, 8, 0, 0, 0, 0, 0]);
        payload.extend(((4 + memory.len()) as u16).to_ne_bytes());
        payload.extend(INET_DIAG_SKMEMINFO.to_ne_bytes());
        payload.extend(memory);
        payload.extend([8, 0, 15, 0, 0, 0, 0, 0]);
        payload
    }

    #[test]
    fn reads_what_a_message_says_of_a_listener() {
        let mut memory = [0; 36];
        memory[32..].copy_from_slice(&42u32.to_ne_bytes());
        let message = listener_message(&memory);
        let mut table = ByPort::new(None);
        add_listener(&mut table, &message).unwrap();
        let (services, _) = table.services();
        let service = services[0];
        assert_eq!((service.port, service.accept_queue), (80, 3));
        assert_eq!((service.backlog, service.drops), (Some(16), Some(42)));
        assert_eq!(
            connection(&message).unwrap(),
            Connection {
                state: State::Listen,
                local: "[::1]:80".parse().unwrap(),
                remote: "[::]:0".parse().unwrap(),
                uid: Some(1000),
                inode: Some(4711),
                receive_queue: 3,
                send_queue: Some(16),
            }
        );

        let problem = |message: &[u8]| add_listener(&mut ByPort::new(None), message).unwrap_err();
        assert_eq!(
            problem(&message[..DIAG_MESSAGE]),
            "a listener without INET_DIAG_SKMEMINFO"
        );
        assert_eq!(
            problem(&listener_message(&memory[..32])),
            "INET_DIAG_SKMEMINFO has no SK_MEMINFO_DROPS"
        );
        let other_family = [&[1], &message[1..]].concat();
        assert_eq!(
            connection(&other_family).unwrap_err(),
            "unknown address family 1"
        );
        // The attributes cut anywhere: what is told is what was said.
        for cut in DIAG_MESSAGE..message.len() {
            let mut table = ByPort::new(None);
            if add_listener(&mut table, &message[..cut]).is_ok() {
                assert_eq!(table.services().0, services, "cut at byte {cut}");
            }
        }
    }

    #[test]
    fn many_datagrams_go_through_one_buffer() {
        netns::in_new(|| {
            let _sockets = repaired(2000).unwrap();
            let mut netlink = Netlink::default();
            for _ in 0..3 {
                assert_eq!(netlink.sample().unwrap().get(State::Established), 2000);
                assert_eq!(netlink.buffer.capacity(), BUFFER);
            }
            let mut small = Netlink {
                namespace: None,
                buffer: vec![0; 1000],
            };
            let error = small.sample().unwrap_err().to_string();
            assert!(error.contains("of which only so many arrived"), "{error}");

            let ended = netlink.list(States::ALL, |tally| tally.counts.total() < 500);
            let ended = ended.unwrap().counts.total();
            assert!((500..1000).contains(&ended), "{ended}");
            let few = States::ALL.without(State::Established);
            let none = netlink.list(few, |_| false).unwrap();
            assert_eq!(none, Tally::default());
        })
        .unwrap();
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, more in 0usize..100) {
            let mut dump = dump();
            let _ = dump.feed(&bytes, bytes.len());
            let _ = dump.feed(&bytes, bytes.len() + more);
        }

        #[test]
        fn any_message_is_read_or_refused(mut message: Vec<u8>, attributes: Vec<u8>) {
            message.resize(DIAG_MESSAGE, 0);
            message.extend(attributes);
            let _ = connection(&message);
            let _ = add_listener(&mut ByPort::new(None), &message);
        }

        #[test]
        fn a_changed_byte_does_not_panic(at: prop::sample::Index, byte: u8) {
            let mut answer = [socket_message(1), done(0)].concat();
            let at = at.index(answer.len());
            answer[at] = byte;
            let _ = fed(&answer);
        }

        #[test]
        fn codes_are_counted_as_they_come(codes in prop::collection::vec(prop::collection::vec(1u8..=12, 1..40), 0..10)) {
            let mut dump = dump();
            let mut expected = Counts::ZERO;
            for codes in codes {
                let datagram: Vec<u8> = codes.iter().flat_map(|&code| socket_message(code)).collect();
                prop_assert!(!dump.feed(&datagram, datagram.len()).unwrap());
                codes.iter().for_each(|&code| expected.add_one(State::from_code(code).unwrap()));
            }
            let end = done(0);
            prop_assert!(dump.feed(&end, end.len()).unwrap());
            prop_assert_eq!(dump.1.counts, expected);
        }
    }
}
