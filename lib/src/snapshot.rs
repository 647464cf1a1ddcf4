// SPDX-License-Identifier: MIT OR Apache-2.0

//! How many connections are in each state, and how that was found.

use std::fmt;

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use crate::error::{Attempt, Error};
use crate::source::Source;

/// How many connections are in each state, and the source that counted.
#[derive(Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The connections of the network namespace, IPv4 and IPv6 together.
    pub counts: Counts,
    /// The source that answered.
    pub source: Source,
    /// How it found the answer; its `Display` is a line for people.
    pub method: Method,
    /// The sources that were tried before it, and could not answer.
    pub tried: Vec<Attempt>,
}

impl Snapshot {
    /// These counts; `source` answered at once, and counted everything.
    pub fn new(source: Source, counts: Counts) -> Self {
        Self {
            counts,
            source,
            method: Method::Whole,
            tried: Vec::new(),
        }
    }
}

/// How an answer was found.
#[derive(Debug)]
#[non_exhaustive]
pub enum Method {
    /// The source counted everything: a line or a message for every connection, or the module.
    Whole,
    /// Netlink listed the rare states; two are from the kernel's counters.
    Difference {
        /// The state that was left out together with `TIME_WAIT`: `ESTABLISHED`, or `CLOSE_WAIT`.
        left_out: State,
        /// How many sockets were listed.
        listed: u64,
        /// How many sockets moved at most, by the counters, while these were listed.
        moved: u64,
    },
    /// Counting by difference would not have been cheaper, or not safe: a message for every connection.
    Fallback(Reason),
}

/// Why netlink did not count by difference.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// There are so few sockets that it would not be cheaper.
    Few {
        /// How many there are by the counters.
        sockets: u64,
    },
    /// The counters cannot be read.
    NoCounters(Error),
    /// Most sockets are in states that counters do not tell apart.
    Elsewhere {
        /// How many are in these.
        elsewhere: u64,
        /// Of how many, by the counters.
        sockets: u64,
    },
    /// The counters contradict each other or the dump by more than the sockets that moved meanwhile.
    Contradiction {
        /// The state that was left out.
        left_out: State,
        /// What `sockstat` leaves for it.
        rest: i128,
        /// What `sockstat` leaves for `TIME_WAIT`.
        time_wait: i128,
        /// The `CLOSE_WAIT` sockets that were listed, or the `ESTABLISHED` ones.
        other: u64,
        /// `CurrEstab`.
        curr_estab: u64,
    },
    /// Too many sockets moved while the others were listed.
    Moved {
        /// How many, at most.
        moved: u64,
        /// Of how many.
        sockets: u64,
    },
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => write!(f, "counted everything"),
            Self::Difference {
                left_out,
                listed,
                moved,
            } => write!(
                f,
                "counted by difference: {} and TIME_WAIT are from sockstat, {listed} other sockets were listed; \
                 at most {moved} moved meanwhile",
                left_out.name()
            ),
            Self::Fallback(reason) => write!(f, "listed every socket: {reason}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Few { sockets } => write!(f, "there are few, {sockets} by the counters"),
            Self::NoCounters(error) => write!(f, "no counters: {error}"),
            Self::Elsewhere { elsewhere, sockets } => write!(
                f,
                "{elsewhere} of {sockets} are in states that the counters do not tell apart"
            ),
            Self::Contradiction {
                left_out,
                rest,
                time_wait,
                other,
                curr_estab,
            } => write!(
                f,
                "the counters contradict each other: sockstat leaves {rest} for {} and {time_wait} for TIME_WAIT, \
                 {other} {} are listed, CurrEstab says {curr_estab}",
                left_out.name(),
                partner(*left_out).name()
            ),
            Self::Moved { moved, sockets } => {
                write!(
                    f,
                    "up to {moved} of {sockets} moved while they were counted"
                )
            }
        }
    }
}

/// The other one of the two that `CurrEstab` counts.
pub(crate) const fn partner(left_out: State) -> State {
    match left_out {
        State::CloseWait => State::Established,
        _ => State::CloseWait,
    }
}
