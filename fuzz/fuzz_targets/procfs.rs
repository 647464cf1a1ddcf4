// SPDX-License-Identifier: MIT OR Apache-2.0

//! The text of `/proc/net/tcp` and `tcp6`: what is counted is what a naive reader counts, however
//! the text arrives; and counted by service, or listed as connections, it is the same.
//!
//! The first byte says which of the two it is, the second how many bytes arrive at a time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcpstat::{Connection, Counts, State, internals};

const BUFFER: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let [which, step, text @ ..] = input else {
        return;
    };
    let ipv6 = which & 1 == 1;
    let counted = internals::procfs(text, ipv6, text.len(), BUFFER);
    // In parts, and in a buffer that takes one line or a little more, as lines of a real file are
    // to the real one.
    let longest = text.split(|&byte| byte == b'\n').map(<[u8]>::len).max();
    let buffer = longest.unwrap_or(0) + 2 + usize::from(*step);
    if buffer <= BUFFER {
        let in_parts = internals::procfs(text, ipv6, usize::from(*step) + 1, buffer);
        assert_eq!(in_parts.is_ok(), counted.is_ok());
        if text.ends_with(b"\n") {
            assert_eq!(in_parts, counted);
        }
    }
    let services = internals::procfs_services(text, ipv6);
    let connections = internals::procfs_connections(text, ipv6);
    match &counted {
        Ok(counts) => assert_eq!(naive(text), Some(*counts)),
        // Reading more columns never accepts more.
        Err(_) => assert!(services.is_err() && connections.is_err()),
    }
    if let Ok((services, other)) = services {
        let counts = counted.as_ref().unwrap();
        let counted_by_port = services.iter().map(|row| row.counts).chain([other]);
        let sum: tcpstat::Counts = counted_by_port.sum();
        assert_eq!(sum, *counts);
        let listeners: u64 = services.iter().map(|row| row.listeners).sum();
        assert_eq!(listeners, counts.get(State::Listen));
        assert!(services.iter().all(|row| row.listeners > 0));
    }
    if let Ok(connections) = connections {
        let mut counts = Counts::ZERO;
        for connection in &connections {
            counts.add_one(connection.state);
            assert_eq!(connection.uid.is_some(), connection.inode.is_some());
            assert_eq!(
                (connection.local.is_ipv6(), connection.remote.is_ipv6()),
                (ipv6, ipv6)
            );
        }
        assert_eq!(counted, Ok(counts));
        assert_eq!(Some(ends(&connections)), naive_ends(text));
    }
});

/// The ports and the queues of each connection; a listener has but one.
fn ends(connections: &[Connection]) -> Vec<[u32; 4]> {
    let ends = |one: &Connection| {
        let (local, remote) = (one.local.port().into(), one.remote.port().into());
        [
            local,
            remote,
            one.send_queue.unwrap_or(0),
            one.receive_queue,
        ]
    };
    connections.iter().map(ends).collect()
}

fn naive_ends(text: &[u8]) -> Option<Vec<[u32; 4]>> {
    let text = String::from_utf8_lossy(text);
    let lines = text.strip_suffix('\n')?.split('\n').skip(1);
    let ends = |line: &str| {
        let (_, line) = line.split_once(':')?;
        let columns: Vec<&str> = line
            .split(' ')
            .filter(|column| !column.is_empty())
            .collect();
        let parts = |column: &str| {
            let (first, second) = column.rsplit_once(':')?;
            let second = u32::from_str_radix(second, 16).ok()?;
            Some((u32::from_str_radix(first, 16).unwrap_or(0), second))
        };
        let (_, local) = parts(columns[0])?;
        let (_, remote) = parts(columns[1])?;
        let (send, receive) = parts(columns[3])?;
        let send = if columns[2].eq_ignore_ascii_case("0A") {
            0
        } else {
            send
        };
        Some([local, remote, send, receive])
    };
    lines.map(ends).collect()
}

/// The fourth column of every line but the first.
fn naive(text: &[u8]) -> Option<Counts> {
    let mut counts = Counts::ZERO;
    for line in text
        .strip_suffix(b"\n")?
        .split(|&byte| byte == b'\n')
        .skip(1)
    {
        let mut columns = line
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|column| !column.is_empty());
        let code = std::str::from_utf8(columns.nth(3)?).ok()?;
        counts.add_one(State::from_code(u8::from_str_radix(code, 16).ok()?)?);
    }
    Some(counts)
}
