// SPDX-License-Identifier: MIT OR Apache-2.0

//! The module's answer for all network namespaces: `/proc/tcpstat_namespaces`, a line for each,
//! read strictly.
//!
//! A header names the columns, and the lines are read by these names; other columns are ignored.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use tcpstat_census::counts::Counts;
use tcpstat_census::namespaces::COLUMN;
use tcpstat_census::state::State;

use super::columns;
use super::lines::{BUFFER, Failure, Lines, decimal, words};
use crate::error::Error;

/// The counts of each namespace, by its inode number.
pub(crate) type Answer = BTreeMap<u64, Counts>;

/// Reads the file of a procfs.
pub(crate) fn counts(proc_root: &Path) -> Result<Answer, Error> {
    let path = proc_root.join("tcpstat_namespaces");
    let file = File::open(&path).map_err(|error| Error::open(&path, error).of_module())?;
    parse(file, &mut vec![0; BUFFER]).map_err(|failure| failure.of(&path).of_module())
}

/// Reads the text: the header, and a line for each namespace. A line must fit into `buffer`.
pub(crate) fn parse<R: Read>(file: R, buffer: &mut [u8]) -> Result<Answer, Failure> {
    let mut lines = Lines::new(file, buffer);
    let Some(header) = lines.next()? else {
        return Err(lines.bad("the file is empty: not even a header", b""));
    };
    let number = words(header.text).count();
    let netns = columns::place(header, COLUMN)?;
    let mut places = [0; State::COUNT];
    for (to, state) in places.iter_mut().zip(State::ALL) {
        *to = columns::place(header, state.name())?;
    }
    let mut answer = Answer::new();
    while let Some(line) = lines.next()? {
        let words = columns::split(line, number)?;
        let inode = decimal(words[netns])
            .ok_or_else(|| line.bad(format!("{COLUMN} is not an inode number")))?;
        let mut counts = Counts::ZERO;
        for (state, place) in State::ALL.into_iter().zip(places) {
            let count = decimal(words[place])
                .ok_or_else(|| line.bad(format!("{} is not a count", state.name())))?;
            counts.set(state, count);
        }
        if answer.insert(inode, counts).is_some() {
            return Err(line.bad("this namespace was there before").into());
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "\
NETNS ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING
4026531840 5 0 0 0 0 1 0 0 0 14 0
4026532177 0 0 0 0 0 0 0 3 0 0 0
";

    fn read(text: &str) -> Result<Answer, (u64, String)> {
        match parse(text.as_bytes(), &mut [0; 256]) {
            Ok(answer) => Ok(answer),
            Err(Failure::Line(bad)) => Err((bad.line, bad.problem)),
            Err(Failure::Read(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn reads_what_the_module_writes() {
        let answer = read(GOOD).unwrap();
        assert_eq!(answer.len(), 2);
        let first = answer[&4_026_531_840];
        assert_eq!((first.total(), first[State::Listen]), (20, 14));
        assert_eq!(answer[&4_026_532_177][State::CloseWait], 3);
    }

    #[test]
    fn columns_are_known_by_their_names() {
        let lines = GOOD.lines().map(|line| {
            let (first, rest) = line.split_once(' ').unwrap();
            format!("{rest} {first} NEW\n").replace("14 0 4026531840 NEW", "14 0 4026531840 x")
        });
        let text = lines.collect::<String>().replace("2177 NEW", "2177 y");
        assert_eq!(read(&text), read(GOOD));
    }

    #[test]
    fn anything_else_is_an_error_at_its_line() {
        for (text, line, problem) in [
            (String::new(), 1, "empty"),
            (GOOD.replace("NETNS", "NET"), 1, "NETNS is missing"),
            (GOOD.replace("CLOSING\n", "LISTEN\n"), 1, "there twice"),
            (GOOD.replace(" 14 0", " 14"), 2, "11 columns"),
            (GOOD.replace("4026531840", "-"), 2, "not an inode number"),
            (
                GOOD.replace("0 3 0", "0 -3 0"),
                3,
                "CLOSE_WAIT is not a count",
            ),
            (GOOD.replace("4026532177", "4026531840"), 3, "before"),
            (GOOD.trim_end().to_owned(), 3, "cut"),
        ] {
            let error = read(&text).unwrap_err();
            assert_eq!(error.0, line, "{text}");
            assert!(error.1.contains(problem), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9A-Z_ \n-]{0,300}") {
            let _ = read(&format!("{GOOD}{text}"));
            let _ = read(&text);
        }
    }
}
