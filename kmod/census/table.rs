// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a hash table of sockets must offer to be counted.
//!
//! The census knows neither locks nor pointers: a [`Table`] gives it buckets, and locks them.

use core::net::IpAddr;

/// The family of IPv4 sockets (`include/linux/socket.h`).
pub const AF_INET: u16 = 2;

/// The family of IPv6 sockets.
pub const AF_INET6: u16 = 10;

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

    /// `skc_family`: [`AF_INET`] or [`AF_INET6`].
    fn family(&self) -> u16;

    /// The local address: `skc_rcv_saddr`, or of an IPv6 socket `skc_v6_rcv_saddr`.
    fn local_address(&self) -> IpAddr;
}

/// A socket of the table of listening sockets.
pub trait Listener: Socket {
    /// `sk_ack_backlog`: connections that wait for `accept`.
    fn accept_queue(&self) -> u32;

    /// `sk_max_ack_backlog`: how many may wait there, as set by `listen`.
    fn backlog(&self) -> u32;

    /// `sk_drops`: requests and connections that were dropped at this listener.
    fn drops(&self) -> u32;

    /// `sk_ipv6only`: whether it takes no IPv4.
    fn v6only(&self) -> bool;
}

/// A hash table of sockets: buckets, each a chain of entries under a lock.
///
/// A chain can also be read ahead without its lock, link by link. The result may be out of date at
/// once: a link says what to load into the cache, never what to count. It may even lead into
/// another chain, and may never reach an end.
pub trait Table {
    /// The identity of a network namespace.
    type Net: PartialEq;

    /// An entry of this table, while its bucket is locked.
    type Socket<'lock>: Socket<Net = Self::Net>;

    /// Why a walk ends before the end of the table.
    type Interrupt;

    /// A section of a walk: while it exists, chains may be read without their locks
    /// (`rcu_read_lock`), and buckets be visited.
    type Section;

    /// A position of the reading ahead: an entry of a chain, which must not be counted without the
    /// lock.
    type Link<'section>: Copy
    where
        Self: 'section;

    /// The number of buckets.
    fn buckets(&self) -> usize;

    /// Whether `bucket` is empty; it is not locked, so the answer may be out of date at once.
    fn is_empty(&self, bucket: usize) -> bool;

    /// Begins a section, which ends when the value is dropped: after a short time, before the next
    /// pause.
    fn section(&self) -> Self::Section;

    /// Locks `bucket` and calls `visit` for each of its entries: `visit` must not sleep or
    /// allocate.
    fn visit(&self, section: &Self::Section, bucket: usize, visit: impl FnMut(&Self::Socket<'_>));

    /// Lets other tasks run, and says whether to go on. The walk calls it between sections.
    ///
    /// # Errors
    /// The walk is to end here.
    fn pause(&self) -> Result<(), Self::Interrupt>;

    /// The first entry of `bucket`, or `None` if it is empty.
    ///
    /// Does not read the entry, but prefetches what [`visit`](Self::visit) and [`next`](Self::next)
    /// will read of it.
    fn first<'section>(
        &'section self,
        section: &'section Self::Section,
        bucket: usize,
    ) -> Option<Self::Link<'section>>;

    /// The entry after `link`, or `None` at the end of the chain. Reads the entry at `link`, and
    /// prefetches the next.
    fn next<'section>(
        &'section self,
        section: &'section Self::Section,
        link: Self::Link<'section>,
    ) -> Option<Self::Link<'section>>;
}
