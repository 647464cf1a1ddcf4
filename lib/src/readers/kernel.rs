// SPDX-License-Identifier: MIT OR Apache-2.0

//! The counters in `netstat`, `snmp` and `sockstat`, and the limits in `/proc/sys/net`.
//!
//! Sources: `net/ipv4/proc.c`; `Documentation/networking/ip-sysctl.rst`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::interrupted::retried;
use super::lines::decimal;
use super::root::Root;
use super::sockstat::{columns, pairs};
use crate::error::{BadLine, Error};
use crate::kernel::{Ceiling, Counter, Gauge, Kernel};

/// `netstat` is about 4 KiB. A longer one than this is another file.
const LONGEST: usize = 64 * 1024;

/// Reads them of a network namespace. What is not there is left out.
pub(crate) fn read(root: &Root) -> Result<Kernel, Error> {
    let mut kernel = Kernel::default();
    for (file, name, is_in_snmp) in [("netstat", "TcpExt:", false), ("snmp", "Tcp:", true)] {
        with(root.open_net(file), |text| {
            for counter in Counter::ALL {
                if counter.is_in_snmp() == is_in_snmp {
                    kernel.counters[counter as usize] =
                        known(text, |text| columns(text, name, [counter.name()]))?;
                }
            }
            Ok(())
        })?;
    }
    with(root.open_net("sockstat"), |text| {
        for gauge in Gauge::ALL {
            kernel.gauges[gauge as usize] =
                known(text, |text| pairs(text, "TCP:", [gauge.name()]))?;
        }
        Ok(())
    })?;
    for limit in Ceiling::ALL {
        with(root.open_sysctl(limit.file()), |text| {
            kernel.limits[limit as usize] = sysctl(text)?;
            Ok(())
        })?;
    }
    Ok(kernel)
}

/// Passes the text of a file on; not if it is absent, or may not be opened.
fn with(
    opened: Result<(PathBuf, File), Error>,
    parse: impl FnOnce(&[u8]) -> Result<(), BadLine>,
) -> Result<(), Error> {
    let (path, file) = match opened {
        Err(error) if error.is_absence_or_refusal() => return Ok(()),
        opened => opened?,
    };
    let mut text = Vec::new();
    let read = retried(|| {
        text.clear();
        (&file).take(LONGEST as u64 + 1).read_to_end(&mut text)
    });
    read.map_err(|error| Error::read(&path, error))?;
    if text.len() > LONGEST {
        return Err(BadLine::new(1, "the file is too long", b"").of(&path));
    }
    parse(&text).map_err(|bad| bad.of(&path))
}

/// The number, if the text has it: older kernels have fewer.
fn known(
    text: &[u8],
    read: impl FnOnce(&[u8]) -> Result<[u64; 1], BadLine>,
) -> Result<Option<u64>, BadLine> {
    match read(text) {
        Ok([number]) => Ok(Some(number)),
        Err(bad) if bad.problem.ends_with(" is missing") => Ok(None),
        Err(bad) => Err(bad),
    }
}

/// The number in a sysctl; of a range, how many there are.
fn sysctl(text: &[u8]) -> Result<Option<u64>, BadLine> {
    let words = text.split(u8::is_ascii_whitespace);
    let words = words.filter(|word| !word.is_empty());
    let numbers: Vec<Option<u64>> = words.map(decimal).collect();
    match numbers[..] {
        [Some(number)] => Ok(Some(number)),
        [Some(first), Some(last)] if first <= last => Ok(Some((last - first).saturating_add(1))),
        _ => Err(BadLine::new(1, "not a number", text.trim_ascii_end())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn sample() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            (
                "net/netstat",
                "TcpExt: SyncookiesSent ListenOverflows ListenDrops Other\nTcpExt: 1 22 333 4\n\
                 IpExt: ListenDrops\nIpExt: 9\n",
            ),
            (
                "net/snmp",
                "Tcp: RtoMin MaxConn RetransSegs OutRsts\nTcp: 200 -1 55 66\n",
            ),
            (
                "net/sockstat",
                "sockets: used 9\nTCP: inuse 1 orphan 7 tw 0 alloc 8 mem 3\n",
            ),
            ("sys/net/ipv4/tcp_max_tw_buckets", "262144\n"),
            ("sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn numbers_are_found_by_their_names_and_others_are_not_known() {
        let root = sample();
        let kernel = read(&Root::from(root.path())).unwrap();
        for (counter, expected) in [
            (Counter::ListenOverflows, Some(22)),
            (Counter::ListenDrops, Some(333)),
            (Counter::SyncookiesSent, Some(1)),
            (Counter::TcpReqQFullDrop, None),
            (Counter::RetransSegs, Some(55)),
            (Counter::OutRsts, Some(66)),
            (Counter::EstabResets, None),
        ] {
            assert_eq!(kernel.counter(counter), expected, "{counter}");
        }
        let gauges = Gauge::ALL.map(|gauge| kernel.gauge(gauge));
        assert_eq!(gauges, [Some(8), Some(7), Some(3)]);
        let limits = Ceiling::ALL.map(|limit| kernel.limit(limit));
        assert_eq!(limits, [Some(262_144), None, None, Some(28_232)]);

        let nothing = read(&Root::from(Path::new("/nonexistent"))).unwrap();
        assert_eq!(nothing, Kernel::default());
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        for (file, text, problem) in [
            (
                "net/netstat",
                "TcpExt: ListenDrops\nTcpExt: x\n",
                "net/netstat, line 2: ListenDrops is not a count",
            ),
            (
                "net/sockstat",
                "TCP: alloc -1\n",
                "net/sockstat, line 1: alloc is not a count",
            ),
            (
                "sys/net/ipv4/tcp_max_tw_buckets",
                "many\n",
                "tcp_max_tw_buckets, line 1: not a number: \"many\"",
            ),
            (
                "sys/net/ipv4/ip_local_port_range",
                "2 1\n",
                "ip_local_port_range, line 1: not a number",
            ),
        ] {
            let root = sample();
            fs::write(root.path().join(file), text).unwrap();
            let error = read(&Root::from(root.path())).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
