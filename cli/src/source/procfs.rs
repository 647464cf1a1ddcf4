// SPDX-License-Identifier: MIT OR Apache-2.0

//! The answer of `/proc/net/tcp` and `/proc/net/tcp6`: a line for every connection, of which one column is read.
//!
//! The format is that of `tcp4_seq_show` (`net/ipv4/tcp_ipv4.c`) and `tcp6_seq_show` (`net/ipv6/tcp_ipv6.c`).

use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use super::open_first;
use crate::error::{BadLine, Error};
use crate::{Counts, State};

/// As much as one system call may bring.
const BUFFER: usize = 1 << 20;

/// The digits of an address, which are what places the state column.
pub(super) const IPV4_DIGITS: usize = 8;
pub(super) const IPV6_DIGITS: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Procfs {
    buffer: Vec<u8>,
}

impl Procfs {
    pub(super) fn sample(&mut self, proc_root: &Path) -> Result<Counts, Error> {
        self.buffer.resize(BUFFER, 0);
        let mut counts = Counts::ZERO;

        let (path, file) = open_first(proc_root, &["net/tcp", "self/net/tcp"])
            .map_err(|(path, error)| Error::open(&path, error))?;
        count(file, IPV4_DIGITS, &mut self.buffer, &mut counts)
            .map_err(|failure| failure.of(&path))?;

        match open_first(proc_root, &["net/tcp6", "self/net/tcp6"]) {
            Ok((path, file)) => count(file, IPV6_DIGITS, &mut self.buffer, &mut counts)
                .map_err(|failure| failure.of(&path))?,
            // A kernel without IPv6 has no such file, and no such connections.
            Err((_, error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err((path, error)) => return Err(Error::open(&path, error)),
        }
        Ok(counts)
    }
}

#[derive(Debug)]
pub(super) enum Failure {
    Read(io::Error),
    Line(BadLine),
}

impl Failure {
    fn of(self, path: &Path) -> Error {
        match self {
            Self::Read(error) => Error::read(path, error),
            Self::Line(bad) => bad.of(path),
        }
    }
}

/// Adds the connections of one file to `counts`; a line must fit into `buffer`.
pub(super) fn count(
    mut file: impl Read,
    digits: usize,
    buffer: &mut [u8],
    counts: &mut Counts,
) -> Result<(), Failure> {
    let mut lines = Lines::new(digits);
    let mut filled = 0;
    loop {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Read(error)),
        }
        let used = lines.read(&buffer[..filled]).map_err(Failure::Line)?;
        buffer.copy_within(used..filled, 0);
        filled -= used;
        if filled == buffer.len() {
            return Err(Failure::Line(BadLine::new(
                lines.read + 1,
                "the line does not end",
                buffer,
            )));
        }
    }
    lines
        .finish(&buffer[..filled], counts)
        .map_err(Failure::Line)
}

/// The lines read so far, with the state codes counted as they stand: they get their names at the end.
struct Lines {
    digits: usize,
    read: u64,
    codes: [u64; 256],
    /// The line in which each code was met first.
    first: [u64; 256],
}

impl Lines {
    fn new(digits: usize) -> Self {
        Self {
            digits,
            read: 0,
            codes: [0; 256],
            first: [0; 256],
        }
    }

    /// Reads every whole line of `text`; returns how many bytes these are.
    fn read(&mut self, text: &[u8]) -> Result<usize, BadLine> {
        let mut used = 0;
        while let Some(end) = memchr::memchr(b'\n', &text[used..]) {
            let line = &text[used..used + end];
            let bad = |problem| BadLine::new(self.read + 1, problem, line);
            if self.read == 0 {
                if !is_header(line) {
                    return Err(bad("not the header of a table of TCP connections"));
                }
            } else {
                let code = usize::from(
                    code_of(line, self.digits).ok_or_else(|| bad("not a TCP connection"))?,
                );
                if self.codes[code] == 0 {
                    self.first[code] = self.read + 1;
                }
                self.codes[code] += 1;
            }
            self.read += 1;
            used += end + 1;
        }
        Ok(used)
    }

    /// Names the codes. `rest` is what came after the last whole line: nothing, unless the file is cut.
    fn finish(self, rest: &[u8], counts: &mut Counts) -> Result<(), BadLine> {
        if !rest.is_empty() {
            return Err(BadLine::new(self.read + 1, "the line is cut", rest));
        }
        if self.read == 0 {
            return Err(BadLine::new(1, "the file is empty: not even a header", b""));
        }
        for (code, &number) in (0u8..=255).zip(&self.codes) {
            match State::from_code(code) {
                _ if number == 0 => {}
                Some(state) => counts.set(state, counts.get(state) + number),
                None => {
                    let line = self.first[usize::from(code)];
                    return Err(BadLine::new(
                        line,
                        "unknown state",
                        format!("{code:02X}").as_bytes(),
                    ));
                }
            }
        }
        Ok(())
    }
}

fn is_header(line: &[u8]) -> bool {
    let mut columns = line
        .split(u8::is_ascii_whitespace)
        .filter(|column| !column.is_empty());
    let mut is = |names: &[&str]| {
        columns
            .next()
            .is_some_and(|column| names.iter().any(|name| column == name.as_bytes()))
    };
    is(&["sl"]) && is(&["local_address"]) && is(&["rem_address", "remote_address"]) && is(&["st"])
}

/// The state column of `SL: ADDRESS:PORT ADDRESS:PORT ST ...`, if what is around it is where it should be.
fn code_of(line: &[u8], digits: usize) -> Option<u8> {
    let colon = memchr::memchr(b':', line)?;
    let sl = line[..colon].trim_ascii_start();
    if sl.is_empty() || !sl.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let line = &line[colon + 1..];
    // A blank, the address, a colon, and four digits for the port.
    let endpoint = 1 + digits + 1 + 4;
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
    ];
    let is_number = |at: Range<usize>| line[at].iter().all(u8::is_ascii_hexdigit);
    if !numbers.into_iter().all(is_number) {
        return None;
    }
    let digit = |at: usize| char::from(line[at]).to_digit(16);
    let code = (digit(2 * endpoint + 1)? << 4) | digit(2 * endpoint + 2)?;
    u8::try_from(code).ok()
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

    /// A reader that brings at most `step` bytes at a time, and is interrupted before each.
    struct Slow<'a> {
        text: &'a [u8],
        step: usize,
        interrupted: bool,
    }

    impl Read for Slow<'_> {
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
        let reader = Slow {
            text: text.as_bytes(),
            step,
            interrupted: false,
        };
        match count(reader, digits, &mut vec![0; buffer], &mut counts) {
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
        // Padded to 149 characters; a full socket, a time-wait socket, a line number of five digits.
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
        count(reader, IPV4_DIGITS, &mut [0; 4096], &mut counts).unwrap();
        assert_eq!(counts.get(State::Established), lines);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes: Vec<u8>, has_header: bool, digits in prop::sample::select(vec![IPV4_DIGITS, IPV6_DIGITS]), size in 1usize..300,
        ) {
            let mut text = if has_header { HEADER.as_bytes().to_vec() } else { Vec::new() };
            text.extend(bytes);
            let _ = count(&text[..], digits, &mut vec![0; size], &mut Counts::default());
        }

        #[test]
        fn a_changed_byte_does_not_panic(at: prop::sample::Index, byte: u8) {
            let mut text = format!("{HEADER}{}", line(0, IPV4_DIGITS, 1)).into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            let _ = count(&text[..], IPV4_DIGITS, &mut [0; 4096], &mut Counts::default());
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
