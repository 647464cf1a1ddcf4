// SPDX-License-Identifier: MIT OR Apache-2.0

//! The structures of `NETLINK_SOCK_DIAG`, as views of bytes at any alignment, and what a message
//! says about its socket.
//!
//! Sources: `include/uapi/linux/netlink.h`, `sock_diag.h` and `inet_diag.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::libc;
use zerocopy::native_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian};

use crate::connections::Connection;
use crate::readers::by_port::Listener;
use tcpstat_census::state::State;

pub(super) const TCPDIAG_GETSOCK: u16 = 18;
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
pub(super) const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
pub(super) const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;

/// The attribute of a request with the program that says which sockets to leave out.
pub(super) const INET_DIAG_REQ_BYTECODE: u16 = 1;

/// The attribute with a socket's memory and drops, and which of its numbers the drops are
/// (`sk_get_meminfo`).
pub(super) const INET_DIAG_SKMEMINFO: u16 = 7;
const SK_MEMINFO_DROPS: usize = 8;

/// The first attribute of every full socket, and of no other (`inet_diag_msg_attrs_fill`, which
/// only `inet_sk_diag_fill` calls): from 5.10 to 7.3, whatever the request and the rights of the
/// reader.
const INET_DIAG_SHUTDOWN: u16 = 8;

/// The attribute of IPv6 listeners that says whether they take no IPv4, unasked
/// (`inet_diag_msg_attrs_fill`).
const INET_DIAG_SKV6ONLY: u16 = 11;

/// The attribute of every full socket with the ID of its cgroup, since Linux 5.9
/// (`inet_diag_msg_attrs_fill`).
const INET_DIAG_CGROUP_ID: u16 = 21;

/// The header of a message.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct NlMsgHdr {
    /// Of the message, this header included, in bytes.
    pub(super) length: U32,
    pub(super) message_type: U16,
    pub(super) flags: U16,
    pub(super) sequence: U32,
    pub(super) port: U32,
}

impl NlMsgHdr {
    /// The header of the first message in `bytes`, and what follows it; `None` if the message is
    /// cut.
    pub(super) fn split(bytes: &[u8]) -> Option<(&Self, &[u8])> {
        let (header, _) = Self::ref_from_prefix(bytes).ok()?;
        let message = bytes.get(..header.length.get() as usize)?;
        Some((header, message.get(size_of::<Self>()..)?))
    }
}

/// The header of an attribute.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct NlAttr {
    /// Of the attribute, this header included, in bytes.
    pub(super) length: U16,
    pub(super) kind: U16,
}

/// Where a socket's ends are.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct InetDiagSockId {
    source_port: big_endian::U16,
    destination_port: big_endian::U16,
    source: [u8; 16],
    destination: [u8; 16],
    interface: U32,
    cookie: [U32; 2],
}

/// The older request: of TCP alone, for both families.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct InetDiagReq {
    pub(super) family: u8,
    pub(super) source_length: u8,
    pub(super) destination_length: u8,
    pub(super) extensions: u8,
    pub(super) id: InetDiagSockId,
    pub(super) states: U32,
    pub(super) tables: U32,
}

/// The newer request, for one family.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct InetDiagReqV2 {
    pub(super) family: u8,
    pub(super) protocol: u8,
    pub(super) extensions: u8,
    pub(super) padding: u8,
    pub(super) states: U32,
    pub(super) id: InetDiagSockId,
}

/// A message about a socket.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct InetDiagMsg {
    family: u8,
    state: u8,
    timer: u8,
    retransmissions: u8,
    id: InetDiagSockId,
    expires: U32,
    receive_queue: U32,
    send_queue: U32,
    uid: U32,
    inode: U32,
    attributes: [u8],
}

impl InetDiagMsg {
    #[inline]
    pub(crate) fn state(&self) -> Result<State, String> {
        let code = self.state;
        State::from_code(code).ok_or_else(|| format!("unknown state {code}"))
    }

    /// The number that the socket has as long as it exists, and no other socket of this machine has
    /// before a restart (`sock_gen_cookie`).
    pub(super) fn cookie(&self) -> u64 {
        let [low, high] = self.id.cookie;
        (u64::from(high.get()) << 32) | u64::from(low.get())
    }

    #[inline]
    pub(super) fn local_port(&self) -> u16 {
        self.id.source_port.get()
    }

    /// The ID of the cgroup that made the socket; `None` if it is not a full one, or if the kernel
    /// does not say it.
    pub(crate) fn cgroup(&self) -> Option<u64> {
        let id = self.attribute(INET_DIAG_CGROUP_ID)?;
        id.first_chunk().copied().map(u64::from_ne_bytes)
    }

    /// The local address.
    #[inline]
    pub(super) fn local_address(&self) -> Result<IpAddr, String> {
        self.address(&self.id.source)
    }

    /// The bytes in its receive and send queues; of a listener its accept queue and backlog.
    #[inline]
    pub(super) fn queues(&self) -> (u32, u32) {
        (self.receive_queue.get(), self.send_queue.get())
    }

    /// Whether it is about a full socket.
    pub(crate) fn is_full(&self) -> bool {
        NlAttr::ref_from_prefix(&self.attributes)
            .is_ok_and(|(first, _)| first.kind == INET_DIAG_SHUTDOWN)
    }

    /// What a message with `INET_DIAG_SKMEMINFO` says about a socket that listens
    /// (`tcp_diag_get_info`).
    pub(super) fn listener(&self) -> Result<Listener, String> {
        let memory = self
            .attribute(INET_DIAG_SKMEMINFO)
            .ok_or("a listener without INET_DIAG_SKMEMINFO")?;
        let (memory, _) = <[U32; SK_MEMINFO_DROPS + 1]>::ref_from_prefix(memory)
            .map_err(|_| "INET_DIAG_SKMEMINFO has no SK_MEMINFO_DROPS")?;
        Ok(Listener {
            address: self.local_address()?,
            v6only: self
                .attribute(INET_DIAG_SKV6ONLY)
                .is_some_and(|only| only.first() == Some(&1)),
            accept_queue: self.receive_queue.get(),
            backlog: Some(self.send_queue.get()),
            drops: Some(memory[SK_MEMINFO_DROPS].get()),
        })
    }

    /// The value of the first attribute of this kind, if none before it is cut.
    fn attribute(&self, kind: u16) -> Option<&[u8]> {
        let mut rest = &self.attributes;
        loop {
            let (header, _) = NlAttr::ref_from_prefix(rest).ok()?;
            let length = usize::from(header.length);
            let value = rest.get(size_of::<NlAttr>()..length)?;
            if header.kind == kind {
                return Some(value);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }

    pub(crate) fn connection(&self) -> Result<Connection, String> {
        let (id, inode) = (&self.id, self.inode.get());
        let has_inode = inode != 0;
        Ok(Connection {
            state: self.state()?,
            local: SocketAddr::new(self.address(&id.source)?, id.source_port.get()),
            remote: SocketAddr::new(self.address(&id.destination)?, id.destination_port.get()),
            uid: has_inode.then_some(self.uid.get()),
            inode: has_inode.then_some(inode.into()),
            receive_queue: self.receive_queue.get(),
            send_queue: Some(self.send_queue.get()),
            interface: self.interface(),
            // Whoever needs it looks for it: it is after all that is always read.
            cgroup: None,
        })
    }

    /// The index of the interface that the socket is bound to, if it is bound to one.
    pub(super) fn interface(&self) -> Option<u32> {
        let index = self.id.interface.get();
        (index != 0).then_some(index)
    }

    /// An address of the socket's family.
    fn address(&self, octets: &[u8; 16]) -> Result<IpAddr, String> {
        match (self.family.into(), octets) {
            (libc::AF_INET, &[a, b, c, d, ..]) => Ok(Ipv4Addr::new(a, b, c, d).into()),
            (libc::AF_INET6, &octets) => Ok(Ipv6Addr::from(octets).into()),
            (family, _) => Err(format!("unknown address family {family}")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The size of `struct inet_diag_msg`.
    pub(in super::super) const SOCKET: usize = 72;

    pub(in super::super) fn message(
        message_type: u16,
        flags: u16,
        sequence: u32,
        payload: &[u8],
    ) -> Vec<u8> {
        let header = NlMsgHdr {
            length: U32::new((size_of::<NlMsgHdr>() + payload.len()) as u32),
            message_type: message_type.into(),
            flags: flags.into(),
            sequence: sequence.into(),
            port: U32::ZERO,
        };
        let mut bytes = [header.as_bytes(), payload].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// The payload of a message about a socket in this state, with these attributes.
    pub(in super::super) fn socket(code: u8, attributes: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; SOCKET];
        payload[1] = code;
        payload.extend(attributes);
        payload
    }

    /// The same about a listener at port 80 of ::1, with one attribute before the memory and one
    /// after it.
    pub(in super::super) fn listener(memory: &[u8]) -> Vec<u8> {
        let mut payload = socket(State::Listen.code(), &[]);
        payload[0] = 10;
        payload[5] = 80;
        payload[23] = 1;
        for (at, number) in [(56, 3u32), (60, 16), (64, 1000), (68, 4711)] {
            payload[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        }
        payload.extend([5, 0, 8, 0, 0, 0, 0, 0]);
        payload.extend(((4 + memory.len()) as u16).to_ne_bytes());
        payload.extend(INET_DIAG_SKMEMINFO.to_ne_bytes());
        payload.extend(memory);
        payload.extend([8, 0, 15, 0, 0, 0, 0, 0]);
        payload
    }

    #[test]
    fn structures_are_as_large_as_the_kernels() {
        assert_eq!(size_of::<NlMsgHdr>(), 16);
        assert_eq!(size_of::<InetDiagReq>(), 60);
        assert_eq!(size_of::<InetDiagReqV2>(), 56);
        assert!(InetDiagMsg::ref_from_bytes(&[0; SOCKET - 1]).is_err());
        assert!(InetDiagMsg::ref_from_bytes(&[0; SOCKET]).is_ok());
    }

    #[test]
    fn a_connection_is_read_from_where_the_kernel_puts_it() {
        let payload = listener(&[0; 36]);
        let view = InetDiagMsg::ref_from_bytes(&payload).unwrap();
        assert_eq!(
            view.connection().unwrap(),
            Connection {
                state: State::Listen,
                local: "[::1]:80".parse().unwrap(),
                remote: "[::]:0".parse().unwrap(),
                uid: Some(1000),
                inode: Some(4711),
                receive_queue: 3,
                send_queue: Some(16),
                interface: None,
                cgroup: None,
            }
        );
        let other_family = [&[1], &payload[1..]].concat();
        let view = InetDiagMsg::ref_from_bytes(&other_family).unwrap();
        assert_eq!(view.connection().unwrap_err(), "unknown address family 1");
    }

    #[test]
    fn the_cgroup_is_that_of_its_attribute() {
        let id = [&[12, 0, 21, 0][..], &0x0102_0304_0506u64.to_ne_bytes()].concat();
        let shutdown = [5, 0, 8, 0, 3, 0, 0, 0];
        let padding = [4, 0, 14, 0];
        for (attributes, expected) in [
            (vec![], None),
            (shutdown.to_vec(), None),
            (id.clone(), Some(0x0102_0304_0506)),
            (
                [&shutdown[..], &padding, &id].concat(),
                Some(0x0102_0304_0506),
            ),
            (id[..8].to_vec(), None),
            (vec![6, 0, 21, 0, 1, 2, 0, 0], None),
        ] {
            let payload = socket(1, &attributes);
            let view = InetDiagMsg::ref_from_bytes(&payload).unwrap();
            assert_eq!(view.cgroup(), expected, "{attributes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_message_is_read_or_refused(mut message: Vec<u8>, attributes: Vec<u8>) {
            message.resize(SOCKET, 0);
            message.extend(attributes);
            let view = InetDiagMsg::ref_from_bytes(&message).unwrap();
            let _ = (view.connection(), view.listener(), view.is_full(), view.cgroup());
        }
    }
}
