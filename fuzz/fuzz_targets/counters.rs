// SPDX-License-Identifier: MIT OR Apache-2.0

//! The counters in `/proc/net/sockstat` and `snmp`: what is read is what a naive reader reads.
#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use tcpstat::internals;

fuzz_target!(|text: &[u8]| {
    if let Ok([inuse, tw]) = internals::sockstat(text) {
        let line = lines(text, b"TCP:").remove(0);
        let mut found = HashMap::new();
        for pair in line[1..].chunks_exact(2) {
            found.entry(pair[0]).or_insert(pair[1]);
        }
        assert_eq!(found.get(&b"inuse"[..]).map(number), Some(inuse));
        assert_eq!(found.get(&b"tw"[..]).map(number), Some(tw));
    }
    if let Ok(values) = internals::snmp(text) {
        let lines = lines(text, b"Tcp:");
        for (key, value) in ["CurrEstab", "ActiveOpens", "PassiveOpens"]
            .iter()
            .zip(values)
        {
            let column = lines[0].iter().position(|word| *word == key.as_bytes());
            assert_eq!(column.map(|column| number(&lines[1][column])), Some(value));
        }
    }
});

/// The words of each line that begins with `name`.
fn lines<'a>(text: &'a [u8], name: &[u8]) -> Vec<Vec<&'a [u8]>> {
    text.split(|&byte| byte == b'\n')
        .map(|line| {
            line.split(|&byte| byte == b' ')
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
        })
        .filter(|words| words.first() == Some(&name))
        .collect()
}

fn number(word: &&[u8]) -> u64 {
    std::str::from_utf8(word).unwrap().parse().unwrap()
}
