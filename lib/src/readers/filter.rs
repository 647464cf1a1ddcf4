// SPDX-License-Identifier: MIT OR Apache-2.0

//! The program by which the kernel leaves sockets at other ports out of a dump:
//! `INET_DIAG_REQ_BYTECODE`.
//!
//! Sources: `include/uapi/linux/inet_diag.h`; `inet_diag_bc_audit` and `inet_diag_bc_run`
//! (`net/ipv4/inet_diag.c`).

use crate::ports::Ports;

/// With more ranges, it costs the kernel more to compare a socket than to list it: then it does not
/// filter.
const MOST: usize = 64;

const JMP: u8 = 1;
const S_GE: u8 = 2;
const S_LE: u8 = 3;
const D_GE: u8 = 4;
const D_LE: u8 = 5;

/// The size of `struct inet_diag_bc_op`, and of the operations for one range: two comparisons, each
/// with an operand, and a jump.
const OP: usize = 4;
const RANGE: usize = 5 * OP;

/// The program that accepts the sockets at these local and remote ports. It is empty if there is
/// nothing to compare, and accepts more sockets if there are too many ranges.
pub(super) fn program(local: Option<&Ports>, remote: Option<&Ports>) -> Vec<u8> {
    let conditions: Vec<_> = [(S_GE, S_LE, local), (D_GE, D_LE, remote)]
        .into_iter()
        .filter_map(|(ge, le, ports)| Some((ge, le, ports?.ranges())))
        .filter(|(.., ranges)| ranges.len() <= MOST)
        .collect();
    let length = RANGE
        * conditions
            .iter()
            .map(|(.., ranges)| ranges.len())
            .sum::<usize>();

    let mut program = Vec::with_capacity(length);
    // `yes` and `no` are the distances to the next operation. A socket is accepted if execution
    // ends exactly at the end of the program, and rejected if it jumps past it. The kernel's audit
    // follows `yes` alone, and refuses a `no` to an operation that it has not reached that way.
    let mut op = |code: u8, yes: usize, no: usize| {
        program.push(code);
        program.push(yes as u8);
        program.extend((no as u16).to_ne_bytes());
    };
    let mut at = 0;
    for (ge, le, ranges) in conditions {
        let rejected = length + OP;
        let accepted = at + RANGE * ranges.len();
        for (index, range) in ranges.iter().enumerate() {
            // The ranges ascend: a port below this range that is in none before it is in no range.
            op(ge, 2 * OP, rejected - at);
            op(0, 0, (*range.start()).into());
            let is_last = index + 1 == ranges.len();
            let beyond = if is_last { rejected } else { at + RANGE };
            op(le, 2 * OP, beyond - (at + 2 * OP));
            op(0, 0, (*range.end()).into());
            op(JMP, OP, accepted - (at + 4 * OP));
            at += RANGE;
        }
    }
    program
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `struct inet_diag_bc_op` at `at`.
    fn op(program: &[u8], at: usize) -> (u8, usize, usize) {
        let no = u16::from_ne_bytes([program[at + 2], program[at + 3]]);
        (program[at], program[at + 1].into(), no.into())
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
            let least = if code == JMP { OP } else { 2 * OP };
            let left = program.len() - at;
            for to in [yes, no] {
                assert!(to >= least && to <= left + 4 && to % 4 == 0, "{code} {to}");
            }
            assert!(no >= left || on_the_way.contains(&(at + no)), "{code} {no}");
        }
    }

    /// `inet_diag_bc_run`.
    fn accepts(program: &[u8], local: u16, remote: u16) -> bool {
        let mut at = 0;
        while at < program.len() {
            let (code, yes, no) = op(program, at);
            let operand = || op(program, at + OP).2 as u16;
            let goes_on = match code {
                JMP => false,
                S_GE => local >= operand(),
                S_LE => local <= operand(),
                D_GE => remote >= operand(),
                D_LE => remote <= operand(),
                _ => panic!("{code}"),
            };
            at += if goes_on { yes } else { no };
        }
        at == program.len()
    }

    #[test]
    fn without_ports_there_is_no_program() {
        assert!(program(None, None).is_empty());
    }

    #[test]
    fn too_many_ranges_are_left_to_the_reader() {
        let ports = |ranges: usize| -> Ports {
            let ports: Vec<String> = (0..ranges).map(|range| (2 * range).to_string()).collect();
            ports.join(",").parse().unwrap()
        };
        let (most, more) = (ports(MOST), ports(MOST + 1));
        assert_eq!(program(Some(&most), Some(&most)).len(), 2 * MOST * RANGE);
        assert!(program(Some(&more), None).is_empty());
        assert_eq!(
            program(Some(&more), Some(&most)),
            program(None, Some(&most))
        );
        audit(&program(Some(&most), Some(&most)));
    }

    proptest! {
        #[test]
        fn it_accepts_what_is_asked_for_and_passes_the_audit(
            ports in prop::collection::vec(prop::option::of(prop::collection::vec((0u16..300, 0u16..20), 1..10)), 2),
            local in 0u16..350, remote in 0u16..350,
        ) {
            let ports: Vec<Option<Ports>> = ports.iter().map(|ports| {
                let ranges = ports.as_ref()?.iter().map(|(first, more)| format!("{first}-{}", first + more));
                Some(ranges.collect::<Vec<_>>().join(",").parse().unwrap())
            }).collect();
            let program = program(ports[0].as_ref(), ports[1].as_ref());
            audit(&program);
            let expected = ports[0].as_ref().is_none_or(|ports| ports.contains(local))
                && ports[1].as_ref().is_none_or(|ports| ports.contains(remote));
            prop_assert_eq!(accepts(&program, local, remote), expected);
        }
    }
}
