// SPDX-License-Identifier: GPL-2.0-only

//! Counts for each network namespace, compared with a naive count and with the totals; and their
//! text.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tcpstat_census::namespaces::{Row, Tally, CHAINS};
use tcpstat_census::state::{State, UnknownState};
use tcpstat_census::totals;

mod common;

use common::{Cpu, Hashinfo};

#[derive(Clone, Copy, Debug)]
struct Entry {
    net: u64,
    state: u8,
    tw_substate: u8,
}

fn table(entries: &[Entry]) -> Hashinfo {
    let table = Hashinfo::new(64, 8, entries.len());
    for (nth, entry) in entries.iter().enumerate() {
        table.set(nth, entry.net, entry.state, entry.tw_substate);
        table.insert(nth, nth * 7 % 64);
    }
    table
}

/// The inode number of a namespace.
fn inode(net: u64) -> u32 {
    4_026_531_840 | (net >> 8) as u32 & 0xfff_ffff
}

/// The text for these namespaces, as the module makes it from both of its tables.
fn text(tables: &[&Hashinfo], nets: &[u64]) -> Result<String, UnknownState> {
    let mut rows: Vec<_> = nets.iter().map(|&net| Row::new(net, inode(net))).collect();
    let mut chains = Box::new([7; CHAINS]);
    let mut tally = Tally::new(&mut rows, &mut chains);
    for table in tables {
        tally.count(&Cpu::new(table)).unwrap();
    }
    Ok(tally.finish()?.to_string())
}

const HEADER: &str =
    "NETNS ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT \
    LAST_ACK LISTEN CLOSING\n";

fn naive(entries: &[Entry], nets: &[u64]) -> String {
    let mut rows: BTreeMap<u64, [u64; 11]> = nets.iter().map(|net| (*net, [0; 11])).collect();
    for entry in entries {
        let state = match entry.state {
            12 => 3,
            6 => entry.tw_substate,
            state => state,
        };
        if let Some(row) = rows.get_mut(&entry.net) {
            row[usize::from(state) - 1] += 1;
        }
    }
    let lines = rows.into_iter().map(|(net, counts)| {
        let counts = counts.map(|count| format!(" {count}")).concat();
        format!("{}{counts}\n", inode(net))
    });
    HEADER.to_owned() + &lines.collect::<String>()
}

/// The address of a `struct net`, of few that are as far from each other as those of the kernel.
fn net() -> impl Strategy<Value = u64> {
    (0u64..12).prop_map(|number| 0xffff_8880_0123_0000 + number * 0x1400)
}

fn entry() -> impl Strategy<Value = Entry> {
    (net(), 1u8..=12, 5u8..=6).prop_map(|(net, state, tw_substate)| Entry {
        net,
        state,
        tw_substate,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Some sockets are of namespaces that have no row.
    #[test]
    fn any_namespaces_are_counted_as_a_naive_count_does(
        entries in prop::collection::vec(entry(), 0..300),
        nets in prop::collection::btree_set(net(), 0..10),
        split in 0usize..300,
    ) {
        let nets: Vec<_> = nets.into_iter().collect();
        let (first, second) = entries.split_at(split.min(entries.len()));
        let tables = [table(first), table(second)];
        let got = text(&[&tables[0], &tables[1]], &nets).unwrap();
        prop_assert_eq!(got, naive(&entries, &nets));
    }

    #[test]
    fn any_unknown_state_makes_the_count_an_error(
        mut entries in prop::collection::vec(entry(), 0..50),
        unknown in prop_oneof![Just(0u8), 13u8..],
        time_wait: bool,
        net in net(),
        other in net(),
    ) {
        let (state, tw_substate) = if time_wait { (6, unknown) } else { (unknown, 0) };
        entries.push(Entry { net, state, tw_substate });
        let table = table(&entries);
        prop_assert_eq!(text(&[&table], &[net]), Err(UnknownState(unknown)));
        prop_assert_eq!(text(&[&table], &[other]).is_ok(), net != other);
    }

    /// Whatever the addresses are, each namespace is found.
    #[test]
    fn any_addresses_are_found(nets in prop::collection::btree_set(any::<u64>(), 0..200)) {
        let nets: Vec<_> = nets.into_iter().collect();
        let entries: Vec<_> = nets
            .iter()
            .map(|&net| Entry { net, state: 1, tw_substate: 0 })
            .collect();
        let text = text(&[&table(&entries)], &nets).unwrap();
        let rows = text.lines().skip(1);
        prop_assert_eq!(rows.clone().count(), nets.len());
        for row in rows {
            prop_assert!(row.ends_with(" 1 0 0 0 0 0 0 0 0 0 0"), "{}", row);
        }
    }
}

#[test]
fn ten_thousand_namespaces_have_a_row_each() {
    let nets: Vec<_> = (0..10_000u64)
        .map(|number| 0xffff_8881_0000_0040 + number * 0x1400)
        .collect();
    let entries: Vec<_> = (0..30_000)
        .map(|nth| Entry {
            net: nets[nth % nets.len()],
            state: 1 + (nth % 12) as u8,
            tw_substate: 6,
        })
        .collect();
    let table = table(&entries);
    assert_eq!(text(&[&table], &nets).unwrap(), naive(&entries, &nets));

    // A namespace without a row, in a chain in which others are, is not counted.
    assert_eq!(
        text(&[&table], &nets[..nets.len() / 2]).unwrap(),
        naive(&entries, &nets[..nets.len() / 2])
    );

    // The totals of one of them are its row.
    let mut tally = totals::Tally::default();
    tally.count(&Cpu::new(&table), nets[4321]).unwrap();
    let counts = tally.finish().unwrap();
    let row = naive(&entries, &nets[4321..4322]);
    let want: Vec<_> = counts.iter().map(|(_, count)| count.to_string()).collect();
    assert!(row.ends_with(&format!(" {}\n", want.join(" "))), "{row}");
}

#[test]
fn memory_is_as_promised() {
    // SECURITY.md. Beside its row, a namespace has a pointer in a list, which may be twice as long
    // as need be.
    let (row, pointer) = (size_of::<Row<*const u8>>(), size_of::<*const u8>());
    assert!(row + 2 * pointer < 150, "{row} bytes");
    assert!(64 * pointer + size_of::<[u32; CHAINS]>() <= 65 * 1024);
}

#[test]
fn a_machine_without_sockets_has_rows_of_zeros() {
    let text = text(&[&table(&[])], &[256, 512]).unwrap();
    let zeros = " 0".repeat(State::COUNT);
    let want = format!("{HEADER}{}{zeros}\n{}{zeros}\n", inode(256), inode(512));
    assert_eq!(text, want);
}
