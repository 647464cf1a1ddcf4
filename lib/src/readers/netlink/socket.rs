// SPDX-License-Identifier: MIT OR Apache-2.0

//! A netlink socket to the kernel, over which a query is sent and its answer received.
//!
//! Sources: `net/netlink/af_netlink.c`, `net/core/sock_diag.c`; `netlink(7)` and `sock_diag(7)`.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::dump::{Dump, Query, Request};
use super::wire::InetDiagMsg;
use crate::error::{Error, errno};
use crate::readers::interrupted::retried;
use crate::readers::namespace::{Handle, inside};

/// The kernel prepares each part of an answer while the one before it is received, so it never
/// takes this long.
const PATIENCE: TimeVal = TimeVal::new(5, 0);

/// The answer to a query, while it is received.
#[derive(Debug)]
pub(crate) struct Answer {
    /// A new one for each answer: it cannot contain the rest of another that failed or was ended
    /// early.
    socket: OwnedFd,
    query: Query,
    dump: Dump,
    /// The requests after this dump.
    rest: &'static [Request],
}

impl Answer {
    /// Asks a network namespace, or that of the calling thread.
    pub(super) fn ask(namespace: Option<&Handle>, query: Query) -> Result<Self, Error> {
        Self::ask_by(Request::BOTH_FAMILIES, &[], namespace, query)
    }

    pub(crate) fn ask_by(
        first: Request,
        rest: &'static [Request],
        namespace: Option<&Handle>,
        query: Query,
    ) -> Result<Self, Error> {
        let answer = Self {
            socket: inside(namespace, open)?,
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

    /// Requests the next dump, if there is one.
    fn request_next(&mut self) -> Result<bool, Error> {
        let [next, rest @ ..] = self.rest else {
            return Ok(false);
        };
        self.dump = self.dump.followed_by(*next);
        self.rest = rest;
        self.send()?;
        Ok(true)
    }

    /// Passes the messages of the next datagram to `each`, which may say that one is malformed.
    /// Returns whether the answer goes on.
    ///
    /// If the kernel does not have the older request, each family is asked for.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        mut each: impl FnMut(&InetDiagMsg) -> Result<(), String>,
    ) -> Result<bool, Error> {
        loop {
            // With MSG_TRUNC, this is the length of the datagram, even if the buffer is shorter.
            let flags = MsgFlags::MSG_TRUNC;
            let length = retried(|| Ok(recv(self.socket.as_raw_fd(), buffer, flags)?))
                .map_err(|error| Error::Receive { error })?;
            match self.dump.feed(buffer, length, &mut each) {
                Ok(true) => return self.request_next(),
                Ok(false) => return Ok(true),
                // The next request may be refused too: its first datagram shows that.
                Err(Error::Answer { error }) if self.dump.is_unknown(errno(&error)) => {
                    self.rest = &Request::BY_FAMILY;
                    self.request_next()?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A socket connected to the kernel, in the network namespace of the calling thread.
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

#[cfg(test)]
mod tests {
    use nix::sys::socket::socketpair;

    use super::super::dump::States;
    use super::super::wire::tests::{message, socket};
    use super::super::wire::{NLMSG_DONE, NLMSG_ERROR, SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK};
    use super::*;

    /// An answer that has these datagrams in it, and the other end of its socket.
    fn answer(datagrams: &[Vec<u8>]) -> (Answer, OwnedFd) {
        let (unix, kind) = (AddressFamily::Unix, SockType::SeqPacket);
        let (socket, kernel) = socketpair(unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
        for datagram in datagrams {
            send(kernel.as_raw_fd(), datagram, MsgFlags::empty()).unwrap();
        }
        let answer = Answer {
            socket,
            query: Query::of(States::ALL),
            dump: Dump::new(Request::BOTH_FAMILIES, 1),
            rest: &[],
        };
        (answer, kernel)
    }

    fn error(sequence: u32, errno: Errno) -> Vec<u8> {
        message(NLMSG_ERROR, 0, sequence, &(-(errno as i32)).to_ne_bytes())
    }

    fn dumped(message_type: u16, sequence: u32) -> Vec<u8> {
        let socket = message(message_type, 2, sequence, &socket(1, &[]));
        [socket, message(NLMSG_DONE, 2, sequence, &[0; 4])].concat()
    }

    /// Receives the next datagram; counts its sockets.
    fn receive(answer: &mut Answer) -> Result<(bool, u32), Error> {
        let mut sockets = 0;
        let goes_on = answer.receive(&mut [0; 1000], |_| {
            sockets += 1;
            Ok(())
        })?;
        Ok((goes_on, sockets))
    }

    #[test]
    fn each_family_is_asked_for_where_the_kernel_does_not_know_the_older_request() {
        for unknown in [Errno::EOPNOTSUPP, Errno::EINVAL] {
            let (mut answer, kernel) = answer(&[
                error(1, unknown),
                dumped(SOCK_DIAG_BY_FAMILY, 2),
                dumped(SOCK_DIAG_BY_FAMILY, 3),
            ]);
            assert_eq!(receive(&mut answer).unwrap(), (true, 1));
            assert_eq!(receive(&mut answer).unwrap(), (false, 1));
            for (family, sequence) in [(2, 2u32), (10, 3)] {
                let mut request = [0; 100];
                let length = recv(kernel.as_raw_fd(), &mut request, MsgFlags::MSG_DONTWAIT);
                assert_eq!(length, Ok(72));
                assert_eq!(request[4..6], SOCK_DIAG_BY_FAMILY.to_ne_bytes());
                assert_eq!(request[8..12], sequence.to_ne_bytes());
                assert_eq!(request[16], family);
            }
        }
    }

    #[test]
    fn other_errors_are_final() {
        let refused = |datagrams: &[Vec<u8>]| {
            let (mut answer, _kernel) = answer(datagrams);
            loop {
                match receive(&mut answer) {
                    Ok((goes_on, _)) => assert!(goes_on),
                    Err(Error::Answer { error }) => return errno(&error),
                    Err(other) => panic!("{other}"),
                }
            }
        };
        assert_eq!(refused(&[error(1, Errno::ENOENT)]), Errno::ENOENT);
        // The request for one family is refused too, in the same call.
        let (mut answer, _kernel) = answer(&[error(1, Errno::EOPNOTSUPP), error(2, Errno::ENOENT)]);
        assert!(matches!(receive(&mut answer), Err(Error::Answer { .. })));
        // A kernel that has begun to answer has the request.
        let begun = message(TCPDIAG_GETSOCK, 2, 1, &socket(1, &[]));
        assert_eq!(refused(&[begun, error(1, Errno::EINVAL)]), Errno::EINVAL);
    }
}
