// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The walk over a hash table of sockets, which reads ahead.

use super::table::Table;

/// How many chains are read ahead at once.
///
/// With two cache lines an entry, that is 32 loads in flight, about the most that a core can have;
/// 12 to 24 chains measure the same.
const CURSORS: usize = 16;

/// After this many links a section starts no new chain: about 25 µs of work.
const LINKS_PER_SECTION: usize = 1024;

/// A section looks at no more buckets than this, even if few of them have an entry.
const BUCKETS_PER_SECTION: usize = 4096;

/// A bucket to be visited, and how far its chain has been read ahead.
#[derive(Clone, Copy)]
struct Cursor<Link> {
    bucket: usize,
    link: Link,
}

/// Visits every entry of `table`, bucket by bucket, in no particular order; empty buckets are
/// skipped without locking.
///
/// # How it reads ahead
///
/// An entry is two cache lines somewhere in memory, and the second of them has the address of the
/// next entry. A processor that executes a locked instruction waits until all its loads have
/// arrived: a walk that takes a lock for each bucket waits for one whole memory latency after
/// another.
///
/// So a fixed number of cursors each follow the chain of one bucket, without the lock. A cursor's
/// turn is one link: read what its last turn prefetched, and prefetch the next entry. The other
/// cursors have their turns before its next one, and meanwhile the entry arrives. At the end of a
/// chain all of its bucket is in the cache; the bucket is locked and visited, and the cursor starts
/// on the next bucket that is not empty.
///
/// No depth has to be chosen by how full the table is: for chains of any length, as many loads are
/// in flight as there are cursors. In a thin table the cursors are in more buckets, in a full one
/// deeper in chains, and an empty bucket costs no more than without them. (Two other designs were
/// measured: to read a batch of buckets ahead and then visit it, and the same in rounds, one link
/// of each chain in a round. In both, memory is idle during the visits and while the last long
/// chains end, which costs a quarter to a half more.)
///
/// # Sections
///
/// For any table a section is bounded, by the buckets that it looks at and by the links that it
/// reads: `LINKS_PER_SECTION` twice, and so many entries at most are visited, but for those that
/// entered the chains meanwhile. A chain that is too long for that, or that has become a loop
/// because others changed it, is not read to its end; its bucket is visited after the section, in a
/// section of its own.
///
/// # Errors
/// The table says at a pause that the walk is to end; then not every entry has been visited.
#[inline(never)] // So that the cursors are on the kernel's stack only during the walk.
pub fn walk<T: Table>(
    table: &T,
    mut visit: impl FnMut(&T::Socket<'_>),
) -> Result<(), T::Interrupt> {
    let end = table.buckets();
    let mut start = 0;
    while start < end {
        let mut unread = [None; CURSORS];
        start = section(table, start, &mut unread, &mut visit);
        table.pause()?;
        for bucket in unread.into_iter().flatten() {
            table.visit(&table.section(), bucket, &mut visit);
            table.pause()?;
        }
    }
    Ok(())
}

/// Visits buckets from `start` on, and returns where the next section starts: every bucket before
/// that was empty, or has been visited, or is in `unread`.
fn section<T: Table>(
    table: &T,
    start: usize,
    unread: &mut [Option<usize>; CURSORS],
    visit: &mut impl FnMut(&T::Socket<'_>),
) -> usize {
    let this = table.section();
    let mut buckets = start
        ..table
            .buckets()
            .min(start.saturating_add(BUCKETS_PER_SECTION));
    let mut begin = || {
        buckets.find_map(|bucket| {
            if table.is_empty(bucket) {
                return None;
            }
            let link = table.first(&this, bucket)?;
            Some(Cursor { bucket, link })
        })
    };

    let mut cursors = [None; CURSORS];
    for slot in &mut cursors {
        *slot = begin();
    }
    let mut links = 0usize;
    let mut reading = true;
    // After `LINKS_PER_SECTION` links no new chain is started. Chains in progress are finished,
    // unless that takes as many links again.
    while reading && links < LINKS_PER_SECTION * 2 {
        reading = false;
        for slot in &mut cursors {
            let Some(cursor) = slot else {
                continue;
            };
            reading = true;
            links = links.saturating_add(1);
            if let Some(next) = table.next(&this, cursor.link) {
                cursor.link = next;
                continue;
            }
            let bucket = cursor.bucket;
            // Before the visit, so that the first entry of the next chain is loaded meanwhile.
            *slot = if links < LINKS_PER_SECTION {
                begin()
            } else {
                None
            };
            table.visit(&this, bucket, &mut *visit);
        }
    }

    for (unread, cursor) in unread.iter_mut().zip(&cursors) {
        *unread = cursor.as_ref().map(|cursor| cursor.bucket);
    }
    buckets.start
}
