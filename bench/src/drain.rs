// SPDX-License-Identifier: GPL-2.0-only

//! The lower limit of the cost of a source: makes the kernel send everything, and throws it away
//! unread. Also prints the few lines of a BPF iterator.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;

use clap::ValueEnum;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use crate::outcome::Outcome;

/// What to read.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// A dump of every socket, in one walk for both families.
    Netlink,
    /// `/proc/net/tcp` and `/proc/net/tcp6`.
    Procfs,
    /// `/proc/tcpstat`.
    Module,
    /// `/proc/net/tcpstat_services`.
    Services,
    /// `/proc/tcpstat_namespaces`.
    Namespaces,
}

impl Source {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Source::Netlink => "netlink",
            Source::Procfs => "procfs",
            Source::Module => "module",
            Source::Services => "services",
            Source::Namespaces => "namespaces",
        }
    }

    /// Reads all of it.
    pub(crate) fn drain(self) -> Outcome {
        match self {
            Source::Netlink => netlink().map_err(|e| format!("a netlink dump: {e}").into()),
            Source::Procfs => files(&["/proc/net/tcp", "/proc/net/tcp6"], 1 << 20),
            Source::Module => files(&["/proc/tcpstat"], 4096),
            Source::Services => files(&["/proc/net/tcpstat_services"], 1 << 16),
            Source::Namespaces => files(&["/proc/tcpstat_namespaces"], 1 << 16),
        }
    }
}

fn files(paths: &[&str], buffer: usize) -> Outcome {
    let mut buffer = vec![0; buffer];
    for path in paths {
        let wrong = |e: io::Error| format!("{path}: {e}");
        let mut file = File::open(path).map_err(wrong)?;
        while file.read(&mut buffer).map_err(wrong)? > 0 {}
    }
    Ok(())
}

/// Prints the text of a pinned BPF iterator. After each million objects the kernel ends the read
/// with `EAGAIN` (`bpf_seq_read`), after which `cat` does not go on.
pub(crate) fn print_iterator(path: &str) -> Outcome {
    let wrong = |e: io::Error| format!("{path}: {e}");
    let mut file = File::open(path).map_err(wrong)?;
    let mut buffer = vec![0; 4096];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => io::stdout().write_all(&buffer[..length])?,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(wrong(e).into()),
        }
    }
}

/// The most bytes that the kernel puts into a datagram of a dump, if the buffer has room for them
/// (`netlink_dump`).
const DATAGRAM: usize = 32 * 1024;

/// The type of the request, and of every message of the answer: `TCPDIAG_GETSOCK` of
/// `linux/inet_diag.h`.
const GETSOCK: u16 = 18;

/// Requests all states of both families, and reads only the type of each datagram's first and last
/// message.
fn netlink() -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    // `struct nlmsghdr` (length, type, flags, sequence, port), then `struct inet_diag_req` with its
    // `idiag_states`.
    let mut request = [0; 16 + 60];
    request[0..4].copy_from_slice(&76u32.to_ne_bytes());
    request[4..6].copy_from_slice(&GETSOCK.to_ne_bytes());
    request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    request[68..72].copy_from_slice(&0xffeu32.to_ne_bytes());
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;

    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC)?;
        let Some(bytes) = buffer.get(..length) else {
            return Err(io::Error::other(format!("a datagram of {length} bytes")));
        };
        // The end of the dump is NLMSG_DONE with an errno: 20 bytes, the last or only message of a
        // datagram.
        let kind = |at: usize| {
            bytes
                .get(at + 4..at + 6)
                .map(|b| u16::from_ne_bytes([b[0], b[1]]))
        };
        if kind(0) == Some(libc::NLMSG_ERROR as u16) {
            let errno = i32::from_ne_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
            return Err(io::Error::from_raw_os_error(-errno));
        }
        let last = length.saturating_sub(20);
        let starts_there = bytes.get(last..last + 4) == Some(&20u32.to_ne_bytes()[..]);
        if starts_there && kind(last) == Some(libc::NLMSG_DONE as u16) {
            return Ok(());
        }
    }
}
