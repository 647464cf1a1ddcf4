// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Counts for each network namespace, of any number, in one walk of a table; their `Display` is the
//! text of `/proc/tcpstat_namespaces`.

use core::fmt;
use core::hash::{Hash, Hasher};

use super::counts::Counts;
use super::state::{State, UnknownState};
use super::table::{Socket, Table};
use super::walk::walk;

/// The name of the column before those of the states.
pub const COLUMN: &str = "NETNS";

/// The sockets of one network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<Net> {
    net: Net,
    inode: u32,
    counts: Counts,
}

impl<Net> Row<Net> {
    /// All counts 0. `inode` is the number by which users know the namespace (`net->ns.inum`).
    pub fn new(net: Net, inode: u32) -> Self {
        Self {
            net,
            inode,
            counts: Counts::ZERO,
        }
    }
}

/// The inode number, and the states in kernel order, separated by single spaces.
impl<Net> fmt::Display for Row<Net> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inode)?;
        self.counts
            .iter()
            .try_for_each(|(_, count)| write!(f, " {count}"))?;
        f.write_str("\n")
    }
}

/// The length of the table that a [`Tally`] needs to find one of `rows` namespaces: a power of two,
/// so that at least half of it is empty.
pub fn slots(rows: usize) -> usize {
    rows.saturating_mul(2)
        .checked_next_power_of_two()
        .unwrap_or(usize::MAX)
        .max(2)
}

/// The sockets of all network namespaces of a machine, counted by state for each.
pub struct Tally<'a, Net> {
    rows: &'a mut [Row<Net>],
    /// Where the row of a namespace is: its number and 1, at the first place from its hash on that
    /// is not taken by another; 0 is an empty place.
    slots: &'a mut [u32],
    unknown: Option<u8>,
}

impl<'a, Net: Copy + PartialEq + Hash> Tally<'a, Net> {
    /// `rows` has each namespace once, in the order of the text. `None` unless `table`, which may
    /// hold anything, is as long as [`slots`] says.
    pub fn new(rows: &'a mut [Row<Net>], table: &'a mut [u32]) -> Option<Self> {
        if table.len() != slots(rows.len()) {
            return None;
        }
        table.fill(0);
        for (number, row) in (1..).zip(rows.iter()) {
            let free = places(row.net, table.len()).find(|place| table.get(*place) == Some(&0))?;
            *table.get_mut(free)? = number;
        }
        Some(Self {
            rows,
            slots: table,
            unknown: None,
        })
    }

    /// Counts every socket of `table`. One of a namespace without a row, which has begun since the
    /// rows were made or is ending, is not counted.
    ///
    /// # Errors
    /// The walk was ended; the counts are not complete.
    pub fn count<T: Table<Net = Net>>(&mut self, table: &T) -> Result<(), T::Interrupt> {
        walk(table, |socket| {
            let Some(row) = self.row_of(socket.net()) else {
                return;
            };
            match State::of_entry(socket.state(), || socket.tw_substate()) {
                Ok(state) => row.counts.add_one(state),
                Err(code) => self.unknown = Some(code),
            }
        })
    }

    #[inline(always)] // Into the walk: nothing else happens under a lock.
    fn row_of(&mut self, net: Net) -> Option<&mut Row<Net>> {
        for place in places(net, self.slots.len()) {
            let number = self.slots.get(place)?.checked_sub(1)? as usize;
            if self.rows.get(number)?.net == net {
                return self.rows.get_mut(number);
            }
        }
        None
    }

    /// The counts.
    ///
    /// # Errors
    /// A socket was in a state that is none of the eleven.
    pub fn finish(self) -> Result<Namespaces<'a, Net>, UnknownState> {
        match self.unknown {
            None => Ok(Namespaces(self.rows)),
            Some(code) => Err(UnknownState(code)),
        }
    }
}

/// The places of a table of `len`, a power of two, in the order in which `net` is looked for.
#[inline(always)]
fn places<Net: Hash>(net: Net, len: usize) -> impl Iterator<Item = usize> {
    let mut hash = Multiplied(0);
    net.hash(&mut hash);
    // The upper half of the product depends on all bits of the address.
    let first = (hash.0 >> 32) as usize;
    (0..len).map(move |more| first.wrapping_add(more) & len.wrapping_sub(1))
}

/// Multiplies what is hashed by 2^64 ÷ the golden ratio (as `hash_64` in `include/linux/hash.h`).
/// Nobody outside of the kernel chooses the addresses that are hashed.
struct Multiplied(u64);

impl Hasher for Multiplied {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x61c8_8646_80b5_83eb);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A row for each network namespace.
pub struct Namespaces<'a, Net>(&'a [Row<Net>]);

/// The text of `/proc/tcpstat_namespaces`: a line with the names of the columns, and a line for each
/// row.
impl<Net> fmt::Display for Namespaces<'_, Net> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(COLUMN)?;
        for state in State::ALL {
            write!(f, " {}", state.name())?;
        }
        f.write_str("\n")?;
        self.0.iter().try_for_each(|row| row.fmt(f))
    }
}
