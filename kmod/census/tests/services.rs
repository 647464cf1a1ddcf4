// SPDX-License-Identifier: GPL-2.0-only

//! Counts for each port, compared with a naive count and with the totals; and their text.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use tcpstat_census::counts::Counts;
use tcpstat_census::services::{self, Marks, Row, BLOCKS};
use tcpstat_census::state::{State, UnknownState};
use tcpstat_census::totals;

mod common;

use common::{Cpu, Hashinfo};

#[derive(Clone, Copy, Debug)]
struct Entry {
    net: u64,
    state: u8,
    tw_substate: u8,
    port: u16,
    address: IpAddr,
}

#[derive(Clone, Copy, Debug)]
struct Listening {
    net: u64,
    port: u16,
    address: IpAddr,
    v6only: bool,
    /// Accept queue, backlog, drops.
    values: [u32; 3],
}

/// Both tables of a machine.
struct Machine {
    listening: Hashinfo,
    established: Hashinfo,
}

impl Machine {
    fn new(listeners: &[Listening], entries: &[Entry]) -> Self {
        let (listening, established) = (
            Hashinfo::new(16, 16, listeners.len()),
            Hashinfo::new(64, 8, entries.len()),
        );
        for (nth, listener) in listeners.iter().enumerate() {
            listening.set(nth, listener.net, State::Listen.code(), 0);
            listening.set_port(nth, listener.port);
            listening.set_address(nth, listener.address, listener.v6only);
            listening.set_listener(nth, listener.values);
            listening.insert(nth, usize::from(listener.port) % 16);
        }
        for (nth, entry) in entries.iter().enumerate() {
            established.set(nth, entry.net, entry.state, entry.tw_substate);
            established.set_port(nth, entry.port);
            established.set_address(nth, entry.address, false);
            established.insert(nth, nth * 7 % 64);
        }
        Self {
            listening,
            established,
        }
    }

    /// The text, as the module makes it; `meanwhile` is called after the ports are marked.
    fn text_after(&self, net: u64, meanwhile: impl FnOnce()) -> Result<String, UnknownState> {
        let listening = Cpu::new(&self.listening);
        let mut bits = used_bits();
        let mut marks = Marks::new(&mut bits);
        marks.mark(&listening, net).unwrap();
        meanwhile();
        let (mut numbers, mut rows) = (vec![9; marks.numbers()], vec![Row::ZERO; marks.rows()]);
        let mut tally = services::Tally::new(&marks, &mut numbers, &mut rows).unwrap();
        tally.count_listeners(&listening, net).unwrap();
        tally.count(&Cpu::new(&self.established), net).unwrap();
        Ok(tally.finish()?.to_string())
    }

    fn text(&self, net: u64) -> Result<String, UnknownState> {
        self.text_after(net, || {})
    }

    fn totals(&self, net: u64) -> Counts {
        let mut tally = totals::Tally::default();
        tally.count(&Cpu::new(&self.listening), net).unwrap();
        tally.count(&Cpu::new(&self.established), net).unwrap();
        tally.finish().unwrap()
    }
}

/// Memory that has been used before.
fn used_bits() -> Box<[u64; BLOCKS]> {
    Box::new([0x0123_4567_89ab_cdef; BLOCKS])
}

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

const HEADER: &str = "PORT LISTENERS ACCEPT_QUEUE BACKLOG DROPS FULLEST_QUEUE FULLEST_BACKLOG \
    ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING";

/// The numbers of a line: listeners, accept queue, backlog, drops, queue and backlog of the fullest
/// listener, and the states.
type Numbers = [u64; 17];

/// The number before that of the first state.
const STATES: usize = 5;

/// The rows in the order of the text, with `None` for `-`; every character is checked.
fn parse(text: &str) -> Result<Vec<(Option<u16>, Numbers)>, String> {
    let body = text
        .strip_prefix(HEADER)
        .and_then(|rest| rest.strip_prefix('\n'))
        .ok_or_else(|| format!("the first line: {text:?}"))?;
    let mut rows = Vec::new();
    for line in body.split_inclusive('\n') {
        let line = line.strip_suffix('\n').ok_or("the last line has no end")?;
        let mut words = line.split(' ');
        let port = match words.next().unwrap() {
            "-" => None,
            port => Some(port.parse().map_err(|e| format!("{e}: {line:?}"))?),
        };
        let numbers: Vec<u64> = words
            .map(|word| word.parse().map_err(|e| format!("{e}: {line:?}")))
            .collect::<Result<_, _>>()?;
        let numbers = numbers
            .try_into()
            .map_err(|_| format!("not seventeen numbers: {line:?}"))?;
        rows.push((port, numbers));
    }
    Ok(rows)
}

/// The rows of a namespace, counted in the most naive way.
fn naive(net: u64, listeners: &[Listening], entries: &[Entry]) -> BTreeMap<Option<u16>, Numbers> {
    let mut rows = BTreeMap::from([(None, [0; 17])]);
    for listener in listeners.iter().filter(|listener| listener.net == net) {
        let row = rows.entry(Some(listener.port)).or_insert([0; 17]);
        row[0] += 1;
        for (sum, value) in row[1..4].iter_mut().zip(listener.values) {
            *sum += u64::from(value);
        }
        let fullest = fuller([row[4], row[5]], [listener.values[0], listener.values[1]]);
        row[4..6].copy_from_slice(&fullest);
        row[STATES + 10] += 1;
    }
    for entry in entries.iter().filter(|entry| entry.net == net) {
        let port = Some(entry.port).filter(|_| is_theirs(net, listeners, entry));
        let state = match entry.state {
            12 => 3,
            6 => entry.tw_substate,
            state => state,
        };
        rows.get_mut(&port).unwrap()[STATES + usize::from(state)] += 1;
    }
    rows
}

/// Whether a connection is one of the listeners of its port.
fn is_theirs(net: u64, listeners: &[Listening], entry: &Entry) -> bool {
    let of_port: Vec<_> = listeners
        .iter()
        .filter(|listener| (listener.net, listener.port) == (net, entry.port))
        .collect();
    let specific: BTreeSet<_> = of_port
        .iter()
        .map(|listener| listener.address.to_canonical())
        .filter(|address| !address.is_unspecified())
        .collect();
    let address = entry.address.to_canonical();
    let takes = |listener: &Listening| match (listener.address.to_canonical(), address) {
        (IpAddr::V4(own), IpAddr::V4(address)) => own.is_unspecified() || own == address,
        (IpAddr::V6(own), IpAddr::V6(address)) => own.is_unspecified() || own == address,
        (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified() && !listener.v6only,
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    };
    specific.len() > 8 || of_port.into_iter().any(takes)
}

/// The fuller of two queues, each with its backlog.
fn fuller(first: [u64; 2], second: [u32; 2]) -> [u64; 2] {
    let second = second.map(u64::from);
    let key =
        |[queue, backlog]: [u64; 2], other: [u64; 2]| (queue * other[1].max(1), queue, backlog);
    if key(second, first) > key(first, second) {
        second
    } else {
        first
    }
}

fn check(
    machine: &Machine,
    listeners: &[Listening],
    entries: &[Entry],
) -> Result<(), TestCaseError> {
    for net in 1..4 {
        let rows = parse(&machine.text(net).unwrap()).map_err(TestCaseError::fail)?;
        let mut want = naive(net, listeners, entries);
        // In the text `-` comes last.
        let no_listener = want.remove(&None).unwrap();
        let want: Vec<_> = want.into_iter().chain([(None, no_listener)]).collect();
        prop_assert_eq!(&rows, &want);
        for (state, total) in machine.totals(net).iter() {
            let column = STATES + usize::from(state.code());
            prop_assert_eq!(rows.iter().map(|(_, row)| row[column]).sum::<u64>(), total);
        }
    }
    Ok(())
}

/// Mostly from a few, so that listeners and connections share them; some are the first or last of a
/// block, or of all ports.
fn port() -> impl Strategy<Value = u16> {
    prop_oneof![
        4 => prop::sample::select(&[0u16, 1, 63, 64, 80, 127, 128, 443, 8080, 65_471, 65_472, 65_535][..]),
        1 => any::<u16>(),
    ]
}

/// Few, of both families and mapped, so that listeners and connections share them.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = prop_oneof![
        Just(Ipv4Addr::UNSPECIFIED),
        (1u8..4).prop_map(|last| Ipv4Addr::new(127, 0, 0, last)),
    ];
    prop_oneof![
        v4.clone().prop_map(IpAddr::V4),
        v4.prop_map(|address| IpAddr::V6(address.to_ipv6_mapped())),
        prop_oneof![Just(Ipv6Addr::UNSPECIFIED), Just(Ipv6Addr::LOCALHOST)].prop_map(IpAddr::V6),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    (1u64..4, 1u8..=12, 5u8..=6, port(), address()).prop_map(
        |(net, state, tw_substate, port, address)| Entry {
            net,
            state,
            tw_substate,
            port,
            address,
        },
    )
}

fn listening() -> impl Strategy<Value = Listening> {
    let value = || prop_oneof![3 => 0u32..5000, 1 => Just(u32::MAX)];
    // No socket can listen on port 0.
    let values = [value(), value(), value()];
    (1u64..4, port(), address(), any::<bool>(), values).prop_map(
        |(net, port, address, v6only, values)| Listening {
            net,
            port: port.max(1),
            address,
            v6only,
            values,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_machine_is_counted_as_a_naive_count_does(
        listeners in prop::collection::vec(listening(), 0..30),
        entries in prop::collection::vec(entry(), 0..300),
    ) {
        check(&Machine::new(&listeners, &entries), &listeners, &entries)?;
    }

    #[test]
    fn any_unknown_state_makes_the_count_an_error(
        listeners in prop::collection::vec(listening(), 0..5),
        mut entries in prop::collection::vec(entry(), 0..50),
        unknown in prop_oneof![Just(0u8), 13u8..],
        time_wait: bool,
        port in port(),
    ) {
        let (state, tw_substate) = if time_wait { (6, unknown) } else { (unknown, 0) };
        entries.push(Entry { net: 2, state, tw_substate, port, address: ANY });
        let machine = Machine::new(&listeners, &entries);
        prop_assert_eq!(machine.text(2), Err(UnknownState(unknown)));
        prop_assert!(machine.text(1).is_ok());
    }

    #[test]
    fn any_ports_can_be_marked(marked in prop::collection::btree_set(port(), 0..200)) {
        check_marks(&marked)?;
    }
}

fn check_marks(marked: &BTreeSet<u16>) -> Result<(), TestCaseError> {
    let mut bits = used_bits();
    let mut marks = Marks::new(&mut bits);
    // Each twice.
    marked
        .iter()
        .chain(marked)
        .for_each(|&port| marks.insert(port));
    let ports = || marked.iter().copied().filter(|port| *port != 0);
    prop_assert!(marks.iter().eq(ports()));
    prop_assert_eq!(marks.ports(), ports().count());
    prop_assert_eq!(marks.rows(), ports().count() + 1);
    // As SECURITY.md promises.
    let memory = size_of::<[u64; BLOCKS]>()
        + size_of::<u16>() * marks.numbers()
        + size_of::<Row>() * marks.rows();
    prop_assert!(memory <= 13 * 1024 + 512 * marks.ports(), "{memory} bytes");
    // Memory of any other size is refused.
    for (more, numbers, rows) in [(0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1)] {
        let len = |exact: usize, off: usize| if more == 1 { exact + off } else { exact - off };
        let mut numbers = vec![0; len(marks.numbers(), numbers)];
        let mut rows = vec![Row::ZERO; len(marks.rows(), rows)];
        prop_assert!(services::Tally::new(&marks, &mut numbers, &mut rows).is_none());
    }
    Ok(())
}

#[test]
fn all_ports_and_none_can_be_marked() {
    check_marks(&(0..=u16::MAX).collect()).unwrap();
    check_marks(&BTreeSet::new()).unwrap();
}

#[test]
fn a_listener_on_every_port_has_a_row_each() {
    let listeners: Vec<_> = (1..=u16::MAX)
        .map(|port| Listening {
            net: 1,
            port,
            address: ANY,
            v6only: false,
            values: [1, 2, 3],
        })
        .collect();
    let entries: Vec<_> = (0..5000u16)
        .map(|nth| Entry {
            net: 1,
            state: 1,
            tw_substate: 0,
            port: nth.wrapping_mul(13),
            address: ANY,
        })
        .collect();
    let machine = Machine::new(&listeners, &entries);
    check(&machine, &listeners, &entries).unwrap();
}

#[test]
fn an_empty_machine_has_the_header_and_one_row_of_zeros() {
    let text = Machine::new(&[], &[]).text(1).unwrap();
    assert_eq!(text, format!("{HEADER}\n-{}\n", " 0".repeat(17)));
}

#[test]
fn the_text_is_what_it_is() {
    let listener = |port, values| Listening {
        net: 1,
        port,
        address: ANY,
        v6only: false,
        values,
    };
    let entry = |state, port| Entry {
        net: 1,
        state,
        tw_substate: 5,
        port,
        address: ANY,
    };
    let machine = Machine::new(
        &[
            listener(8080, [1, 128, 0]),
            listener(443, [0, 4096, 7]),
            listener(443, [2, 4096, 0]),
            // One worker is stuck, and the sum over all four does not show it.
            listener(8500, [0, 64, 0]),
            listener(8500, [65, 64, 9]),
            listener(8500, [0, 64, 0]),
            listener(8500, [2, 128, 0]),
        ],
        &[
            entry(1, 443),
            entry(12, 443),
            entry(6, 8080),
            entry(2, 40_000),
        ],
    );
    let want = "\
        443 2 2 8192 7 2 4096 1 0 1 0 0 0 0 0 0 2 0\n\
        8080 1 1 128 0 1 128 0 0 0 0 1 0 0 0 0 1 0\n\
        8500 4 67 320 9 65 64 0 0 0 0 0 0 0 0 0 4 0\n\
        - 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 0 0\n";
    assert_eq!(machine.text(1).unwrap(), format!("{HEADER}\n{want}"));
}

/// Between the marking and the counting, one listener starts and one stops.
#[test]
fn columns_add_up_to_what_there_is_when_it_is_counted() {
    let listeners = [80, 443, 22].map(|port| Listening {
        net: 1,
        port,
        address: ANY,
        v6only: false,
        values: [1, 1, 1],
    });
    let machine = Machine::new(&listeners, &[]);
    machine.listening.remove(1);
    let text = machine
        .text_after(1, || {
            machine.listening.insert(1, 3);
            machine.listening.remove(2);
        })
        .unwrap();
    let states = |listening| format!("{}{listening} 0", "0 ".repeat(9));
    let want = [
        format!("22 0 0 0 0 0 0 {}", states(0)),
        format!("80 1 1 1 1 1 1 {}", states(1)),
        format!("- 0 0 0 0 0 0 {}", states(1)),
    ];
    assert!(text.lines().skip(1).eq(want), "{text}");
    assert_eq!(machine.totals(1).get(State::Listen), 2);
}

/// With nine addresses at one port, every connection there is that of its listeners.
#[test]
fn more_addresses_than_eight_are_all_addresses() {
    for addresses in [8, 9] {
        let at = |last: u8| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let listeners: Vec<_> = (1..=addresses)
            .flat_map(|last| [last, last])
            .map(|last| Listening {
                net: 1,
                port: 80,
                address: at(last),
                v6only: false,
                values: [0; 3],
            })
            .collect();
        let entries =
            [at(1), at(8), at(9), at(10), Ipv6Addr::LOCALHOST.into()].map(|address| Entry {
                net: 1,
                state: 1,
                tw_substate: 0,
                port: 80,
                address,
            });
        let machine = Machine::new(&listeners, &entries);
        check(&machine, &listeners, &entries).unwrap();
        let rows = parse(&machine.text(1).unwrap()).unwrap();
        let established = rows[0].1[STATES + 1];
        assert_eq!(established, if addresses == 8 { 2 } else { 5 });
    }
}
