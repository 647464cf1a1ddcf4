// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel's command line tells the machine's init and the scenarios, besides the
//! [task](super::boot).

use std::fs;
use std::io;

/// Says that this is the debug kernel, which then must have what the scenarios for it need.
pub(super) const DEBUG: &str = "tcpstat.debug";

/// Before the number that the random mixes are made from.
pub(super) const SEED: &str = "tcpstat.seed=";

/// Before the name of the only scenario to run, or a part of the name. In double quotes if it has
/// spaces.
pub(super) const SCENARIO: &str = "tcpstat.scenario=";

/// Whether the machine runs the debug kernel.
pub(super) fn on_debug_kernel() -> bool {
    fs::read_to_string("/proc/cmdline")
        .is_ok_and(|words| words.split_whitespace().any(|word| word == DEBUG))
}

/// How often to repeat what is done `times` on other kernels. On the debug kernel it is a third:
/// everything takes ten times as long there, and the kernel reports a fault at its first
/// occurrence.
pub(super) fn repeat(times: u32) -> u32 {
    if on_debug_kernel() {
        times.div_ceil(3)
    } else {
        times
    }
}

/// The value of the parameter that begins with `name`, [`SEED`] or [`SCENARIO`], if it is given.
pub(super) fn value(name: &str) -> io::Result<Option<String>> {
    let cmdline = fs::read_to_string("/proc/cmdline")?;
    Ok(find(&cmdline, name).map(str::to_owned))
}

/// The value of a parameter: up to the next space, or what is in double quotes.
fn find<'a>(cmdline: &'a str, name: &str) -> Option<&'a str> {
    let value = cmdline
        .match_indices(name)
        .find(|(at, _)| *at == 0 || cmdline[..*at].ends_with(char::is_whitespace))
        .map(|(at, _)| &cmdline[at + name.len()..])?;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split(char::is_whitespace).next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_at_a_space_or_a_quote() {
        let cmdline =
            "quiet my.tcpstat.seed=1 tcpstat.seed=7 tcpstat.scenario=\"is a link\" panic=-1\n";
        assert_eq!(find(cmdline, SEED), Some("7"));
        assert_eq!(find(cmdline, SCENARIO), Some("is a link"));
        assert_eq!(find("tcpstat.scenario=churn\n", SCENARIO), Some("churn"));
        assert_eq!(find("tcpstat.scenario= quiet", SCENARIO), Some(""));
        assert_eq!(find("quiet", SCENARIO), None);
    }
}
