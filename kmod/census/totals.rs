// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Counts for a whole network namespace.

use super::counts::Counts;
use super::state::UnknownState;
use super::table::{Socket, Table};
use super::walk::walk;

/// The sockets of one network namespace, counted by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: Counts,
    unknown: Option<u8>,
}

impl Tally {
    /// Counts every socket of `table` that belongs to `net`.
    ///
    /// # Errors
    /// The walk was ended; the counts are not complete.
    pub fn count<T: Table>(&mut self, table: &T, net: T::Net) -> Result<(), T::Interrupt> {
        walk(table, |socket| self.add(socket, &net))
    }

    /// Counts `socket` if it belongs to `net`.
    pub fn add<S: Socket>(&mut self, socket: &S, net: &S::Net) {
        if socket.net() != *net {
            return;
        }
        let added = self
            .counts
            .add_entry(socket.state(), || socket.tw_substate());
        if let Err(code) = added {
            self.unknown = Some(code);
        }
    }

    /// The counts.
    ///
    /// # Errors
    /// A socket was in a state that is none of the eleven.
    pub fn finish(self) -> Result<Counts, UnknownState> {
        match self.unknown {
            None => Ok(self.counts),
            Some(code) => Err(UnknownState(code)),
        }
    }
}
