// SPDX-License-Identifier: MIT OR Apache-2.0

//! What systemd is told of the exporter: that it is ready, ends, and still works (sd_notify(3)).

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::log::Log;

pub(super) fn say_ready(log: Log) {
    say(log, &[NotifyState::Ready]);
}

pub(super) fn say_stopping(log: Log) {
    say(log, &[NotifyState::Stopping]);
}

/// Says it; nothing happens without systemd.
fn say(log: Log, states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        log.warn("systemd could not be notified", &[("error", &error)]);
    }
}

/// Tells systemd at intervals that the exporter works, if its unit has a watchdog.
pub(super) struct Watchdog {
    /// `None` without a watchdog.
    timeout: Option<Duration>,
    last: Instant,
    log: Log,
}

impl Watchdog {
    pub(super) fn start(log: Log) -> Self {
        let mut microseconds = 0;
        let has_watchdog = sd_notify::watchdog_enabled(false, &mut microseconds);
        Self {
            timeout: has_watchdog.then(|| Duration::from_micros(microseconds)),
            last: Instant::now(),
            log,
        }
    }

    /// To be called every second, with the time that the reading under way has taken. If it hangs,
    /// systemd is told nothing, and ends the exporter.
    pub(super) fn tick(&mut self, under_way: Option<Duration>) {
        let Some(timeout) = self.timeout else { return };
        let hangs = under_way.is_some_and(|taken| taken > timeout);
        if !hangs && self.last.elapsed() * 3 >= timeout {
            self.last = Instant::now();
            say(self.log, &[NotifyState::Watchdog]);
        }
    }
}
