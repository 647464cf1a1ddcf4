// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The accept queue of one listener, and the order that says which of several is the fullest.

use core::cmp::Ordering;

/// The accept queue of a listener.
///
/// The order is that of the use, length ÷ backlog, compared exactly; a backlog of 0 counts as 1.
/// Between queues of the same use the longer one is greater, and then the one with the greater
/// backlog. So the greatest is the fullest, and [`EMPTY`](Self::EMPTY) is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AcceptQueue {
    /// Connections that wait for `accept` (`sk_ack_backlog`).
    pub length: u32,
    /// How many may wait, as set by `listen` (`sk_max_ack_backlog`). The kernel accepts one more.
    pub backlog: u32,
}

impl AcceptQueue {
    /// No connection waits, and the backlog is 0.
    pub const EMPTY: Self = Self {
        length: 0,
        backlog: 0,
    };

    /// What the use is computed from: the backlog, at least 1, since a queue with a backlog of 0
    /// holds one connection.
    pub fn capacity(self) -> u32 {
        self.backlog.max(1)
    }

    /// The use as a number: 0 is empty, 1 is full, slightly above 1 is possible.
    #[cfg(not(MODULE))] // The kernel has no floating point.
    pub fn ratio(self) -> f64 {
        f64::from(self.length) / f64::from(self.capacity())
    }
}

impl Ord for AcceptQueue {
    fn cmp(&self, other: &Self) -> Ordering {
        // The product of two 32-bit numbers fits.
        let fill = |this: &Self, other: &Self| u64::from(this.length) * u64::from(other.capacity());
        let key = |this: &Self| (this.length, this.backlog);
        fill(self, other)
            .cmp(&fill(other, self))
            .then_with(|| key(self).cmp(&key(other)))
    }
}

impl PartialOrd for AcceptQueue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
