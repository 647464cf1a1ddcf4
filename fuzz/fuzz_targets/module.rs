// SPDX-License-Identifier: MIT OR Apache-2.0

//! The text of `/proc/tcpstat`: what is read is what a naive reader reads, and what the module
//! could have written is never refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcpstat::{Counts, State, internals};

fuzz_target!(|text: &[u8]| {
    let naive = naive(text);
    match internals::module(text) {
        Ok(counts) => {
            assert_eq!(naive, Some(counts));
            assert_eq!(internals::module(counts.to_string().as_bytes()), Ok(counts));
        }
        Err((line, problem)) => {
            let lines = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
            assert!((1..=lines + 1).contains(&line), "line {line}: {problem}");
            if let Some(counts) = naive {
                assert_ne!(
                    counts.to_string().as_bytes(),
                    text,
                    "line {line}: {problem}"
                );
            }
        }
    }
});

/// Eleven lines of a name, a colon and a number, however they are spaced.
fn naive(text: &[u8]) -> Option<Counts> {
    let lines: Vec<&str> = std::str::from_utf8(text).ok()?.lines().collect();
    let mut counts = Counts::ZERO;
    for state in State::ALL {
        let (name, count) = lines.get(state.code() as usize - 1)?.split_once(':')?;
        if name.trim() != state.name() {
            return None;
        }
        counts.set(state, count.trim().parse().ok()?);
    }
    (lines.len() == State::COUNT).then_some(counts)
}
