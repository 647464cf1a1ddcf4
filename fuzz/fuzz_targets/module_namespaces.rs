// SPDX-License-Identifier: MIT OR Apache-2.0

//! The text of `/proc/tcpstat_namespaces`: what is read is what a naive reader reads, however the
//! text arrives.
//!
//! The first byte says how many bytes arrive at a time.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use tcpstat::{State, internals};

const BUFFER: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let [step, text @ ..] = input else {
        return;
    };
    let read = internals::module_namespaces(text, BUFFER, BUFFER);
    // In parts, and in a buffer that takes one line or a little more.
    let longest = text.split(|&byte| byte == b'\n').map(<[u8]>::len).max();
    let buffer = longest.unwrap_or(0) + 2 + usize::from(*step);
    let in_parts = internals::module_namespaces(text, usize::from(*step) + 1, buffer);
    match read {
        Ok(namespaces) => {
            let rows: BTreeMap<u64, [u64; 11]> = namespaces
                .iter()
                .map(|(inode, counts)| (*inode, State::ALL.map(|state| counts[state])))
                .collect();
            assert_eq!(naive(text), rows);
            assert_eq!(in_parts, Ok(namespaces));
        }
        Err((line, problem)) => {
            let lines = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
            assert!((1..=lines + 1).contains(&line), "line {line}: {problem}");
            assert!(in_parts.is_err());
        }
    }
});

/// The known columns of every line but the first. Panics on what must have been refused.
fn naive(text: &[u8]) -> BTreeMap<u64, [u64; 11]> {
    let text = String::from_utf8_lossy(text).into_owned();
    let mut lines = text
        .strip_suffix('\n')
        .expect("the last line does not end")
        .split('\n');
    let columns: Vec<&str> = words(lines.next().unwrap());
    let place = |name: &str| columns.iter().position(|column| *column == name).unwrap();
    let mut rows = BTreeMap::new();
    for line in lines {
        let words = words(line);
        assert_eq!(words.len(), columns.len());
        let number = |name: &str| words[place(name)].parse().unwrap();
        let states = State::ALL.map(|state| number(state.name()));
        let before = rows.insert(number("NETNS"), states);
        assert_eq!(before, None);
    }
    rows
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}
