// SPDX-License-Identifier: GPL-2.0-only

//! What was measured, as it is kept between the parts of a run.

use serde::{Deserialize, Serialize};

/// What one counting took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// User and system time, in seconds.
    pub(crate) cpu: f64,
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// The most memory, in KiB; `None` where it is not of a process of its own.
    pub(crate) peak_kib: Option<u64>,
}

/// One contender's runs over the same sockets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Which contender.
    pub(crate) who: String,
    /// A run for each round that it took part in, the first round first.
    pub(crate) runs: Vec<Run>,
}

impl Row {
    /// The median of something about the runs.
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

    /// How many times as much CPU time this takes as `other`: the median of the rounds' ratios, so that what slows
    /// the machine for a while weighs on both.
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

/// Everybody's runs over so many sockets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Size {
    /// How many sockets there were.
    pub(crate) sockets: u64,
    /// How many of them in each state, as `/proc/tcpstat` writes it.
    pub(crate) counts: String,
    /// Those who took part.
    pub(crate) rows: Vec<Row>,
}

impl Size {
    /// The runs of one.
    pub(crate) fn row(&self, who: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.who == who)
    }
}

/// Somebody or something that is not in the results, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    /// Who or what.
    pub(crate) who: String,
    /// Why not.
    pub(crate) why: String,
}

/// What [`crate::native`] measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Native {
    /// Whether this was the short run.
    pub(crate) quick: bool,
    /// The machine, as pairs of a name and a value.
    pub(crate) machine: Vec<(String, String)>,
    /// The versions, as pairs of a package and its version.
    pub(crate) versions: Vec<(String, String)>,
    /// Sockets in every state, over which all gave the same counts, as `/proc/tcpstat` writes them.
    pub(crate) agreed: String,
    /// How many took part in that.
    pub(crate) agreeing: usize,
    /// The measurements, the fewest sockets first.
    pub(crate) sizes: Vec<Size>,
    /// The same over the most sockets, if they are those of a client.
    pub(crate) clients: Option<Size>,
    /// What is missing.
    pub(crate) left_out: Vec<LeftOut>,
}

/// What [`crate::machine`] measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The release of its kernel.
    pub(crate) kernel: String,
    /// The measurement.
    pub(crate) size: Size,
    /// What is missing.
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
            who: "x".to_owned(),
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
        // Who takes part in fewer rounds is compared over those.
        assert_eq!(row(&[6.0]).times(&row(&[3.0, 1.0])), 2.0);
    }
}
