// SPDX-License-Identifier: MIT OR Apache-2.0

//! The program by which the kernel leaves sockets at other ports and addresses out of a dump:
//! `INET_DIAG_REQ_BYTECODE`.
//!
//! Sources: `include/uapi/linux/inet_diag.h`; `inet_diag_bc_audit` and `inet_diag_bc_run`
//! (`net/ipv4/inet_diag.c`).

use std::net::IpAddr;
use std::ops::RangeInclusive;

use nix::libc;

use crate::connections::Filter;
use crate::networks::{Network, Networks};
use crate::ports::Ports;

/// With more ranges or networks in a condition, it costs the kernel more to compare a socket than
/// to list it: then it does not filter.
const MOST: usize = 64;

const JMP: u8 = 1;
const S_GE: u8 = 2;
const S_LE: u8 = 3;
const D_GE: u8 = 4;
const D_LE: u8 = 5;
const S_COND: u8 = 7;
const D_COND: u8 = 8;

/// The size of `struct inet_diag_bc_op`.
const OP: usize = 4;

/// The size of `struct inet_diag_hostcond` without its address.
const HOST: usize = 8;

/// A comparison of a socket.
#[derive(Clone, Copy)]
enum Test<'a> {
    /// Its port: at least, by the first code, and at most, by the second one.
    Port([u8; 2], &'a RangeInclusive<u16>),
    /// Its address.
    Address(u8, Network),
}

impl Test<'_> {
    /// The size of the operations of one comparison.
    fn length(self) -> usize {
        match self {
            // Each with an operand.
            Self::Port(..) => 4 * OP,
            Self::Address(_, network) => OP + HOST + octets(network).len(),
        }
    }
}

/// A condition: that one of the tests is true, or that none is.
struct Condition<'a> {
    tests: Vec<Test<'a>>,
    accepts: bool,
}

impl Condition<'_> {
    fn length(&self) -> usize {
        // A jump follows each test.
        self.tests.iter().map(|test| test.length() + OP).sum()
    }
}

/// The program that accepts the sockets that `filter` accepts by their ports and addresses. It is
/// empty if there is nothing to compare, and accepts more sockets if there are too many tests.
pub(super) fn program(filter: &Filter) -> Vec<u8> {
    fn ports(codes: [u8; 2], ports: &Option<Ports>) -> Option<Vec<Test<'_>>> {
        let ranges = ports.as_ref()?.ranges().iter();
        Some(ranges.map(|range| Test::Port(codes, range)).collect())
    }
    let networks = |code, networks: &Option<Networks>| {
        let networks = networks.as_ref()?.networks().iter();
        Some(networks.map(|&one| Test::Address(code, one)).collect())
    };
    let loopback = [S_COND, D_COND].into_iter();
    let loopback = loopback.flat_map(|code| Network::LOOPBACK.map(|one| Test::Address(code, one)));
    let accepted = [
        ports([S_GE, S_LE], &filter.local_ports),
        ports([D_GE, D_LE], &filter.remote_ports),
        networks(S_COND, &filter.local_addresses),
        networks(D_COND, &filter.remote_addresses),
    ];
    let accepted = accepted.into_iter().flatten().map(|tests| (tests, true));
    let refused = filter.no_loopback.then(|| (loopback.collect(), false));
    let conditions: Vec<Condition<'_>> = accepted
        .chain(refused)
        .filter(|(tests, _)| tests.len() <= MOST)
        .map(|(tests, accepts)| Condition { tests, accepts })
        .collect();
    compiled(&conditions)
}

fn compiled(conditions: &[Condition<'_>]) -> Vec<u8> {
    let length = conditions.iter().map(Condition::length).sum();
    let mut program = Vec::with_capacity(length);
    // `yes` and `no` are the distances to the next operation. A socket is accepted if execution
    // ends exactly at the end of the program, and rejected if it jumps past it. The kernel's audit
    // follows `yes` alone, and refuses a `no` to an operation that it has not reached that way.
    let rejected = length + OP;
    let mut start = 0;
    for condition in conditions {
        let end = start + condition.length();
        // Where a test that is true leads, and the last that is not.
        let (found, not_found) = match condition.accepts {
            true => (end, rejected),
            false => (rejected, end),
        };
        let mut at = start;
        for (index, test) in condition.tests.iter().enumerate() {
            let jump = at + test.length();
            let is_last = index + 1 == condition.tests.len();
            let next = if is_last { not_found } else { jump + OP };
            match *test {
                Test::Port([ge, le], range) => {
                    // The ranges ascend: a port below this range that is in none before it is in
                    // no range.
                    op(&mut program, ge, 2 * OP, not_found - at);
                    op(&mut program, 0, 0, (*range.start()).into());
                    op(&mut program, le, 2 * OP, next - (at + 2 * OP));
                    op(&mut program, 0, 0, (*range.end()).into());
                }
                Test::Address(code, network) => {
                    op(&mut program, code, test.length(), next - at);
                    let family = match network.address() {
                        IpAddr::V4(_) => libc::AF_INET,
                        IpAddr::V6(_) => libc::AF_INET6,
                    };
                    program.extend([family as u8, network.prefix(), 0, 0]);
                    // Any port.
                    program.extend((-1i32).to_ne_bytes());
                    program.extend(octets(network));
                }
            }
            op(&mut program, JMP, OP, found - jump);
            at = jump + OP;
        }
        start = end;
    }
    program
}

/// Appends a `struct inet_diag_bc_op`.
fn op(program: &mut Vec<u8>, code: u8, yes: usize, no: usize) {
    program.push(code);
    program.push(yes as u8);
    program.extend((no as u16).to_ne_bytes());
}

fn octets(network: Network) -> Vec<u8> {
    match network.address() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    use proptest::prelude::*;

    use super::*;
    use crate::connections::Connection;
    use tcpstat_census::state::State;

    /// `struct inet_diag_bc_op` at `at`.
    fn op(program: &[u8], at: usize) -> (u8, usize, usize) {
        let no = u16::from_ne_bytes([program[at + 2], program[at + 3]]);
        (program[at], program[at + 1].into(), no.into())
    }

    /// The `struct inet_diag_hostcond` after the operation at `at`: family, bits of the prefix,
    /// port, and the rest of the program.
    fn host(program: &[u8], at: usize) -> (i32, usize, i32, &[u8]) {
        let cond = &program[at + OP..];
        let port = i32::from_ne_bytes(cond[4..8].try_into().unwrap());
        (cond[0].into(), cond[1].into(), port, &cond[HOST..])
    }

    /// `inet_diag_bc_audit`, as far as it concerns the codes that are used.
    fn audit(program: &[u8]) {
        let mut on_the_way = vec![];
        let mut at = 0;
        while at < program.len() {
            on_the_way.push(at);
            at += op(program, at).1;
        }
        on_the_way.push(program.len());
        assert_eq!(at, program.len());
        for &at in &on_the_way[..on_the_way.len() - 1] {
            let (code, yes, no) = op(program, at);
            let least = match code {
                JMP => OP,
                S_COND | D_COND => {
                    let (family, prefix, _, rest) = host(program, at);
                    let octets = if family == libc::AF_INET { 4 } else { 16 };
                    assert!(prefix <= 8 * octets && rest.len() >= octets);
                    OP + HOST + octets
                }
                _ => 2 * OP,
            };
            let left = program.len() - at;
            for to in [yes, no] {
                assert!(to >= least && to <= left + 4 && to % 4 == 0, "{code} {to}");
            }
            assert!(no >= left || on_the_way.contains(&(at + no)), "{code} {no}");
        }
    }

    /// `inet_diag_bc_run`.
    fn accepts(program: &[u8], local: SocketAddr, remote: SocketAddr) -> bool {
        let mut at = 0;
        while at < program.len() {
            let (code, yes, no) = op(program, at);
            let operand = || op(program, at + OP).2 as u16;
            let goes_on = match code {
                JMP => false,
                S_GE => local.port() >= operand(),
                S_LE => local.port() <= operand(),
                D_GE => remote.port() >= operand(),
                D_LE => remote.port() <= operand(),
                S_COND => matches(host(program, at), local.ip()),
                D_COND => matches(host(program, at), remote.ip()),
                _ => panic!("{code}"),
            };
            at += if goes_on { yes } else { no };
        }
        at == program.len()
    }

    fn matches((family, prefix, port, expected): (i32, usize, i32, &[u8]), ip: IpAddr) -> bool {
        assert_eq!(port, -1);
        let octets = match (ip, family) {
            (IpAddr::V4(ip), libc::AF_INET) => ip.octets().to_vec(),
            (IpAddr::V6(ip), libc::AF_INET6) => ip.octets().to_vec(),
            (IpAddr::V6(ip), libc::AF_INET) => match ip.to_ipv4_mapped() {
                Some(ip) => ip.octets().to_vec(),
                None => return false,
            },
            _ => return false,
        };
        let bit = |octets: &[u8], bit: usize| (octets[bit / 8] >> (7 - bit % 8)) & 1;
        (0..prefix).all(|at| bit(&octets, at) == bit(expected, at))
    }

    fn ports(local: Option<&Ports>, remote: Option<&Ports>) -> Filter {
        Filter {
            local_ports: local.cloned(),
            remote_ports: remote.cloned(),
            ..Filter::default()
        }
    }

    #[test]
    fn without_conditions_there_is_no_program() {
        assert!(program(&Filter::default()).is_empty());
    }

    #[test]
    fn too_many_ranges_are_left_to_the_reader() {
        let set = |ranges: usize| -> Ports {
            let ports: Vec<String> = (0..ranges).map(|range| (2 * range).to_string()).collect();
            ports.join(",").parse().unwrap()
        };
        let (most, more) = (set(MOST), set(MOST + 1));
        let both = program(&ports(Some(&most), Some(&most)));
        assert_eq!(both.len(), 2 * MOST * 5 * OP);
        assert!(program(&ports(Some(&more), None)).is_empty());
        assert_eq!(
            program(&ports(Some(&more), Some(&most))),
            program(&ports(None, Some(&most)))
        );
        audit(&both);
    }

    /// Few different ones, so that networks contain some of them.
    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0u32..8).prop_map(|bits| Ipv4Addr::from_bits((126 << 24) + (bits << 22)).into()),
            (0u32..8).prop_map(|bits| {
                let mapped = Ipv4Addr::from_bits((126 << 24) + (bits << 22));
                mapped.to_ipv6_mapped().into()
            }),
            (0u128..4).prop_map(|bits| Ipv6Addr::from_bits(((bits & 2) << 126) | bits).into()),
        ]
    }

    fn networks() -> impl Strategy<Value = Networks> {
        let network = (address(), 0u8..=32).prop_map(|(address, less)| {
            let most = if address.is_ipv4() { 32 } else { 128 };
            format!("{address}/{}", most - less)
        });
        prop::collection::vec(network, 1..5)
            .prop_map(|networks| networks.join(",").parse().unwrap())
    }

    fn some_ports() -> impl Strategy<Value = Ports> {
        prop::collection::vec((0u16..300, 0u16..20), 1..10).prop_map(|ranges| {
            let ranges = ranges.iter();
            let ranges = ranges.map(|(first, more)| format!("{first}-{}", first + more));
            ranges.collect::<Vec<_>>().join(",").parse().unwrap()
        })
    }

    proptest! {
        #[test]
        fn it_accepts_what_is_asked_for_and_passes_the_audit(
            ports in (prop::option::of(some_ports()), prop::option::of(some_ports())),
            addresses in (prop::option::of(networks()), prop::option::of(networks())),
            no_loopback: bool,
            local in (address(), 0u16..350), remote in (address(), 0u16..350),
        ) {
            let filter = Filter {
                states: None,
                local_ports: ports.0,
                remote_ports: ports.1,
                local_addresses: addresses.0,
                remote_addresses: addresses.1,
                no_loopback,
            };
            let program = program(&filter);
            audit(&program);
            let [local, remote] = [local, remote].map(SocketAddr::from);
            let expected = filter.accepts(&Connection {
                local,
                remote,
                ..Connection::between("0.0.0.0:0", "0.0.0.0:0", State::Established)
            });
            let accepted = accepts(&program, local, remote);
            // The kernel knows an IPv4-mapped address as one of IPv6, too: the reader decides.
            let mapped = [local, remote].iter().any(|one| one.ip() != one.ip().to_canonical());
            prop_assert!(accepted == expected || accepted && mapped);
        }
    }
}
