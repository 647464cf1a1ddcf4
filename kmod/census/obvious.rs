// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The obvious walk, bucket after bucket under its lock, as `tcp_diag_dump` does it.
//!
//! It is what [`walk`](super::walk::walk) is tested against and measured against, and nothing else. A module that
//! uses it, to measure that in a kernel, is built with `--cfg OBVIOUS_WALK`.

use super::walk::{Table, Tally};

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

impl Tally {
    /// The same as [`Tally::count`], by the obvious walk.
    pub fn count_obviously<T: Table>(&mut self, table: &T, net: T::Net) {
        walk(table, |socket| self.add(socket, &net));
    }
}
