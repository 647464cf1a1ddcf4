// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is wrong with a service, for the screens that show this first. The limits are those of
//! `monitoring/alerts.yml`, without the times that an alert waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;
use tcpstat::{AcceptQueue, Counts, State};

/// What is wrong with a service, or with a group of sockets. The order is that of the severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Symptom {
    /// The accept queue of a listener is full.
    QueueFull,
    /// The number of sockets in CLOSE_WAIT keeps growing.
    CloseWaitGrowing,
    /// Listeners have just refused handshakes.
    Drops,
    /// The accept queue of a listener is more than half full.
    QueueFilling,
    /// Many sockets are in CLOSE_WAIT, but their number does not grow.
    CloseWait,
}

impl Symptom {
    /// Whether someone should act now.
    pub(crate) const fn is_alarm(self) -> bool {
        matches!(self, Self::QueueFull | Self::CloseWaitGrowing | Self::Drops)
    }
}

/// The use of an accept queue from which it is filling.
const FILLING: f64 = 0.5;

/// The number of sockets in CLOSE_WAIT, and its growth, above which it is a leak.
const LEAK: u64 = 10;

/// The least number of values that show a growth, and the most that are remembered.
const VALUES: std::ops::RangeInclusive<usize> = 6..=60;

/// The past of a service, or of a group of sockets, as far as it shows what is wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trend {
    /// The numbers of sockets in CLOSE_WAIT.
    close_wait: Past<u64>,
    /// When handshakes were refused, last.
    dropped: Option<Instant>,
}

impl Trend {
    /// Adds what is known at the time `at`, and says what is wrong then, the worst first. `fullest`
    /// is the queue of the fullest listener, if there is one; `has_dropped` whether handshakes were
    /// refused since the previous reading, whoever has read. Numbers within the time `step` are
    /// one, so that a leak is no chance of a moment.
    pub(crate) fn add(
        &mut self,
        (at, step): (Instant, Duration),
        fullest: Option<AcceptQueue>,
        has_dropped: bool,
        counts: &Counts,
    ) -> Vec<Symptom> {
        let close_wait = counts.get(State::CloseWait);
        self.close_wait.add((at, step), close_wait, *VALUES.end());
        if has_dropped {
            self.dropped = Some(at);
        }
        // Others may have read in between.
        let is_recent = |then| at.saturating_duration_since(then) <= 2 * step;
        let has_dropped = self.dropped.is_some_and(is_recent);
        let close_wait = self.close_wait.values.make_contiguous();
        symptoms(fullest, has_dropped, counts, close_wait)
    }
}

/// Values of the past, the last one of each step of time.
#[derive(Clone, Debug)]
pub(crate) struct Past<T> {
    /// The oldest first.
    pub(crate) values: VecDeque<T>,
    /// When the last of them was begun.
    begun: Option<Instant>,
}

impl<T> Default for Past<T> {
    fn default() -> Self {
        Self {
            values: VecDeque::new(),
            begun: None,
        }
    }
}

impl<T> Past<T> {
    /// Adds a value of the time `at`, or replaces the last one if that was begun within `step`.
    /// Forgets the oldest beyond `most`.
    pub(crate) fn add(&mut self, (at, step): (Instant, Duration), value: T, most: usize) {
        let is_over = |begun| at.saturating_duration_since(begun) >= step;
        if !self.begun.is_none_or(is_over) {
            self.values.pop_back();
        } else {
            self.begun = Some(at);
            if self.values.len() >= most {
                self.values.pop_front();
            }
        }
        self.values.push_back(value);
    }
}

/// What is wrong, the worst first. `drops` says whether handshakes were just refused.
fn symptoms(
    fullest: Option<AcceptQueue>,
    drops: bool,
    counts: &Counts,
    close_wait: &[u64],
) -> Vec<Symptom> {
    let using = fullest.map_or(0.0, AcceptQueue::ratio);
    let now = counts.get(State::CloseWait);
    let connections = counts.total().saturating_sub(counts.get(State::Listen));
    let grows = grows(close_wait);
    // A tenth of the connections.
    let are_many = now > LEAK && now >= connections / 10;
    let all = [
        (Symptom::QueueFull, using >= 1.0),
        (Symptom::CloseWaitGrowing, grows),
        (Symptom::Drops, drops),
        (Symptom::QueueFilling, using > FILLING && using < 1.0),
        (Symptom::CloseWait, are_many && !grows),
    ];
    let found = all.into_iter().filter(|(_, is_there)| *is_there);
    found.map(|(symptom, _)| symptom).collect()
}

/// Whether numbers have grown for as long as they are known: each of the later half is above each
/// of the earlier half, and the growth is no chance. Numbers that go up and down do not grow.
fn grows(values: &[u64]) -> bool {
    if values.len() < *VALUES.start() {
        return false;
    }
    let (before, after) = values.split_at(values.len() / 2);
    let most_before = before.iter().max().copied().unwrap_or(0);
    let least_after = after.iter().min().copied().unwrap_or(0);
    let (first, last) = (values[0], values[values.len() - 1]);
    least_after > most_before && last.saturating_sub(first) > LEAK.min(last / 10).max(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{counts, fullest};

    #[test]
    fn what_is_wrong_is_named_and_the_worst_comes_first() {
        let fine = counts(&[(State::Listen, 4), (State::Established, 1000)]);
        let of = |queue, drops, counts, values: &[u64]| symptoms(queue, drops, counts, values);
        assert_eq!(of(None, false, &fine, &[]), []);
        assert_eq!(of(Some(fullest(64, 128)), false, &fine, &[]), []);
        assert_eq!(
            of(Some(fullest(65, 128)), false, &fine, &[]),
            [Symptom::QueueFilling]
        );
        assert_eq!(
            of(Some(fullest(128, 128)), true, &fine, &[]),
            [Symptom::QueueFull, Symptom::Drops]
        );
        // A backlog of 0 holds one connection.
        assert_eq!(
            of(Some(fullest(1, 0)), false, &fine, &[]),
            [Symptom::QueueFull]
        );
        let leaking = counts(&[(State::Established, 100), (State::CloseWait, 60)]);
        assert_eq!(
            of(None, false, &leaking, &[60; 20]),
            [Symptom::CloseWait],
            "they are held, and do not grow"
        );
        assert_eq!(
            of(None, false, &leaking, &[10, 20, 30, 40, 50, 60]),
            [Symptom::CloseWaitGrowing]
        );
        let few = counts(&[(State::Established, 1000), (State::CloseWait, 60)]);
        assert_eq!(of(None, false, &few, &[60; 20]), []);
    }

    #[test]
    fn a_trend_is_remembered_as_one_value_a_step() {
        let mut trend = Trend::default();
        let (start, step) = (Instant::now(), Duration::from_secs(5));
        let mut add = |seconds, close_wait, has_dropped| {
            let counts = counts(&[(State::Established, 1000), (State::CloseWait, close_wait)]);
            let at = start + Duration::from_secs(seconds);
            let found = trend.add((at, step), None, has_dropped, &counts);
            (found, trend.close_wait.values.len())
        };
        assert_eq!(add(0, 0, false), (vec![], 1));
        // Seen until two steps later.
        assert_eq!(add(1, 2, true), (vec![Symptom::Drops], 1));
        assert_eq!(add(4, 2, false), (vec![Symptom::Drops], 1));
        assert_eq!(add(12, 2, false), (vec![], 2));
        let last = (3..100).map(|value| add(5 * value, value, false)).last();
        assert_eq!(last, Some((vec![Symptom::CloseWaitGrowing], 60)));
    }

    #[test]
    fn only_a_steady_growth_is_one() {
        for (values, expected) in [
            (&[0, 1, 2, 3, 4, 5][..], true),
            (&[0, 0, 0, 0, 0, 9], false),
            (&[1, 2, 3, 4, 5], false),
            (&[50, 44, 57, 49, 61, 52], false),
            (&[500, 500, 500, 501, 502, 503], false),
            (&[500, 503, 506, 509, 512, 515], true),
            (&[9, 8, 7, 6, 5, 4], false),
            (&[0; 60], false),
            (&[], false),
        ] {
            assert_eq!(grows(values), expected, "{values:?}");
        }
    }
}
