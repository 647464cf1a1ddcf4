// SPDX-License-Identifier: MIT OR Apache-2.0

//! A netlink socket to the kernel, over which a query is sent and its answer received.
//!
//! Sources: `net/netlink/af_netlink.c`, `net/core/sock_diag.c`; `netlink(7)` and `sock_diag(7)`.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recvmsg, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::dump::{Dump, Query, Request};
use super::wire::InetDiagMsg;
use crate::error::{Error, errno};
use crate::readers::interrupted::retried;
use crate::readers::namespace::{Handle, inside};

/// How long the kernel may be silent. It prepares each part of an answer while the one before it is
/// received, so it never takes this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The port id of the kernel's sockets (`netlink(7)`). A datagram from another one is no part of an
/// answer: a socket has a port id, which is easy to guess, a moment before it is connected, and
/// whoever has `CAP_NET_ADMIN` over the network namespace can send to it then.
pub(crate) const KERNEL: u32 = 0;

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
    /// The port id of the sender; the datagrams of others are ignored.
    sender: u32,
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
            sender: KERNEL,
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
            let length = self
                .receive_from_kernel(buffer)
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

    /// Receives the next datagram of the kernel. Returns its length, which is greater than that of
    /// the buffer if the datagram did not fit. Others are ignored, for as long as the kernel may be
    /// silent.
    fn receive_from_kernel(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut silent_since = None;
        loop {
            let (length, sender) = retried(|| {
                let mut parts = [IoSliceMut::new(buffer)];
                let (socket, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_TRUNC);
                let datagram = recvmsg::<NetlinkAddr>(socket, &mut parts, None, flags)?;
                Ok((datagram.bytes, datagram.address))
            })?;
            if sender.is_some_and(|sender| sender.pid() == self.sender) {
                return Ok(length);
            }
            let since = *silent_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= PATIENCE {
                return Err(Errno::EAGAIN.into());
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
    let patience = TimeVal::new(PATIENCE.as_secs() as _, 0);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience)
        .map_err(failed("set the timeout of"))?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(KERNEL, 0)).map_err(failed("connect"))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::sys::socket::{bind, getsockname, recv, sendto};

    use super::super::dump::States;
    use super::super::wire::tests::{message, socket};
    use super::super::wire::{NLMSG_DONE, NLMSG_ERROR, SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK};
    use super::*;

    /// A socket of the protocol that is for sockets in user space, and its address.
    fn user_socket() -> (OwnedFd, NetlinkAddr) {
        let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkUserSock);
        let socket = super::socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol);
        let socket = socket.unwrap();
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).unwrap();
        let address = getsockname(socket.as_raw_fd()).unwrap();
        (socket, address)
    }

    fn send_to(address: &NetlinkAddr, from: &OwnedFd, datagram: &[u8]) -> nix::Result<usize> {
        sendto(from.as_raw_fd(), datagram, address, MsgFlags::MSG_DONTWAIT)
    }

    /// An answer that has these datagrams in it, after some that were sent before the socket was
    /// connected, and the socket that stands for the kernel's.
    fn answer_after(forged: &[Vec<u8>], datagrams: &[Vec<u8>]) -> (Answer, OwnedFd) {
        let [(socket, address), (kernel, sender), (forger, _)] = [(); 3].map(|()| user_socket());
        for datagram in forged {
            send_to(&address, &forger, datagram).unwrap();
        }
        connect(socket.as_raw_fd(), &sender).unwrap();
        for datagram in datagrams {
            send_to(&address, &kernel, datagram).unwrap();
        }
        let answer = Answer {
            socket,
            query: Query::of(States::ALL),
            dump: Dump::new(Request::BOTH_FAMILIES, 1),
            rest: &[],
            sender: sender.pid(),
        };
        (answer, kernel)
    }

    fn answer(datagrams: &[Vec<u8>]) -> (Answer, OwnedFd) {
        answer_after(&[], datagrams)
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

    #[test]
    fn what_others_send_is_ignored() {
        let forged = [
            dumped(TCPDIAG_GETSOCK, 1),
            dumped(TCPDIAG_GETSOCK, 77),
            error(1, Errno::ENOENT),
            vec![0; 2000],
        ];
        let (mut answer, _kernel) = answer_after(&forged, &[dumped(TCPDIAG_GETSOCK, 1)]);
        assert_eq!(receive(&mut answer).unwrap(), (false, 1));
    }

    #[test]
    fn a_flood_from_others_ends_like_silence() {
        let [(socket, address), (forger, _)] = [(); 2].map(|()| user_socket());
        let (mut answer, _kernel) = answer(&[]);
        // Not connected: everyone can send to it all the while.
        answer.socket = socket;
        let start = Instant::now();
        let flood = thread::spawn(move || {
            let datagram = dumped(TCPDIAG_GETSOCK, 1);
            while !matches!(
                send_to(&address, &forger, &datagram),
                Err(Errno::ECONNREFUSED)
            ) {}
        });
        let Err(Error::Receive { error }) = receive(&mut answer) else {
            panic!("an answer of others");
        };
        assert_eq!(errno(&error), Errno::EAGAIN);
        assert!(start.elapsed() >= PATIENCE);
        drop(answer);
        flood.join().unwrap();
    }
}
