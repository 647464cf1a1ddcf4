// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Counts for each network namespace, of any number, in one walk of a table; their `Display` is the
//! text of `/proc/tcpstat_namespaces`.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::mem;

use super::counts::Counts;
use super::line::write_line;
use super::state::{State, UnknownState};
use super::table::{Socket, Table};
use super::walk::walk;

/// The name of the column before those of the states.
pub const COLUMN: &str = "NETNS";

/// The sockets of one network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)] // A step along a chain reads one cache line.
pub struct Row<Net> {
    net: Net,
    /// The number of the next row in the same chain.
    next: u32,
    inode: u32,
    counts: Counts,
}

impl<Net> Row<Net> {
    /// All counts 0. `inode` is the number by which users know the namespace (`net->ns.inum`).
    pub fn new(net: Net, inode: u32) -> Self {
        Self {
            net,
            next: END,
            inode,
            counts: Counts::ZERO,
        }
    }
}

/// The inode number, and the states in kernel order, separated by single spaces.
impl<Net> fmt::Display for Row<Net> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = [u64::from(self.inode)].into_iter().chain(self.counts.0);
        write_line(f, "", numbers)
    }
}

/// The number of chains in which the namespaces of one hash hang.
///
/// A constant, since a number that depends on that of the namespaces costs three instructions more
/// for each socket, of fifty. With 60,000 namespaces a chain has four on average. Only the parts in
/// use are in the cache.
pub const CHAINS: usize = 1 << CHAINS_LOG2;
const CHAINS_LOG2: u32 = 14;

/// The end of a chain: the number of no row.
const END: u32 = u32::MAX;

/// The sockets of all network namespaces of a machine, counted by state for each.
pub struct Tally<'a, Net> {
    rows: &'a mut [Row<Net>],
    /// The number of the first row of each chain.
    chains: &'a mut [u32; CHAINS],
    unknown: Option<u8>,
}

impl<'a, Net: Copy + PartialEq + Hash> Tally<'a, Net> {
    /// `rows` has each namespace once, in the order of the text; `chains` may hold anything.
    pub fn new(rows: &'a mut [Row<Net>], chains: &'a mut [u32; CHAINS]) -> Self {
        chains.fill(END);
        for (number, row) in (0..END).zip(rows.iter_mut()) {
            row.next = mem::replace(&mut chains[chain(row.net)], number);
        }
        Self {
            rows,
            chains,
            unknown: None,
        }
    }

    /// Counts every socket of `table`. One of a namespace without a row, which has begun since the
    /// rows were made or is ending, is not counted.
    ///
    /// # Errors
    /// The walk was ended; the counts are not complete.
    pub fn count<T: Table<Net = Net>>(&mut self, table: &T) -> Result<(), T::Interrupt> {
        // As values of their own, which the compiler keeps in registers.
        let (rows, chains, unknown) = (&mut *self.rows, &*self.chains, &mut self.unknown);
        walk(table, move |socket| {
            let Some(row) = row_of(rows, chains, socket.net()) else {
                return;
            };
            let added = row
                .counts
                .add_entry(socket.state(), || socket.tw_substate());
            if let Err(code) = added {
                *unknown = Some(code);
            }
        })
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

/// The row of `net`.
#[inline(always)] // Into the walk: nothing else happens under a lock.
fn row_of<'a, Net: Copy + PartialEq + Hash>(
    rows: &'a mut [Row<Net>],
    chains: &[u32; CHAINS],
    net: Net,
) -> Option<&'a mut Row<Net>> {
    let mut number = chains[chain(net)];
    loop {
        let row = rows.get(number as usize)?;
        if row.net == net {
            return rows.get_mut(number as usize);
        }
        number = row.next;
    }
}

/// The chain that `net` is in.
#[inline(always)]
fn chain<Net: Hash>(net: Net) -> usize {
    let mut hash = Multiplied(0);
    net.hash(&mut hash);
    // The uppermost bits of the product depend on all bits of the address.
    (hash.0 >> (u64::BITS - CHAINS_LOG2)) as usize
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

/// The text of `/proc/tcpstat_namespaces`: a line with the names of the columns, and a line for
/// each row.
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
