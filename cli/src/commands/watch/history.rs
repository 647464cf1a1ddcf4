// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is remembered of a row or of the totals: the counts of the last minutes, and rates.

use std::time::{Duration, Instant};

use tcpstat::{Counts, State};

use super::reading::Row;
use crate::symptoms::{Past, Symptom, Trend};

/// The most counts that are remembered: four minutes of readings every 2 s.
pub(super) const POINTS: usize = 120;

/// The least time between two of them.
const STEP: Duration = Duration::from_millis(900);

/// The time in which a rate follows a change, in seconds.
const SMOOTHING: f64 = 6.0;

/// A change per second, smoothed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate(f64);

impl Rate {
    /// Takes a change within `seconds`.
    fn update(&mut self, now: u64, before: u64, seconds: f64) {
        let now = (now as f64 - before as f64) / seconds;
        let weight = 1.0 - (-seconds / SMOOTHING).exp();
        self.0 += weight * (now - self.0);
    }

    /// `+12.3/s`; empty if nothing changes.
    pub(super) fn text(self) -> String {
        match self.0 {
            rate if rate.abs() >= 99.95 => format!("{rate:+.0}/s"),
            rate if rate.abs() >= 0.05 => format!("{rate:+.1}/s"),
            _ => String::new(),
        }
    }
}

/// The past of a row or of the totals.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// The oldest first. Empty if they are not remembered.
    counts: Past<Counts>,
    trend: Trend,
    /// The time, the counts and the drops of the last reading.
    last: Option<(Instant, Counts, u64)>,
    states: [Rate; State::COUNT],
    pub(super) total: Rate,
    pub(super) drops: Rate,
}

impl History {
    /// Adds a row of a reading, and says what is wrong with it; `remembers` says whether its counts
    /// are remembered.
    pub(super) fn add(&mut self, at: Instant, row: &Row, remembers: bool) -> Vec<Symptom> {
        let counts = &row.counts;
        let drops = row.service.and_then(|service| service.drops);
        let mut has_dropped = false;
        if let Some((then, before, drops_before)) = self.last {
            let seconds = at.saturating_duration_since(then).as_secs_f64().max(1e-6);
            for (state, rate) in State::ALL.into_iter().zip(&mut self.states) {
                rate.update(counts.get(state), before.get(state), seconds);
            }
            self.total.update(counts.total(), before.total(), seconds);
            // A listener that is gone takes its drops away.
            let drops = drops.unwrap_or(0).max(drops_before);
            self.drops.update(drops, drops_before, seconds);
            has_dropped = drops > drops_before;
        }
        self.last = Some((at, *counts, drops.unwrap_or(0)));
        match remembers {
            true => self.counts.add((at, STEP), *counts, POINTS),
            false => self.counts = Past::default(),
        }
        let fullest = row.service.and_then(|service| service.fullest);
        self.trend.add((at, STEP), fullest, has_dropped, counts)
    }

    /// The counts that are remembered, the oldest first.
    pub(super) fn counts(&self) -> impl Iterator<Item = &Counts> {
        self.counts.values.iter()
    }

    /// The rate of a state.
    pub(super) fn rate(&self, state: State) -> Rate {
        self.states[state as usize - 1]
    }

    /// Whether the state has changed at the last readings.
    pub(super) fn has_changed(&self, state: State) -> bool {
        !self.rate(state).text().is_empty()
    }
}
