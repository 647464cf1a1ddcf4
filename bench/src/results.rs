// SPDX-License-Identifier: GPL-2.0-only

//! The measurements, in the form in which the parts of a run save them.

use serde::{Deserialize, Serialize};

use crate::ways::Way;

/// The cost of one count.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// User and system time, in seconds.
    pub(crate) cpu: f64,
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// The peak of memory, in KiB; `None` if it was not a process.
    pub(crate) peak_kib: Option<u64>,
}

/// The runs of one way over the same sockets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Which way.
    pub(crate) way: Way,
    /// A run for each round in which it ran, in order.
    pub(crate) runs: Vec<Run>,
}

impl Row {
    /// The median of a figure of the runs.
    pub(crate) fn median(&self, of: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(of).collect())
    }

    /// The median CPU time, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        self.median(|run| run.cpu)
    }

    /// The median wall time, in seconds.
    pub(crate) fn wall(&self) -> f64 {
        self.median(|run| run.wall)
    }

    /// The median peak of memory, in MiB.
    pub(crate) fn peak_mib(&self) -> Option<f64> {
        let peaks: Option<Vec<f64>> = self
            .runs
            .iter()
            .map(|run| run.peak_kib.map(|kib| kib as f64 / 1024.0))
            .collect();
        peaks.map(median)
    }

    /// The ratio of its CPU time to that of `other`: the median of the rounds' ratios, so that a
    /// slow phase of the machine affects both sides of a ratio.
    pub(crate) fn times(&self, other: &Row) -> f64 {
        let ratios = self.runs.iter().zip(&other.runs);
        median(ratios.map(|(own, other)| own.cpu / other.cpu).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// The runs of all ways over a number of sockets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Size {
    /// The number of sockets.
    pub(crate) sockets: u64,
    /// Their counts by state, in the form of `/proc/tcpstat`.
    pub(crate) counts: String,
    /// A row for each way that was measured.
    pub(crate) rows: Vec<Row>,
}

impl Size {
    /// The runs of one way, if it was measured.
    pub(crate) fn row(&self, way: Way) -> Option<&Row> {
        self.rows.iter().find(|row| row.way == way)
    }
}

/// A part that is missing from the results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    /// Which part: the label of a way, or a number of sockets.
    pub(crate) what: String,
    /// The reason.
    pub(crate) reason: String,
}

/// The measurements on this machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Native {
    /// Whether this was the short run.
    pub(crate) quick: bool,
    /// The machine's properties: names and values.
    pub(crate) machine: Vec<(String, String)>,
    /// Packages and their versions.
    pub(crate) versions: Vec<(String, String)>,
    /// The counts of sockets in every state on which all ways agreed, in the form of
    /// `/proc/tcpstat`.
    pub(crate) agreed: String,
    /// How many ways agreed on them.
    pub(crate) agreeing: usize,
    /// The measurements, the fewest sockets first.
    pub(crate) sizes: Vec<Size>,
    /// The measurement over as many connections of a client as the largest size has sockets.
    pub(crate) clients: Option<Size>,
    /// The missing parts.
    pub(crate) left_out: Vec<LeftOut>,
}

/// The measurement in the virtual machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The release of its kernel.
    pub(crate) kernel: String,
    /// The measurement.
    pub(crate) size: Size,
    /// The module with the kernel's Rust and that with its own, over the same sockets.
    pub(crate) rust: Option<Size>,
    /// One network namespace and all of them, while most of the sockets are in many others.
    pub(crate) namespaces: Size,
    /// The missing parts.
    pub(crate) left_out: Vec<LeftOut>,
}

/// `1,000,000`.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cpu: &[f64]) -> Row {
        let run = |&cpu| Run {
            cpu,
            wall: cpu,
            peak_kib: Some(2048),
        };
        Row {
            way: Way::Ss,
            runs: cpu.iter().map(run).collect(),
        }
    }

    #[test]
    fn medians() {
        assert_eq!(row(&[3.0, 1.0, 2.0]).cpu(), 2.0);
        assert_eq!(row(&[4.0, 1.0]).cpu(), 2.5);
        assert!(row(&[]).cpu().is_nan());
        assert_eq!(row(&[1.0]).peak_mib(), Some(2.0));
    }

    #[test]
    fn a_slow_round_is_slow_for_both() {
        assert_eq!(row(&[2.0, 20.0, 2.0]).times(&row(&[1.0, 10.0, 1.0])), 2.0);
        // A way that ran in fewer rounds is compared over those.
        assert_eq!(row(&[6.0]).times(&row(&[3.0, 1.0])), 2.0);
    }
}
