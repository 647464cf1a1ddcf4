// SPDX-License-Identifier: GPL-2.0-only

//! What `ss` lists, for the tests to compare with.

use std::env;
use std::io::{self, ErrorKind, Write};
use std::process::Command;
use std::sync::Once;

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// If this environment variable is set, a missing `ss` is a failure.
const REQUIRED: &str = "TCPSTAT_REQUIRE_SS";

/// A line of `ss -Htan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The state.
    pub state: State,
    /// `Recv-Q`.
    pub receive_queue: u32,
    /// `Send-Q`.
    pub send_queue: u32,
    /// The port of the socket.
    pub local_port: u16,
    /// The remote port, 0 if it has none.
    pub remote_port: u16,
}

impl Line {
    /// The sort key of lines.
    pub fn key(&self) -> impl Ord + use<> {
        let queues = (self.receive_queue, self.send_queue);
        (self.local_port, self.remote_port, self.state.code(), queues)
    }
}

/// A socket as `ss -Htanpe --cgroup` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The state.
    pub state: State,
    /// The local address, as `ss` prints it, and port.
    pub local: (String, u16),
    /// The remote address, and port; 0 if it has none.
    pub remote: (String, u16),
    /// The processes that have it open: name and ID.
    pub processes: Vec<(String, u32)>,
    /// The user that owns it; `None` if nobody does.
    pub uid: Option<u32>,
    /// The path of its cgroup, or what `ss` prints instead.
    pub cgroup: Option<String>,
}

/// The sockets that `ss` describes in the network namespace of this thread. `None` if there is no
/// `ss`, which is then reported on standard error.
///
/// # Panics
/// Same as [`lines`].
pub fn sockets() -> Option<Vec<Socket>> {
    let text = run(&["-Htanpe", "--cgroup"])?;
    Some(text.lines().filter_map(socket).collect())
}

fn socket(text: &str) -> Option<Socket> {
    let state = line(text)?.state;
    let words: Vec<&str> = text.split_whitespace().collect();
    let end = |word: &str| {
        let (address, port) = word.rsplit_once(':').unwrap();
        let address = address.trim_matches(['[', ']']).to_owned();
        (address, port.parse().unwrap_or(0))
    };
    let find = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    let number = |name| find(name).map(|number| number.parse::<u32>().unwrap());
    let users = text.split_once("users:((").map_or("", |(_, users)| users);
    let users = users.split_once("))").map_or("", |(users, _)| users);
    let user = |user: &str| {
        let (name, ids) = user.trim_start_matches('"').rsplit_once("\",pid=").unwrap();
        let (pid, _) = ids.split_once(',').unwrap();
        (name.to_owned(), pid.parse().unwrap())
    };
    let mut processes: Vec<_> = users
        .split("),(")
        .filter(|user| !user.is_empty())
        .map(user)
        .collect();
    processes.sort();
    processes.dedup();
    Some(Socket {
        state,
        local: end(words[3]),
        remote: end(words[4]),
        processes,
        // Root is left out.
        uid: number("ino:")
            .filter(|&inode| inode != 0)
            .map(|_| number("uid:").unwrap_or(0)),
        cgroup: find("cgroup:").map(str::to_owned),
    })
}

/// The lines of `ss -Htan` in the network namespace of this thread. `None` if there is no `ss`,
/// which is then reported on standard error.
///
/// # Panics
/// If `ss` fails or prints an unknown state; if there is no `ss` and `TCPSTAT_REQUIRE_SS` is set.
pub fn lines() -> Option<Vec<Line>> {
    Some(run(&["-Htan"])?.lines().filter_map(line).collect())
}

fn run(arguments: &[&str]) -> Option<String> {
    let output = match Command::new("ss").args(arguments).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(env::var_os(REQUIRED).is_none(), "ss: {error}");
            static REPORTED: Once = Once::new();
            // `eprintln!` would be captured, and not shown for a test that passes.
            REPORTED.call_once(|| drop(writeln!(io::stderr(), "ss is missing: not compared")));
            return None;
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// How many sockets [`lines`] has in each state.
pub fn counts() -> Option<Counts> {
    let mut counts = Counts::ZERO;
    for line in lines()? {
        counts.add_one(line.state);
    }
    Some(counts)
}

/// The line, unless it is of a bound but unused socket, which newer versions list.
fn line(text: &str) -> Option<Line> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let state = match words[0] {
        "ESTAB" => State::Established,
        "SYN-SENT" => State::SynSent,
        "SYN-RECV" => State::SynRecv,
        "FIN-WAIT-1" => State::FinWait1,
        "FIN-WAIT-2" => State::FinWait2,
        "TIME-WAIT" => State::TimeWait,
        "CLOSE-WAIT" => State::CloseWait,
        "LAST-ACK" => State::LastAck,
        "LISTEN" => State::Listen,
        "CLOSING" => State::Closing,
        "UNCONN" => return None,
        other => panic!("ss lists an unknown state {other:?}"),
    };
    let queue = |word: &str| word.parse().unwrap();
    let port = |address: &str| match address.rsplit_once(':').unwrap() {
        (_, "*") => 0,
        (_, port) => port.parse().unwrap(),
    };
    Some(Line {
        state,
        receive_queue: queue(words[1]),
        send_queue: queue(words[2]),
        local_port: port(words[3]),
        remote_port: port(words[4]),
    })
}
