// SPDX-License-Identifier: MIT OR Apache-2.0

//! The module's answer: `/proc/tcpstat`, eleven lines of text, read strictly.

use std::io::Read;

use super::root::Root;
use crate::error::{BadLine, Error};
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// The file is under 400 bytes. A longer one than this is another file, and not read to its end.
const LONGEST: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Module {
    text: Vec<u8>,
}

impl Module {
    pub(crate) fn sample(&mut self, root: &Root) -> Result<Counts, Error> {
        let (path, file) = root.open_tcpstat().map_err(Error::of_module)?;
        self.text.clear();
        file.take(LONGEST as u64 + 1)
            .read_to_end(&mut self.text)
            .map_err(|error| Error::read(&path, error).of_module())?;
        parse(&self.text).map_err(|bad| bad.of(&path))
    }
}

/// Reads the text of `/proc/tcpstat`: all eleven states in kernel order, each line whole, and
/// nothing else.
pub(crate) fn parse(text: &[u8]) -> Result<Counts, BadLine> {
    let mut counts = Counts::ZERO;
    let mut rest = text;
    for (line, state) in (1..).zip(State::ALL) {
        if rest.is_empty() {
            return Err(BadLine::new(
                line,
                format!("the file ends, and {} is missing", state.name()),
                b"",
            ));
        }
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return Err(BadLine::new(line, "the line is cut", rest));
        };
        let bad = |problem| BadLine::new(line, problem, &rest[..end]);
        counts.set(state, count_of(state, &rest[..end]).map_err(bad)?);
        rest = &rest[end + 1..];
    }
    if rest.is_empty() {
        Ok(counts)
    } else {
        Err(BadLine::new(
            State::COUNT as u64 + 1,
            "there is more after the last state",
            rest,
        ))
    }
}

/// The count on a line `NAME : digits` that must be about `state`.
fn count_of(state: State, line: &[u8]) -> Result<u64, String> {
    let colon = memchr::memchr(b':', line).ok_or("no \"NAME : COUNT\"")?;
    let (name, count) = (line[..colon].trim_ascii_end(), &line[colon + 1..]);
    if name != state.name().as_bytes() {
        return Err(
            match State::ALL
                .into_iter()
                .find(|known| name == known.name().as_bytes())
            {
                None => "unknown state".into(),
                Some(known) if known.code() < state.code() => "this state was there before".into(),
                Some(_) => format!("{} must come first", state.name()),
            },
        );
    }
    let digits = count.strip_prefix(b" ").unwrap_or(count);
    match digits {
        [b'-', ..] => return Err("a negative count".into()),
        [] => return Err("no count".into()),
        _ if !digits.iter().all(u8::is_ascii_digit) => {
            return Err("the count is not a number".into());
        }
        _ => {}
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| "the count does not fit into 64 bits".into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "\
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
";

    fn problem(text: &str) -> (u64, String) {
        let bad = parse(text.as_bytes()).unwrap_err();
        (bad.line, bad.problem)
    }

    #[test]
    fn reads_what_the_module_writes() {
        let counts = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(counts.get(State::Established), 5);
        assert_eq!(counts.get(State::TimeWait), 1);
        assert_eq!(counts.get(State::Listen), 14);
        assert_eq!(counts.total(), 20);
    }

    #[test]
    fn refuses_a_text_cut_at_any_byte() {
        for cut in 0..GOOD.len() {
            let bad = parse(&GOOD.as_bytes()[..cut]).unwrap_err();
            assert_eq!(
                bad.line as usize,
                GOOD[..cut].matches('\n').count() + 1,
                "cut at byte {cut}"
            );
        }
    }

    #[test]
    fn says_which_line_is_wrong_and_why() {
        let with = |from, to| problem(&GOOD.replacen(from, to, 1));
        assert_eq!(with("SYN_SENT ", "SYN_SEND "), (2, "unknown state".into()));
        assert_eq!(
            with("SYN_SENT    ", "ESTABLISHED "),
            (2, "this state was there before".into())
        );
        assert_eq!(
            with("SYN_SENT    : 0\n", ""),
            (2, "SYN_SENT must come first".into())
        );
        assert_eq!(
            with("TIME_WAIT   : 1", "TIME_WAIT   : -1"),
            (6, "a negative count".into())
        );
        assert_eq!(
            with("TIME_WAIT   : 1", "TIME_WAIT   : "),
            (6, "no count".into())
        );
        assert_eq!(
            with("TIME_WAIT   : 1", "TIME_WAIT   : +1"),
            (6, "the count is not a number".into())
        );
        assert_eq!(
            with("TIME_WAIT   : 1", "TIME_WAIT   : 0x1"),
            (6, "the count is not a number".into())
        );
        assert_eq!(
            with("TIME_WAIT   : 1", "TIME_WAIT   : 1 "),
            (6, "the count is not a number".into())
        );
        assert_eq!(
            with("TIME_WAIT   : 1", "TIME_WAIT   1"),
            (6, "no \"NAME : COUNT\"".into())
        );
        assert_eq!(
            with("LISTEN      : 14", "LISTEN      : 18446744073709551616"),
            (10, "the count does not fit into 64 bits".into())
        );
        assert_eq!(with("CLOSING     : 0\n", "CLOSING     : 0\n\n").0, 12);
        assert_eq!(
            problem(""),
            (1, "the file ends, and ESTABLISHED is missing".into())
        );
    }

    #[test]
    fn reads_the_largest_count() {
        let text = GOOD.replacen(": 14", ": 18446744073709551615", 1);
        assert_eq!(parse(text.as_bytes()).unwrap().get(State::Listen), u64::MAX);
    }

    proptest! {
        #[test]
        fn what_is_displayed_is_read_back(numbers: [u64; State::COUNT]) {
            let mut counts = Counts::ZERO;
            for (state, number) in State::ALL.into_iter().zip(numbers) {
                counts.set(state, number);
            }
            prop_assert_eq!(parse(counts.to_string().as_bytes()), Ok(counts));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        /// If one byte of a text changes, at most one count does, or the text is refused.
        #[test]
        fn a_changed_byte_never_becomes_another_state(at in 0..GOOD.len(), byte: u8) {
            let mut text = GOOD.as_bytes().to_vec();
            text[at] = byte;
            if let Ok(counts) = parse(&text) {
                let good = parse(GOOD.as_bytes()).unwrap();
                prop_assert!(counts.iter().zip(good.iter()).filter(|(a, b)| a != b).count() <= 1);
            }
        }
    }
}
