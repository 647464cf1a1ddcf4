// SPDX-License-Identifier: MIT OR Apache-2.0

//! The answer of `/proc/net/tcp` and `/proc/net/tcp6`: a line for every connection. Only the
//! columns that are needed are read: the state, the ports, the queues.
//!
//! The format is that of `tcp4_seq_show` (`net/ipv4/tcp_ipv4.c`) and `tcp6_seq_show`
//! (`net/ipv6/tcp_ipv6.c`).

use std::fs::File;
use std::io::{self, Read, Seek};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{SysconfVar, sysconf};

use super::by_port::{Listener, PortTable};
use super::byte_order::ByteOrder;
use super::lines::{BUFFER, Failure, Line, Lines, decimal, words};
use super::root::Root;
use super::shown::Shown;
use crate::connections::Connection;
use crate::error::{BadLine, Error};
use crate::ports::Ports;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// The digits of an address, on which the places of the columns depend.
pub(crate) const IPV4_DIGITS: usize = 8;
pub(crate) const IPV6_DIGITS: usize = 32;

/// More bytes than a row can have: all columns of `tcp6_seq_show`, each at its longest, are 287.
const LONGEST_ROW: usize = 512;

/// A row that was shown this many rows ago can only come from a table that was begun again. Where
/// a bucket grows between two reads, its last rows are shown again: as many as came into it.
const BEGUN_AGAIN: u64 = 1024;

#[derive(Debug, Default)]
pub(crate) struct Procfs {
    buffer: Vec<u8>,
}

impl Procfs {
    /// Counts, and the file of a saved sample that is missing.
    pub(crate) fn sample(&mut self, root: &Root) -> Result<(Counts, Option<PathBuf>), Error> {
        let mut counts = Counts::ZERO;
        let missing = self.each_file(root, |rows, _| count(rows, &mut counts))?;
        Ok((counts, missing))
    }

    /// Counts by port. The files have neither the backlog nor the drops of a listener.
    pub(crate) fn services<'a>(
        &mut self,
        root: &Root,
        ports: Option<&'a Ports>,
    ) -> Result<(PortTable<'a>, Option<PathBuf>), Error> {
        let mut table = PortTable::new(ports);
        self.each_file(root, |rows, live| add_listeners(rows, live, &mut table))?;
        let missing = self.each_file(root, |rows, _| count_by_port(rows, &mut table))?;
        Ok((table, missing))
    }

    /// Reads `tcp6` and then `tcp`, and says of each whether the kernel answers. Returns the file
    /// of a saved sample that is missing.
    fn each_file(
        &mut self,
        root: &Root,
        mut read: impl FnMut(Rows<File, &mut [u8]>, bool) -> Result<(), Failure>,
    ) -> Result<Option<PathBuf>, Error> {
        if root.is_empty() {
            return Ok(None);
        }
        self.buffer.resize(BUFFER, 0);
        let mut read = |Table { path, file, live }, digits| {
            let rows = Rows::of(file, live, digits, &mut self.buffer[..]);
            read(rows, live).map_err(|failure| failure.of(&path))
        };
        // One file is open at a time.
        let absent = match Table::open_tcp6(root)? {
            Ok(tcp6) => {
                read(tcp6, IPV6_DIGITS)?;
                None
            }
            Err(absent) => Some(absent),
        };
        let tcp = Table::open(root, "tcp")?;
        let missing = absent.filter(|_| !tcp.live);
        read(tcp, IPV4_DIGITS)?;
        Ok(missing)
    }
}

/// A file that shows a table of connections.
#[derive(Debug)]
struct Table {
    path: PathBuf,
    file: File,
    /// Whether the kernel answers, rather than a saved sample.
    live: bool,
}

impl Table {
    fn open(root: &Root, name: &str) -> Result<Self, Error> {
        let (path, file) = root.open_net(name)?;
        match fstatfs(&file) {
            Ok(statfs) => Ok(Self {
                path,
                file,
                live: statfs.filesystem_type() == PROC_SUPER_MAGIC,
            }),
            Err(errno) => Err(Error::read(&path, errno.into())),
        }
    }

    /// Opens `tcp6`, or returns its path if it does not exist. A kernel without IPv6 has no such
    /// file, and no such connections. A process that has ended has neither file, so this one is
    /// opened before `tcp`, which every kernel has.
    fn open_tcp6(root: &Root) -> Result<Result<Self, PathBuf>, Error> {
        match Self::open(root, "tcp6") {
            Err(Error::Open { path, error }) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Err(path))
            }
            opened => opened.map(Ok),
        }
    }

    /// Reads the local addresses of a saved sample, and goes back to its beginning. Lines that are
    /// wrong are left to the reader that comes after.
    fn add_addresses(
        &self,
        digits: usize,
        buffer: &mut [u8],
        order: &mut ByteOrder,
    ) -> Result<(), Error> {
        let mut rows = Rows::new(&self.file, digits, buffer);
        while let Ok(Some(row)) = rows.next() {
            if let Ok(local) = row.local() {
                order.add(&self.path, row.line, local.ip());
            }
        }
        (&self.file)
            .rewind()
            .map_err(|error| Error::read(&self.path, error))
    }
}

/// The connections in `tcp`, and then those in `tcp6`.
#[derive(Debug)]
pub(crate) struct Listing {
    path: PathBuf,
    /// `None` after the last, and after an error.
    rows: Option<Rows<File, Vec<u8>>>,
    tcp6: Option<Table>,
    /// The file of a saved sample that is missing.
    pub(crate) missing: Option<PathBuf>,
}

impl Listing {
    pub(crate) fn start(root: &Root) -> Result<Self, Error> {
        if root.is_empty() {
            return Ok(Self {
                path: PathBuf::new(),
                rows: None,
                tcp6: None,
                missing: None,
            });
        }
        let tcp6 = Table::open_tcp6(root)?;
        let tcp = Table::open(root, "tcp")?;
        let (tcp6, missing) = match tcp6 {
            Ok(tcp6) => (Some(tcp6), None),
            Err(absent) => (None, (!tcp.live).then_some(absent)),
        };
        let mut buffer = vec![0; BUFFER];
        let mut order = ByteOrder::default();
        for (table, digits) in [(Some(&tcp), IPV4_DIGITS), (tcp6.as_ref(), IPV6_DIGITS)] {
            if let Some(table) = table.filter(|table| !table.live) {
                table.add_addresses(digits, &mut buffer, &mut order)?;
            }
        }
        order.check()?;
        Ok(Self {
            path: tcp.path,
            rows: Some(Rows::of(tcp.file, tcp.live, IPV4_DIGITS, buffer)),
            tcp6,
            missing,
        })
    }
}

impl Iterator for Listing {
    type Item = Result<Connection, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rows.as_mut()?.next_connection() {
                Ok(Some(connection)) => return Some(Ok(connection)),
                Ok(None) => {
                    let rows = self.rows.take()?;
                    let Table { path, file, live } = self.tcp6.take()?;
                    self.path = path;
                    let buffer = rows.lines.into_buffer();
                    self.rows = Some(Rows::of(file, live, IPV6_DIGITS, buffer));
                }
                Err(failure) => {
                    self.rows = None;
                    return Some(Err(failure.of(&self.path)));
                }
            }
        }
    }
}

/// Adds the connections of one file to `counts`.
pub(crate) fn count<R: Read, B: AsRef<[u8]> + AsMut<[u8]>>(
    mut rows: Rows<R, B>,
    counts: &mut Counts,
) -> Result<(), Failure> {
    while let Some(row) = rows.next()? {
        counts.add_one(row.state()?);
    }
    Ok(())
}

/// Adds the listeners of one file to a table by port. The kernel shows them first.
pub(crate) fn add_listeners<R: Read, B: AsRef<[u8]> + AsMut<[u8]>>(
    mut rows: Rows<R, B>,
    live: bool,
    table: &mut PortTable<'_>,
) -> Result<(), Failure> {
    while let Some(row) = rows.next()? {
        if row.state()? == State::Listen {
            let (_, accept_queue) = row.queues()?;
            table.add_listener(
                row.local_port()?,
                Listener {
                    address: row.local()?.ip(),
                    v6only: false,
                    accept_queue,
                    backlog: None,
                    drops: None,
                },
            );
        } else if live {
            break;
        }
    }
    Ok(())
}

/// Adds the connections of one file to a table by port, which has the listeners.
pub(crate) fn count_by_port<R: Read, B: AsRef<[u8]> + AsMut<[u8]>>(
    mut rows: Rows<R, B>,
    table: &mut PortTable<'_>,
) -> Result<(), Failure> {
    while let Some(row) = rows.next()? {
        let (port, state) = (row.local_port()?, row.state()?);
        let (send, receive) = row.queues()?;
        if state != State::Listen {
            table.add(port, state, (receive, send), || {
                Ok::<_, BadLine>(row.local()?.ip())
            })?;
        }
    }
    Ok(())
}

/// The lines of one file after its header.
#[derive(Debug)]
pub(crate) struct Rows<R, B> {
    lines: Lines<R, B>,
    digits: usize,
    /// Of a live file, the rows that were shown.
    shown: Option<Shown>,
}

impl<R: Read, B: AsRef<[u8]> + AsMut<[u8]>> Rows<R, B> {
    /// The rows of a file that is read to its end. A line must fit into `buffer`.
    pub(crate) fn new(file: R, digits: usize, buffer: B) -> Self {
        Self {
            lines: Lines::new(file, buffer),
            digits,
            shown: None,
        }
    }

    /// The rows that the kernel shows, in pages of `page` bytes, each once. In the middle of the
    /// table it fills a page as far as another row would not fit.
    pub(crate) fn live(file: R, digits: usize, buffer: B, page: usize) -> Self {
        let full = page.saturating_sub(LONGEST_ROW).max(1);
        Self {
            lines: Lines::new(file, buffer).ending_below(full),
            digits,
            shown: Some(Shown::default()),
        }
    }

    fn of(file: R, live: bool, digits: usize, buffer: B) -> Self {
        if live {
            Self::live(file, digits, buffer, page())
        } else {
            Self::new(file, digits, buffer)
        }
    }

    fn next(&mut self) -> Result<Option<Row<'_>>, Failure> {
        if self.lines.read() == 0 {
            match self.lines.next()? {
                None => return Err(self.lines.bad("the file is empty: not even a header", b"")),
                Some(line) if !is_header(line.text) => {
                    return Err(line
                        .bad("not the header of a table of TCP connections")
                        .into());
                }
                Some(_) => {}
            }
        }
        let columns = loop {
            if !self.lines.advance()? {
                return Ok(None);
            }
            let row = Row::new(self.lines.line(), self.digits)?;
            let columns = row.line.text.len() - row.columns.len();
            let read = self.lines.fills();
            // All of a small table comes with one read.
            let small = read == 1 && self.lines.has_ended();
            let again = match &mut self.shown {
                Some(shown) if !small => shown.again(read, row.ends(), row.inode()),
                _ => None,
            };
            match again {
                None => break columns,
                Some(ago) if ago >= BEGUN_AGAIN => self.lines.end(),
                Some(_) => {}
            }
        };
        let line = self.lines.line();
        Ok(Some(Row {
            line,
            columns: &line.text[columns..],
            digits: self.digits,
        }))
    }

    pub(crate) fn next_connection(&mut self) -> Result<Option<Connection>, Failure> {
        match self.next()? {
            None => Ok(None),
            Some(row) => Ok(Some(row.connection()?)),
        }
    }
}

/// The size of a page of this machine's kernel, in bytes.
fn page() -> usize {
    // Linux always knows it.
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    page.and_then(|page| usize::try_from(page).ok())
        .unwrap_or(4096)
}

fn is_header(line: &[u8]) -> bool {
    let mut columns = words(line);
    let mut is = |names: &[&str]| {
        columns
            .next()
            .is_some_and(|column| names.iter().any(|name| column == name.as_bytes()))
    };
    is(&["sl"]) && is(&["local_address"]) && is(&["rem_address", "remote_address"]) && is(&["st"])
}

/// A line `SL: ADDRESS:PORT ADDRESS:PORT ST TX_QUEUE:RX_QUEUE ...`.
#[derive(Clone, Copy, Debug)]
struct Row<'a> {
    line: Line<'a>,
    /// The part after the first colon.
    columns: &'a [u8],
    digits: usize,
}

impl<'a> Row<'a> {
    /// The line, if everything up to the state column is where it should be.
    fn new(line: Line<'a>, digits: usize) -> Result<Self, BadLine> {
        match columns(line.text, digits) {
            Some(columns) => Ok(Self {
                line,
                columns,
                digits,
            }),
            None => Err(line.bad("not a TCP connection")),
        }
    }

    fn state(&self) -> Result<State, BadLine> {
        let st = 2 * endpoint(self.digits) + 1;
        let code = &self.columns[st..st + 2];
        hexadecimal(code)
            .and_then(|code| State::from_code(u8::try_from(code).ok()?))
            .ok_or_else(|| BadLine::new(self.line.number, "unknown state", code))
    }

    fn local_port(&self) -> Result<u16, BadLine> {
        self.port(endpoint(self.digits))
    }

    /// The port that ends at `end`.
    fn port(&self, end: usize) -> Result<u16, BadLine> {
        hexadecimal(&self.columns[end - 4..end])
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| self.line.bad("not a port"))
    }

    /// The address and the port that end at `end`.
    fn address(&self, end: usize) -> Result<SocketAddr, BadLine> {
        let port = self.port(end)?;
        let digits = &self.columns[end - 5 - self.digits..end - 5];
        // Each four bytes are printed as one number of this machine (`%08X`).
        let mut octets = [0; 16];
        for (to, digits) in octets.chunks_exact_mut(4).zip(digits.chunks_exact(8)) {
            let number = hexadecimal(digits).ok_or_else(|| self.line.bad("not an address"))?;
            to.copy_from_slice(&number.to_ne_bytes());
        }
        let [a, b, c, d, ..] = octets;
        let address: IpAddr = match self.digits {
            IPV4_DIGITS => Ipv4Addr::new(a, b, c, d).into(),
            _ => Ipv6Addr::from(octets).into(),
        };
        Ok(SocketAddr::new(address, port))
    }

    fn connection(&self) -> Result<Connection, BadLine> {
        let state = self.state()?;
        let (send_queue, receive_queue) = self.queues()?;
        let mut words = self.words();
        let number = |word| decimal(word?);
        let uid = number(words.nth(UID)).and_then(|uid| u32::try_from(uid).ok());
        let uid = uid.ok_or_else(|| self.line.bad("not the uid of a TCP connection"))?;
        let inode = number(words.nth(INODE - UID - 1))
            .ok_or_else(|| self.line.bad("not the inode of a TCP connection"))?;
        let inode = (inode != 0).then_some(inode);
        Ok(Connection {
            state,
            local: self.local()?,
            remote: self.address(2 * endpoint(self.digits))?,
            uid: inode.map(|_| uid),
            inode,
            receive_queue,
            // Of a listener, it is always zero.
            send_queue: (state != State::Listen).then_some(send_queue),
            interface: None,
            cgroup: None,
        })
    }

    /// Both addresses and ports, as they are written.
    fn ends(&self) -> &'a [u8] {
        &self.columns[..2 * endpoint(self.digits)]
    }

    /// The inode, as it is written.
    fn inode(&self) -> &'a [u8] {
        self.words().nth(INODE).unwrap_or_default()
    }

    /// The local address.
    fn local(&self) -> Result<SocketAddr, BadLine> {
        self.address(endpoint(self.digits))
    }

    /// The columns after the queues: "tr:tm->when", "retrnsmt", "uid", "timeout", "inode", ...
    fn words(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let rest = self.columns.get(queues(self.digits).end..);
        words(rest.unwrap_or_default())
    }

    /// What waits to be sent, and to be received or accepted.
    fn queues(&self) -> Result<(u32, u32), BadLine> {
        let queues = match self.columns.get(queues(self.digits)) {
            Some([send @ .., b' ']) => send.split_at_checked(8),
            _ => None,
        };
        match queues {
            Some((send, [b':', receive @ ..])) => hexadecimal(send).zip(hexadecimal(receive)),
            _ => None,
        }
        .ok_or_else(|| self.line.bad("not the queues of a TCP connection"))
    }
}

/// Where these are in [`Row::words`].
const UID: usize = 2;
const INODE: usize = 4;

/// A blank, the address, a colon, and four digits for the port.
const fn endpoint(digits: usize) -> usize {
    1 + digits + 1 + 4
}

/// Two numbers of eight digits, the colon between them, and the blank after them.
const fn queues(digits: usize) -> Range<usize> {
    let begin = 2 * endpoint(digits) + 4;
    begin..begin + 18
}

/// A number of at most eight digits.
fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |number, &digit| {
        Some((number << 4) | char::from(digit).to_digit(16)?)
    })
}

/// The part of a line after `SL:`, if the columns up to the state are where they should be.
fn columns(line: &[u8], digits: usize) -> Option<&[u8]> {
    let colon = memchr::memchr(b':', line)?;
    let sl = line[..colon].trim_ascii_start();
    if sl.is_empty() || !sl.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let line = &line[colon + 1..];
    let endpoint = endpoint(digits);
    let separators = [
        (0, b' '),
        (1 + digits, b':'),
        (endpoint, b' '),
        (endpoint + 1 + digits, b':'),
        (2 * endpoint, b' '),
        (2 * endpoint + 3, b' '),
    ];
    if separators
        .iter()
        .any(|&(at, separator)| line.get(at) != Some(&separator))
    {
        return None;
    }
    let numbers = [
        1..1 + digits,
        2 + digits..endpoint,
        endpoint + 1..endpoint + 1 + digits,
        endpoint + 2 + digits..2 * endpoint,
        2 * endpoint + 1..2 * endpoint + 3,
    ];
    let is_number = |at: Range<usize>| line[at].iter().all(u8::is_ascii_hexdigit);
    numbers.into_iter().all(is_number).then_some(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    const HEADER6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn line(sl: usize, digits: usize, code: u8) -> String {
        format!(
            "{sl:4}: {0:0digits$X}:1F90 {0:0digits$X}:0000 {code:02X} 00000000:00000000 00:00000000 00000000     0        0 1 1 0\n",
            1
        )
    }

    /// A reader that gives at most `step` bytes at a time, and is interrupted before each reading.
    struct SlowReader<'a> {
        text: &'a [u8],
        step: usize,
        interrupted: bool,
    }

    impl Read for SlowReader<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let wanted = buffer.len().min(self.step);
            self.text.read(&mut buffer[..wanted])
        }
    }

    fn counted(
        text: &str,
        digits: usize,
        step: usize,
        buffer: usize,
    ) -> Result<Counts, (u64, String)> {
        let mut counts = Counts::ZERO;
        let reader = SlowReader {
            text: text.as_bytes(),
            step,
            interrupted: false,
        };
        match count(Rows::new(reader, digits, vec![0; buffer]), &mut counts) {
            Ok(()) => Ok(counts),
            Err(Failure::Line(bad)) => Err((bad.line, bad.problem)),
            Err(Failure::Read(error)) => panic!("{error}"),
        }
    }

    fn problem(text: &str) -> (u64, String) {
        counted(text, IPV4_DIGITS, 4096, 4096).unwrap_err()
    }

    #[test]
    fn counts_by_code_in_both_widths() {
        for (header, digits) in [(HEADER, IPV4_DIGITS), (HEADER6, IPV6_DIGITS)] {
            let text: String = [header.to_owned()]
                .into_iter()
                .chain([1, 1, 10, 6, 3, 12].map(|code| line(12345, digits, code)))
                .collect();
            for step in [1, 7, 150, 4096] {
                let counts = counted(&text, digits, step, 512).unwrap();
                assert_eq!(counts.get(State::Established), 2);
                assert_eq!(counts.get(State::Listen), 1);
                assert_eq!(counts.get(State::TimeWait), 1);
                assert_eq!(counts.get(State::SynRecv), 2);
                assert_eq!(counts.total(), 6);
            }
        }
    }

    #[test]
    fn reads_lines_as_kernels_write_them() {
        // Padded to 149 characters; a full socket, a time-wait socket, a line number of five
        // digits.
        let text = format!(
            "{HEADER}{:<149}\n{:<149}\n{:<149}\n",
            "   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1574 1 00000000998378a5 100 0 0 10 0",
            "   1: 0100007F:C350 0100007F:1F90 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000",
            "10234: 0100007F:C352 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 8412 1 0000000000000000 20 4 30 10 -1",
        );
        let counts = counted(&text, IPV4_DIGITS, 4096, 4096).unwrap();
        assert_eq!(
            (
                counts.get(State::Listen),
                counts.get(State::TimeWait),
                counts.get(State::Established)
            ),
            (1, 1, 1)
        );
    }

    const CONNECTIONS: &str = "\
   0: 00000000:07E8 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 1574 1 00000000998378a5 100 0 0 10 0
   1: 0100007F:C350 0100007F:1F90 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000
   2: 0100007F:1F90 0200007F:C352 01 0000000A:FFFFFFFF 02:00000000123456789 00000000 4294967294   0 8412 1 0000000000000000 20 4 30 10 -1
";

    /// The connection of each line, up to the first line that is wrong.
    fn connections(text: &str, digits: usize) -> Result<Vec<Connection>, (u64, String)> {
        let mut rows = Rows::new(text.as_bytes(), digits, vec![0; 4096]);
        let connections = std::iter::from_fn(|| rows.next_connection().transpose());
        connections
            .collect::<Result<_, _>>()
            .map_err(|failure| match failure {
                Failure::Line(bad) => (bad.line, bad.problem),
                Failure::Read(error) => panic!("{error}"),
            })
    }

    #[test]
    fn reads_whole_connections() {
        let connection = |state, local: &str, remote: &str| Connection {
            send_queue: Some(0),
            ..Connection::between(local, remote, state)
        };
        assert_eq!(
            connections(&format!("{HEADER}{CONNECTIONS}"), IPV4_DIGITS).unwrap(),
            [
                Connection {
                    uid: Some(1000),
                    inode: Some(1574),
                    receive_queue: 3,
                    send_queue: None,
                    ..connection(State::Listen, "0.0.0.0:2024", "0.0.0.0:0")
                },
                connection(State::TimeWait, "127.0.0.1:50000", "127.0.0.1:8080"),
                Connection {
                    uid: Some(4_294_967_294),
                    inode: Some(8412),
                    receive_queue: u32::MAX,
                    send_queue: Some(10),
                    ..connection(State::Established, "127.0.0.1:8080", "127.0.0.2:50002")
                },
            ]
        );
        let ipv6 = "   0: 0000000000000000FFFF00000100007F:0016 B80D01200000000067452301EFCDAB89:C350 01 00000000:00000000 \
                    00:00000000 00000000     0        0 7 1 0\n";
        assert_eq!(
            connections(&format!("{HEADER6}{ipv6}"), IPV6_DIGITS).unwrap(),
            [Connection {
                uid: Some(0),
                inode: Some(7),
                ..connection(
                    State::Established,
                    "[::ffff:127.0.0.1]:22",
                    "[2001:db8::123:4567:89ab:cdef]:50000"
                )
            }]
        );
    }

    #[test]
    fn says_which_column_is_wrong() {
        for (from, to, line, problem) in [
            (" 00000000:00000003 ", " 0000000:000000003 ", 2, "queues"),
            (" 00000000:00000003 ", " 00000000 00000003 ", 2, "queues"),
            (" 00000000:00000003 ", " 0000000x:00000003 ", 2, "queues"),
            (" 1000 ", " -1 ", 2, "uid"),
            ("4294967294", "4294967296", 4, "uid"),
            (" 8412 ", " x ", 4, "inode"),
            (" 8412 ", " 18446744073709551616 ", 4, "inode"),
        ] {
            let text = format!("{HEADER}{}", CONNECTIONS.replacen(from, to, 1));
            assert_eq!(
                connections(&text, IPV4_DIGITS).unwrap_err(),
                (line, format!("not the {problem} of a TCP connection")),
                "{to}"
            );
        }
        // The rest of a line after the inode is not read; a line that ends before it is no
        // connection.
        let text = format!("{HEADER}{CONNECTIONS}");
        let second = text.find("   1: ").unwrap();
        let first_line = &text[..second];
        for cut in HEADER.len() + 1..second - 1 {
            let said = connections(&format!("{}\n", &text[..cut]), IPV4_DIGITS);
            let whole = cut >= first_line.find(" 1574").unwrap() + 2;
            assert_eq!(said.is_ok(), whole, "cut at byte {cut}");
            assert!(connections(&text[..cut], IPV4_DIGITS).is_err());
        }
    }

    #[test]
    fn counts_by_port_whatever_the_order() {
        let mut table = PortTable::new(None);
        let text: Vec<&str> = CONNECTIONS.lines().collect();
        let files = [&text[1..], &text[..1]].map(|lines| {
            let text = format!("{HEADER}{}\n", lines.join("\n"));
            text.replace("1F90", "07E8")
        });
        fn rows(text: &str) -> Rows<&[u8], [u8; 4096]> {
            Rows::new(text.as_bytes(), IPV4_DIGITS, [0; 4096])
        }
        for file in &files {
            add_listeners(rows(file), false, &mut table).unwrap();
        }
        for file in &files {
            count_by_port(rows(file), &mut table).unwrap();
        }
        let (services, other, _) = table.services();
        let [service] = services[..] else {
            panic!("{services:?}")
        };
        assert_eq!((service.port, service.listeners), (2024, 1));
        assert_eq!((service.accept_queue, service.backlog), (3, None));
        assert_eq!(service.counts.get(State::Established), 1);
        assert_eq!(service.counts.total(), 2);
        assert_eq!(other.unwrap().get(State::TimeWait), 1);
    }

    #[test]
    fn refuses_a_file_cut_inside_a_line() {
        let text = format!(
            "{HEADER}{}{}",
            line(0, IPV4_DIGITS, 1),
            line(1, IPV4_DIGITS, 10)
        );
        for cut in 0..text.len() {
            let at_line_end = cut > 0 && text.as_bytes()[cut - 1] == b'\n';
            let result = counted(&text[..cut], IPV4_DIGITS, 4096, 4096);
            assert_eq!(result.is_ok(), at_line_end, "cut at byte {cut}");
            if let Err((line, _)) = result {
                assert_eq!(line as usize, text[..cut].matches('\n').count() + 1);
            }
        }
    }

    #[test]
    fn says_which_line_is_wrong_and_why() {
        let good = line(0, IPV4_DIGITS, 1);
        let unknown = format!(
            "{HEADER}{good}{}{}",
            line(1, IPV4_DIGITS, 13),
            line(2, IPV4_DIGITS, 13)
        );
        assert_eq!(problem(&unknown), (3, "unknown state".into()));
        assert_eq!(
            problem(&format!("{HEADER}{}", line(0, IPV4_DIGITS, 0))),
            (2, "unknown state".into())
        );
        assert_eq!(problem(&good).0, 1);
        assert_eq!(problem("\n").0, 1);
        assert_eq!(
            problem(""),
            (1, "the file is empty: not even a header".into())
        );
        for wrong in [
            "\n".to_owned(),
            good.replace("0: ", " : "),
            good.replace("0: ", "x: "),
            good.replace(" 01 ", " 0x "),
            good.replace(" 01 ", " +1 "),
            good.replace(" 01 ", " -1 "),
            good.replace(" 01 ", " 001 "),
            good.replace(":1F90 ", " 1F90 "),
            good.replace(":1F90 ", ":1F 0 "),
            good.replace(" 00000001:0", " 0000 001:0"),
            line(0, IPV6_DIGITS, 1),
            format!("{}\n", &good[..36]),
        ] {
            assert_eq!(
                problem(&format!("{HEADER}{good}{wrong}")),
                (3, "not a TCP connection".into()),
                "{wrong}"
            );
        }
        assert_eq!(
            problem(&format!("{HEADER}{}", "0".repeat(5000))),
            (2, "the line does not end".into())
        );
    }

    #[test]
    fn memory_does_not_grow_with_the_number_of_lines() {
        let (header, line) = (HEADER.as_bytes(), line(0, IPV4_DIGITS, 1));
        let lines = 200_000;
        let text = line.repeat(1000);
        let mut reader: Box<dyn Read> = Box::new(header);
        for _ in 0..lines / 1000 {
            reader = Box::new(reader.chain(text.as_bytes()));
        }
        let mut counts = Counts::ZERO;
        // The buffer is a slice: it cannot grow, and there is none but it.
        count(Rows::new(reader, IPV4_DIGITS, [0; 4096]), &mut counts).unwrap();
        assert_eq!(counts.get(State::Established), lines);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes: Vec<u8>, has_header: bool, digits in prop::sample::select(vec![IPV4_DIGITS, IPV6_DIGITS]), size in 1usize..300,
        ) {
            let mut text = if has_header { HEADER.as_bytes().to_vec() } else { Vec::new() };
            text.extend(bytes);
            let rows = || Rows::new(&text[..], digits, vec![0; size]);
            let _ = count(rows(), &mut Counts::default());
            let mut table = PortTable::new(None);
            let _ = add_listeners(rows(), false, &mut table);
            let _ = count_by_port(rows(), &mut table);
        }

        #[test]
        fn a_changed_byte_does_not_panic(at: prop::sample::Index, byte: u8) {
            let mut text = format!("{HEADER}{CONNECTIONS}").into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            if let Ok(text) = std::str::from_utf8(&text) {
                let _ = connections(text, IPV4_DIGITS);
            }
            let _ = count(Rows::new(&text[..], IPV4_DIGITS, [0; 4096]), &mut Counts::default());
        }

        #[test]
        fn codes_are_counted_as_they_come(codes in prop::collection::vec(1u8..=12, 0..100), step in 1usize..500) {
            let text: String =
                [HEADER6.to_owned()].into_iter().chain(codes.iter().map(|&code| line(1, IPV6_DIGITS, code))).collect();
            let mut expected = Counts::ZERO;
            codes.iter().for_each(|&code| expected.add_one(State::from_code(code).unwrap()));
            prop_assert_eq!(counted(&text, IPV6_DIGITS, step, 512), Ok(expected));
        }
    }
}
