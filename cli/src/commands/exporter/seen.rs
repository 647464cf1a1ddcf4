// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which states of a service or a group have ever been above zero. The others are left out: most
//! series would be zero for ever. One that was shown stays, so that it does not end at its last
//! value.

use std::collections::HashMap;
use std::hash::Hash;

use tcpstat::{Counts, State};

/// The states that were seen, by service or group.
#[derive(Debug)]
pub(super) struct Seen<K>(HashMap<K, u16>);

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone> Seen<K> {
    /// Adds a reading, which has everything that is there now. What is gone is forgotten.
    pub(super) fn update<'a>(&mut self, reading: impl Iterator<Item = (K, &'a Counts)>) {
        let mut now = HashMap::with_capacity(self.0.len());
        for (key, counts) in reading {
            let mut states = self.0.get(&key).copied().unwrap_or(0);
            for (state, count) in counts.iter() {
                states |= u16::from(count > 0) << (state as u16);
            }
            now.insert(key, states);
        }
        self.0 = now;
    }

    /// The states that were seen of one.
    pub(super) fn states(&self, key: &K) -> States {
        States(self.0.get(key).copied().unwrap_or(0))
    }
}

/// A set of states.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct States(u16);

impl States {
    /// Every state.
    pub(super) const ALL: Self = Self(u16::MAX);

    pub(super) fn has(self, state: State) -> bool {
        self.0 & (1 << state as u16) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::counts;

    #[test]
    fn a_state_that_was_seen_stays() {
        let mut seen = Seen::default();
        let first = counts(&[(State::Listen, 1), (State::CloseWait, 2)]);
        let second = counts(&[(State::Listen, 1)]);
        seen.update([(80, &first)].into_iter());
        seen.update([(80, &second), (81, &second)].into_iter());
        assert!(seen.states(&80).has(State::CloseWait));
        assert!(!seen.states(&80).has(State::Closing));
        assert!(!seen.states(&81).has(State::CloseWait));
        seen.update([(81, &second)].into_iter());
        assert!(!seen.states(&80).has(State::Listen));
        assert!(States::ALL.has(State::Closing));
    }
}
