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
    /// By itself, with this exit code, or by a signal: said in words.
    Failure(String),
    /// It did not, and was killed after so many seconds.
    Timeout(u64),
    /// The person who started it interrupted it.
    Interrupted,
}

/// How many splats are shown at most: the first is what matters.
const SPLATS_SHOWN: usize = 30;

/// The judgement of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The results, as far as they came.
    pub report: Report,
    /// What went wrong beside the tests themselves: with the machine, its console, or the verdict's own form.
    pub problems: Vec<String>,
}

impl Verdict {
    /// Judges a run by its end, the text that came out of its verdict port (`None`: no such file), and its
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

    /// How many tests passed.
    pub fn passed(&self) -> usize {
        self.report
            .results
            .iter()
            .filter(|result| result.outcome == Outcome::Passed)
            .count()
    }

    /// How many tests did not pass, and problems beside them.
    pub fn failed(&self) -> usize {
        self.report.results.len() - self.passed() + self.problems.len()
    }

    /// Whether everything is as it should be.
    pub fn is_good(&self) -> bool {
        self.failed() == 0
    }
}

/// The results, then the problems, then `N passed, N failed`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for result in &self.report.results {
            let outcome = match result.outcome {
                Outcome::Passed => "ok     ",
                Outcome::Failed => "FAILED ",
                Outcome::Skipped => "SKIPPED",
            };
            writeln!(f, "{outcome} {}", result.name)?;
            if result.outcome != Outcome::Passed {
                for note in &result.notes {
                    writeln!(f, "        {note}")?;
                }
            }
        }
        for problem in &self.problems {
            writeln!(f, "PROBLEM {problem}")?;
        }
        writeln!(f, "{} passed, {} failed", self.passed(), self.failed())
    }
}
