// SPDX-License-Identifier: GPL-2.0-only

//! The states: their names and numbers, and the state that a hash table entry counts as; and the
//! text of `/proc/tcpstat`.

use proptest::prelude::*;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::{State, NEW_SYN_RECV};

/// `include/net/tcp_states.h`, in order.
const NAMES: [(&str, u8); 11] = [
    ("ESTABLISHED", 1),
    ("SYN_SENT", 2),
    ("SYN_RECV", 3),
    ("FIN_WAIT1", 4),
    ("FIN_WAIT2", 5),
    ("TIME_WAIT", 6),
    ("CLOSE", 7),
    ("CLOSE_WAIT", 8),
    ("LAST_ACK", 9),
    ("LISTEN", 10),
    ("CLOSING", 11),
];

#[test]
fn names_and_numbers_are_the_kernels() {
    assert_eq!(State::ALL.map(|state| (state.name(), state.code())), NAMES);
    assert_eq!(NEW_SYN_RECV, 12);
}

#[test]
fn a_state_is_printed_as_its_name() {
    for state in State::ALL {
        assert_eq!(state.to_string(), state.name());
        assert_eq!(format!("{state:>12}"), format!("{:>12}", state.name()));
    }
}

/// The spellings of `include/net/tcp_states.h`; of `ss`, in its output and its filters; and of
/// OpenTelemetry.
#[test]
fn a_state_is_found_by_every_spelling() {
    let spellings: [&[&str]; State::COUNT] = [
        &["ESTABLISHED", "ESTAB", "established", "Established"],
        &["SYN_SENT", "SYN-SENT", "syn-sent", "syn_sent"],
        &["SYN_RECV", "SYN-RECV", "syn-recv", "syn_received"],
        &["FIN_WAIT1", "FIN-WAIT-1", "fin-wait-1", "fin_wait_1"],
        &["FIN_WAIT2", "FIN-WAIT-2", "fin-wait-2", "fin_wait_2"],
        &["TIME_WAIT", "TIME-WAIT", "time-wait", "time_wait"],
        &["CLOSE", "UNCONN", "closed", "Closed"],
        &["CLOSE_WAIT", "CLOSE-WAIT", "close-wait", "close_wait"],
        &["LAST_ACK", "LAST-ACK", "last-ack", "last_ack"],
        &["LISTEN", "listening", "listen"],
        &["CLOSING", "closing"],
    ];
    for (state, spellings) in State::ALL.into_iter().zip(spellings) {
        for text in spellings {
            assert_eq!(text.parse(), Ok(state), "{text}");
        }
    }
}

#[test]
fn other_texts_are_errors() {
    for text in [
        "",
        "1",
        "LISTE",
        " LISTEN",
        "LISTENS",
        "CLOSE WAIT",
        "closewait",
        "K\u{130}",
    ] {
        let error = text.parse::<State>().unwrap_err();
        assert_eq!(error.to_string(), "not the name of a TCP state", "{text}");
    }
}

#[test]
fn every_number_is_one_state_or_none() {
    for code in 0..=u8::MAX {
        let expected = match code {
            1..=11 => Some(State::ALL[usize::from(code) - 1]),
            12 => Some(State::SynRecv),
            _ => None,
        };
        assert_eq!(State::from_code(code), expected, "{code}");
    }
}

#[test]
fn only_a_time_wait_socket_is_asked_for_its_substate() {
    for code in (0..=u8::MAX).filter(|&code| code != 6) {
        assert_eq!(
            State::of_entry(code, || panic!("asked")),
            State::from_code(code).ok_or(code)
        );
    }
    for substate in 0..=u8::MAX {
        assert_eq!(
            State::of_entry(6, || substate),
            State::from_code(substate).ok_or(substate)
        );
    }
    assert_eq!(State::of_entry(6, || 5), Ok(State::FinWait2));
    assert_eq!(State::of_entry(6, || 6), Ok(State::TimeWait));
}

#[test]
fn an_entry_counts_in_its_state_or_not_at_all() {
    for (code, substate) in (0..=u8::MAX).flat_map(|code| (0..=15).map(move |sub| (code, sub))) {
        let (mut counts, mut expected) = (Counts::ZERO, Counts::ZERO);
        let state = State::of_entry(code, || substate);
        let added = counts.add_entry(code, || substate);
        assert_eq!(added.err(), state.err(), "{code}, {substate}");
        if let Ok(state) = state {
            expected.add_one(state);
        }
        assert_eq!(counts, expected, "{code}, {substate}");
    }
}

#[test]
fn the_text_is_that_of_proc_tcpstat() {
    let mut counts = Counts::ZERO;
    counts.set(State::Established, 5);
    counts.add_one(State::TimeWait);
    counts.set(State::Listen, 14);
    assert_eq!(
        counts.to_string(),
        "\
ESTABLISHED : 5
SYN_SENT    : 0
SYN_RECV    : 0
FIN_WAIT1   : 0
FIN_WAIT2   : 0
TIME_WAIT   : 1
CLOSE       : 0
CLOSE_WAIT  : 0
LAST_ACK    : 0
LISTEN      : 14
CLOSING     : 0
"
    );
}

#[test]
fn nothing_is_eleven_zeros() {
    assert_eq!(Counts::ZERO, Counts::default());
    assert_eq!(Counts::ZERO.total(), 0);
    let text = Counts::ZERO.to_string();
    assert_eq!(text.lines().count(), 11);
    assert!(text.lines().all(|line| line.ends_with(": 0")), "{text}");
}

#[test]
fn a_total_that_does_not_fit_is_the_largest_number() {
    let mut counts = Counts::ZERO;
    counts.set(State::Established, u64::MAX);
    assert_eq!(counts.total(), u64::MAX);
    counts.add_one(State::Listen);
    assert_eq!(counts.total(), u64::MAX);
    let sum: Counts = [counts, counts].into_iter().sum();
    assert_eq!(sum[State::Established], u64::MAX);
    assert_eq!(sum[State::Listen], 2);
}

proptest! {
    #[test]
    fn counts_are_kept_apart(numbers: [u32; State::COUNT]) {
        let mut counts = Counts::ZERO;
        let mut indexed = Counts::ZERO;
        for (state, number) in State::ALL.into_iter().zip(numbers) {
            counts.set(state, number.into());
            indexed[state] = number.into();
        }
        prop_assert_eq!(indexed, counts);
        for (state, number) in State::ALL.into_iter().zip(numbers) {
            prop_assert_eq!(counts.get(state), u64::from(number));
            prop_assert_eq!(counts[state], u64::from(number));
        }
        let expected = State::ALL.into_iter().zip(numbers.map(u64::from));
        prop_assert!(counts.iter().eq(expected.clone()));
        prop_assert!(counts.into_iter().eq(expected.clone()));
        prop_assert!((&counts).into_iter().eq(expected.clone()));
        prop_assert_eq!(expected.rev().collect::<Counts>(), counts);
        prop_assert_eq!(counts.total(), numbers.iter().map(|&number| u64::from(number)).sum::<u64>());
    }

    #[test]
    fn counts_are_added_state_by_state(all in prop::collection::vec(any::<[u32; State::COUNT]>(), 0..5)) {
        let pairs = |numbers: [u32; State::COUNT]| State::ALL.into_iter().zip(numbers.map(u64::from));
        let sum: Counts = all.iter().map(|&numbers| pairs(numbers).collect::<Counts>()).sum();
        prop_assert_eq!(all.iter().copied().flat_map(pairs).collect::<Counts>(), sum);
        for (nth, (_, count)) in sum.iter().enumerate() {
            prop_assert_eq!(count, all.iter().map(|numbers| u64::from(numbers[nth])).sum::<u64>());
        }
    }

    #[test]
    fn the_text_has_the_kernels_columns(numbers: [u64; State::COUNT]) {
        let mut counts = Counts::ZERO;
        for (state, number) in State::ALL.into_iter().zip(numbers) {
            counts.set(state, number);
        }
        for ((line, (name, _)), number) in counts.to_string().lines().zip(NAMES).zip(numbers) {
            prop_assert_eq!(&line[..12], format!("{name:<12}"));
            prop_assert_eq!(&line[12..14], ": ");
            prop_assert_eq!(line[14..].parse(), Ok(number));
        }
    }
}
