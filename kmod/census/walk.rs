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

    /// `skc_num`: the local port, in the order of this machine's bytes.
    fn local_port(&self) -> u16;
}

/// A hash table of sockets: buckets, each a chain of entries under a lock.
///
/// A chain can also be read ahead without its lock, link by link. What that finds may be old when it arrives:
/// a link says what to load into the cache, never what to count. It may even lead into another chain, and
/// does not have to come to an end.
pub trait Table {
    /// What tells one network namespace from another.
    type Net: PartialEq;

    /// An entry of this table.
    type Socket: Socket<Net = Self::Net>;

    /// What makes it safe to read chains without their locks, for as long as it exists (`rcu_read_lock`).
    type ReadGuard;

    /// Where in a chain the reading ahead is: at an entry, which is not to be counted without its lock.
    type Link<'guard>: Copy
    where
        Self: 'guard;

    /// The number of buckets.
    fn buckets(&self) -> usize;

    /// Whether `bucket` is empty, without locking it: an answer that may be old when it arrives.
    fn is_empty(&self, bucket: usize) -> bool;

    /// Calls `visit` for each entry of `bucket` with the bucket locked: `visit` must not sleep or allocate.
    fn visit(&self, bucket: usize, visit: impl FnMut(&Self::Socket));

    /// Lets others run. The walk calls it between buckets, with no lock and no [`ReadGuard`](Self::ReadGuard) held.
    fn pause(&self);

    /// Begins to read ahead; ends when the guard is dropped. It is held for a short time, and not over a pause.
    fn read_lock(&self) -> Self::ReadGuard;

    /// The first entry of `bucket`, or `None` if it is empty.
    ///
    /// The entry itself is not read: this only asks the processor to load what [`visit`](Self::visit) and
    /// [`next`](Self::next) will read of it (prefetch).
    fn first<'guard>(
        &'guard self,
        guard: &'guard Self::ReadGuard,
        bucket: usize,
    ) -> Option<Self::Link<'guard>>;

    /// The entry after `link`, or `None` at the end of the chain. Reads `link`'s entry, and prefetches the next.
    fn next<'guard>(
        &'guard self,
        guard: &'guard Self::ReadGuard,
        link: Self::Link<'guard>,
    ) -> Option<Self::Link<'guard>>;
}

/// How many chains are read ahead at once.
///
/// Two cache lines an entry are then 32 loads under way, about what one core can have; 12 to 24 chains measure
/// the same.
const CURSORS: usize = 16;

/// A section begins no further chain once it has read so many links: about 25 µs of work.
const LINKS_PER_SECTION: usize = 1024;

/// A section looks at no more buckets than this, however few have an entry.
const BUCKETS_PER_SECTION: usize = 4096;

/// A bucket that is about to be visited, and how far its chain has been read ahead.
#[derive(Clone, Copy)]
struct Cursor<Link> {
    bucket: usize,
    link: Link,
}

/// Visits every entry of `table`, a bucket at a time, in no certain order; empty buckets are passed over without
/// locking.
///
/// # How it reads ahead
///
/// An entry is two cache lines somewhere in memory, and the next one's address is in the second of them. A
/// processor that meets a locked instruction waits until all its loads have arrived: a walk that takes a lock
/// for each bucket pays for one whole memory latency after the other.
///
/// So a fixed number of cursors each follow the chain of one bucket, without the lock. A turn of a cursor is one
/// link: read what was prefetched in its last turn, prefetch the next entry. By its next turn the others had
/// theirs, and the entry has arrived. At the end of the chain the cursor's bucket is all in the cache; it is
/// locked and visited, and the cursor begins the next bucket that is not empty.
///
/// There is no depth to be chosen by how full the table is: whatever the lengths of the chains, there are as many
/// loads under way as there are cursors. A thin table has its cursors in more buckets, a full one has them deeper
/// in chains, and an empty bucket costs what it did. (Two other shapes were measured: reading a batch of buckets
/// ahead and visiting it then, and the same in rounds, a link of each chain in a round. In both the memory is
/// idle during the visits and while the last long chains end, which costs a quarter to a half more.)
///
/// # Sections
///
/// The guard is held for one section, and a section is bounded whatever the table looks like: by the buckets it
/// looks at, and by the links it reads. Chains that are too long for that, or that go round in circles because
/// others changed them, are left unread; their buckets are visited after the section, with a pause between.
#[inline(never)] // The cursors are on a kernel stack: not for longer than the walk.
pub fn walk<T: Table>(table: &T, mut visit: impl FnMut(&T::Socket)) {
    let end = table.buckets();
    let mut start = 0;
    while start < end {
        let mut unread = [None; CURSORS];
        start = section(table, start, &mut unread, &mut visit);
        table.pause();
        for bucket in unread.into_iter().flatten() {
            table.visit(bucket, &mut visit);
            table.pause();
        }
    }
}

/// Visits buckets from `start` on, and returns where the next section starts: every bucket before that was empty,
/// or visited, or is in `unread`.
fn section<T: Table>(
    table: &T,
    start: usize,
    unread: &mut [Option<usize>; CURSORS],
    visit: &mut impl FnMut(&T::Socket),
) -> usize {
    let guard = table.read_lock();
    let mut buckets = start
        ..table
            .buckets()
            .min(start.saturating_add(BUCKETS_PER_SECTION));
    let mut begin = || {
        buckets.find_map(|bucket| {
            if table.is_empty(bucket) {
                return None;
            }
            let link = table.first(&guard, bucket)?;
            Some(Cursor { bucket, link })
        })
    };

    let mut cursors = [None; CURSORS];
    for slot in &mut cursors {
        *slot = begin();
    }
    let mut links = 0usize;
    let mut reading = true;
    // From `LINKS_PER_SECTION` on the chains that have been begun are read to their ends. That takes about as
    // many links as they are long; where it takes as many again, they are too long.
    while reading && links < LINKS_PER_SECTION * 2 {
        reading = false;
        for slot in &mut cursors {
            let Some(cursor) = slot else {
                continue;
            };
            reading = true;
            links = links.saturating_add(1);
            if let Some(next) = table.next(&guard, cursor.link) {
                cursor.link = next;
                continue;
            }
            let bucket = cursor.bucket;
            // Before the visit, so that the next chain's first entry is on its way meanwhile.
            *slot = if links < LINKS_PER_SECTION {
                begin()
            } else {
                None
            };
            table.visit(bucket, &mut *visit);
        }
    }

    for (unread, cursor) in unread.iter_mut().zip(&cursors) {
        *unread = cursor.as_ref().map(|cursor| cursor.bucket);
    }
    buckets.start
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
        walk(table, |socket| self.add(socket, &net));
    }

    pub(super) fn add<S: Socket>(&mut self, socket: &S, net: &S::Net) {
        if socket.net() != *net {
            return;
        }
        match State::of_entry(socket.state(), || socket.tw_substate()) {
            Ok(state) => self.counts.add_one(state),
            Err(code) => self.unknown = Some(code),
        }
    }

    /// What was counted, unless a socket was in a state that has no name here.
    pub fn finish(self) -> Result<Counts, UnknownState> {
        match self.unknown {
            None => Ok(self.counts),
            Some(code) => Err(UnknownState(code)),
        }
    }
}
