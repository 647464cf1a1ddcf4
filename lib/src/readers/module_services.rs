// SPDX-License-Identifier: MIT OR Apache-2.0

//! The module's answer by service: `/proc/net/tcpstat_services`, a line for every port that has a
//! listener and one for all other ports, read strictly.
//!
//! A header names the columns, and the lines are read by these names; other columns are ignored. An
//! older module does not write the columns of the fullest listener.

use std::io::Read;

use tcpstat_census::queue::AcceptQueue;
use tcpstat_census::services::{COLUMNS, FULLEST, NO_LISTENER};

use super::columns;
use super::lines::{BUFFER, Failure, Line, Lines, decimal, words};
use super::root::Root;
use crate::error::{BadLine, Error};
use crate::ports::Ports;
use crate::services::Service;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// How many columns hold a number: those about the listeners of a port, and the states.
const NUMBERS: usize = COLUMNS.len() - 1 + State::COUNT;

/// The services, by port in ascending order, and the sockets at ports without a listener.
pub(crate) type Answer = (Vec<Service>, Counts);

/// Reads the file of a procfs.
pub(crate) fn services(root: &Root, ports: Option<&Ports>) -> Result<Answer, Error> {
    let (path, file) = root
        .open_net("tcpstat_services")
        .map_err(Error::of_module)?;
    let (mut services, other) =
        parse(file, &mut vec![0; BUFFER]).map_err(|failure| failure.of(&path).of_module())?;
    if let Some(ports) = ports {
        services.retain(|service| ports.contains(service.port));
    }
    Ok((services, other))
}

/// Reads the text: the header, the ports in ascending order, and last the line of all other ports.
/// A line must fit into `buffer`.
pub(crate) fn parse<R: Read>(file: R, buffer: &mut [u8]) -> Result<Answer, Failure> {
    let mut lines = Lines::new(file, buffer);
    let Some(header) = lines.next()? else {
        return Err(lines.bad("the file is empty: not even a header", b""));
    };
    let columns = Columns::new(header)?;
    let mut services: Vec<Service> = Vec::new();
    let other = loop {
        let Some(line) = lines.next()? else {
            return Err(lines.bad("the file ends, and the line - is missing", b""));
        };
        let (port, numbers) = columns.read(line)?;
        let Some(port) = port else {
            break numbers.counts;
        };
        if services.last().is_some_and(|last| last.port >= port) {
            return Err(line.bad("the ports do not ascend").into());
        }
        let [listeners, accept_queue, backlog, drops] = numbers.listeners;
        services.push(Service {
            port,
            listeners,
            accept_queue,
            backlog: Some(backlog),
            fullest: numbers.fullest,
            drops: Some(drops),
            counts: numbers.counts,
            queues: None,
        });
    };
    match lines.next()? {
        None => Ok((services, other)),
        Some(line) => Err(line.bad("there is more after the line -").into()),
    }
}

/// The numbers of a line.
struct Numbers {
    listeners: [u64; COLUMNS.len() - 1],
    fullest: Option<AcceptQueue>,
    counts: Counts,
}

/// The places of the columns in a line.
struct Columns {
    /// The number of columns, the port included.
    number: usize,
    port: usize,
    /// In the order of [`names`].
    numbers: [usize; NUMBERS],
    /// In the order of [`FULLEST`]; `None` unless both are there.
    fullest: Option<[usize; FULLEST.len()]>,
}

/// The names of the columns with a number that every module writes.
fn names() -> impl Iterator<Item = &'static str> {
    COLUMNS[1..]
        .iter()
        .copied()
        .chain(State::ALL.into_iter().map(State::name))
}

impl Columns {
    fn new(header: Line<'_>) -> Result<Self, BadLine> {
        let mut numbers = [0; NUMBERS];
        let port = columns::place(header, COLUMNS[0])?;
        for (to, name) in numbers.iter_mut().zip(names()) {
            *to = columns::place(header, name)?;
        }
        let [queue, backlog] = FULLEST.map(|name| columns::find(header, name));
        Ok(Self {
            number: words(header.text).count(),
            port,
            numbers,
            fullest: queue?
                .zip(backlog?)
                .map(|(queue, backlog)| [queue, backlog]),
        })
    }

    /// The port of a line, or `None` in the line of all other ports, and its numbers.
    fn read(&self, line: Line<'_>) -> Result<(Option<u16>, Numbers), BadLine> {
        let words = columns::split(line, self.number)?;
        let port = match words[self.port] {
            word if word == NO_LISTENER.as_bytes() => None,
            word => {
                let port = decimal(word).and_then(|port| u16::try_from(port).ok());
                Some(port.ok_or_else(|| line.bad("PORT is neither a port nor -"))?)
            }
        };
        let number = |place: usize, name| {
            decimal(words[place]).ok_or_else(|| line.bad(format!("{name} is not a count")))
        };
        let mut numbers = [0; NUMBERS];
        for ((to, &place), name) in numbers.iter_mut().zip(&self.numbers).zip(names()) {
            *to = number(place, name)?;
        }
        let fullest = match self.fullest {
            None => None,
            Some([queue, backlog]) => {
                let number = |place, name| {
                    u32::try_from(number(place, name)?)
                        .map_err(|_| line.bad(format!("{name} is not a 32-bit number")))
                };
                Some(AcceptQueue {
                    length: number(queue, FULLEST[0])?,
                    backlog: number(backlog, FULLEST[1])?,
                })
            }
        };
        let mut counts = Counts::ZERO;
        for (state, &count) in State::ALL.into_iter().zip(&numbers[COLUMNS.len() - 1..]) {
            counts.set(state, count);
        }
        let [first, second, third, fourth, ..] = numbers;
        let listeners = [first, second, third, fourth];
        let numbers = Numbers {
            listeners,
            fullest,
            counts,
        };
        Ok((port, numbers))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tcpstat_census::services::{BLOCKS, Marks, Row, Tally};

    use super::*;

    const HEADER: &str = "PORT LISTENERS ACCEPT_QUEUE BACKLOG DROPS FULLEST_QUEUE FULLEST_BACKLOG \
                          ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN \
                          CLOSING\n";
    const ROWS: &str = "\
22                 1      0    128    0   0  128 2 0 0 0 0 0 0 0 0 1 0
443                4     17  16384 1234  16 4096 5 6 7 8 9 10 11 12 13 4 14
-                  0      0      0    0   0    0 40 1 0 0 0 9 0 0 0 0 0
";

    fn good() -> String {
        format!("{HEADER}{ROWS}")
    }

    fn parsed(text: &str, buffer: usize) -> Result<Answer, (u64, String)> {
        match parse(text.as_bytes(), &mut vec![0; buffer]) {
            Ok(answer) => Ok(answer),
            Err(Failure::Line(bad)) => Err((bad.line, bad.problem)),
            Err(Failure::Read(error)) => panic!("{error}"),
        }
    }

    fn problem(text: &str) -> (u64, String) {
        parsed(text, 4096).unwrap_err()
    }

    #[test]
    fn reads_what_the_module_writes() {
        let (services, other) = parsed(&good(), 4096).unwrap();
        assert_eq!(services.len(), 2);
        let service = services[1];
        assert_eq!((service.port, service.listeners), (443, 4));
        assert_eq!(service.accept_queue, 17);
        assert_eq!((service.backlog, service.drops), (Some(16384), Some(1234)));
        let fullest = AcceptQueue {
            length: 16,
            backlog: 4096,
        };
        assert_eq!(service.fullest, Some(fullest));
        let counts: Vec<u64> = service.counts.iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [5, 6, 7, 8, 9, 10, 11, 12, 13, 4, 14]);
        assert_eq!(services[0].counts.get(State::Established), 2);
        assert_eq!(other.get(State::Established), 40);
        assert_eq!((other.get(State::TimeWait), other.total()), (9, 50));
    }

    #[test]
    fn reads_what_the_census_makes() {
        let mut bits = Box::new([0; BLOCKS]);
        let mut marks = Marks::new(&mut bits);
        marks.insert(443);
        marks.insert(80);
        let (mut numbers, mut rows) = (vec![0; marks.numbers()], vec![Row::ZERO; marks.rows()]);
        let tally = Tally::new(&marks, &mut numbers, &mut rows).unwrap();
        let text = tally.finish().unwrap().to_string();
        assert!(text.starts_with(HEADER), "{text}");
        let (services, other) = parsed(&text, 4096).unwrap();
        let ports: Vec<u16> = services.iter().map(|service| service.port).collect();
        assert_eq!((&ports[..], other), (&[80, 443][..], Counts::ZERO));
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let good = good();
        let more = good
            .lines()
            .zip(["SOMETHING", "-7", "x", "y"])
            .map(|(line, more)| {
                let (port, rest) = line.split_once(' ').unwrap();
                let mut words: Vec<&str> = rest.split_whitespace().collect();
                words.reverse();
                format!("{} {more}   {port}  \n", words.join("  "))
            });
        assert_eq!(parsed(&more.collect::<String>(), 4096), parsed(&good, 4096));
    }

    #[test]
    fn an_older_module_does_not_know_the_fullest_listener() {
        let without = |text: &str, name: &str| -> String {
            let place = HEADER.split(' ').position(|column| column == name).unwrap();
            let line = |line: &str| {
                let mut words: Vec<&str> = line.split_whitespace().collect();
                words.remove(place);
                words.join(" ") + "\n"
            };
            text.lines().map(line).collect()
        };
        let (expected, other) = parsed(&good(), 4096).unwrap();
        let [queue, backlog] = FULLEST;
        let older = without(&without(&good(), backlog), queue);
        // One column alone is of no use.
        for text in [&older, &without(&good(), queue), &without(&good(), backlog)] {
            let mut expected = expected.clone();
            expected.iter_mut().for_each(|row| row.fullest = None);
            assert_eq!(parsed(text, 4096), Ok((expected, other)));
        }
    }

    #[test]
    fn reads_any_number_of_ports_through_a_small_buffer() {
        let mut text = HEADER.to_owned();
        for port in 0..=u16::MAX {
            text += &format!("{port} 1 0 128 0 0 128 0 0 0 0 0 0 0 0 0 1 0\n");
        }
        text += &format!("- {}\n", "0 ".repeat(17));
        let (services, _) = parsed(&text, 300).unwrap();
        assert_eq!(services.len(), 65536);
        assert!(services.iter().all(|service| service.counts.total() == 1));
    }

    #[test]
    fn refuses_a_text_cut_at_any_byte() {
        let good = good();
        for cut in 0..good.len() {
            let (line, _) = problem(&good[..cut]);
            let whole = good[..cut].matches('\n').count();
            assert_eq!(line as usize, whole + 1, "cut at byte {cut}");
        }
    }

    #[test]
    fn says_which_line_is_wrong_and_why() {
        let with = |from: &str, to: &str| {
            let good = good();
            assert!(good.contains(from), "{from}");
            problem(&good.replacen(from, to, 1))
        };
        let says = |line: u64, problem: &str| (line, problem.to_owned());
        assert_eq!(problem(""), says(1, "the file is empty: not even a header"));
        assert_eq!(with("PORT ", ""), says(1, "the column PORT is missing"));
        assert_eq!(
            with("DROPS ", "DROPPED "),
            says(1, "the column DROPS is missing")
        );
        assert_eq!(
            with("DROPS", "PORT"),
            says(1, "the column PORT is there twice")
        );
        assert_eq!(with("CLOSE ", ""), says(1, "the column CLOSE is missing"));
        assert_eq!(
            with(" 14\n", "\n"),
            says(3, "17 columns, and the header has 18")
        );
        assert_eq!(
            with(" 14\n", " 14 0\n"),
            says(3, "19 columns, and the header has 18")
        );
        assert_eq!(
            with("22 ", "\n22 "),
            says(2, "0 columns, and the header has 18")
        );
        assert_eq!(with("443", "22"), says(3, "the ports do not ascend"));
        assert_eq!(with("443", "21"), says(3, "the ports do not ascend"));
        for port in ["65536", "+443", "-443", "0x1bb", "http", "--"] {
            assert_eq!(
                with("443", port),
                says(3, "PORT is neither a port nor -"),
                "{port}"
            );
        }
        for count in ["-17", "+17", "1.7", "x", "18446744073709551616"] {
            assert_eq!(
                with("17", count),
                says(3, "ACCEPT_QUEUE is not a count"),
                "{count}"
            );
            assert_eq!(
                with("14\n", &format!("{count}\n")).1,
                "CLOSING is not a count"
            );
        }
        let problem_of_fullest = |count| with("16 4096", &format!("{count} 4096")).1;
        assert_eq!(problem_of_fullest("x"), "FULLEST_QUEUE is not a count");
        assert_eq!(
            problem_of_fullest("4294967296"),
            "FULLEST_QUEUE is not a 32-bit number"
        );
        assert_eq!(
            with("FULLEST_BACKLOG", "FULLEST_QUEUE"),
            says(1, "the column FULLEST_QUEUE is there twice")
        );
        let rest = ROWS.lines().last().unwrap();
        assert_eq!(
            with(rest, "444"),
            says(4, "1 columns, and the header has 18")
        );
        assert_eq!(
            problem(&good().replace(&format!("{rest}\n"), "")),
            says(4, "the file ends, and the line - is missing")
        );
        for more in [format!("{rest}\n"), "\n".into(), "444\n".into()] {
            assert_eq!(
                problem(&(good() + &more)),
                says(5, "there is more after the line -")
            );
        }
        assert_eq!(problem(&(good() + "4")), says(5, "the line is cut"));
        assert_eq!(
            parsed(&good(), 150).unwrap_err(),
            says(1, "the line does not end")
        );
    }

    #[test]
    fn ports_that_are_not_asked_for_are_left_out() {
        let root = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(root.path().join("net")).unwrap();
        std::fs::write(root.path().join("net/tcpstat_services"), good()).unwrap();
        let ports = "1-100".parse().unwrap();
        let (some, _) = services(&root.path().into(), Some(&ports)).unwrap();
        assert_eq!(some, parsed(&good(), 4096).unwrap().0[..1]);
        assert_eq!(
            services(&root.path().into(), None).unwrap(),
            parsed(&good(), 4096).unwrap()
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            rows in prop::collection::btree_map(any::<u16>(), any::<([u64; 4], [u32; 2], [u64; State::COUNT])>(), 0..20),
            other: [u64; State::COUNT], size in 450usize..1000,
        ) {
            let line = |port: &str, numbers: &[u64]| {
                let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
                format!("{port} {}\n", numbers.join(" "))
            };
            let mut text = HEADER.to_owned();
            for (port, (sums, fullest, states)) in &rows {
                text += &line(&port.to_string(), &[&sums[..], &fullest.map(u64::from), states].concat());
            }
            text += &line("-", &[&[0; 6][..], &other].concat());
            let (services, rest) = parsed(&text, size).unwrap();
            let counted = |counts: &Counts| counts.iter().map(|(_, count)| count).collect::<Vec<_>>();
            prop_assert_eq!(counted(&rest), other);
            prop_assert_eq!(services.len(), rows.len());
            for (service, (port, (sums, [length, fullest_backlog], states))) in services.iter().zip(rows) {
                let Service { listeners, accept_queue, backlog, drops, .. } = *service;
                prop_assert_eq!(service.port, port);
                prop_assert_eq!([listeners, accept_queue, backlog.unwrap(), drops.unwrap()], sums);
                prop_assert_eq!(service.fullest, Some(AcceptQueue { length, backlog: fullest_backlog }));
                prop_assert_eq!(counted(&service.counts), states);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, has_header: bool, size in 1usize..300) {
            let mut text = if has_header { HEADER.as_bytes().to_vec() } else { Vec::new() };
            text.extend(bytes);
            let _ = parse(&text[..], &mut vec![0; size]);
        }

        #[test]
        fn a_changed_byte_does_not_panic(at: prop::sample::Index, byte: u8) {
            let mut text = good().into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            let _ = parse(&text[..], &mut [0; 4096]);
        }
    }
}
