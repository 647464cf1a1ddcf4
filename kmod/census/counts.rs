// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A count for each state; its `Display` is the text of `/proc/tcpstat`.

use core::fmt;

use super::state::State;

/// How many sockets are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub(super) [u64; State::COUNT]);

impl Counts {
    /// All counts zero.
    pub const ZERO: Self = Self([0; State::COUNT]);

    /// Counts one more socket in `state`; stops at `u64::MAX`.
    pub fn add_one(&mut self, state: State) {
        let count = &mut self.0[Self::position(state)];
        *count = count.saturating_add(1);
    }

    /// Counts one more hash table entry, in the state that [`State::of_entry`] says.
    ///
    /// This is done for every socket under a lock: the number of a state is the place of its count,
    /// without a look into a table, and a count that begins at 0 takes centuries to wrap.
    ///
    /// # Errors
    /// As for [`State::of_entry`]; nothing is counted.
    #[inline(always)]
    pub fn add_entry(&mut self, sk_state: u8, tw_substate: impl FnOnce() -> u8) -> Result<(), u8> {
        let code = State::code_of_entry(sk_state, tw_substate);
        if let Some(count) = self.0.get_mut(usize::from(code).wrapping_sub(1)) {
            *count = count.wrapping_add(1);
            return Ok(());
        }
        self.add_one(State::from_code(code).ok_or(code)?);
        Ok(())
    }

    /// Every state with its count, in kernel order.
    pub fn iter(&self) -> impl Iterator<Item = (State, u64)> + '_ {
        State::ALL.into_iter().zip(self.0)
    }

    pub(super) const fn position(state: State) -> usize {
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
