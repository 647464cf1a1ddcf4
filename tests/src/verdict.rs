// SPDX-License-Identifier: GPL-2.0-only

//! Whether a run of the machine was good, and if not, every reason why.

use std::fmt;

use crate::ktap::{Outcome, Report};
use crate::splat;

/// How the machine's command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with success.
    Success,
    /// By itself, with an exit code other than 0 or by a signal: which, in words.
    Failure(String),
    /// It was killed after this many seconds.
    Timeout(u64),
    /// The person who started it interrupted it.
    Interrupted,
}

/// How many splats are shown at most. The first is the important one.
const SPLATS_SHOWN: usize = 30;

/// The judgement of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The results that arrived.
    pub report: Report,
    /// What went wrong besides the tests: with the machine, its console, or the form of the
    /// verdict.
    pub problems: Vec<String>,
}

impl Verdict {
    /// Judges a run by its end, the text from its verdict port (`None`: no such file), and its
    /// console.
    pub fn new(end: &End, verdict: Option<&str>, console: &str) -> Verdict {
        let mut problems = Vec::new();
        match end {
            End::Success => {}
            End::Failure(how) => problems.push(format!("the machine's command failed: {how}")),
            End::Timeout(seconds) => problems.push(format!(
                "the machine did not end within {seconds} s, and was killed"
            )),
            End::Interrupted => problems.push("interrupted".to_owned()),
        }
        let splats = splat::scan(console);
        for splat in splats.iter().take(SPLATS_SHOWN) {
            problems.push(format!("console line {}: {}", splat.line, splat.text));
        }
        if let Some(more @ 1..) = splats.len().checked_sub(SPLATS_SHOWN) {
            problems.push(format!("and {more} more such console lines"));
        }
        let report = match verdict {
            None | Some("") => {
                problems.push("no verdict: the machine wrote no results".to_owned());
                Report::default()
            }
            Some(text) => {
                let report = Report::parse(text);
                problems.extend(
                    report
                        .faults
                        .iter()
                        .map(|fault| format!("the verdict: {fault}")),
                );
                let came = report.results.len();
                match report.planned {
                    None => problems.push("the verdict has no plan".to_owned()),
                    Some(0) => problems.push("the verdict plans no tests at all".to_owned()),
                    Some(planned) if planned != came => {
                        problems.push(format!("{planned} results were planned, {came} came"))
                    }
                    Some(planned) if planned == skipped(&report) => {
                        problems.push("every test was skipped".to_owned())
                    }
                    Some(_) => {}
                }
                problems.extend(
                    report
                        .unfinished
                        .iter()
                        .map(|note| format!("never ended: {note}")),
                );
                report
            }
        };
        Verdict { report, problems }
    }

    /// Makes each skipped test a problem: for a machine that has all that the tests need.
    pub fn forbid_skips(&mut self) {
        for (name, reason) in skips(&self.report) {
            self.problems
                .push(format!("{name:?} was skipped, and must run here: {reason}"));
        }
    }

    /// For programs: a line with the numbers, and one for each skipped test and why.
    pub fn summary(&self) -> String {
        let (passed, failed) = (self.passed(), self.failed());
        let mut text = format!(
            "passed={passed} skipped={} failed={failed}\n",
            skipped(&self.report)
        );
        for (name, reason) in skips(&self.report) {
            text += &format!("skipped: {name}: {reason}\n");
        }
        text
    }

    /// How many tests passed.
    pub fn passed(&self) -> usize {
        count(&self.report, |outcome| *outcome == Outcome::Passed)
    }

    /// How many tests failed, and how many problems there were besides.
    pub fn failed(&self) -> usize {
        count(&self.report, |outcome| *outcome == Outcome::Failed) + self.problems.len()
    }

    /// Whether nothing failed.
    pub fn is_good(&self) -> bool {
        self.failed() == 0
    }
}

fn count(report: &Report, is_meant: impl Fn(&Outcome) -> bool) -> usize {
    let outcomes = report.results.iter().map(|result| &result.outcome);
    outcomes.filter(|outcome| is_meant(outcome)).count()
}

/// The names of the skipped tests, with the reasons.
fn skips(report: &Report) -> impl Iterator<Item = (&str, &str)> {
    report
        .results
        .iter()
        .filter_map(|test| match &test.outcome {
            Outcome::Skipped(reason) => Some((&test.name[..], &reason[..])),
            _ => None,
        })
}

fn skipped(report: &Report) -> usize {
    skips(report).count()
}

/// The results, then the problems, then `N passed, N failed` and, if any were skipped, `, N
/// skipped`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for result in &self.report.results {
            let name = &result.name;
            match &result.outcome {
                Outcome::Passed => writeln!(f, "ok      {name}")?,
                Outcome::Skipped(reason) => writeln!(f, "SKIPPED {name}: {reason}")?,
                Outcome::Failed => {
                    writeln!(f, "FAILED  {name}")?;
                    for note in &result.notes {
                        writeln!(f, "        {note}")?;
                    }
                }
            }
        }
        for problem in &self.problems {
            writeln!(f, "PROBLEM {problem}")?;
        }
        write!(f, "{} passed, {} failed", self.passed(), self.failed())?;
        match skipped(&self.report) {
            0 => writeln!(f),
            skipped => writeln!(f, ", {skipped} skipped"),
        }
    }
}
