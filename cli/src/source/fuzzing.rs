// SPDX-License-Identifier: MIT OR Apache-2.0

//! The way in for the fuzz targets (`fuzz/`): each parser on any bytes, without a kernel. Nothing else uses it, and
//! it may change at any time.

use std::io::{self, Read};

use super::lines::Failure;
use super::netlink::{Dump, Request, Tally};
use super::{module, procfs, sockstat};
use crate::{Counts, Error};

/// The text of `/proc/tcpstat`.
///
/// # Errors
/// The line and what is wrong with it.
pub fn module(text: &[u8]) -> Result<Counts, (u64, String)> {
    module::parse(text).map_err(|bad| (bad.line, bad.problem))
}

/// The text of `/proc/net/tcp`, or `tcp6`, which arrives `step` bytes at a time in a buffer of `buffer` bytes.
///
/// # Errors
/// The line and what is wrong with it.
pub fn procfs(
    text: &[u8],
    ipv6: bool,
    step: usize,
    buffer: usize,
) -> Result<Counts, (u64, String)> {
    let digits = [procfs::IPV4_DIGITS, procfs::IPV6_DIGITS][usize::from(ipv6)];
    let mut counts = Counts::ZERO;
    match procfs::count(
        Steps { text, step },
        digits,
        &mut vec![0; buffer],
        &mut counts,
    ) {
        Ok(()) => Ok(counts),
        Err(Failure::Line(bad)) => Err((bad.line, bad.problem)),
        Err(Failure::Read(error)) => unreachable!("a slice can be read: {error}"),
    }
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
    let mut dump = Dump::new(Request::BothFamilies, sequence);
    let mut tally = Tally::default();
    for (arrived, sent) in datagrams {
        if dump.feed(arrived, sent, |message| tally.add(message))? {
            let Tally {
                counts,
                request_sockets,
                fin_wait2_timewait,
            } = tally;
            return Ok(Some((counts, request_sockets, fin_wait2_timewait)));
        }
    }
    Ok(None)
}

/// `inuse` and `tw` in the text of `/proc/net/sockstat`.
///
/// # Errors
/// The line and what is wrong with it.
pub fn sockstat(text: &[u8]) -> Result<[u64; 2], (u64, String)> {
    sockstat::pairs(text, "TCP:", ["inuse", "tw"]).map_err(|bad| (bad.line, bad.problem))
}

/// `CurrEstab`, `ActiveOpens` and `PassiveOpens` in the text of `/proc/net/snmp`.
///
/// # Errors
/// The line and what is wrong with it.
pub fn snmp(text: &[u8]) -> Result<[u64; 3], (u64, String)> {
    sockstat::columns(text, "Tcp:", ["CurrEstab", "ActiveOpens", "PassiveOpens"])
        .map_err(|bad| (bad.line, bad.problem))
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
