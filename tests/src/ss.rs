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

/// The lines of `ss -Htan` in the network namespace of this thread. `None` if there is no `ss`,
/// which is then reported on standard error.
///
/// # Panics
/// If `ss` fails or prints an unknown state; if there is no `ss` and `TCPSTAT_REQUIRE_SS` is set.
pub fn lines() -> Option<Vec<Line>> {
    let output = match Command::new("ss").arg("-Htan").output() {
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
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().filter_map(line).collect())
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
