// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! [`Counts`] as a collection: access by state, iteration, sums. The module only adds and prints.

use core::array;
use core::iter::{Sum, Zip};
use core::ops::{Index, IndexMut};

use super::counts::Counts;
use super::state::State;

impl Counts {
    /// The number of sockets in `state`.
    pub fn get(&self, state: State) -> u64 {
        self[state]
    }

    /// Sets the number of sockets in `state`.
    pub fn set(&mut self, state: State, count: u64) {
        self[state] = count;
    }

    /// The number of sockets in all states together; stops at `u64::MAX`.
    pub fn total(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, &count| sum.saturating_add(count))
    }
}

/// The number of sockets in a state.
impl Index<State> for Counts {
    type Output = u64;

    fn index(&self, state: State) -> &u64 {
        &self.0[Self::position(state)]
    }
}

impl IndexMut<State> for Counts {
    fn index_mut(&mut self, state: State) -> &mut u64 {
        &mut self.0[Self::position(state)]
    }
}

/// Every state with its count, in kernel order.
impl IntoIterator for Counts {
    type Item = (State, u64);
    type IntoIter =
        Zip<array::IntoIter<State, { State::COUNT }>, array::IntoIter<u64, { State::COUNT }>>;

    fn into_iter(self) -> Self::IntoIter {
        State::ALL.into_iter().zip(self.0)
    }
}

impl IntoIterator for &Counts {
    type Item = (State, u64);
    type IntoIter = <Counts as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (*self).into_iter()
    }
}

/// Adds up the counts that are given for a state, 0 if there are none; stops at `u64::MAX`.
impl FromIterator<(State, u64)> for Counts {
    fn from_iter<I: IntoIterator<Item = (State, u64)>>(pairs: I) -> Self {
        let mut counts = Self::ZERO;
        for (state, count) in pairs {
            counts[state] = counts[state].saturating_add(count);
        }
        counts
    }
}

/// Adds up the counts of each state; stops at `u64::MAX`.
impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.flatten().collect()
    }
}
