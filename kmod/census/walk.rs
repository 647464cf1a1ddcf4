// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The walk over a hash table of sockets, and the counting of what it meets.
//!
//! The walk knows neither locks nor pointers: a [`Table`] gives it buckets, and answers for locking them.

use super::counts::Counts;
use super::state::State;

/// A hash table entry, as long as its bucket is locked.
pub trait Socket {
    /// What tells one network namespace from another.
    type Net: PartialEq;

    /// The network namespace that the socket belongs to (`sock_net`).
    fn net(&self) -> Self::Net;

    /// `sk_state`, a number of `include/net/tcp_states.h`.
    fn state(&self) -> u8;

    /// `tw_substate` of a time-wait socket; the same as [`state`](Self::state) of any other.
    fn tw_substate(&self) -> u8;
}

/// A hash table of sockets: buckets, each a chain of entries under a lock.
pub trait Table {
    /// What tells one network namespace from another.
    type Net: PartialEq;

    /// An entry of this table.
    type Socket: Socket<Net = Self::Net>;

    /// The number of buckets.
    fn buckets(&self) -> usize;

    /// Whether `bucket` is empty, without locking it: an answer that may be old when it arrives.
    fn is_empty(&self, bucket: usize) -> bool;

    /// Calls `visit` for each entry of `bucket` with the bucket locked: `visit` must not sleep or allocate.
    fn visit(&self, bucket: usize, visit: impl FnMut(&Self::Socket));

    /// Lets others run. The walk calls it between buckets, with no lock held.
    fn pause(&self);
}

/// The walk pauses at least once in so many empty buckets; it does after each one that it locked.
const PAUSE_EVERY: usize = 1024;

/// Visits every entry of `table`, a bucket at a time; empty buckets are passed over without locking.
pub fn walk<T: Table>(table: &T, mut visit: impl FnMut(&T::Socket)) {
    for bucket in 0..table.buckets() {
        let empty = table.is_empty(bucket);
        if !empty {
            table.visit(bucket, &mut visit);
        }
        if !empty || bucket % PAUSE_EVERY == 0 {
            table.pause();
        }
    }
}

/// The sockets of one network namespace, counted by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: Counts,
    unknown: Option<u8>,
}

/// An entry was in a state that is none of the eleven; the number is the kernel's. No count is right then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownState(pub u8);

impl Tally {
    /// Counts every socket of `table` that belongs to `net`.
    pub fn count<T: Table>(&mut self, table: &T, net: T::Net) {
        walk(table, |socket| {
            if socket.net() != net {
                return;
            }
            match State::of_entry(socket.state(), || socket.tw_substate()) {
                Ok(state) => self.counts.add_one(state),
                Err(code) => self.unknown = Some(code),
            }
        });
    }

    /// What was counted, unless a socket was in a state that has no name here.
    pub fn finish(self) -> Result<Counts, UnknownState> {
        match self.unknown {
            None => Ok(self.counts),
            Some(code) => Err(UnknownState(code)),
        }
    }
}
