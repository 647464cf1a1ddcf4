// SPDX-License-Identifier: MIT OR Apache-2.0

//! Counters that the kernel keeps for each network namespace: `sockstat`, `sockstat6` and `snmp`.
//!
//! Sources: `sockstat_seq_show` and `snmp_seq_show_tcp_udp` (`net/ipv4/proc.c`),
//! `sockstat6_seq_show` (`net/ipv6/proc.c`); `proc_net(5)`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::interrupted::retried;
use super::lines::{decimal, words};
use crate::error::{BadLine, Error};

/// The files are about 2 KiB; `snmp` is up to 15 KiB if every type of ICMP message was seen. A
/// longer one than this is another file, and not read to its end.
const LONGEST: usize = 32 * 1024;

/// One reading of the counters of one network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Full sockets in the hash tables, IPv4 and IPv6: `inuse` (`sock_prot_inuse_add` in
    /// `inet_hash`, `inet_unhash`, `inet_ehash_nolisten`, ...). It counts listeners, but no request
    /// sockets and no time-wait sockets.
    pub(crate) inuse: u64,
    /// Time-wait sockets, `TIME_WAIT` and `FIN_WAIT2`, IPv4 and IPv6: `tw` (`tcp_death_row`).
    pub(crate) tw: u64,
    /// `Tcp: CurrEstab`, from `tcp_set_state`: `ESTABLISHED`, together with `CLOSE_WAIT` since
    /// Linux 6.11 and the stable releases of that summer.
    pub(crate) curr_estab: u64,
    /// `Tcp: ActiveOpens` and `PassiveOpens`: the connections begun since the namespace was made.
    /// They wrap.
    pub(crate) opens: u64,
}

/// Counters that can be read repeatedly.
pub(crate) trait ReadCounters {
    /// Reads them now.
    fn read(&mut self) -> Result<Counters, Error>;
}

/// The files of one network namespace, opened once: a second reading needs no path lookup, and is
/// of the same namespace.
#[derive(Debug)]
pub(crate) struct Sockstat {
    sockstat: Counter,
    /// `None` on a kernel without IPv6.
    sockstat6: Option<Counter>,
    snmp: Counter,
    text: Vec<u8>,
}

impl Sockstat {
    /// The counters in the directory `net` of a procfs.
    ///
    /// # Errors
    /// [`Error::Open`] if a file is not there. A kernel without IPv6 has no `sockstat6`, and no
    /// such sockets.
    pub(crate) fn open(net: &Path) -> Result<Self, Error> {
        Ok(Self {
            sockstat: Counter::open(net.join("sockstat"))?,
            sockstat6: match Counter::open(net.join("sockstat6")) {
                Err(Error::Open { error, .. }) if error.kind() == io::ErrorKind::NotFound => None,
                opened => Some(opened?),
            },
            snmp: Counter::open(net.join("snmp"))?,
            text: vec![0; LONGEST],
        })
    }
}

/// Whether the counters of a network namespace say that it has no TCP sockets: no full ones, and no
/// time-wait sockets. (A request socket needs a listener, which is full.) `open` opens a file of
/// the namespace; `false` if one cannot be read.
pub(crate) fn is_empty(open: impl Fn(&str) -> Result<(PathBuf, File), Error>) -> bool {
    let mut text = vec![0; LONGEST];
    let ipv4 = open("sockstat").and_then(|(path, file)| {
        let file = Counter { path, file };
        file.read(&mut text, |text| pairs(text, "TCP:", ["inuse", "tw"]))
    });
    if !matches!(ipv4, Ok([0, 0])) {
        return false;
    }
    match open("sockstat6") {
        Ok((path, file)) => {
            let inuse =
                Counter { path, file }.read(&mut text, |text| pairs(text, "TCP6:", ["inuse"]));
            matches!(inuse, Ok([0]))
        }
        Err(Error::Open { error, .. }) => error.kind() == io::ErrorKind::NotFound,
        Err(_) => false,
    }
}

impl ReadCounters for Sockstat {
    fn read(&mut self) -> Result<Counters, Error> {
        let text = &mut self.text;
        let [inuse, tw] = self
            .sockstat
            .read(text, |text| pairs(text, "TCP:", ["inuse", "tw"]))?;
        let [inuse6] = match &self.sockstat6 {
            Some(file) => file.read(text, |text| pairs(text, "TCP6:", ["inuse"]))?,
            None => [0],
        };
        let [curr_estab, active, passive] = self.snmp.read(text, |text| {
            columns(text, "Tcp:", ["CurrEstab", "ActiveOpens", "PassiveOpens"])
        })?;
        Ok(Counters {
            inuse: inuse.saturating_add(inuse6),
            tw,
            curr_estab,
            opens: active.wrapping_add(passive),
        })
    }
}

#[derive(Debug)]
struct Counter {
    path: PathBuf,
    file: File,
}

impl Counter {
    fn open(path: PathBuf) -> Result<Self, Error> {
        match File::open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(Error::open(&path, error)),
        }
    }

    /// Reads the file from its beginning, for which the kernel writes it anew, and parses it.
    fn read<T>(
        &self,
        buffer: &mut [u8],
        parse: impl FnOnce(&[u8]) -> Result<T, BadLine>,
    ) -> Result<T, Error> {
        let filled = fill(buffer, |rest, offset| self.file.read_at(rest, offset))
            .map_err(|error| Error::read(&self.path, error))?;
        if filled == buffer.len() {
            return Err(BadLine::new(1, "the file is too long", b"").of(&self.path));
        }
        parse(&buffer[..filled]).map_err(|bad| bad.of(&self.path))
    }
}

/// Reads to the end, or until the buffer is full. Returns how many bytes were read.
fn fill(
    buffer: &mut [u8],
    mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        match retried(|| read_at(&mut buffer[filled..], filled as u64))? {
            0 => return Ok(filled),
            read => filled += read,
        }
    }
}

/// A line, with its number from 1.
type Line<'a> = (u64, &'a [u8]);

/// The lines that begin with the word `name`.
fn lines<'a>(text: &'a [u8], name: &'a str) -> impl Iterator<Item = Line<'a>> {
    (1..)
        .zip(text.split_inclusive(|&byte| byte == b'\n'))
        .filter(move |(_, line)| words(line).next() == Some(name.as_bytes()))
}

/// The next of `lines`, which must be there and whole.
fn next<'a>(
    lines: &mut impl Iterator<Item = Line<'a>>,
    text: &[u8],
    name: &str,
) -> Result<Line<'a>, BadLine> {
    match lines.next() {
        Some((number, line)) if !line.ends_with(b"\n") => {
            Err(BadLine::new(number, "the line is cut", line))
        }
        Some(line) => Ok(line),
        None => {
            let last = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
            Err(BadLine::new(
                last + 1,
                format!("a line {name} is missing"),
                b"",
            ))
        }
    }
}

fn number((at, line): Line<'_>, key: &str, word: &[u8]) -> Result<u64, BadLine> {
    decimal(word)
        .ok_or_else(|| BadLine::new(at, format!("{key} is not a count"), line.trim_ascii_end()))
}

fn missing((at, line): Line<'_>, key: &str) -> BadLine {
    BadLine::new(at, format!("{key} is missing"), line.trim_ascii_end())
}

/// The values of `keys` in a line `NAME: key value key value ...`. Other keys are ignored.
pub(crate) fn pairs<const N: usize>(
    text: &[u8],
    name: &str,
    keys: [&str; N],
) -> Result<[u64; N], BadLine> {
    let line = next(&mut lines(text, name), text, name)?;
    let mut values = [0; N];
    for (key, value) in keys.into_iter().zip(&mut values) {
        let mut words = words(line.1).skip(1);
        *value = loop {
            match (words.next(), words.next()) {
                (Some(found), Some(word)) if found == key.as_bytes() => {
                    break number(line, key, word)?;
                }
                (Some(_), Some(_)) => {}
                _ => return Err(missing(line, key)),
            }
        };
    }
    Ok(values)
}

/// The values of `keys` in two lines, `NAME: key key ...` and below it `NAME: value value ...`.
pub(crate) fn columns<const N: usize>(
    text: &[u8],
    name: &str,
    keys: [&str; N],
) -> Result<[u64; N], BadLine> {
    let mut lines = lines(text, name);
    let header = next(&mut lines, text, name)?;
    let line = next(&mut lines, text, name)?;
    let mut values = [0; N];
    for (key, value) in keys.into_iter().zip(&mut values) {
        let column = words(header.1)
            .position(|word| word == key.as_bytes())
            .ok_or_else(|| missing(header, key))?;
        let word = words(line.1)
            .nth(column)
            .ok_or_else(|| missing(line, key))?;
        *value = number(line, key, word)?;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const SOCKSTAT: &str = "\
sockets: used 1000123
TCP: inuse 1000010 orphan 7 tw 42 alloc 1000020 mem 290
UDP: inuse 0 mem 0
RAW: inuse 0
FRAG: inuse 0 memory 0
";
    const SOCKSTAT6: &str =
        "TCP6: inuse 5\nUDP6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n";
    const SNMP: &str = "\
Ip: Forwarding DefaultTTL
Ip: 2 64
IcmpMsg: InType3
IcmpMsg: 12
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs
Tcp: 1 200 120000 -1 86 2 0 42 1000001 59088
Udp: InDatagrams
Udp: 1
";

    #[test]
    fn a_namespace_is_empty_if_all_counters_say_so() {
        let none = SOCKSTAT.replace("inuse 1000010 orphan 7 tw 42", "inuse 0 orphan 7 tw 0");
        let none6 = SOCKSTAT6.replace("TCP6: inuse 5", "TCP6: inuse 0");
        for (sockstat, sockstat6, expected) in [
            (Some(none.clone()), Some(none6.clone()), true),
            // A kernel without IPv6.
            (Some(none.clone()), None, true),
            (Some(none.clone()), Some(SOCKSTAT6.into()), false),
            (Some(SOCKSTAT.into()), Some(none6.clone()), false),
            (
                Some(none.replace("tw 0", "tw 1")),
                Some(none6.clone()),
                false,
            ),
            (
                Some(none.replace("TCP: inuse 0", "TCP: inuse 1")),
                None,
                false,
            ),
            (Some(none.replace("tw", "TW")), Some(none6.clone()), false),
            (Some(none), Some("TCP6: in".into()), false),
            (None, Some(none6), false),
        ] {
            let root = TempDir::new().unwrap();
            for (name, text) in [("sockstat", &sockstat), ("sockstat6", &sockstat6)] {
                if let Some(text) = text {
                    fs::write(root.path().join(name), text).unwrap();
                }
            }
            let open = |name: &str| {
                let path = root.path().join(name);
                File::open(&path)
                    .map(|file| (path.clone(), file))
                    .map_err(|error| Error::open(&path, error))
            };
            assert_eq!(is_empty(open), expected, "{sockstat:?} {sockstat6:?}");
        }
    }

    fn net(files: &[(&str, &str)]) -> TempDir {
        let net = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(net.path().join(name), text).unwrap();
        }
        net
    }

    fn read(sockstat: &str, sockstat6: &str, snmp: &str) -> Result<Counters, String> {
        let net = net(&[
            ("sockstat", sockstat),
            ("sockstat6", sockstat6),
            ("snmp", snmp),
        ]);
        let read = Sockstat::open(net.path()).and_then(|mut counters| counters.read());
        // Relative to the directory, whose name is different each time.
        read.map_err(|error| {
            error
                .to_string()
                .replace(&format!("{}/", net.path().display()), "")
        })
    }

    const GOOD: Counters = Counters {
        inuse: 1_000_015,
        tw: 42,
        curr_estab: 1_000_001,
        opens: 88,
    };

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(read(SOCKSTAT, SOCKSTAT6, SNMP), Ok(GOOD));
        // Linux before 7.1, with UDP-Lite; and columns that may be added.
        let more = SOCKSTAT
            .replace(" tw", " other 9 tw")
            .replace("UDP:", "UDPLITE: inuse 0\nUDP:");
        let columns = SNMP
            .replace("CurrEstab", "Other CurrEstab")
            .replace("42 ", "42 9 ");
        assert_eq!(read(&more, SOCKSTAT6, &columns), Ok(GOOD));
    }

    #[test]
    fn a_second_reading_is_of_what_is_there_then() {
        let net = net(&[
            ("sockstat", SOCKSTAT),
            ("sockstat6", SOCKSTAT6),
            ("snmp", SNMP),
        ]);
        let mut counters = Sockstat::open(net.path()).unwrap();
        assert_eq!(counters.read().unwrap(), GOOD);
        fs::write(net.path().join("sockstat"), SOCKSTAT.replace("42", "43")).unwrap();
        assert_eq!(counters.read().unwrap(), Counters { tw: 43, ..GOOD });
    }

    #[test]
    fn what_a_signal_interrupts_is_read_on_where_it_was() {
        let mut text = [0; LONGEST];
        let mut interrupted = false;
        let filled = fill(&mut text, |rest, offset| {
            interrupted = !interrupted;
            if interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let step = rest.len().min(7);
            (&SOCKSTAT.as_bytes()[offset as usize..]).read(&mut rest[..step])
        });
        assert_eq!(&text[..filled.unwrap()], SOCKSTAT.as_bytes());
        let broken = fill(&mut text, |_, _| Err(io::ErrorKind::InvalidData.into()));
        assert_eq!(broken.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn without_ipv6_there_is_no_sockstat6() {
        let net = net(&[("sockstat", SOCKSTAT), ("snmp", SNMP)]);
        let counters = Sockstat::open(net.path()).unwrap().read().unwrap();
        assert_eq!(
            counters,
            Counters {
                inuse: 1_000_010,
                ..GOOD
            }
        );
    }

    #[test]
    fn other_files_must_be_there() {
        for missing in ["sockstat", "snmp"] {
            let net = net(&[
                ("sockstat", SOCKSTAT),
                ("sockstat6", SOCKSTAT6),
                ("snmp", SNMP),
            ]);
            fs::remove_file(net.path().join(missing)).unwrap();
            let error = Sockstat::open(net.path()).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{missing}: cannot open: ENOENT")),
                "{error}"
            );
        }
        let directory = net(&[("sockstat6", SOCKSTAT6), ("snmp", SNMP)]);
        fs::create_dir(directory.path().join("sockstat")).unwrap();
        let error = Sockstat::open(directory.path())
            .unwrap()
            .read()
            .unwrap_err()
            .to_string();
        assert!(error.contains("sockstat: cannot read: EISDIR"), "{error}");
    }

    #[test]
    fn says_which_line_is_wrong_and_why() {
        let sockstat =
            |from, to| read(&SOCKSTAT.replacen(from, to, 1), SOCKSTAT6, SNMP).unwrap_err();
        let tcp = "TCP: inuse 1000010 orphan 7 tw 42 alloc 1000020 mem 290";
        assert_eq!(
            sockstat(tcp, "TCP4: inuse 1"),
            "sockstat, line 6: a line TCP: is missing"
        );
        assert_eq!(
            sockstat(tcp, "TCP: inuse 5 orphan 7 tw"),
            r#"sockstat, line 2: tw is missing: "TCP: inuse 5 orphan 7 tw""#
        );
        assert_eq!(
            sockstat(tcp, "TCP: tw 42"),
            r#"sockstat, line 2: inuse is missing: "TCP: tw 42""#
        );
        for (wrong, problem) in [
            ("TCP: inuse -1 tw 2", "inuse is not a count"),
            ("TCP: inuse 1 tw -1", "tw is not a count"),
            ("TCP: inuse +1 tw 1", "inuse is not a count"),
            ("TCP: inuse 0x1 tw 1", "inuse is not a count"),
            ("TCP: inuse 1 tw 99999999999999999999", "tw is not a count"),
            ("TCP: inuse 1 tw many", "tw is not a count"),
        ] {
            assert_eq!(
                sockstat(tcp, wrong),
                format!("sockstat, line 2: {problem}: \"{wrong}\"")
            );
        }
        assert_eq!(
            read("", SOCKSTAT6, SNMP).unwrap_err(),
            "sockstat, line 1: a line TCP: is missing"
        );
        assert_eq!(
            read(SOCKSTAT, "", SNMP).unwrap_err(),
            "sockstat6, line 1: a line TCP6: is missing"
        );
        assert_eq!(
            read(SOCKSTAT, SOCKSTAT6, "").unwrap_err(),
            "snmp, line 1: a line Tcp: is missing"
        );
        let snmp = |from, to| read(SOCKSTAT, SOCKSTAT6, &SNMP.replacen(from, to, 1)).unwrap_err();
        assert!(snmp("CurrEstab", "Curr").starts_with("snmp, line 5: CurrEstab is missing"));
        assert!(snmp("1000001 59088", "").starts_with("snmp, line 6: CurrEstab is missing"));
        assert!(snmp("1000001", "-1").starts_with("snmp, line 6: CurrEstab is not a count"));
        assert!(snmp("Tcp: 1 ", "Tcq: 1 ").starts_with("snmp, line 9: a line Tcp: is missing"));
        let long = format!("{SOCKSTAT}{}", "x".repeat(LONGEST));
        assert_eq!(
            read(&long, SOCKSTAT6, SNMP).unwrap_err(),
            "sockstat, line 1: the file is too long"
        );
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_or_has_the_lines() {
        for cut in 0..SOCKSTAT.len() {
            let whole = SOCKSTAT[..cut].contains("mem 290\n");
            assert_eq!(
                read(&SOCKSTAT[..cut], SOCKSTAT6, SNMP).is_ok(),
                whole,
                "cut at byte {cut}"
            );
        }
        for cut in 0..SNMP.len() {
            let whole = SNMP[..cut].contains(" 59088\n");
            assert_eq!(
                read(SOCKSTAT, SOCKSTAT6, &SNMP[..cut]).is_ok(),
                whole,
                "cut at byte {cut}"
            );
        }
    }

    #[test]
    fn the_largest_values_do_not_overflow() {
        let most = u64::MAX.to_string();
        let sockstat = SOCKSTAT.replace("1000010", &most);
        let snmp = SNMP.replace("86", &most).replace("1000001", &most);
        let counters = read(&sockstat, SOCKSTAT6, &snmp).unwrap();
        assert_eq!(
            (counters.inuse, counters.curr_estab, counters.opens),
            (u64::MAX, u64::MAX, 1)
        );
    }

    #[test]
    fn this_kernel_has_them_all() {
        let mut counters = Sockstat::open(Path::new("/proc/thread-self/net")).unwrap();
        counters.read().unwrap();
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = pairs(&bytes, "TCP:", ["inuse", "tw"]);
            let _ = columns(&bytes, "Tcp:", ["CurrEstab"]);
        }

        #[test]
        fn a_changed_byte_does_not_panic(at: prop::sample::Index, byte: u8) {
            let (mut sockstat, mut snmp) = (SOCKSTAT.as_bytes().to_vec(), SNMP.as_bytes().to_vec());
            let index = at.index(sockstat.len());
            sockstat[index] = byte;
            let _ = pairs(&sockstat, "TCP:", ["inuse", "tw"]);
            let index = at.index(snmp.len());
            snmp[index] = byte;
            let _ = columns(&snmp, "Tcp:", ["CurrEstab", "ActiveOpens", "PassiveOpens"]);
        }

        #[test]
        fn values_are_read_as_they_stand(inuse: u64, tw: u64, other in "x[a-z]{1,5} [0-9]{1,5}") {
            let text = format!("TCP: {other} inuse {inuse} {other} tw {tw}\n");
            prop_assert_eq!(pairs(text.as_bytes(), "TCP:", ["inuse", "tw"]), Ok([inuse, tw]));
        }
    }
}
