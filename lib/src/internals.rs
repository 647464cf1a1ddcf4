// SPDX-License-Identifier: MIT OR Apache-2.0

//! Access for the fuzz targets (`fuzz/`) and the tests below `tests/`: the parsers on any bytes,
//! without a kernel, and parts of netlink and of namespaces that the interface hides. This is no
//! part of the interface: it may change at any time.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::connections::{Connection, Filter};
use crate::error::Error;
use crate::ports::Ports;
use crate::readers::by_port::PortTable;
use crate::readers::lines::Failure;
use crate::readers::namespace::{Handle, inside};
use crate::readers::netlink::dump::{Dump, Query, Request, States};
use crate::readers::netlink::socket::{Answer, KERNEL};
use crate::readers::netlink::wire::InetDiagMsg;
use crate::readers::netlink::{self, BUFFER, List, Netlink, Tally};
use crate::readers::procfs::Rows;
use crate::readers::{difference, module, module_namespaces, module_services, procfs, sockstat};
use crate::services::Service;
use crate::snapshot::Method;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// What is wrong with a text, and in which line.
type Problem = (u64, String);

/// The text of `/proc/tcpstat`.
///
/// # Errors
/// The line and what is wrong with it.
pub fn module(text: &[u8]) -> Result<Counts, Problem> {
    module::parse(text).map_err(|bad| (bad.line, bad.problem))
}

/// The text of `/proc/net/tcpstat_services`, which arrives `step` bytes at a time in a buffer of
/// `buffer` bytes.
///
/// # Errors
/// The line and what is wrong with it.
pub fn module_services(
    text: &[u8],
    step: usize,
    buffer: usize,
) -> Result<(Vec<Service>, Counts), Problem> {
    module_services::parse(Steps { text, step }, &mut vec![0; buffer]).map_err(wrong)
}

/// The text of `/proc/tcpstat_namespaces`, likewise: the counts by the inode number.
///
/// # Errors
/// The line and what is wrong with it.
pub fn module_namespaces(
    text: &[u8],
    step: usize,
    buffer: usize,
) -> Result<BTreeMap<u64, Counts>, Problem> {
    module_namespaces::parse(Steps { text, step }, &mut vec![0; buffer]).map_err(wrong)
}

/// The text of `/proc/net/tcp`, or `tcp6`, which arrives `step` bytes at a time in a buffer of
/// `buffer` bytes.
///
/// # Errors
/// The line and what is wrong with it.
pub fn procfs(text: &[u8], ipv6: bool, step: usize, buffer: usize) -> Result<Counts, Problem> {
    let digits = digits(ipv6);
    let mut counts = Counts::ZERO;
    let text = Steps { text, step };
    procfs::count(Rows::new(text, digits, vec![0; buffer]), &mut counts).map_err(wrong)?;
    Ok(counts)
}

/// The same by service, at once.
///
/// # Errors
/// The line and what is wrong with it.
pub fn procfs_services(text: &[u8], ipv6: bool) -> Result<(Vec<Service>, Counts), Problem> {
    let mut table = PortTable::new(None);
    let rows = || Rows::new(text, digits(ipv6), vec![0; LONGEST]);
    procfs::add_listeners(rows(), false, &mut table).map_err(wrong)?;
    procfs::count_by_port(rows(), &mut table).map_err(wrong)?;
    Ok(services(table))
}

/// The same as connections, at once.
///
/// # Errors
/// The line and what is wrong with it.
pub fn procfs_connections(text: &[u8], ipv6: bool) -> Result<Vec<Connection>, Problem> {
    let mut rows = Rows::new(text, digits(ipv6), vec![0; LONGEST]);
    let connections = std::iter::from_fn(|| rows.next_connection().transpose());
    connections.collect::<Result<_, _>>().map_err(wrong)
}

/// A datagram: the port id of its sender (the kernel's is 0), what arrived, and the length that was
/// sent.
pub type Datagram<'a> = (u32, &'a [u8], usize);

/// The answer to one netlink request, `sequence`, datagram by datagram.
///
/// Returns what was counted once the answer is complete, and `None` if it goes on.
///
/// # Errors
/// Same as the sampler's.
pub fn netlink<'a>(
    sequence: u32,
    datagrams: impl IntoIterator<Item = Datagram<'a>>,
) -> Result<Option<Totals>, Error> {
    let mut tally = Tally::default();
    let complete = fed(sequence, datagrams, |message| tally.add(message))?;
    Ok(complete.then(|| counted(tally)))
}

/// The counts; how many of `SYN_RECV` are request sockets; how many of `FIN_WAIT2` are time-wait
/// sockets.
pub type Totals = (Counts, u64, u64);

fn counted(tally: Tally) -> Totals {
    let Tally {
        counts,
        request_sockets,
        fin_wait2_timewait,
    } = tally;
    (counts, request_sockets, fin_wait2_timewait)
}

/// The same by service: every listener must have its memory.
///
/// # Errors
/// Same as the sampler's.
pub fn netlink_services<'a>(
    sequence: u32,
    datagrams: impl IntoIterator<Item = Datagram<'a>>,
) -> Result<Option<(Vec<Service>, Counts)>, Error> {
    let mut table = PortTable::new(None);
    let each = |message: &InetDiagMsg| netlink::add(&mut table, message);
    let complete = fed(sequence, datagrams, each)?;
    Ok(complete.then(|| services(table)))
}

/// The same as connections.
///
/// # Errors
/// Same as the sampler's.
pub fn netlink_connections<'a>(
    sequence: u32,
    datagrams: impl IntoIterator<Item = Datagram<'a>>,
) -> Result<Option<Vec<Connection>>, Error> {
    let mut connections = Vec::new();
    let complete = fed(sequence, datagrams, |message| {
        connections.push(message.connection()?);
        Ok(())
    })?;
    Ok(complete.then_some(connections))
}

/// Whether the answer is complete.
fn fed<'a>(
    sequence: u32,
    datagrams: impl IntoIterator<Item = Datagram<'a>>,
    mut each: impl FnMut(&InetDiagMsg) -> Result<(), String>,
) -> Result<bool, Error> {
    let mut dump = Dump::new(Request::BOTH_FAMILIES, sequence);
    for (sender, arrived, sent) in datagrams {
        if sender == KERNEL && dump.feed(arrived, sent, &mut each)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `inuse` and `tw` in the text of `/proc/net/sockstat`.
///
/// # Errors
/// The line and what is wrong with it.
pub fn sockstat(text: &[u8]) -> Result<[u64; 2], Problem> {
    sockstat::pairs(text, "TCP:", ["inuse", "tw"]).map_err(|bad| (bad.line, bad.problem))
}

/// `CurrEstab`, `ActiveOpens` and `PassiveOpens` in the text of `/proc/net/snmp`.
///
/// # Errors
/// The line and what is wrong with it.
pub fn snmp(text: &[u8]) -> Result<[u64; 3], Problem> {
    sockstat::columns(text, "Tcp:", ["CurrEstab", "ActiveOpens", "PassiveOpens"])
        .map_err(|bad| (bad.line, bad.problem))
}

/// How sockets of every state are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Dumps {
    /// In one dump.
    One,
    /// In a dump for each family.
    ByFamily,
    /// In one dump, by a request that no kernel has; and then in a dump for each family.
    AfterRefusal,
}

/// Counts by netlink in the network namespace of the calling thread.
///
/// # Errors
/// Same as the sampler's.
pub fn netlink_dumps(dumps: Dumps) -> Result<Totals, Error> {
    let [v4, v6] = &Request::BY_FAMILY;
    let (first, rest) = match dumps {
        Dumps::One => (Request::BOTH_FAMILIES, &[][..]),
        Dumps::ByFamily => (*v4, std::slice::from_ref(v6)),
        Dumps::AfterRefusal => {
            let unknown = Request {
                message_type: 23,
                ..Request::BOTH_FAMILIES
            };
            (unknown, &[][..])
        }
    };
    received(Answer::ask_by(first, rest, None, Query::of(States::ALL))?)
}

fn received(mut answer: Answer) -> Result<Totals, Error> {
    let (mut tally, mut buffer) = (Tally::default(), vec![0; BUFFER]);
    while answer.receive(&mut buffer, |message| tally.add(message))? {}
    Ok(counted(tally))
}

/// Counts the sockets in `states` by netlink, in one dump through `buffer`, which is allocated if
/// it is empty. Ends early once `go_on` says no.
///
/// # Errors
/// Same as the sampler's.
pub fn netlink_list(
    states: &[State],
    buffer: &mut Vec<u8>,
    go_on: impl Fn(&Counts) -> bool,
) -> Result<Totals, Error> {
    let mut netlink = Netlink::new(buffer);
    let tally = netlink.list(States::of(states), |tally| go_on(&tally.counts))?;
    Ok(counted(tally))
}

/// How many sockets the kernel lists if it is asked for the connections that `filter` accepts.
///
/// # Errors
/// Same as the sampler's.
pub fn netlink_listed(filter: &Filter) -> Result<u64, Error> {
    listed(Query::connections(filter))
}

/// The same of both queries that services are made from: the listeners, and all others.
///
/// # Errors
/// Same as the sampler's.
pub fn netlink_listed_by_port(ports: Option<&Ports>) -> Result<[u64; 2], Error> {
    let [listeners, others] = Query::by_port(ports);
    Ok([listed(listeners)?, listed(others)?])
}

fn listed(query: Query) -> Result<u64, Error> {
    let (counts, ..) = received(Answer::ask_by(Request::BOTH_FAMILIES, &[], None, query)?)?;
    Ok(counts.total())
}

/// Counts by difference in the network namespace of the calling thread, if it has more than `few`
/// sockets.
///
/// # Errors
/// Same as the sampler's.
pub fn by_difference(few: u64) -> Result<(Counts, Method), Error> {
    let mut buffer = Vec::new();
    let mut netlink = Netlink::new(&mut buffer);
    let counters = netlink.counters();
    difference::count(&mut netlink, counters, few)
}

/// A network namespace that is held open.
#[derive(Debug)]
pub struct Namespace(Handle);

impl Namespace {
    /// Opens the namespace that `path` leads to, with this inode number.
    ///
    /// # Errors
    /// [`Error::Namespace`]; [`Error::OtherNamespace`] if it has another inode number.
    pub fn open(path: &Path, inode: Option<u64>) -> Result<Self, Error> {
        Handle::open(PathBuf::from(path), inode).map(Self)
    }

    /// Calls `work` in `namespace`; in that of the calling thread, if there is none.
    ///
    /// # Errors
    /// [`Error::Namespace`] if it cannot be entered.
    pub fn inside<T: Send>(
        namespace: Option<&Self>,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, Error> {
        inside(namespace.map(|Self(handle)| handle), || Ok(work()))
    }
}

/// Longer than any input.
const LONGEST: usize = 4096;

fn digits(ipv6: bool) -> usize {
    [procfs::IPV4_DIGITS, procfs::IPV6_DIGITS][usize::from(ipv6)]
}

fn wrong(failure: Failure) -> Problem {
    match failure {
        Failure::Line(bad) => (bad.line, bad.problem),
        Failure::Read(error) => unreachable!("a slice can be read: {error}"),
    }
}

fn services(table: PortTable<'_>) -> (Vec<Service>, Counts) {
    let (services, other, _) = table.services();
    (services, other.unwrap_or(Counts::ZERO))
}

struct Steps<'a> {
    text: &'a [u8],
    step: usize,
}

impl Read for Steps<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(self.step);
        self.text.read(&mut buffer[..wanted])
    }
}
