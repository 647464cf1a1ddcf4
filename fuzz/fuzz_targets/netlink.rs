// SPDX-License-Identifier: MIT OR Apache-2.0

//! The datagrams of a `NETLINK_SOCK_DIAG` dump: what is counted is what a naive reader counts, and
//! only an answer that ends with `NLMSG_DONE` is complete; and counted by service, or listed as
//! connections, it is the same.
//!
//! The input is datagrams, each after two bytes: the length that was sent, little endian. With the
//! highest bit set, half of it arrives; with the next bit set, another than the kernel sent it, and
//! it is ignored.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcpstat::{Counts, State, internals};

/// In the text of the seeds, whatever the byte order: "7777".
const SEQUENCE: u32 = u32::from_ne_bytes(*b"7777");
const TCPDIAG_GETSOCK: u16 = 18;
const NLMSG_DONE: u16 = 3;

fuzz_target!(|input: &[u8]| {
    let mut datagrams = Vec::new();
    let mut rest = input;
    while let [low, high, bytes @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high & 0x3f])).min(bytes.len());
        let (datagram, after) = bytes.split_at(length);
        let arrived = if high & 0x80 == 0 { length } else { length / 2 };
        let sender = u32::from(high & 0x40);
        datagrams.push((sender, &datagram[..arrived], length));
        rest = after;
    }
    let counted = internals::netlink(SEQUENCE, datagrams.iter().copied());
    let services = internals::netlink_services(SEQUENCE, datagrams.iter().copied());
    let connections = internals::netlink_connections(SEQUENCE, datagrams.iter().copied());
    let Ok(Some((counts, request_sockets, fin_wait2_timewait))) = counted else {
        // Reading more of each message never accepts more.
        assert!(!matches!(services, Ok(Some(_))) && !matches!(connections, Ok(Some(_))));
        return;
    };
    assert!(request_sockets <= counts.get(State::SynRecv));
    assert!(fin_wait2_timewait <= counts.get(State::FinWait2));
    assert_eq!(naive(&datagrams), Some(counts));
    if let Ok(services) = services {
        let (services, other) = services.unwrap();
        let counted_by_port = services.iter().map(|row| row.counts).chain([other]);
        let sum: tcpstat::Counts = counted_by_port.sum();
        assert_eq!(sum, counts);
        let listeners: u64 = services.iter().map(|row| row.listeners).sum();
        assert_eq!(listeners, counts.get(State::Listen));
    }
    if let Ok(connections) = connections {
        let mut listed = Counts::ZERO;
        for connection in connections.unwrap() {
            listed.add_one(connection.state);
            assert_eq!(connection.uid.is_some(), connection.inode.is_some());
            assert_eq!(connection.local.is_ipv6(), connection.remote.is_ipv6());
        }
        assert_eq!(listed, counts);
    }
});

/// One message after another, up to the first that ends the dump, which must not be an error.
fn naive(datagrams: &[internals::Datagram]) -> Option<Counts> {
    let mut counts = Counts::ZERO;
    for &(sender, bytes, sent) in datagrams {
        if sender != 0 {
            continue;
        }
        assert_eq!(bytes.len(), sent, "a datagram that is cut was accepted");
        let mut at = 0;
        while at < bytes.len() {
            let length = u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
            let kind = u16::from_ne_bytes(bytes.get(at + 4..at + 6)?.try_into().ok()?);
            let sequence = bytes.get(at + 8..at + 12)?;
            let payload = bytes.get(at + 16..at + length)?;
            // Its padding as well.
            bytes.get(at..at + length.next_multiple_of(4))?;
            assert_eq!(sequence, SEQUENCE.to_ne_bytes());
            match kind {
                TCPDIAG_GETSOCK => counts.add_one(State::from_code(*payload.get(1)?)?),
                NLMSG_DONE => return (payload.get(..4)? == [0; 4]).then_some(counts),
                _ => return None,
            }
            at += length.next_multiple_of(4);
        }
    }
    None
}
