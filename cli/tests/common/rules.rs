// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rules of Prometheus as text.

use std::collections::BTreeSet;

/// The values of `key` in a file of YAML, one a line: `- alert: NAME`.
pub(crate) fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let line = line.trim_start().trim_start_matches("- ");
        line.strip_prefix(key)?.strip_prefix(": ")
    })
}

/// The names of metrics in expressions; comments of YAML do not count.
pub(crate) fn metrics(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let words = lines.flat_map(|line| line.split(move |c| !is_part(c)));
    words
        .filter(|word| {
            let of_ours = ["tcpstat_", "node_"]
                .iter()
                .any(|start| word.starts_with(start));
            of_ours || word.contains(":tcpstat_")
        })
        .collect()
}
