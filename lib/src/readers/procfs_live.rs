// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tests of the procfs reader on a table that changes while it is read, shown as the kernel shows
//! it: by `seq_read_iter` (`fs/seq_file.c`), `tcp_seq_start`, `tcp_seq_next` and
//! `tcp_seek_last_pos` (`net/ipv4/tcp_ipv4.c`).

use std::collections::HashMap;
use std::io::{self, Read};

use super::procfs::{IPV4_DIGITS, IPV6_DIGITS, Rows, count};
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// Sockets by number, in the buckets of the table.
type Buckets = Vec<Vec<u64>>;

/// An open `/proc/net/tcp`.
struct Table<F> {
    buckets: Buckets,
    digits: usize,
    page: usize,
    /// Changes the table before each read but the first.
    change: F,
    reads: usize,
    /// Of `seq_file`: the next record, the last one of `start` or `next`, and what is formatted.
    index: u64,
    last: u64,
    formatted: Vec<u8>,
    /// Of `tcp_iter_state`.
    bucket: usize,
    offset: usize,
    number: u64,
}

impl<F: FnMut(&mut Buckets, usize)> Table<F> {
    fn new(sockets: u64, buckets: usize, digits: usize, page: usize, change: F) -> Self {
        let mut table = vec![Vec::new(); buckets];
        insert(&mut table, 0..sockets);
        Self {
            buckets: table,
            digits,
            page,
            change,
            reads: 0,
            index: 0,
            last: 0,
            formatted: Vec::new(),
            bucket: 0,
            offset: 0,
            number: 0,
        }
    }

    fn first(&mut self) -> Option<u64> {
        self.offset = 0;
        while self.bucket < self.buckets.len() {
            if let Some(&socket) = self.buckets[self.bucket].first() {
                return Some(socket);
            }
            self.bucket += 1;
        }
        None
    }

    fn following(&mut self) -> Option<u64> {
        self.number += 1;
        self.offset += 1;
        if let Some(&socket) = self.buckets[self.bucket].get(self.offset) {
            return Some(socket);
        }
        self.bucket += 1;
        self.first()
    }

    fn seek(&mut self) -> Option<u64> {
        let (bucket, offset, number) = (self.bucket, self.offset, self.number);
        let mut found = self.first();
        for _ in 0..offset {
            if found.is_none() || self.bucket != bucket {
                break;
            }
            found = self.following();
        }
        self.number = number;
        found
    }

    /// The row of a number from the beginning.
    fn at(&mut self, row: u64) -> Option<u64> {
        (self.number, self.bucket) = (0, 0);
        let mut found = self.first();
        for _ in 0..row {
            found = found.and_then(|_| self.following());
        }
        found
    }

    fn start(&mut self) -> Option<u64> {
        let goes_on = self.index > 0 && self.index == self.last;
        let found = if goes_on { self.seek() } else { None };
        let found = found.or_else(|| self.at(self.index - 1));
        self.last = self.index;
        found
    }

    fn next(&mut self) -> Option<u64> {
        let found = if self.index == 0 {
            self.at(0)
        } else {
            self.following()
        };
        self.index += 1;
        self.last = self.index;
        found
    }

    /// Formats as much as fits into a page, up to `size` bytes.
    fn fill(&mut self, size: usize) {
        if self.index == 0 {
            let names = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
            self.formatted
                .extend(format!("{names:<149}\n").into_bytes());
        } else if let Some(socket) = self.start() {
            self.formatted.extend(self.row(socket).into_bytes());
        } else {
            return;
        }
        while let Some(socket) = self.next() {
            if self.formatted.len() >= size {
                break;
            }
            let row = self.row(socket);
            if self.formatted.len() + row.len() >= self.page {
                break;
            }
            self.formatted.extend(row.into_bytes());
        }
    }

    /// Every third one is a time-wait socket, whose row is shorter in `tcp6`.
    fn row(&self, socket: u64) -> String {
        let Self { digits, number, .. } = *self;
        let ends = format!("{socket:0digits$X}:0050 {:0digits$X}:C350", 1);
        let row = match socket % 3 {
            0 => format!(
                "{number:4}: {ends} 06 00000000:00000000 03:00001770 00000000     0        0 0 3 00000000d3b3f2ee"
            ),
            _ => format!(
                "{number:4}: {ends} 01 00000000:00000000 00:00000000 00000000     0        0 {socket} 1 00000000d3b3f2ee 20 4 30 10 -1"
            ),
        };
        match digits {
            IPV4_DIGITS => format!("{row:<149}\n"),
            _ => row + "\n",
        }
    }
}

impl<F: FnMut(&mut Buckets, usize)> Read for &mut Table<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reads > 0 {
            (self.change)(&mut self.buckets, self.reads);
        }
        self.reads += 1;
        let left = self.formatted.len().min(buffer.len());
        buffer[..left].copy_from_slice(&self.formatted[..left]);
        self.formatted.drain(..left);
        if !self.formatted.is_empty() {
            return Ok(left);
        }
        let buffer = &mut buffer[left..];
        self.fill(buffer.len());
        let more = self.formatted.len().min(buffer.len());
        buffer[..more].copy_from_slice(&self.formatted[..more]);
        self.formatted.drain(..more);
        Ok(left + more)
    }
}

/// Inserts sockets at the heads of buckets, as the kernel does.
fn insert(buckets: &mut Buckets, sockets: impl IntoIterator<Item = u64>) {
    for socket in sockets {
        // A multiplicative hash.
        let hash = socket.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let bucket = hash as usize % buckets.len();
        buckets[bucket].insert(0, socket);
    }
}

/// How often each socket is listed.
fn listed<R: Read>(mut rows: Rows<R, Vec<u8>>, digits: usize) -> HashMap<u64, u64> {
    let mut listed = HashMap::new();
    while let Some(connection) = rows.next_connection().unwrap() {
        let octets = match connection.local.ip() {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets()[digits / 2 - 4..].to_vec(),
        };
        let socket = u32::from_ne_bytes(octets.try_into().unwrap());
        *listed.entry(u64::from(socket)).or_default() += 1;
    }
    listed
}

const FORMS: [usize; 2] = [IPV4_DIGITS, IPV6_DIGITS];
const PAGES: [usize; 3] = [4 << 10, 16 << 10, 64 << 10];
const BUFFER: usize = 1 << 18;

#[test]
fn a_growing_table_is_shown_once() {
    for (digits, page) in FORMS
        .into_iter()
        .flat_map(|digits| PAGES.map(|page| (digits, page)))
    {
        // Among tables of these sizes, some have a full last page.
        let per_page = (page / 150) as u64;
        for sockets in (2 * per_page..3 * per_page).step_by((page >> 14).max(1)) {
            let grow = |buckets: &mut Buckets, read| {
                // It stops growing, or reading to the end would have none.
                if read < 20 {
                    let new = sockets + 30 * read as u64;
                    insert(buckets, new..new + 30);
                }
            };
            let mut table = Table::new(sockets, 1 << 10, digits, page, grow);
            let rows = Rows::live(&mut table, digits, vec![0; BUFFER], page);
            let once = listed(rows, digits);
            assert!(
                (0..sockets).all(|socket| once.contains_key(&socket)),
                "{sockets} sockets, pages of {page}"
            );
            assert!(
                once.values().all(|&times| times == 1),
                "{sockets} sockets, pages of {page}"
            );
            if sockets % 50 == 0 {
                let mut table = Table::new(sockets, 1 << 10, digits, page, grow);
                let to_the_end = listed(Rows::new(&mut table, digits, vec![0; BUFFER]), digits);
                assert!(
                    to_the_end.values().any(|&times| times > 1),
                    "{sockets} sockets, pages of {page}"
                );
            }
        }
    }
}

#[test]
fn a_table_that_stays_is_read_once_whatever_the_buffer() {
    for digits in FORMS {
        for buffer in [300, 1000, 4096, 5000, BUFFER] {
            for sockets in 0..60 {
                let mut table = Table::new(sockets, 64, digits, 4096, |_: &mut Buckets, _| {});
                let rows = Rows::live(&mut table, digits, vec![0; buffer], 4096);
                let mut counts = Counts::ZERO;
                count(rows, &mut counts).unwrap();
                assert_eq!(counts.total(), sockets, "{buffer}");
                assert_eq!(counts.get(State::TimeWait), sockets.div_ceil(3), "{buffer}");
            }
        }
    }
}

#[test]
fn nothing_is_read_after_a_read_that_was_not_full() {
    // The header and 20 rows of 150 bytes: 946 bytes are left.
    let mut table = Table::new(20, 64, IPV4_DIGITS, 4096, |buckets: &mut Buckets, _| {
        insert(buckets, 20..40);
    });
    let listed = listed(
        Rows::live(&mut table, IPV4_DIGITS, vec![0; BUFFER], 4096),
        IPV4_DIGITS,
    );
    assert_eq!((listed.len(), table.reads), (20, 1));
}

#[test]
fn a_bucket_that_grows_between_reads_does_not_end_the_table() {
    for buckets in [1, 3] {
        let mut table = Table::new(
            5000,
            buckets,
            IPV4_DIGITS,
            4096,
            |buckets: &mut Buckets, read| {
                let new = 5000 + 5 * read as u64;
                insert(buckets, new..new + 5);
            },
        );
        let listed = listed(
            Rows::live(&mut table, IPV4_DIGITS, vec![0; BUFFER], 4096),
            IPV4_DIGITS,
        );
        assert!(
            (0..5000).all(|socket| listed[&socket] == 1),
            "{buckets} buckets"
        );
        assert!(
            listed.values().all(|&times| times == 1),
            "{buckets} buckets"
        );
    }
}

/// 26 rows and the header, and then 27 rows a page: the last page is full. Then more sockets come
/// than the reader remembers rows.
#[test]
fn a_long_tail_that_is_shown_again_is_left_early() {
    let sockets = 26 + 27 * 3000;
    let full_reads = 3001;
    for more in [20, 500, 5000, 60_000] {
        let mut table = Table::new(
            sockets,
            1 << 17,
            IPV4_DIGITS,
            4096,
            |buckets: &mut Buckets, read| {
                if read == full_reads {
                    insert(buckets, sockets..sockets + more);
                }
            },
        );
        let listed = listed(
            Rows::live(&mut table, IPV4_DIGITS, vec![0; BUFFER], 4096),
            IPV4_DIGITS,
        );
        assert!((0..sockets).all(|socket| listed.contains_key(&socket)));
        let twice = listed.values().filter(|&&times| times > 1).count();
        assert!(
            twice <= if more > 10_000 { 100 } else { 0 },
            "{twice} twice, of {more} more"
        );
        assert!(table.reads > full_reads, "the last page was not full");
        if more >= 5000 {
            assert!(
                table.reads < full_reads + 20,
                "{} reads, of {more} more",
                table.reads
            );
        }
    }
}

/// The last row goes away after a full page: the table is begun again in the same way.
#[test]
fn a_last_row_that_goes_away_between_reads() {
    let sockets = 26 + 27 * 10 + 1;
    let mut gone = None;
    let mut table = Table::new(
        sockets,
        1 << 10,
        IPV4_DIGITS,
        4096,
        |buckets: &mut Buckets, read| {
            if read == 11 {
                let last = buckets.iter().rposition(|bucket| !bucket.is_empty());
                let (before, rest) = buckets.split_at_mut(last.unwrap());
                gone = rest[0].pop();
                assert!(rest[0].is_empty());
                for (socket, bucket) in (sockets..sockets + 200).zip(before) {
                    bucket.insert(0, socket);
                }
            }
        },
    );
    let listed = listed(
        Rows::live(&mut table, IPV4_DIGITS, vec![0; BUFFER], 4096),
        IPV4_DIGITS,
    );
    assert!(listed.values().all(|&times| times == 1));
    let gone = gone.unwrap();
    assert!((0..sockets).all(|socket| socket == gone || listed.contains_key(&socket)));
}
