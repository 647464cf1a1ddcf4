// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the page shows of the past: the totals of the last hour, and what shows that a service
//! leaks. It comes from the readings that scrapes and open pages cause, and stays below 1 MiB.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tcpstat::{Counts, Service, State};

use super::drops::Drops;
use crate::symptoms::{Past, Symptom, Trend};

/// The time between two samples of the totals. Of the readings within it the last one is kept.
const STEP: Duration = Duration::from_secs(5);

/// The number of samples: an hour.
const SAMPLES: usize = 720;

/// The number of ports of which there is a trend.
const PORTS: usize = 512;

/// The past, as far as it is kept.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: Past<Sample>,
    /// Those of ports that have sockets in CLOSE_WAIT, or have just refused handshakes.
    trends: HashMap<u16, Trend>,
    other: Trend,
}

/// The totals at one time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// In seconds since 1970.
    time: u64,
    states: [u32; State::COUNT],
}

impl History {
    /// Adds the totals of a reading.
    pub(super) fn add_totals(&mut self, now: Instant, totals: &Counts) {
        let sample = Sample {
            time: u64::try_from(Timestamp::now().as_second()).unwrap_or(0),
            states: State::ALL.map(|state| u32::try_from(totals.get(state)).unwrap_or(u32::MAX)),
        };
        self.samples.add((now, STEP), sample, SAMPLES);
    }

    /// Adds the services of a reading, and says what is wrong with each of them, and with the
    /// sockets of none.
    pub(super) fn add_services(
        &mut self,
        now: Instant,
        services: &[Service],
        other: Option<&Counts>,
        drops: &Drops,
    ) -> (Vec<Vec<Symptom>>, Vec<Symptom>) {
        let mut before = std::mem::take(&mut self.trends);
        let at = (now, STEP);
        let symptoms = services.iter().map(|service| {
            let mut trend = before.remove(&service.port).unwrap_or_default();
            let has_dropped = drops.has_increased(service.port);
            let symptoms = trend.add(at, service.fullest, has_dropped, &service.counts);
            let has_past = service.counts.get(State::CloseWait) > 0;
            let has_past = has_past || symptoms.contains(&Symptom::Drops);
            if has_past && self.trends.len() < PORTS {
                self.trends.insert(service.port, trend);
            }
            symptoms
        });
        let symptoms = symptoms.collect();
        let other = other.map(|other| self.other.add(at, None, false, other));
        (symptoms, other.unwrap_or_default())
    }

    /// The samples of the last hour, the oldest first: seconds since 1970, then the states in the
    /// kernel's order.
    pub(super) fn samples(&self) -> Vec<Vec<u64>> {
        let last = self.samples.values.back().map_or(0, |last| last.time);
        let hour = last.saturating_sub(SAMPLES as u64 * STEP.as_secs());
        let samples = self
            .samples
            .values
            .iter()
            .filter(|sample| sample.time >= hour);
        let numbers = |sample: &Sample| {
            let states = sample.states.map(u64::from);
            [sample.time].into_iter().chain(states).collect()
        };
        samples.map(numbers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{counts, service};

    #[test]
    fn an_hour_of_a_large_machine_is_kept_within_1_mib() {
        let mut history = History::default();
        let start = Instant::now();
        let services: Vec<Service> = (1..=u16::MAX)
            .map(|port| service(port, 1, (0, Some(1)), Some(0), &[(State::CloseWait, 7)]))
            .collect();
        for seconds in 0..4000 {
            let now = start + Duration::from_secs(seconds);
            let totals = counts(&[(State::Established, seconds)]);
            history.add_totals(now, &totals);
            if seconds % 500 == 0 {
                history.add_services(now, &services, Some(&totals), &Drops::default());
            }
        }
        for seconds in 4000..4070 {
            let now = start + Duration::from_secs(5 * seconds);
            history.add_services(now, &services[..1000], None, &Drops::default());
        }
        assert_eq!(history.samples.values.len(), SAMPLES);
        let last = history.samples().pop().unwrap();
        assert_eq!((last.len(), last[1]), (12, 3999));
        assert_eq!(history.trends.len(), PORTS);
        // A map has at most 16/7 places for an entry, and a ring 64.
        let trends = history.trends.len() * (3 * (size_of::<Trend>() + 8) + 64 * 8);
        let samples = history.samples.values.capacity() * size_of::<Sample>();
        assert!(trends + samples < 1 << 20, "{trends} {samples}");
    }

    #[test]
    fn the_last_reading_of_a_step_is_its_sample() {
        let mut history = History::default();
        let start = Instant::now();
        for (seconds, count) in [(0, 1), (2, 2), (4, 3), (5, 4), (60, 5)] {
            let totals = counts(&[(State::Established, count)]);
            history.add_totals(start + Duration::from_secs(seconds), &totals);
        }
        let samples = history.samples();
        let counts: Vec<u64> = samples.iter().map(|sample| sample[1]).collect();
        assert_eq!(counts, [3, 4, 5]);
    }

    #[test]
    fn a_leak_is_seen_whoever_reads() {
        let mut history = History::default();
        let start = Instant::now();
        let mut found = Vec::new();
        for seconds in 0..60 {
            let states = [(State::Listen, 1), (State::CloseWait, seconds)];
            let services = [service(443, 1, (0, Some(1)), Some(0), &states)];
            let now = start + Duration::from_secs(seconds);
            let drops = Drops::default();
            (found, _) = history.add_services(now, &services, None, &drops);
        }
        assert_eq!(found, [[Symptom::CloseWaitGrowing]]);
    }
}
