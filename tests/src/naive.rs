// SPDX-License-Identifier: GPL-2.0-only

//! Counts sockets in the simplest way, for tests to compare with. It shares no code with the
//! command.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// The states as `/proc/tcpstat` names them, in the order of its lines, which is that of their
/// numbers.
pub const NAMES: [&str; 11] = [
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
];

/// Counts the sockets of `tcp` and `tcp6` in the directory `net`, such as `/proc/net`, by their
/// state column.
pub fn procfs(net: &Path) -> io::Result<Counts> {
    let mut counts = Counts::ZERO;
    for_each_socket(net, |socket| counts.add_one(socket.state))?;
    Ok(counts)
}

/// A line of `/proc/net/tcp`.
struct Socket {
    port: u16,
    /// The digits of the local address: those of IPv4, if it is an IPv4-mapped IPv6 address.
    address: String,
    state: State,
    /// `rx_queue`: of a listener, its accept queue.
    rx_queue: u64,
}

impl Socket {
    fn parse(line: &str) -> Option<Socket> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let (address, port) = words.get(1)?.split_once(':')?;
        let (_, rx_queue) = words.get(4)?.split_once(':')?;
        let code = hex(words.get(3)?)?.checked_sub(1)?;
        Some(Socket {
            port: hex(port)?.try_into().ok()?,
            address: address
                .strip_prefix("0000000000000000FFFF0000")
                .unwrap_or(address)
                .to_owned(),
            state: *State::ALL.get(usize::try_from(code).ok()?)?,
            rx_queue: hex(rx_queue)?,
        })
    }
}

fn for_each_socket(net: &Path, mut visit: impl FnMut(Socket)) -> io::Result<()> {
    for file in ["tcp", "tcp6"] {
        let path = net.join(file);
        let wrong = |what: String| io::Error::other(format!("{}: {what}", path.display()));
        let text = match fs::read_to_string(&path) {
            // A kernel without IPv6 has no such file.
            Err(e) if e.kind() == io::ErrorKind::NotFound && file == "tcp6" => continue,
            text => text.map_err(|e| wrong(e.to_string()))?,
        };
        for line in text.lines().skip(1) {
            match Socket::parse(line) {
                Some(socket) => visit(socket),
                None => return Err(wrong(format!("no socket in {line:?}"))),
            }
        }
    }
    Ok(())
}

/// The sockets at one local port, or at all local ports that have no listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Sockets that listen there.
    pub listeners: u64,
    /// Connections that wait for `accept`.
    pub accept_queue: u64,
    /// The sum of the listeners' backlogs; `/proc/net/tcp` does not have it.
    pub backlog: u64,
    /// Connections that the listeners dropped; `/proc/net/tcp` does not have it.
    pub drops: u64,
    /// The accept queue of the fullest listener, and its backlog; `/proc/net/tcp` does not have it.
    pub fullest: [u64; 2],
    /// All sockets by state.
    pub counts: Counts,
}

/// Rows by port; `None` is the row of the sockets whose local port has no listener.
pub type Services = BTreeMap<Option<u16>, Service>;

/// The same as [`procfs`], for each local port that has a listener: a socket is counted there if a
/// listener of the port has its address, or the unspecified one of its family; that of IPv6 takes
/// IPv4, too. With more than eight addresses of listeners, every socket of the port is. Backlogs,
/// drops and the fullest queue are 0.
pub fn procfs_services(net: &Path) -> io::Result<Services> {
    let mut sockets = Vec::new();
    for_each_socket(net, |socket| sockets.push(socket))?;
    let mut services = Services::from([(None, Service::default())]);
    let mut addresses: BTreeMap<u16, BTreeSet<String>> = BTreeMap::new();
    for socket in &sockets {
        if socket.state == State::Listen {
            let service = services.entry(Some(socket.port)).or_default();
            service.listeners += 1;
            service.accept_queue += socket.rx_queue;
            let addresses = addresses.entry(socket.port).or_default();
            addresses.insert(socket.address.clone());
        }
    }
    let [any_v4, any_v6] = ["0".repeat(8), "0".repeat(32)];
    let is_counted = |socket: &Socket| {
        let Some(addresses) = addresses.get(&socket.port) else {
            return false;
        };
        let specified = addresses
            .iter()
            .filter(|one| **one != any_v4 && **one != any_v6);
        specified.count() > 8
            || addresses.contains(&socket.address)
            || addresses.contains(&any_v6)
            || (addresses.contains(&any_v4) && socket.address.len() == any_v4.len())
    };
    for socket in &sockets {
        let port = Some(socket.port).filter(|_| is_counted(socket));
        let service = services.entry(port).or_default();
        service.counts.add_one(socket.state);
    }
    Ok(services)
}

/// The columns of all services added up.
pub fn sum(services: &Services) -> Counts {
    services.values().map(|row| row.counts).sum()
}

/// The first line of `/proc/net/tcpstat_services`.
pub const SERVICES_HEADER: &str = "PORT LISTENERS ACCEPT_QUEUE BACKLOG DROPS FULLEST_QUEUE FULLEST_BACKLOG \
     ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING\n";

/// The counts of each network namespace in the text of `/proc/tcpstat_namespaces`, by the inode
/// number, or what is wrong with it. Checks every character.
pub fn namespaces_text(text: &str) -> Result<BTreeMap<u64, Counts>, String> {
    let header = format!("NETNS {}\n", NAMES.join(" "));
    let body = text
        .strip_prefix(&header)
        .ok_or_else(|| format!("its first line is {:?}", text.lines().next()))?;
    let mut rows = BTreeMap::new();
    for line in body.split_inclusive('\n') {
        let wrong = || format!("not twelve numbers: {line:?}");
        let words = line.strip_suffix('\n').ok_or("its last line has no end")?;
        let numbers: Vec<u64> = words
            .split(' ')
            .map(|word| word.parse().ok().filter(|n: &u64| n.to_string() == word))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let [inode, states @ ..] = &numbers[..] else {
            return Err(wrong());
        };
        if states.len() != State::COUNT {
            return Err(wrong());
        }
        let mut counts = Counts::ZERO;
        for (state, count) in State::ALL.into_iter().zip(states) {
            counts.set(state, *count);
        }
        if rows.last_key_value().is_some_and(|(last, _)| last >= inode) {
            return Err(format!("the inode numbers do not ascend: {line:?}"));
        }
        rows.insert(*inode, counts);
    }
    Ok(rows)
}

/// The rows in the text of `/proc/net/tcpstat_services`, or what is wrong with it. Checks every
/// character.
pub fn services_text(text: &str) -> Result<Services, String> {
    let body = text
        .strip_prefix(SERVICES_HEADER)
        .ok_or_else(|| format!("its first line is {:?}", text.lines().next()))?;
    let (body, no_listener) = body
        .strip_suffix('\n')
        .map(|body| body.rsplit_once('\n').unwrap_or(("", body)))
        .ok_or("its last line has no end")?;
    let numbers = |words: &str| -> Result<Service, String> {
        let wrong = || format!("not seventeen numbers: {words:?}");
        let numbers: Vec<u64> = words
            .split(' ')
            .map(|word| word.parse().ok().filter(|n: &u64| n.to_string() == word))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let [
            listeners,
            accept_queue,
            backlog,
            drops,
            queue,
            its_backlog,
            states @ ..,
        ] = &numbers[..]
        else {
            return Err(wrong());
        };
        if states.len() != State::COUNT {
            return Err(wrong());
        }
        let mut counts = Counts::ZERO;
        for (state, count) in State::ALL.into_iter().zip(states) {
            counts.set(state, *count);
        }
        Ok(Service {
            listeners: *listeners,
            accept_queue: *accept_queue,
            backlog: *backlog,
            drops: *drops,
            fullest: [*queue, *its_backlog],
            counts,
        })
    };
    let mut services = Services::new();
    let mut last = None;
    for line in body.lines() {
        let (port, words) = line.split_once(' ').unwrap_or((line, ""));
        let port: u16 = port
            .parse()
            .ok()
            .filter(|number: &u16| number.to_string() == port && last < Some(*number))
            .ok_or_else(|| format!("{port:?} is no port that could come after {last:?}"))?;
        last = Some(port);
        services.insert(last, numbers(words)?);
    }
    let words = no_listener
        .strip_prefix("- ")
        .ok_or_else(|| format!("the last line is {no_listener:?}, not that of -"))?;
    services.insert(None, numbers(words)?);
    Ok(services)
}

/// Where `got` differs from `want`, a part for each port that differs; `None` if they are equal.
/// Backlogs and drops are not compared.
pub fn services_difference(want: &Services, got: &Services) -> Option<String> {
    let name = |port: &Option<u16>| port.map_or("-".to_owned(), |port| port.to_string());
    let mut lines = Vec::new();
    for port in want
        .keys()
        .chain(got.keys().filter(|port| !want.contains_key(*port)))
    {
        match (want.get(port), got.get(port)) {
            (Some(want), Some(got)) => {
                let got = Service {
                    backlog: want.backlog,
                    drops: want.drops,
                    fullest: want.fullest,
                    ..*got
                };
                if got != *want {
                    lines.push(format!("port {} has {got:?}, wanted {want:?}", name(port)));
                }
            }
            (None, _) => lines.push(format!("there should be no port {}", name(port))),
            (_, None) => lines.push(format!("there is no port {}", name(port))),
        }
    }
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// The counts in the text of `/proc/tcpstat`, or what is wrong with it. Checks every character.
pub fn module_text(text: &str) -> Result<Counts, String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    if lines.len() != NAMES.len() {
        return Err(format!(
            "{} lines, not {}: {text:?}",
            lines.len(),
            NAMES.len()
        ));
    }
    let mut counts = Counts::ZERO;
    for ((line, name), state) in lines.iter().zip(NAMES).zip(State::ALL) {
        let start = format!("{name:<12}: ");
        let number = line
            .strip_prefix(&start)
            .and_then(|rest| rest.strip_suffix('\n'));
        let number =
            number.ok_or_else(|| format!("{line:?} is not {start:?}, a number, a newline"))?;
        let count: u64 = number
            .parse()
            .map_err(|_| format!("{number:?} is no count in {line:?}"))?;
        if count.to_string() != number {
            return Err(format!(
                "{number:?} is not how {count} is written, in {line:?}"
            ));
        }
        counts.set(state, count);
    }
    Ok(counts)
}

/// The JSON that `tcpstat` prints for `counts`.
pub fn json(counts: &Counts) -> String {
    let members: Vec<String> = NAMES
        .iter()
        .zip(counts.iter())
        .map(|(name, (_, count))| format!("\"{name}\":{count}"))
        .collect();
    format!("{{{}}}\n", members.join(","))
}

/// Where `got` differs from `want`, a part for each state that differs; `None` if they are equal.
pub fn difference(want: &Counts, got: &Counts) -> Option<String> {
    let lines: Vec<String> = NAMES
        .iter()
        .zip(want.iter().zip(got.iter()))
        .filter(|(_, ((_, want), (_, got)))| want != got)
        .map(|(name, ((_, want), (_, got)))| format!("{name} is {got}, wanted {want}"))
        .collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        let lines: Vec<_> = NAMES
            .iter()
            .enumerate()
            .map(|(i, name)| format!("{name:<12}: {i}\n"))
            .collect();
        lines.concat()
    }

    #[test]
    fn takes_the_eleven_lines() {
        let counts = module_text(&text()).unwrap();
        assert_eq!(counts.get(State::Closing), 10);
        assert_eq!(counts.total(), 55);
    }

    #[test]
    fn refuses_what_is_nearly_right() {
        let text = text();
        for wrong in [
            text.replacen("ESTABLISHED :", "ESTABLISHED:", 1),
            text.replacen(": 3\n", ": 03\n", 1),
            text.replacen(": 3\n", ": -3\n", 1),
            text.replacen(": 3\n", ": 3 \n", 1),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            text.replacen("SYN_SENT", "SYN_RECV", 1),
            String::new(),
        ] {
            assert!(module_text(&wrong).is_err(), "{wrong:?}");
        }
    }

    fn services() -> Services {
        let text = format!(
            "{SERVICES_HEADER}22 1 0 128 0 0 128 1 0 0 0 0 0 0 0 0 1 0\n443 2 3 8192 4 2 4096{}\n-{}\n",
            " 5".repeat(11),
            " 0".repeat(17)
        );
        services_text(&text).unwrap()
    }

    #[test]
    fn takes_the_services() {
        let services = services();
        assert_eq!(services.len(), 3);
        let https = services[&Some(443)];
        assert_eq!(
            (
                https.listeners,
                https.accept_queue,
                https.backlog,
                https.drops
            ),
            (2, 3, 8192, 4)
        );
        assert_eq!(https.fullest, [2, 4096]);
        assert_eq!(https.counts.total(), 55);
        assert_eq!(sum(&services).get(State::Listen), 6);
        assert_eq!(services[&None], Service::default());
    }

    #[test]
    fn refuses_services_that_are_nearly_right() {
        let zeros = " 0".repeat(17);
        let good = format!("{SERVICES_HEADER}22{zeros}\n443{zeros}\n-{zeros}\n");
        services_text(&good).unwrap();
        for wrong in [
            good.trim_end().to_owned(),
            good.replacen("PORT ", "PORT  ", 1),
            good.replacen("22 ", "022 ", 1),
            good.replacen("22 ", "443 ", 1),
            good.replacen("22 ", "444 ", 1),
            good.replacen("22 ", "70000 ", 1),
            good.replacen("22 0", "22 -0", 1),
            good.replacen("22 0", "22 0 0", 1),
            good.replacen("22 0", "22", 1),
            good.replacen(&format!("-{zeros}\n"), "", 1),
            format!("{good}\n"),
            format!("{good}80{zeros}\n"),
            SERVICES_HEADER.to_owned(),
            String::new(),
        ] {
            assert!(services_text(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_where_services_differ() {
        let want = services();
        let mut got = want.clone();
        let service = got.get_mut(&Some(22)).unwrap();
        (service.backlog, service.drops, service.fullest) = (0, 9, [7, 8]);
        assert_eq!(services_difference(&want, &got), None);
        let mut other = got.remove(&Some(22)).unwrap();
        other.accept_queue = 1;
        assert_eq!(
            services_difference(&want, &got).unwrap(),
            "there is no port 22"
        );
        assert_eq!(
            services_difference(&got, &want).unwrap(),
            "there should be no port 22"
        );
        got.insert(Some(22), other);
        assert!(
            services_difference(&want, &got)
                .unwrap()
                .starts_with("port 22 has")
        );
    }

    #[test]
    fn names_the_difference() {
        let mut other = Counts::ZERO;
        other.set(State::Listen, 2);
        assert_eq!(difference(&Counts::ZERO, &Counts::ZERO), None);
        assert_eq!(
            difference(&Counts::ZERO, &other).unwrap(),
            "LISTEN is 2, wanted 0"
        );
    }
}
