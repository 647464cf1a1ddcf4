// SPDX-License-Identifier: GPL-2.0-only

//! Counting in the most naive way there is, for tests to compare with: it shares nothing with the command.

use std::fs;
use std::io;
use std::path::Path;

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// The states as `/proc/tcpstat` names them, in the order of its lines, which is that of their numbers.
pub const NAMES: [&str; 11] = [
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
];

/// Counts the sockets of `tcp` and `tcp6` in the directory `net`, such as `/proc/net`, by their state column.
pub fn procfs(net: &Path) -> io::Result<Counts> {
    let mut counts = Counts::ZERO;
    for file in ["tcp", "tcp6"] {
        let path = net.join(file);
        let wrong = |what: String| io::Error::other(format!("{}: {what}", path.display()));
        let text = fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
        for line in text.lines().skip(1) {
            let code = line.split_whitespace().nth(3);
            let number = code.and_then(|code| usize::from_str_radix(code, 16).ok());
            match number {
                Some(number @ 1..=11) => counts.add_one(State::ALL[number - 1]),
                _ => return Err(wrong(format!("no state in {line:?}"))),
            }
        }
    }
    Ok(counts)
}

/// The counts in the text of `/proc/tcpstat`, or what is wrong with it, to the last space.
pub fn module_text(text: &str) -> Result<Counts, String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    if lines.len() != NAMES.len() {
        return Err(format!(
            "{} lines, not {}: {text:?}",
            lines.len(),
            NAMES.len()
        ));
    }
    let mut counts = Counts::ZERO;
    for ((line, name), state) in lines.iter().zip(NAMES).zip(State::ALL) {
        let start = format!("{name:<12}: ");
        let number = line
            .strip_prefix(&start)
            .and_then(|rest| rest.strip_suffix('\n'));
        let number =
            number.ok_or_else(|| format!("{line:?} is not {start:?}, a number, a newline"))?;
        let count: u64 = number
            .parse()
            .map_err(|_| format!("{number:?} is no count in {line:?}"))?;
        if count.to_string() != number {
            return Err(format!(
                "{number:?} is not how {count} is written, in {line:?}"
            ));
        }
        counts.set(state, count);
    }
    Ok(counts)
}

/// What `tcpstat` prints for `counts`, made by hand.
pub fn json(counts: &Counts) -> String {
    let members: Vec<String> = NAMES
        .iter()
        .zip(counts.iter())
        .map(|(name, (_, count))| format!("\"{name}\":{count}"))
        .collect();
    format!("{{{}}}\n", members.join(","))
}

/// Where `got` differs from `want`, a line for each state that does; `None` if nowhere.
pub fn difference(want: &Counts, got: &Counts) -> Option<String> {
    let lines: Vec<String> = NAMES
        .iter()
        .zip(want.iter().zip(got.iter()))
        .filter(|(_, ((_, want), (_, got)))| want != got)
        .map(|(name, ((_, want), (_, got)))| format!("{name} is {got}, wanted {want}"))
        .collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        let lines: Vec<_> = NAMES
            .iter()
            .enumerate()
            .map(|(i, name)| format!("{name:<12}: {i}\n"))
            .collect();
        lines.concat()
    }

    #[test]
    fn takes_the_eleven_lines() {
        let counts = module_text(&text()).unwrap();
        assert_eq!(counts.get(State::Closing), 10);
        assert_eq!(counts.total(), 55);
    }

    #[test]
    fn refuses_what_is_nearly_right() {
        let text = text();
        for wrong in [
            text.replacen("ESTABLISHED :", "ESTABLISHED:", 1),
            text.replacen(": 3\n", ": 03\n", 1),
            text.replacen(": 3\n", ": -3\n", 1),
            text.replacen(": 3\n", ": 3 \n", 1),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            text.replacen("SYN_SENT", "SYN_RECV", 1),
            String::new(),
        ] {
            assert!(module_text(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_the_difference() {
        let mut other = Counts::ZERO;
        other.set(State::Listen, 2);
        assert_eq!(difference(&Counts::ZERO, &Counts::ZERO), None);
        assert_eq!(
            difference(&Counts::ZERO, &other).unwrap(),
            "LISTEN is 2, wanted 0"
        );
    }
}
