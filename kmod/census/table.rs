// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a hash table of sockets must offer to be counted.
//!
//! The census knows neither locks nor pointers: a [`Table`] gives it buckets, and locks them.

/// A hash table entry, as long as its bucket is locked.
pub trait Socket {
    /// The identity of a network namespace.
    type Net: PartialEq;

    /// The network namespace that the socket belongs to (`sock_net`).
    fn net(&self) -> Self::Net;

    /// `sk_state`, a number of `include/net/tcp_states.h`.
    fn state(&self) -> u8;

    /// `tw_substate` of a time-wait socket; the same as [`state`](Self::state) of any other.
    fn tw_substate(&self) -> u8;

    /// `skc_num`: the local port, in host byte order.
    fn local_port(&self) -> u16;
}

/// A socket of the table of listening sockets.
pub trait Listener: Socket {
    /// `sk_ack_backlog`: connections that wait for `accept`.
    fn accept_queue(&self) -> u32;

    /// `sk_max_ack_backlog`: how many may wait there, as set by `listen`.
    fn backlog(&self) -> u32;

    /// `sk_drops`: requests and connections that were dropped at this listener.
    fn drops(&self) -> u32;
}

/// A hash table of sockets: buckets, each a chain of entries under a lock.
///
/// A chain can also be read ahead without its lock, link by link. The result may be out of date at
/// once: a link says what to load into the cache, never what to count. It may even lead into
/// another chain, and may never reach an end.
pub trait Table {
    /// The identity of a network namespace.
    type Net: PartialEq;

    /// An entry of this table.
    type Socket: Socket<Net = Self::Net>;

    /// While it exists, chains may be read without their locks (`rcu_read_lock`).
    type ReadGuard;

    /// A position of the reading ahead: an entry of a chain, which must not be counted without the
    /// lock.
    type Link<'guard>: Copy
    where
        Self: 'guard;

    /// The number of buckets.
    fn buckets(&self) -> usize;

    /// Whether `bucket` is empty; it is not locked, so the answer may be out of date at once.
    fn is_empty(&self, bucket: usize) -> bool;

    /// Locks `bucket` and calls `visit` for each of its entries: `visit` must not sleep or
    /// allocate.
    fn visit(&self, bucket: usize, visit: impl FnMut(&Self::Socket));

    /// Lets other tasks run. The walk calls it between buckets, while it holds neither a lock nor a
    /// [`ReadGuard`](Self::ReadGuard).
    fn pause(&self);

    /// Begins to read ahead, until the guard is dropped: after a short time, before the next pause.
    fn read_lock(&self) -> Self::ReadGuard;

    /// The first entry of `bucket`, or `None` if it is empty.
    ///
    /// Does not read the entry, but prefetches what [`visit`](Self::visit) and [`next`](Self::next)
    /// will read of it.
    fn first<'guard>(
        &'guard self,
        guard: &'guard Self::ReadGuard,
        bucket: usize,
    ) -> Option<Self::Link<'guard>>;

    /// The entry after `link`, or `None` at the end of the chain. Reads the entry at `link`, and
    /// prefetches the next.
    fn next<'guard>(
        &'guard self,
        guard: &'guard Self::ReadGuard,
        link: Self::Link<'guard>,
    ) -> Option<Self::Link<'guard>>;
}
