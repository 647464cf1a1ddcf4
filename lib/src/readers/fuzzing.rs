// SPDX-License-Identifier: MIT OR Apache-2.0

//! The way in for the fuzz targets (`fuzz/`): each parser on any bytes, without a kernel. Nothing else uses it, and
//! it may change at any time.

use std::io::{self, Read};

use super::by_port::ByPort;
use super::lines::Failure;
use super::netlink::dump::{Dump, Request};
use super::netlink::wire::InetDiagMsg;
use super::netlink::{self, Tally};
use super::procfs::Rows;
use super::{module, module_services, procfs, sockstat};
use crate::connections::Connection;
use crate::error::Error;
use crate::services::Service;
use tcpstat_census::counts::Counts;

/// What is wrong with a text, and in which line.
type Wrong = (u64, String);

/// The text of `/proc/tcpstat`.
///
/// # Errors
/// The line and what is wrong with it.
pub fn module(text: &[u8]) -> Result<Counts, Wrong> {
    module::parse(text).map_err(|bad| (bad.line, bad.problem))
}

/// The text of `/proc/net/tcpstat_services`, which arrives `step` bytes at a time in a buffer of `buffer` bytes.
///
/// # Errors
/// The line and what is wrong with it.
pub fn module_services(
    text: &[u8],
    step: usize,
    buffer: usize,
) -> Result<(Vec<Service>, Counts), Wrong> {
    module_services::parse(Steps { text, step }, &mut vec![0; buffer]).map_err(wrong)
}

/// The text of `/proc/net/tcp`, or `tcp6`, which arrives `step` bytes at a time in a buffer of `buffer` bytes.
///
/// # Errors
/// The line and what is wrong with it.
pub fn procfs(text: &[u8], ipv6: bool, step: usize, buffer: usize) -> Result<Counts, Wrong> {
    let digits = digits(ipv6);
    let mut counts = Counts::ZERO;
    let text = Steps { text, step };
    procfs::count(text, digits, &mut vec![0; buffer], &mut counts).map_err(wrong)?;
    Ok(counts)
}

/// The same by service, at once.
///
/// # Errors
/// The line and what is wrong with it.
pub fn procfs_services(text: &[u8], ipv6: bool) -> Result<(Vec<Service>, Counts), Wrong> {
    let mut table = ByPort::new(None);
    procfs::count_by_port(text, digits(ipv6), &mut vec![0; BUFFER], &mut table).map_err(wrong)?;
    Ok(services(table))
}

/// The same as connections, at once.
///
/// # Errors
/// The line and what is wrong with it.
pub fn procfs_connections(text: &[u8], ipv6: bool) -> Result<Vec<Connection>, Wrong> {
    let mut rows = Rows::new(text, digits(ipv6), vec![0; BUFFER]);
    let connections = std::iter::from_fn(|| rows.next_connection().transpose());
    connections.collect::<Result<_, _>>().map_err(wrong)
}

/// The answer to one netlink request, `sequence`, datagram by datagram: what arrived, and the length that was sent.
///
/// Gives the counts once the answer is complete, `None` where it goes on. With them, how many of `SYN_RECV` are
/// request sockets, and how many of `FIN_WAIT2` are time-wait sockets.
///
/// # Errors
/// As of the sampler.
pub fn netlink<'a>(
    sequence: u32,
    datagrams: impl IntoIterator<Item = (&'a [u8], usize)>,
) -> Result<Option<(Counts, u64, u64)>, Error> {
    let mut tally = Tally::default();
    let complete = fed(sequence, datagrams, |message| tally.add(message))?;
    let Tally {
        counts,
        request_sockets,
        fin_wait2_timewait,
    } = tally;
    Ok(complete.then_some((counts, request_sockets, fin_wait2_timewait)))
}

/// The same by service: every listener must have its memory.
///
/// # Errors
/// As of the sampler.
pub fn netlink_services<'a>(
    sequence: u32,
    datagrams: impl IntoIterator<Item = (&'a [u8], usize)>,
) -> Result<Option<(Vec<Service>, Counts)>, Error> {
    let mut table = ByPort::new(None);
    let each = |message: &InetDiagMsg| netlink::add_listener(&mut table, message);
    let complete = fed(sequence, datagrams, each)?;
    Ok(complete.then(|| services(table)))
}

/// The same as connections.
///
/// # Errors
/// As of the sampler.
pub fn netlink_connections<'a>(
    sequence: u32,
    datagrams: impl IntoIterator<Item = (&'a [u8], usize)>,
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
    datagrams: impl IntoIterator<Item = (&'a [u8], usize)>,
    mut each: impl FnMut(&InetDiagMsg) -> Result<(), String>,
) -> Result<bool, Error> {
    let mut dump = Dump::new(Request::BOTH_FAMILIES, sequence);
    for (arrived, sent) in datagrams {
        if dump.feed(arrived, sent, &mut each)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `inuse` and `tw` in the text of `/proc/net/sockstat`.
///
/// # Errors
/// The line and what is wrong with it.
pub fn sockstat(text: &[u8]) -> Result<[u64; 2], Wrong> {
    sockstat::pairs(text, "TCP:", ["inuse", "tw"]).map_err(|bad| (bad.line, bad.problem))
}

/// `CurrEstab`, `ActiveOpens` and `PassiveOpens` in the text of `/proc/net/snmp`.
///
/// # Errors
/// The line and what is wrong with it.
pub fn snmp(text: &[u8]) -> Result<[u64; 3], Wrong> {
    sockstat::columns(text, "Tcp:", ["CurrEstab", "ActiveOpens", "PassiveOpens"])
        .map_err(|bad| (bad.line, bad.problem))
}

/// Longer than any input.
const BUFFER: usize = 4096;

fn digits(ipv6: bool) -> usize {
    [procfs::IPV4_DIGITS, procfs::IPV6_DIGITS][usize::from(ipv6)]
}

fn wrong(failure: Failure) -> Wrong {
    match failure {
        Failure::Line(bad) => (bad.line, bad.problem),
        Failure::Read(error) => unreachable!("a slice can be read: {error}"),
    }
}

fn services(table: ByPort<'_>) -> (Vec<Service>, Counts) {
    let (services, other) = table.services();
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
