// SPDX-License-Identifier: MIT OR Apache-2.0

//! The text of `/proc/net/tcpstat_services`: what is read is what a naive reader reads, however the
//! text arrives.
//!
//! The first byte says how many bytes arrive at a time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcpstat::{State, internals};

const BUFFER: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let [step, text @ ..] = input else {
        return;
    };
    let read = internals::module_services(text, BUFFER, BUFFER);
    // In parts, and in a buffer that takes one line or a little more.
    let longest = text.split(|&byte| byte == b'\n').map(<[u8]>::len).max();
    let buffer = longest.unwrap_or(0) + 2 + usize::from(*step);
    let in_parts = internals::module_services(text, usize::from(*step) + 1, buffer);
    match read {
        Ok((services, other)) => {
            let mut rows: Vec<Vec<(String, u64)>> = Vec::new();
            for service in &services {
                let mut row = vec![
                    ("PORT".to_owned(), service.port.into()),
                    ("LISTENERS".to_owned(), service.listeners),
                    ("ACCEPT_QUEUE".to_owned(), service.accept_queue),
                    ("BACKLOG".to_owned(), service.backlog.unwrap()),
                    ("DROPS".to_owned(), service.drops.unwrap()),
                ];
                if let Some(fullest) = service.fullest {
                    row.push(("FULLEST_QUEUE".to_owned(), fullest.length.into()));
                    row.push(("FULLEST_BACKLOG".to_owned(), fullest.backlog.into()));
                }
                let states = service.counts.iter();
                row.extend(states.map(|(state, count)| (state.name().to_owned(), count)));
                rows.push(row);
            }
            let states = other.iter();
            rows.push(
                states
                    .map(|(state, count)| (state.name().to_owned(), count))
                    .collect(),
            );
            assert_eq!(naive(text), rows);
            assert!(services.windows(2).all(|pair| pair[0].port < pair[1].port));
            assert_eq!(in_parts, Ok((services, other)));
        }
        Err((line, problem)) => {
            let lines = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
            assert!((1..=lines + 1).contains(&line), "line {line}: {problem}");
            assert!(in_parts.is_err());
        }
    }
});

/// The known columns of every line but the first, and of the last only the states. Panics on what
/// must have been refused.
fn naive(text: &[u8]) -> Vec<Vec<(String, u64)>> {
    let text = std::str::from_utf8(text).map_or_else(
        |_| String::from_utf8_lossy(text).into_owned(),
        str::to_owned,
    );
    let mut lines = text
        .strip_suffix('\n')
        .expect("the last line does not end")
        .split('\n');
    let columns: Vec<&str> = words(lines.next().unwrap());
    let mut listeners = vec!["PORT", "LISTENERS", "ACCEPT_QUEUE", "BACKLOG", "DROPS"];
    let fullest = ["FULLEST_QUEUE", "FULLEST_BACKLOG"];
    if fullest.iter().all(|name| columns.contains(name)) {
        listeners.extend(fullest);
    }
    let states = State::ALL.map(State::name);
    lines
        .map(|line| {
            let words = words(line);
            assert_eq!(words.len(), columns.len());
            let is_other = words[columns.iter().position(|name| *name == "PORT").unwrap()] == "-";
            let wanted = listeners.iter().filter(|_| !is_other).chain(&states);
            wanted
                .map(|name| {
                    let place = columns.iter().position(|column| column == name).unwrap();
                    (name.to_string(), words[place].parse().unwrap())
                })
                .collect()
        })
        .collect()
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}
