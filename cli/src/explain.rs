// SPDX-License-Identifier: MIT OR Apache-2.0

//! The explanations of each state, each queue of a listener, and each other number of a service:
//! meaning, usual cause of many, and what to do. `tcpstat explain` and its man page both print
//! these texts.
//!
//! Sources: RFC 9293, section 3.3.2; tcp(7); listen(2); `Documentation/networking/ip-sysctl.rst`;
//! for the queues, `tcp_conn_request` and `tcp_v4_syn_recv_sock` in the kernel's `net/ipv4`.
//! Numbers are Linux's defaults.

use std::fmt;

use clap::builder::PossibleValue;
use serde::Serialize;
use tcpstat::State;

/// The explanation of a state, a queue, or another number of a service. Its `Display` is five lines
/// of at most 100 columns.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Topic {
    /// The state as the kernel spells it, or the number.
    pub name: &'static str,
    /// Its meaning, in one sentence.
    pub means: &'static str,
    /// The usual cause of many of them.
    pub many: &'static str,
    /// The command or file to look at next.
    pub look: &'static str,
    /// The side that has to act, and the timeout or limit that ends the state otherwise.
    pub act: &'static str,
    /// The command to type next.
    pub next: &'static str,
}

impl Topic {
    /// The name as people type it: `close-wait`.
    pub(crate) fn typed(&self) -> String {
        typed(self.name)
    }

    /// The name as a shell completes it, with its meaning.
    pub(crate) fn possible_value(&self) -> PossibleValue {
        PossibleValue::new(self.typed()).help(self.means)
    }

    /// The topic with the name `text`, in any case, with `-` or `_`; a state by all its names.
    pub(crate) fn find(text: &str) -> Option<&'static Topic> {
        let state = text.parse::<State>().map(State::name);
        let name = typed(state.unwrap_or(text));
        TOPICS.iter().find(|topic| topic.typed() == name)
    }
}

/// `name` in the form that names are compared in.
pub(crate) fn typed(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.means)?;
        writeln!(f, "Many: {}", self.many)?;
        writeln!(f, "Look: {}", self.look)?;
        writeln!(f, "Act:  {}", self.act)?;
        writeln!(f, "Next: {}", self.next)
    }
}

/// All eleven states in kernel order, then the two queues of a listener, and what limits and
/// surrounds them.
pub const TOPICS: &[Topic] = &[
    Topic {
        name: State::Established.name(),
        means: "the connection is open, data may flow both ways.",
        many: "the normal load. If the number only grows, neither side closes its connections.",
        look: "ss -tnop state established: Recv-Q stays above 0: not read here; Send-Q: not read there.",
        act: "either side: idle timeouts; SO_KEEPALIVE finds dead peers (net.ipv4.tcp_keepalive_time).",
        next: "tcpstat top --by process --state established --format table",
    },
    Topic {
        name: State::SynSent.name(),
        means: "this side has sent a SYN, and there is no answer yet.",
        many: "the other machine is down, a firewall drops the SYN, or a queue of the listener is full.",
        look: "tcpstat top --by process --state syn-sent: whose they are; and --by peer: to which address.",
        act: "the other side, or the path. connect() fails after net.ipv4.tcp_syn_retries (6: 2 minutes).",
        next: "tcpstat top --by peer --state syn-sent --format table",
    },
    Topic {
        name: State::SynRecv.name(),
        means: "a SYN came and was answered (SYN-ACK); the ACK that completes the handshake is missing.",
        many: "lost packets, a SYN flood, or a full accept queue, so that the ACK is dropped.",
        look: "tcpstat connections --state syn-recv: few addresses or many? tcpstat services: a full queue?",
        act: "this side if its queue is full, else the clients; net.ipv4.tcp_synack_retries (5: 63 s).",
        next: "tcpstat top --by peer --state syn-recv --format table",
    },
    Topic {
        name: State::FinWait1.name(),
        means: "this side closed first; its FIN, or data before it, is not acknowledged yet.",
        many: "peers that vanished or no longer read (their window is 0), or a path that loses packets.",
        look: "ss -tno state fin-wait-1: timer:(persist,...): the peer does not read; (on,...): it is silent.",
        act: "the other side. Without a process: net.ipv4.tcp_orphan_retries, net.ipv4.tcp_max_orphans.",
        next: "tcpstat top --by peer --state fin-wait1 --format table",
    },
    Topic {
        name: State::FinWait2.name(),
        means: "this side closed first, its FIN is acknowledged; the other side has not closed yet.",
        many: "programs on the other side that do not close; these are in CLOSE_WAIT there.",
        look: "ss -tnop state fin-wait-2: with a process: shutdown() without close(), it may stay for ever.",
        act: "the other side. Without a process, it ends after net.ipv4.tcp_fin_timeout (60 s).",
        next: "tcpstat top --by peer --state fin-wait2 --format table",
    },
    Topic {
        name: State::TimeWait.name(),
        means: "closed, by this side first; kept 60 s so that late segments reach no new connection.",
        many: "many short connections that this side closes: 1,000 a second make 60,000. No harm by itself.",
        look: "tcpstat connections --state time-wait. If connect() fails (EADDRNOTAVAIL), no port is left.",
        act: "this side: keep connections open (pools, keep-alive), or widen net.ipv4.ip_local_port_range.",
        next: "tcpstat top --by peer-port --state time-wait --format table",
    },
    Topic {
        name: State::Close.name(),
        means: "not connected. Such a socket is in none of the kernel's tables, so 0 is normal.",
        many: "not seen in practice. Unconnected sockets that programs hold are not in this count.",
        look: "/proc/net/sockstat and sockstat6: such sockets exist if alloc is far above inuse (TCP, TCP6).",
        act: "this side: the program that holds them must close() them; ls -l /proc/PID/fd counts them.",
        next: "tcpstat connections --state close --format table -p",
    },
    Topic {
        name: State::CloseWait.name(),
        means: "the other side has closed; the program on this side has not closed its socket.",
        many: "a program here that leaks sockets or is stuck. Only the program can end them.",
        look: "ss -tnp state close-wait. Recv-Q 0: it read EOF, did not close; above 0: it stopped reading.",
        act: "this side: close() once read() gives 0. No sysctl helps; a restart of the program clears them.",
        next: "tcpstat top --by process --state close-wait --format table",
    },
    Topic {
        name: State::LastAck.name(),
        means: "the other side closed, then this side; the FIN of this side is not acknowledged yet.",
        many: "peers that vanished after they closed, or a firewall that forgot the connection too early.",
        look: "ss -tno state last-ack: timer:(on,TIME,N): N retransmissions. Do the peers share a path?",
        act: "neither side: it ends with the ACK, a reset, or after net.ipv4.tcp_orphan_retries.",
        next: "tcpstat top --by peer --state last-ack --format table",
    },
    Topic {
        name: State::Listen.name(),
        means: "waits for connections: one socket for each address and port, or one for each worker.",
        many: "workers that share a port (SO_REUSEPORT). Growth without new services is a leak.",
        look: "tcpstat services -p: listeners, their processes and the accept queue of each port.",
        act: "this side. Fewer than expected is worse: tcpstat check --crit '443:listeners<1' reports it.",
        next: "tcpstat services --listeners --format table -p",
    },
    Topic {
        name: State::Closing.name(),
        means: "both sides closed at once; the FIN of this side is not acknowledged yet.",
        many: "rare, since two FINs must cross on their way. Many mean lost packets or vanished peers.",
        look: "ss -tno state closing: timer:(persist,...): the peer does not read; (on,...): it is silent.",
        act: "neither side: it goes on to TIME_WAIT with the ACK, or ends as FIN_WAIT1 does.",
        next: "tcpstat top --by peer --state closing --format table",
    },
    Topic {
        name: "syn-queue",
        means: "the incomplete handshakes of a listener: the sockets in SYN_RECV at its port.",
        many: "a SYN flood, clients behind a bad path, or a full accept-queue, which blocks them.",
        look: "tcpstat connections --state syn-recv --port PORT; nstat -az 'TcpExtTCPReqQFull*': was it full?",
        act: "this side: the backlog of listen(), net.core.somaxconn, net.ipv4.tcp_syncookies (1).",
        next: "tcpstat top --by local-port --state syn-recv --format table",
    },
    Topic {
        name: "accept-queue",
        means: "the established connections of a listener that accept() has not returned yet.",
        many: "the program accepts too slowly: too few workers, or all busy. When full, SYNs are dropped.",
        look: "tcpstat services: accept_queue and its backlog; nstat -az TcpExtListenOverflows: drops.",
        act: "this side: accept faster; the limit is listen()'s backlog, at most net.core.somaxconn (4096).",
        next: "tcpstat services --listeners --sort use --format table -p",
    },
    Topic {
        name: "backlog",
        means: "the limit of a listener's accept-queue; the kernel lets one connection more wait.",
        many: "a high limit: connections wait long at a slow program before any is dropped.",
        look: "tcpstat services --format table: USE is the queue in per cent of it; ss -ltn: Send-Q.",
        act: "this side: listen()'s backlog, at most net.core.somaxconn (4096); restart the program.",
        next: "tcpstat services --sort use --format table -p",
    },
    Topic {
        name: "drops",
        means: "handshakes that listeners refused, since each of them started; never reset while it listens.",
        many: "a full accept-queue or syn-queue. The clients try again after 1 s, 3 s, ..., or give up.",
        look: "tcpstat check --crit '443:drops/s>1': is it growing now? nstat -az TcpExtListenDrops: in all.",
        act: "this side: accept faster, more workers, or a higher backlog; see accept-queue.",
        next: "tcpstat services --sort drops --format table -p",
    },
    Topic {
        name: "other",
        means: "the sockets that no listener here has: mostly connections that this side opened.",
        many: "many clients here, of a database or an upstream; or a listener closed before its connections.",
        look: "tcpstat top --by process --remote-port 5432: whose connections to one service they are.",
        act: "this side: reuse connections (pools, keep-alive), and close those that are not needed.",
        next: "tcpstat top --by peer-port --no-loopback --format table",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_explained_in_kernel_order() {
        let states = State::ALL.map(State::name);
        let names: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
        assert_eq!(names[..State::COUNT], states);
        let others = ["syn-queue", "accept-queue", "backlog", "drops", "other"];
        assert_eq!(names[State::COUNT..], others);
    }

    #[test]
    fn five_lines_that_fit_a_terminal() {
        for topic in TOPICS {
            let text = topic.to_string();
            assert_eq!(text.lines().count(), 5, "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= 100, "{} {line}", line.len());
                let is_command = line.starts_with("Next: tcpstat ");
                assert!(is_command || line.ends_with(['.', '?']), "{line}");
            }
        }
    }

    #[test]
    fn names_are_found_however_they_are_typed() {
        for (text, name) in [
            ("CLOSE_WAIT", "CLOSE_WAIT"),
            ("close-wait", "CLOSE_WAIT"),
            ("Close_Wait", "CLOSE_WAIT"),
            ("fin-wait-1", "FIN_WAIT1"),
            ("FIN_WAIT_2", "FIN_WAIT2"),
            ("fin_wait2", "FIN_WAIT2"),
            ("SYN-RECEIVED", "SYN_RECV"),
            ("listening", "LISTEN"),
            ("SYN_QUEUE", "syn-queue"),
            ("accept-queue", "accept-queue"),
            ("Drops", "drops"),
            ("closed", "CLOSE"),
        ] {
            assert_eq!(Topic::find(text).map(|topic| topic.name), Some(name));
        }
        for text in ["", "CLOSE WAIT", "closewait", "queue", "\u{130}"] {
            assert_eq!(Topic::find(text), None);
        }
    }
}
