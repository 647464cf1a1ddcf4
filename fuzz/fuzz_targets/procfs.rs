// SPDX-License-Identifier: MIT OR Apache-2.0

//! The text of `/proc/net/tcp` and `tcp6`: what is counted is what a naive reader counts, however the text arrives.
//!
//! The first byte says which of both it is, the second how many bytes arrive at a time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcpstat::{Counts, State, fuzzing};

const BUFFER: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let [which, step, text @ ..] = input else {
        return;
    };
    let ipv6 = which & 1 == 1;
    let counted = fuzzing::procfs(text, ipv6, text.len(), BUFFER);
    // In parts, and in a buffer that takes one line or a little more, as lines of a real file are to the real one.
    let longest = text.split(|&byte| byte == b'\n').map(<[u8]>::len).max();
    let buffer = longest.unwrap_or(0) + 2 + usize::from(*step);
    if buffer <= BUFFER {
        let in_parts = fuzzing::procfs(text, ipv6, usize::from(*step) + 1, buffer);
        assert_eq!(in_parts.is_ok(), counted.is_ok());
        if text.ends_with(b"\n") {
            assert_eq!(in_parts, counted);
        }
    }
    if let Ok(counts) = counted {
        assert_eq!(naive(text), Some(counts));
    }
});

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
