// SPDX-License-Identifier: MIT OR Apache-2.0

//! A dump: its request, and its answer, datagram by datagram. No system call is made here.
//!
//! Sources: `net/ipv4/inet_diag.c`, `net/netlink/af_netlink.c`.

use std::io;

use nix::errno::Errno;
use nix::libc;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::wire::{
    INET_DIAG_REQ_BYTECODE, INET_DIAG_SKMEMINFO, InetDiagMsg, InetDiagReq, InetDiagReqV2,
    NLMSG_DONE, NLMSG_ERROR, NlAttr, NlMsgHdr, SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK,
};
use crate::connections::Filter;
use crate::error::Error;
use crate::ports::Ports;
use crate::readers::filter;
use tcpstat_census::state::State;

/// Which states to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct States(u32);

impl States {
    /// Every state that has a name. Request sockets have a state of their own (12), which newer
    /// kernels add to `SYN_RECV`; sockets that are bound and unused (13) are no connections.
    pub(crate) const ALL: Self = Self(0b1_1111_1111_1110);

    /// No state.
    pub(crate) const NONE: Self = Self(0);

    /// The sockets that listen.
    pub(crate) const LISTEN: Self = Self(1 << State::Listen.code());

    /// These states, and that of request sockets if `SYN_RECV` is one of them.
    pub(crate) fn of(states: &[State]) -> Self {
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

    /// These and `state`, with the request sockets if it is `SYN_RECV`.
    pub(crate) fn with(self, state: State) -> Self {
        Self(self.0 | Self::of(&[state]).0)
    }

    /// Whether `state` is one of these.
    pub(crate) const fn contains(self, state: State) -> bool {
        self.0 & (1 << state.code()) != 0
    }
}

/// What to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    states: States,
    /// A bit for each attribute that messages must have (`idiag_ext`).
    extensions: u8,
    /// Which sockets the kernel leaves out; none if it is empty. See [`filter::program`].
    program: Vec<u8>,
}

impl Query {
    /// All sockets in `states`, with no more attributes than necessary.
    pub(crate) const fn of(states: States) -> Self {
        Self {
            states,
            extensions: 0,
            program: Vec::new(),
        }
    }

    /// The sockets that listen at `ports`, with the attributes that a service needs, and all others
    /// there.
    pub(crate) fn by_port(ports: Option<&Ports>) -> [Self; 2] {
        let program = filter::program(&Filter {
            local_ports: ports.cloned(),
            ..Filter::default()
        });
        let listeners = Self {
            states: States::LISTEN,
            extensions: 1 << (INET_DIAG_SKMEMINFO - 1),
            program: program.clone(),
        };
        let others = Self {
            program,
            ..Self::of(States::ALL.without(State::Listen))
        };
        [listeners, others]
    }

    /// Connections, of which the kernel may leave out those that `filter` does not accept.
    pub(crate) fn connections(filter: &Filter) -> Self {
        let states = filter.states.as_deref();
        Self {
            program: filter::program(filter),
            ..Self::of(states.map_or(States::ALL, States::of))
        }
    }
}

/// How a dump is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Of the request, and of the messages that answer it.
    pub(crate) message_type: u16,
    /// The family to dump, if the request is for one family.
    pub(crate) family: u8,
}

impl Request {
    /// The older request, and the only one that dumps IPv4 and IPv6 in one walk over the table
    /// (`inet_diag_dump_compat` ignores the family).
    pub(crate) const BOTH_FAMILIES: Self = Self {
        message_type: TCPDIAG_GETSOCK,
        family: libc::AF_UNSPEC as u8,
    };

    /// What replaces it.
    pub(crate) const BY_FAMILY: [Self; 2] = [
        Self::of_family(libc::AF_INET),
        Self::of_family(libc::AF_INET6),
    ];

    const fn of_family(family: i32) -> Self {
        Self {
            message_type: SOCK_DIAG_BY_FAMILY,
            family: family as u8,
        }
    }
}

/// The answer to one request, datagram by datagram.
#[derive(Debug)]
pub(crate) struct Dump {
    request: Request,
    sequence: u32,
    datagrams: u64,
    /// Whether a message was about a socket.
    has_sockets: bool,
}

impl Dump {
    pub(crate) const fn new(request: Request, sequence: u32) -> Self {
        Self {
            request,
            sequence,
            datagrams: 0,
            has_sockets: false,
        }
    }

    /// The dump that comes after this one.
    pub(super) const fn followed_by(&self, request: Request) -> Self {
        Self::new(request, self.sequence.wrapping_add(1))
    }

    /// The request, ready to be sent. Addresses stay zero, for any; so do ports, which the program
    /// compares in ranges.
    pub(super) fn request(&self, query: &Query) -> Vec<u8> {
        let (extensions, states) = (query.extensions, query.states.0.into());
        let mut payload = match self.request.message_type {
            SOCK_DIAG_BY_FAMILY => InetDiagReqV2 {
                family: self.request.family,
                protocol: libc::IPPROTO_TCP as u8,
                extensions,
                states,
                ..FromZeros::new_zeroed()
            }
            .as_bytes()
            .to_vec(),
            _ => InetDiagReq {
                extensions,
                states,
                ..FromZeros::new_zeroed()
            }
            .as_bytes()
            .to_vec(),
        };
        if !query.program.is_empty() {
            let header = NlAttr {
                length: ((size_of::<NlAttr>() + query.program.len()) as u16).into(),
                kind: INET_DIAG_REQ_BYTECODE.into(),
            };
            payload.extend(header.as_bytes());
            payload.extend(&query.program);
        }
        let header = NlMsgHdr {
            length: ((size_of::<NlMsgHdr>() + payload.len()) as u32).into(),
            message_type: self.request.message_type.into(),
            flags: ((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).into(),
            sequence: self.sequence.into(),
            port: 0.into(),
        };
        [header.as_bytes(), &payload].concat()
    }

    /// Whether this error, at the beginning of the answer, means that the kernel lacks the older
    /// request.
    pub(super) fn is_unknown(&self, errno: Errno) -> bool {
        !self.has_sockets
            && self.request.message_type != SOCK_DIAG_BY_FAMILY
            && matches!(errno, Errno::EOPNOTSUPP | Errno::EINVAL)
    }

    /// Passes the messages of the next datagram that are about a socket to `each`. The datagram has
    /// `length` bytes, the first of them in `buffer`.
    ///
    /// Returns whether the answer is complete.
    pub(crate) fn feed(
        &mut self,
        buffer: &[u8],
        length: usize,
        mut each: impl FnMut(&InetDiagMsg) -> Result<(), String>,
    ) -> Result<bool, Error> {
        self.datagrams += 1;
        let datagram = self.datagrams;
        let bad_at = |offset, problem| Error::Message {
            datagram,
            offset,
            problem,
        };
        let Some(bytes) = buffer.get(..length) else {
            let problem = format!("datagram of {length} bytes was truncated");
            return Err(bad_at(buffer.len(), problem));
        };
        if bytes.is_empty() {
            return Err(bad_at(0, "it is empty".into()));
        }

        let mut offset = 0;
        while offset < length {
            let rest = &bytes[offset..];
            let bad = |problem| bad_at(offset, problem);
            let Some((header, payload)) = NlMsgHdr::split(rest) else {
                let there = rest.len();
                return Err(bad(format!("the message is cut, {there} bytes are there")));
            };
            let next = offset + (header.length.get() as usize).next_multiple_of(4);
            if next > length {
                return Err(bad("the padding of the message is cut".into()));
            }
            if header.sequence != self.sequence {
                let (found, expected) = (header.sequence, self.sequence);
                let problem = format!("sequence number {found} instead of {expected}");
                return Err(bad(problem));
            }
            if header.flags & libc::NLM_F_DUMP_INTR as u16 != 0 {
                let problem = "the kernel says that the dump is inconsistent (NLM_F_DUMP_INTR)";
                return Err(bad(problem.into()));
            }
            match header.message_type.get() {
                found if found == self.request.message_type => {
                    let message = InetDiagMsg::ref_from_bytes(payload).map_err(|_| {
                        let there = payload.len();
                        bad(format!("{there} bytes are too few for a socket"))
                    })?;
                    self.has_sockets = true;
                    each(message).map_err(bad)?;
                }
                found @ (NLMSG_DONE | NLMSG_ERROR) => {
                    let errno = payload.first_chunk().copied().map(i32::from_ne_bytes);
                    return match errno {
                        Some(0) if found == NLMSG_DONE && next == length => Ok(true),
                        Some(0) if found == NLMSG_DONE => {
                            Err(bad_at(next, "there is more after the end".into()))
                        }
                        Some(errno @ ..0) if errno != i32::MIN => Err(Error::Answer {
                            error: io::Error::from_raw_os_error(-errno),
                        }),
                        Some(errno) => Err(bad(format!("message type {found} with errno {errno}"))),
                        None => Err(bad(format!("message type {found} without errno"))),
                    };
                }
                found => return Err(bad(format!("unexpected message type {found}"))),
            }
            offset = next;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::wire::tests::{SOCKET, message, socket};
    use super::*;
    use crate::error::errno;
    use tcpstat_census::counts::Counts;

    const SEQUENCE: u32 = 7;

    /// A message about a socket, with a one-byte attribute (`INET_DIAG_SHUTDOWN`) as the kernel
    /// appends it.
    fn socket_message(code: u8) -> Vec<u8> {
        message(18, 2, SEQUENCE, &socket(code, &[5, 0, 8, 0, 3, 0, 0, 0]))
    }

    fn done(errno: i32) -> Vec<u8> {
        message(NLMSG_DONE, 2, SEQUENCE, &errno.to_ne_bytes())
    }

    /// A dump, and what it counts.
    struct Counted(Dump, Counts);

    impl Counted {
        fn feed(&mut self, bytes: &[u8], length: usize) -> Result<bool, Error> {
            let Self(dump, counts) = self;
            dump.feed(bytes, length, |message| {
                counts.add_one(message.state()?);
                Ok(())
            })
        }
    }

    fn dump() -> Counted {
        Counted(Dump::new(Request::BOTH_FAMILIES, SEQUENCE), Counts::ZERO)
    }

    /// The counts, if the answer is complete.
    fn fed(bytes: &[u8]) -> Result<Option<Counts>, Error> {
        let mut dump = dump();
        let complete = dump.feed(bytes, bytes.len())?;
        Ok(complete.then_some(dump.1))
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
        let both = request(Request::BOTH_FAMILIES, &all);
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
        let few = request(Request::BOTH_FAMILIES, &Query::of(few));
        assert_eq!(few[68..72], 0x1fbcu32.to_ne_bytes());

        let more = Query {
            states: States::LISTEN,
            extensions: 0x40,
            program: vec![1, 4, 4, 0],
        };
        let both = request(Request::BOTH_FAMILIES, &more);
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
        let counts = dump.1;
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
                    .contains(&format!("datagram of {} bytes was truncated", answer.len())),
                "{error}"
            );
        }
    }

    #[test]
    fn messages_are_padded_to_four_bytes() {
        let padded = message(18, 2, SEQUENCE, &socket(10, &[0]));
        assert_eq!(padded.len(), size_of::<NlMsgHdr>() + SOCKET + 4);
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
        const NLM_F_DUMP_INTR: u16 = 0x10;
        let socket = socket(1, &[]);
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
            prop_assert_eq!(dump.1, expected);
        }
    }
}
