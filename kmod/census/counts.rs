// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A count for each state, and the text of `/proc/tcpstat` as its `Display`.

use core::fmt;

use super::state::State;

/// How many sockets are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; State::COUNT]);

impl Counts {
    /// All counts zero.
    pub const ZERO: Self = Self([0; State::COUNT]);

    /// The sockets in `state`.
    pub fn get(&self, state: State) -> u64 {
        self.0[Self::index(state)]
    }

    /// Sets the number of sockets in `state`.
    pub fn set(&mut self, state: State, count: u64) {
        self.0[Self::index(state)] = count;
    }

    /// Counts one more socket in `state`; stops at `u64::MAX`.
    pub fn add_one(&mut self, state: State) {
        let count = &mut self.0[Self::index(state)];
        *count = count.saturating_add(1);
    }

    /// Adds each count of `other`; stops at `u64::MAX`.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    /// Every state with its count, in kernel order.
    pub fn iter(&self) -> impl Iterator<Item = (State, u64)> + '_ {
        State::ALL.into_iter().zip(self.0)
    }

    /// The sockets in all states together; stops at `u64::MAX`.
    pub fn total(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, &count| sum.saturating_add(count))
    }

    const fn index(state: State) -> usize {
        state.code() as usize - 1
    }
}

/// The text of `/proc/tcpstat`: eleven lines `"%-12s: %d\n"`, in kernel order.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter()
            .try_for_each(|(state, count)| writeln!(f, "{:<12}: {count}", state.name()))
    }
}
