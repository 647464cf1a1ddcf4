// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's answer over `NETLINK_SOCK_DIAG`: a dump of binary messages, of each of which one byte is read.
//! The dump is of all states, or of some.
//!
//! Sources: `include/uapi/linux/inet_diag.h`, `net/ipv4/inet_diag.c` and `tcp_diag.c`, `net/netlink/af_netlink.c`;
//! `netlink(7)` and `sock_diag(7)`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::namespace;
use crate::error::{Error, errno};
use crate::{Counts, State};

/// The kernel fills a datagram of a dump up to 32 KiB, if the reader's buffer takes as much (`netlink_dump`).
const BUFFER: usize = 32 * 1024;

/// The kernel makes each part of the answer while the one before is received, so this is never waited for.
const PATIENCE: TimeVal = TimeVal::new(5, 0);

/// The size of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The size of `struct inet_diag_msg`, and where `idiag_state` is in it.
const DIAG_MESSAGE: usize = 72;
const IDIAG_STATE: usize = 1;

/// The first attribute of every full socket, and of no other (`inet_diag_msg_attrs_fill`, which only
/// `inet_sk_diag_fill` calls): in 5.10 as in 7.3, whatever is asked for and whoever asks.
const INET_DIAG_SHUTDOWN: u16 = 8;

/// Which states to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct States(u32);

impl States {
    /// Every state that has a name. A request socket has a state of its own, which newer kernels add when asked for
    /// `SYN_RECV`; bound-but-unused sockets (13) are no connections.
    pub(super) const ALL: Self = Self(0b1_1111_1111_1110);

    /// All of these but `state`.
    pub(super) const fn without(self, state: State) -> Self {
        Self(self.0 & !(1 << state.code()))
    }
}

/// What a dump found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The connections by state.
    pub(super) counts: Counts,
    /// Those of `SYN_RECV` that are request sockets: handshakes that have no full socket yet. The others of
    /// `SYN_RECV` are full: children of Fast Open requests, and those that the last ACK has made this instant.
    pub(super) request_sockets: u64,
    /// Those of `FIN_WAIT2` that are time-wait sockets: closed, so that no full socket is needed any longer.
    pub(super) fin_wait2_timewait: u64,
}

impl Tally {
    /// Counts the socket that `message` is about, a `struct inet_diag_msg` with its attributes, or returns the
    /// number that is no state.
    #[inline]
    fn add(&mut self, message: &[u8]) -> Result<(), u8> {
        let code = message[IDIAG_STATE];
        let state = State::from_code(code).ok_or(code)?;
        self.counts.add_one(state);
        match state {
            State::SynRecv if !is_full(message) => self.request_sockets += 1,
            State::FinWait2 if !is_full(message) => self.fin_wait2_timewait += 1,
            _ => {}
        }
        Ok(())
    }
}

/// Whether a message is about a full socket.
fn is_full(message: &[u8]) -> bool {
    // `struct nlattr`: two bytes for the length, two for the type.
    let first = message.get(DIAG_MESSAGE + 2..DIAG_MESSAGE + 4);
    first == Some(&INET_DIAG_SHUTDOWN.to_ne_bytes())
}

/// Lists sockets by their states.
pub(super) trait List {
    /// Counts the connections that are in `states`. Ends early, with an incomplete tally, once `go_on` says no of it.
    ///
    /// A connection that changes its state meanwhile may be listed in a state that was not asked for.
    fn list(&mut self, states: States, go_on: impl Fn(&Tally) -> bool) -> Result<Tally, Error>;
}

#[derive(Debug, Default)]
pub(super) struct Netlink {
    /// The file of the network namespace to ask, if it is not the calling thread's.
    namespace: Option<PathBuf>,
    buffer: Vec<u8>,
    sequence: u32,
}

impl List for Netlink {
    fn list(&mut self, states: States, go_on: impl Fn(&Tally) -> bool) -> Result<Tally, Error> {
        self.list_by(Request::BothFamilies, states, go_on)
    }
}

impl Netlink {
    /// Netlink in the network namespace of this file; in the calling thread's, if there is none.
    pub(super) fn new(namespace: Option<PathBuf>) -> Self {
        Self {
            namespace,
            ..Self::default()
        }
    }

    /// Counts every connection of this network namespace.
    pub(super) fn sample(&mut self) -> Result<Counts, Error> {
        Ok(self.list(States::ALL, |_| true)?.counts)
    }

    /// Tries one request, and asks family by family where the kernel does not have it.
    fn list_by(
        &mut self,
        request: Request,
        states: States,
        go_on: impl Fn(&Tally) -> bool,
    ) -> Result<Tally, Error> {
        match self.dump(&[request], states, &go_on) {
            Err(Error::Answer { error })
                if matches!(errno(&error), Errno::EOPNOTSUPP | Errno::EINVAL) =>
            {
                self.dump(&Request::BY_FAMILY, states, &go_on)
            }
            answer => answer,
        }
    }

    /// Sends the requests one after another and counts what they bring together.
    ///
    /// The socket is a new one each time: nothing of a dump that failed or was ended early can be left in it.
    fn dump(
        &mut self,
        requests: &[Request],
        states: States,
        go_on: impl Fn(&Tally) -> bool,
    ) -> Result<Tally, Error> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER];
        }
        let socket = match &self.namespace {
            None => open()?,
            Some(path) => namespace::inside(path, open)?,
        };
        let mut tally = Tally::default();
        for &request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let mut dump = Dump::new(request, states, self.sequence, tally);
            retried(|| send(socket.as_raw_fd(), dump.request(), MsgFlags::empty())).map_err(
                |error| Error::Socket {
                    call: "write to",
                    error,
                },
            )?;
            loop {
                // With MSG_TRUNC, the length is the datagram's, whatever the buffer took of it.
                let length =
                    retried(|| recv(socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC))
                        .map_err(|error| Error::Receive { error })?;
                if dump.feed(&self.buffer, length)? {
                    break;
                }
                if !go_on(&dump.tally) {
                    return Ok(dump.tally);
                }
            }
            tally = dump.tally;
        }
        Ok(tally)
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

/// Calls again what a signal interrupted.
fn retried<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

/// What to ask for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
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

    /// The structure after the header. What stays zero is not asked about: addresses, ports, extensions.
    fn payload(self, States(states): States) -> ([u8; 60], usize) {
        let mut payload = [0; 60];
        let length = match self {
            #[cfg(test)]
            Self::Unknown => 60,
            Self::BothFamilies => {
                payload[52..56].copy_from_slice(&states.to_ne_bytes());
                60
            }
            Self::Family(family) => {
                payload[0] = family as u8;
                payload[1] = nix::libc::IPPROTO_TCP as u8;
                payload[4..8].copy_from_slice(&states.to_ne_bytes());
                56
            }
        };
        (payload, length)
    }
}

/// The answer to one request, datagram by datagram. It knows no socket.
pub(super) struct Dump {
    request: [u8; HEADER + 60],
    length: usize,
    message_type: u16,
    sequence: u32,
    datagrams: u64,
    pub(super) tally: Tally,
}

impl Dump {
    /// A dump that goes on counting from `tally`.
    pub(super) fn new(request: Request, states: States, sequence: u32, tally: Tally) -> Self {
        let (payload, payload_length) = request.payload(states);
        let length = HEADER + payload_length;
        let mut bytes = [0; HEADER + 60];
        bytes[HEADER..].copy_from_slice(&payload);
        let mut header = NetlinkBuffer::new(&mut bytes[..]);
        header.set_length(length as u32);
        header.set_message_type(request.message_type());
        header.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
        header.set_sequence_number(sequence);
        Self {
            request: bytes,
            length,
            message_type: request.message_type(),
            sequence,
            datagrams: 0,
            tally,
        }
    }

    /// The request, ready to be sent.
    fn request(&self) -> &[u8] {
        &self.request[..self.length]
    }

    /// Counts the messages of the next datagram, which has `length` bytes, the first of them in `buffer`.
    ///
    /// Returns whether the answer is complete.
    pub(super) fn feed(&mut self, buffer: &[u8], length: usize) -> Result<bool, Error> {
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
                found if found == self.message_type => {
                    if payload.len() < DIAG_MESSAGE {
                        return Err(bad(
                            offset,
                            format!("{} bytes are too few for a socket", payload.len()),
                        ));
                    }
                    self.tally
                        .add(payload)
                        .map_err(|code| bad(offset, format!("unknown state {code}")))?;
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
    use crate::source::procfs::Procfs;
    use crate::source::tests::allow_many_files;

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

    fn dump() -> Dump {
        Dump::new(
            Request::BothFamilies,
            States::ALL,
            SEQUENCE,
            Tally::default(),
        )
    }

    /// The counts, if the answer is complete.
    fn fed(bytes: &[u8]) -> Result<Option<Counts>, Error> {
        let mut dump = dump();
        let complete = dump.feed(bytes, bytes.len())?;
        Ok(complete.then_some(dump.tally.counts))
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
        let both = dump();
        assert_eq!(both.request().len(), 76);
        assert_eq!(both.request()[..4], 76u32.to_ne_bytes());
        assert_eq!(both.request()[4..6], 18u16.to_ne_bytes());
        assert_eq!(both.request()[6..8], 0x301u16.to_ne_bytes());
        assert_eq!(both.request()[8..12], SEQUENCE.to_ne_bytes());
        assert_eq!(both.request()[68..72], 0x1ffeu32.to_ne_bytes());
        let v6 = Dump::new(
            Request::BY_FAMILY[1],
            States::ALL,
            SEQUENCE,
            Tally::default(),
        );
        assert_eq!(v6.request().len(), 72);
        assert_eq!(v6.request()[4..6], 20u16.to_ne_bytes());
        assert_eq!(v6.request()[16..18], [10, 6]);
        assert_eq!(v6.request()[20..24], 0x1ffeu32.to_ne_bytes());
        let few = States::ALL
            .without(State::Established)
            .without(State::TimeWait);
        let few = Dump::new(Request::BothFamilies, few, SEQUENCE, Tally::default());
        assert_eq!(few.request()[68..72], 0x1fbcu32.to_ne_bytes());
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
        let counts = dump.tally.counts;
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
        } = dump.tally;
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
                let two = netlink
                    .dump(&Request::BY_FAMILY, States::ALL, |_| true)
                    .unwrap();
                assert_eq!(two, one, "{family:?}, two dumps");
                let refused = netlink
                    .list_by(Request::Unknown, States::ALL, |_| true)
                    .unwrap();
                assert_eq!(refused, one, "{family:?}, after a refusal");
                let procfs = Procfs::default()
                    .sample(Path::new("/proc/thread-self"))
                    .unwrap();
                assert_eq!(procfs, expected, "{family:?}, procfs");
            })
            .unwrap();
        }
    }

    #[test]
    fn many_datagrams_go_through_one_buffer() {
        netns::in_new(|| {
            allow_many_files();
            let _sockets = repaired(2000).unwrap();
            let mut netlink = Netlink::default();
            for _ in 0..3 {
                assert_eq!(netlink.sample().unwrap().get(State::Established), 2000);
                assert_eq!(netlink.buffer.capacity(), BUFFER);
            }
            let mut small = Netlink {
                namespace: None,
                buffer: vec![0; 1000],
                sequence: 0,
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
            prop_assert_eq!(dump.tally.counts, expected);
        }
    }
}
