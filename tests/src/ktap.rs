// SPDX-License-Identifier: GPL-2.0-only

//! KTAP, the kernel's format for test results: written inside the machine, read outside.
//!
//! Documentation/dev-tools/ktap.rst; version 1, without nested tests. Diagnostics of a test come
//! before its result, as KUnit writes them, so that they are there even if the machine dies in
//! between.

use std::fmt::Write as _;

/// The first line.
pub const VERSION: &str = "KTAP version 1";

/// The lines before the first result.
pub fn header(planned: usize) -> String {
    format!("{VERSION}\n1..{planned}\n")
}

/// The lines of one result. `number` counts from 1; each line of `notes` becomes a diagnostic.
pub fn result(number: usize, name: &str, outcome: &Outcome, notes: &str) -> String {
    let mut text = String::new();
    for note in notes.lines() {
        let _ = writeln!(text, "# {name}: {note}");
    }
    let _ = match outcome {
        Outcome::Passed => writeln!(text, "ok {number} {name}"),
        Outcome::Failed => writeln!(text, "not ok {number} {name}"),
        Outcome::Skipped(reason) => writeln!(text, "ok {number} {name} # SKIP {reason}"),
    };
    text
}

/// The outcome of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `ok`.
    Passed,
    /// `not ok`.
    Failed,
    /// Either, with a `SKIP` directive: nothing was tested, for this reason.
    Skipped(String),
}

/// One test's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestResult {
    /// The test's name, without a directive.
    pub name: String,
    /// Its outcome.
    pub outcome: Outcome,
    /// The diagnostics before the result, without their `# `.
    pub notes: Vec<String>,
}

/// The results of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The number of results that the plan announces, `None` without a plan.
    pub planned: Option<usize>,
    /// The results, in order.
    pub results: Vec<TestResult>,
    /// Diagnostics after the last result: of a test that never ended.
    pub unfinished: Vec<String>,
    /// What is wrong with the text itself; empty if nothing.
    pub faults: Vec<String>,
}

impl Report {
    /// Reads a report. Never fails: what is wrong is in [`faults`](Self::faults).
    pub fn parse(text: &str) -> Report {
        let mut report = Report::default();
        let mut lines = text
            .lines()
            .map(|line| line.trim_end_matches('\r'))
            .enumerate();
        match lines.next() {
            Some((_, VERSION)) => {}
            Some((_, other)) => report
                .faults
                .push(format!("line 1 is {other:?}, not {VERSION:?}")),
            None => report.faults.push("it is empty".to_owned()),
        }
        for (index, line) in lines {
            if let Err(what) = report.line(line) {
                report
                    .faults
                    .push(format!("line {}: {what}: {line:?}", index + 1));
            }
        }
        report
    }

    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if line.is_empty() {
            return Ok(());
        }
        if let Some(note) = line.strip_prefix('#') {
            self.unfinished.push(note.trim_start().to_owned());
            return Ok(());
        }
        if let Some(count) = line.strip_prefix("1..") {
            if self.planned.is_some() {
                return Err("a second plan");
            }
            self.planned = Some(count.parse().map_err(|_| "a plan without a number")?);
            return Ok(());
        }
        let (passed, rest) = match (line.strip_prefix("ok "), line.strip_prefix("not ok ")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err("no KTAP"),
        };
        let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        if number.parse() != Ok(self.results.len() + 1) {
            return Err("a result out of its order");
        }
        let rest = rest.trim_start_matches("- ");
        let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
        let (word, reason) = directive.split_at_checked(4).unwrap_or((directive, ""));
        self.results.push(TestResult {
            name: name.to_owned(),
            outcome: match (word.eq_ignore_ascii_case("SKIP"), passed) {
                (true, _) => Outcome::Skipped(reason.trim().to_owned()),
                (false, true) => Outcome::Passed,
                (false, false) => Outcome::Failed,
            },
            notes: std::mem::take(&mut self.unfinished),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let skipped = Outcome::Skipped("no such kernel".to_owned());
        let text = header(3)
            + &result(1, "first", &Outcome::Passed, "took 1 s")
            + &result(2, "second", &Outcome::Failed, "one reason\nanother")
            + &result(3, "third", &skipped, "");
        let report = Report::parse(&text);
        assert_eq!(report.faults, [] as [&str; 0]);
        assert_eq!(report.planned, Some(3));
        assert_eq!(report.results[0].outcome, Outcome::Passed);
        assert_eq!(report.results[1].name, "second");
        assert_eq!(report.results[1].outcome, Outcome::Failed);
        assert_eq!(
            report.results[1].notes,
            ["second: one reason", "second: another"]
        );
        assert_eq!(report.results[2].name, "third");
        assert_eq!(report.results[2].outcome, skipped);
    }

    #[test]
    fn keeps_the_notes_of_a_test_that_never_ended() {
        let report = Report::parse("KTAP version 1\r\n1..2\r\nok 1 a\r\n# b: began\r\n");
        assert_eq!(report.faults, [] as [&str; 0]);
        assert_eq!(report.unfinished, ["b: began"]);
    }

    #[test]
    fn skipping_is_not_passing() {
        let report = Report::parse("KTAP version 1\n1..1\nok 1 - a # SKIP no reason\n");
        assert_eq!(report.results[0].name, "a");
        assert_eq!(
            report.results[0].outcome,
            Outcome::Skipped("no reason".to_owned())
        );
    }

    #[test]
    fn says_what_is_wrong() {
        for text in [
            "",
            "1..1\nok 1 a\n",
            "KTAP version 1\n1..x\n",
            "KTAP version 1\n1..1\n1..1\nok 1 a\n",
            "KTAP version 1\n1..1\nok 2 a\n",
            "KTAP version 1\n1..2\nok 1 a\nok 1 a\n",
            "KTAP version 1\n1..1\nok one a\n",
            "KTAP version 1\n1..1\nwell\n",
        ] {
            assert_ne!(Report::parse(text).faults, [] as [&str; 0], "{text:?}");
        }
    }
}
