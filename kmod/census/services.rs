// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Counts for each local port that has a listener; their `Display` is the text of
//! `/proc/net/tcpstat_services`.
//!
//! There are three steps, since nothing can be allocated under a lock, and a listener says whose a
//! connection is. First the ports that have a listener are marked ([`Marks`]), which gives the
//! number of rows. Then listeners are counted into these rows, and then all other sockets
//! ([`Tally`]). The caller provides all memory.

use core::fmt;

use super::counts::Counts;
use super::line::{self, write_line};
use super::local_addresses::LocalAddresses;
use super::queue::AcceptQueue;
use super::state::{State, UnknownState};
use super::table::{Listener, Socket, Table};
use super::walk::walk;

/// The number of consecutive ports in a block.
const BLOCK: usize = u64::BITS as usize;

/// The number of blocks.
pub const BLOCKS: usize = (1 << u16::BITS) / BLOCK;

/// The block of a port, and its place in the block.
fn place(port: u16) -> (usize, usize) {
    let port = usize::from(port);
    (port / BLOCK, port % BLOCK)
}

/// The ports that have been marked: a bit for each, 8 KiB.
pub struct Marks<'a>(&'a mut [u64; BLOCKS]);

impl<'a> Marks<'a> {
    /// No port is marked. `bits` may hold anything.
    pub fn new(bits: &'a mut [u64; BLOCKS]) -> Self {
        bits.fill(0);
        Self(bits)
    }

    /// Marks the port of every socket of `table` that belongs to `net`.
    ///
    /// # Errors
    /// The walk was ended; the marks are not complete.
    pub fn mark<T: Table>(&mut self, table: &T, net: T::Net) -> Result<(), T::Interrupt>
    where
        for<'lock> T::Socket<'lock>: Listener,
    {
        walk(table, |socket| {
            if socket.net() == net {
                self.insert(socket.local_port());
            }
        })
    }

    /// Marks `port`, unless it is 0: no socket can listen on that.
    pub fn insert(&mut self, port: u16) {
        let (block, place) = place(port);
        if port != 0 {
            self.0[block] |= 1 << place;
        }
    }

    /// The number of marked ports.
    pub fn ports(&self) -> usize {
        self.0.iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// The number of rows that a [`Tally`] needs: one for each marked port, and one for all other
    /// sockets.
    pub fn rows(&self) -> usize {
        self.ports().saturating_add(1)
    }

    /// The length of the table of row numbers that a [`Tally`] needs.
    pub fn numbers(&self) -> usize {
        let marked = self.0.iter().filter(|bits| **bits != 0).count();
        BLOCKS.saturating_add(BLOCK.saturating_mul(marked.saturating_add(1)))
    }

    /// The marked ports, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        let blocks = (0..=u16::MAX).step_by(BLOCK).zip(self.0.iter());
        // Most blocks have no mark, and cost one look instead of one for each port.
        let marked = blocks.filter(|(_, bits)| **bits != 0);
        marked.flat_map(|(first, bits)| {
            let places = (0..BLOCK as u16).filter(move |place| bits & (1 << *place) != 0);
            places.map(move |place| first | place)
        })
    }
}

/// The row of each port: the marked ports have the first rows, in ascending order, and all others
/// share the last one.
///
/// Two table lookups and no branch to mispredict, since this is done for every socket: to test a
/// bit and count the bits below it took a third of the time of the whole walk, this takes a sixth.
/// All blocks without a mark, which are most, share one part of `rows`.
struct Rows<'a> {
    /// The number of each block's part of `rows`; 0 for a block without a mark.
    blocks: &'a [u16; BLOCKS],
    /// For each port of a block, the number of its row.
    rows: &'a [u16],
}

impl<'a> Rows<'a> {
    /// `None` unless `numbers` is as long as [`Marks::numbers`] says.
    fn new(marks: &Marks<'_>, numbers: &'a mut [u16]) -> Option<Self> {
        if numbers.len() != marks.numbers() {
            return None;
        }
        let (blocks, rows) = numbers.split_first_chunk_mut::<BLOCKS>()?;
        let (empty, marked) = rows.split_at_mut_checked(BLOCK)?;
        // At most 65,535 ports, since 0 is never marked.
        let others = marks.ports() as u16;
        empty.fill(others);
        let mut marked = (1..).zip(marked.chunks_exact_mut(BLOCK));
        let mut ports = 0..others;
        for (number, bits) in blocks.iter_mut().zip(marks.0.iter()) {
            *number = 0;
            if *bits == 0 {
                continue;
            }
            let (block, rows) = marked.next()?;
            *number = block;
            for (place, row) in rows.iter_mut().enumerate() {
                *row = others;
                if bits & (1 << place) != 0 {
                    *row = ports.next()?;
                }
            }
        }
        Some(Self { blocks, rows })
    }

    /// The number of the row of `port`.
    #[inline(always)]
    fn of(&self, port: u16) -> Option<usize> {
        let (block, place) = place(port);
        let block = usize::from(self.blocks[block]).wrapping_mul(BLOCK);
        Some(usize::from(*self.rows.get(block | place)?))
    }
}

/// The counts of one local port, or of all sockets that no listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)] // What most connections need of the addresses is beside the counts.
pub struct Row {
    addresses: LocalAddresses,
    counts: Counts,
    port: Option<u16>,
    /// That of the fullest listener.
    fullest: AcceptQueue,
    listeners: u64,
    accept_queue: u64,
    backlog: u64,
    drops: u64,
}

/// The names of the columns that the file has had from the beginning, before those of the states.
pub const COLUMNS: [&str; 5] = ["PORT", "LISTENERS", "ACCEPT_QUEUE", "BACKLOG", "DROPS"];

/// The names of the columns after [`COLUMNS`]: the length and the backlog of the fullest accept
/// queue.
pub const FULLEST: [&str; 2] = ["FULLEST_QUEUE", "FULLEST_BACKLOG"];

const _: () = assert!(COLUMNS.len() + FULLEST.len() + State::COUNT <= line::NUMBERS);

/// The port that is written for the sockets that no listener has.
pub const NO_LISTENER: &str = "-";

impl Row {
    /// No port, and all counts 0.
    pub const ZERO: Self = Self {
        port: None,
        addresses: LocalAddresses::NONE,
        listeners: 0,
        accept_queue: 0,
        backlog: 0,
        drops: 0,
        fullest: AcceptQueue::EMPTY,
        counts: Counts::ZERO,
    };

    fn add_listener<L: Listener>(&mut self, listener: &L) {
        let add = |sum: &mut u64, more: u32| *sum = sum.saturating_add(more.into());
        // Others may change these meanwhile: each is read once, so that the sums and the fullest
        // agree.
        let queue = AcceptQueue {
            length: listener.accept_queue(),
            backlog: listener.backlog(),
        };
        add(&mut self.listeners, 1);
        add(&mut self.accept_queue, queue.length);
        add(&mut self.backlog, queue.backlog);
        add(&mut self.drops, listener.drops());
        self.fullest = self.fullest.max(queue);
        self.addresses
            .insert(listener.local_address(), listener.v6only());
    }
}

/// A line: the port, the sums over its listeners, the queue of the fullest one, and the states in
/// kernel order, separated by single spaces.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.port {
            Some(_) => "",
            None => NO_LISTENER,
        };
        let queues = [
            self.listeners,
            self.accept_queue,
            self.backlog,
            self.drops,
            self.fullest.length.into(),
            self.fullest.backlog.into(),
        ];
        let port = self.port.map(u64::from).into_iter();
        write_line(f, name, port.chain(queues).chain(self.counts.0))
    }
}

/// The sockets of one network namespace, counted by state for each port that has a listener.
///
/// A connection counts at its local port only if a listener of that port has its family and the
/// unspecified or the connection's own address: see [`LocalAddresses`]. So all listeners must be
/// counted before the first connection.
pub struct Tally<'a> {
    rows_of: Rows<'a>,
    rows: &'a mut [Row],
    unknown: Option<u8>,
}

impl<'a> Tally<'a> {
    /// All counts 0. `None` unless `numbers` and `rows` are as long as [`Marks::numbers`] and
    /// [`Marks::rows`] say; they may hold anything.
    pub fn new(marks: &Marks<'_>, numbers: &'a mut [u16], rows: &'a mut [Row]) -> Option<Self> {
        if rows.len() != marks.rows() {
            return None;
        }
        let named = marks.iter().map(Some).chain([None]);
        for (row, port) in rows.iter_mut().zip(named) {
            *row = Row { port, ..Row::ZERO };
        }
        rows.last_mut()?.addresses = LocalAddresses::ALL;
        Some(Self {
            rows_of: Rows::new(marks, numbers)?,
            rows,
            unknown: None,
        })
    }

    /// Counts every connection of `table` that belongs to `net`.
    ///
    /// # Errors
    /// The walk was ended; the counts are not complete.
    pub fn count<T: Table>(&mut self, table: &T, net: T::Net) -> Result<(), T::Interrupt> {
        walk(table, |socket| {
            if socket.net() != net {
                return;
            }
            let row = self.rows_of.of(socket.local_port());
            if let Some(row) = row.and_then(|row| self.rows.get_mut(row)) {
                let addresses = &row.addresses;
                if addresses.has_all_of(socket.family())
                    || addresses.contains(socket.local_address())
                {
                    return add(&mut self.unknown, row, socket);
                }
            }
            if let Some(other) = self.rows.last_mut() {
                add(&mut self.unknown, other, socket);
            }
        })
    }

    /// Counts every listener of `table` that belongs to `net`, adds up their queues and drops, and
    /// finds the fullest queue of each port.
    ///
    /// A port that is not marked has a listener only since the marking. That listener counts as
    /// `LISTEN` in the row of all other ports, so that each column still adds up to all sockets,
    /// and in no other column: at the next reading its port has a row. The row of a port whose
    /// listeners have gone since the marking has 0 listeners.
    ///
    /// # Errors
    /// The walk was ended; the counts are not complete.
    pub fn count_listeners<T: Table>(&mut self, table: &T, net: T::Net) -> Result<(), T::Interrupt>
    where
        for<'lock> T::Socket<'lock>: Listener,
    {
        walk(table, |listener| {
            if listener.net() != net {
                return;
            }
            let row = self.rows_of.of(listener.local_port());
            if let Some(row) = row.and_then(|row| self.rows.get_mut(row)) {
                add(&mut self.unknown, row, listener);
                if row.port.is_some() {
                    row.add_listener(listener);
                }
            }
        })
    }

    /// The counts.
    ///
    /// # Errors
    /// A socket was in a state that is none of the eleven.
    pub fn finish(self) -> Result<Services<'a>, UnknownState> {
        match self.unknown {
            None => Ok(Services(self.rows)),
            Some(code) => Err(UnknownState(code)),
        }
    }
}

/// Counts `socket` in `row`, unless its state is `unknown`.
#[inline(always)] // Into the walk: nothing else happens under a lock.
fn add<S: Socket>(unknown: &mut Option<u8>, row: &mut Row, socket: &S) {
    let added = row
        .counts
        .add_entry(socket.state(), || socket.tw_substate());
    if let Err(code) = added {
        *unknown = Some(code);
    }
}

/// A row for each port that has a listener, in ascending order, and one for the sockets that no
/// listener has.
pub struct Services<'a>(&'a [Row]);

#[cfg(not(MODULE))]
impl Services<'_> {
    /// The sum of all rows: the same as [`totals::Tally`](super::totals::Tally) counts.
    pub fn totals(&self) -> Counts {
        self.0.iter().map(|row| row.counts).sum()
    }
}

/// The text of `/proc/net/tcpstat_services`: a line with the names of the columns, and a line for
/// each row.
impl fmt::Display for Services<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = State::ALL.into_iter().map(State::name);
        let names = COLUMNS.into_iter().chain(FULLEST).chain(states);
        for (nth, name) in names.enumerate() {
            f.write_str(if nth == 0 { "" } else { " " })?;
            f.write_str(name)?;
        }
        f.write_str("\n")?;
        self.0.iter().try_for_each(|row| row.fmt(f))
    }
}
