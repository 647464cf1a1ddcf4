// SPDX-License-Identifier: MIT OR Apache-2.0

//! The number of connections in each state, and how it was counted.

use std::fmt;
use std::path::PathBuf;

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use crate::error::{Attempt, Error};
use crate::source::Source;

/// The number of connections in each state, and the source that counted.
#[derive(Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The connections of the network namespace, IPv4 and IPv6 together.
    pub counts: Counts,
    /// The source that answered.
    pub source: Source,
    /// How it counted; its `Display` is one line of text.
    pub method: Method,
    /// The sources that were tried before it, and could not answer.
    pub tried: Vec<Attempt>,
}

impl Snapshot {
    /// These counts: `source` counted everything, and no other source was tried.
    pub fn new(source: Source, counts: Counts) -> Self {
        Self {
            counts,
            source,
            method: Method::Whole,
            tried: Vec::new(),
        }
    }
}

/// A method of counting.
#[derive(Debug)]
#[non_exhaustive]
pub enum Method {
    /// The source counted everything: a line or a message for every connection, or the module.
    Whole,
    /// Only IPv4: a saved sample has no `tcp6`. (A kernel without IPv6 has none either, and then
    /// nothing is missing: [`Method::Whole`].)
    WithoutIpv6 {
        /// The missing file.
        missing: PathBuf,
    },
    /// Netlink listed the rare states; the counts of one or two states are from the kernel's
    /// counters.
    Difference {
        /// The states that are from the counters: `TIME_WAIT`, and `ESTABLISHED` or `CLOSE_WAIT`.
        derived: Vec<State>,
        /// The number of listed sockets.
        listed: u64,
        /// The maximum number of sockets that changed during the dump, by the counters.
        moved: u64,
        /// Why the counters were not accepted for a state, which was listed instead.
        declined: Vec<Reason>,
    },
    /// A message for every connection, since counting by difference was not cheaper or not
    /// reliable.
    Fallback(Reason),
}

/// Why netlink did not count by difference.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// There are too few sockets for it to be cheaper.
    Few {
        /// The number of sockets, by the counters.
        sockets: u64,
    },
    /// The counters cannot be read.
    NoCounters(Error),
    /// Most sockets are in states that the counters do not distinguish.
    Elsewhere {
        /// The number of sockets in these states.
        elsewhere: u64,
        /// The number of all sockets, by the counters.
        sockets: u64,
    },
    /// The counters contradict each other or the dump by more than the sockets that changed
    /// meanwhile.
    Contradiction {
        /// The state that was left out.
        left_out: State,
        /// The number that `sockstat` leaves for it.
        rest: i128,
        /// The listed `CLOSE_WAIT` sockets; with `CLOSE_WAIT` left out, the `ESTABLISHED` ones.
        other: u64,
        /// `CurrEstab`.
        curr_estab: u64,
    },
    /// The counters contradict the dump: it lists more time-wait sockets than they count.
    TimeWait {
        /// All time-wait sockets, by `sockstat`.
        tw: u64,
        /// Those that were listed in `FIN_WAIT2`.
        fin_wait2: u64,
    },
    /// Too many sockets changed during the dump.
    Moved {
        /// The state whose number is uncertain for it.
        state: State,
        /// The maximum number of sockets that changed.
        moved: u64,
        /// The number of sockets in the state.
        sockets: u64,
    },
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => write!(f, "counted everything"),
            Self::WithoutIpv6 { missing } => {
                write!(f, "counted IPv4 alone: there is no {}", missing.display())
            }
            Self::Difference {
                derived,
                listed,
                moved,
                declined,
            } => {
                let names: Vec<&str> = derived.iter().map(|state| state.name()).collect();
                let verb = if names.len() == 1 { "is" } else { "are" };
                write!(
                    f,
                    "counted by difference: {} {verb} from the kernel's counters, {listed} other sockets were \
                     listed; at most {moved} moved meanwhile",
                    names.join(" and ")
                )?;
                declined
                    .iter()
                    .try_for_each(|reason| write!(f, "; listed in a second dump: {reason}"))
            }
            Self::Fallback(reason) => write!(f, "listed every socket: {reason}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Few { sockets } => write!(f, "too few sockets: {sockets} by the counters"),
            Self::NoCounters(error) => write!(f, "no counters: {error}"),
            Self::Elsewhere { elsewhere, sockets } => write!(
                f,
                "{elsewhere} of {sockets} are in states that the counters do not distinguish"
            ),
            Self::Contradiction {
                left_out,
                rest,
                other,
                curr_estab,
            } => write!(
                f,
                "the counters contradict each other: sockstat leaves {rest} for {}, {other} {} are listed, \
                 CurrEstab says {curr_estab}",
                left_out.name(),
                partner(*left_out).name()
            ),
            Self::TimeWait { tw, fin_wait2 } => write!(
                f,
                "the counters contradict the dump: sockstat says {tw} time-wait sockets, \
                 {fin_wait2} are listed in FIN_WAIT2"
            ),
            Self::Moved {
                state,
                moved,
                sockets,
            } => write!(
                f,
                "up to {moved} sockets moved while {sockets} in {state} were counted"
            ),
        }
    }
}

/// The other of the two states that `CurrEstab` counts.
pub(crate) const fn partner(left_out: State) -> State {
    match left_out {
        State::CloseWait => State::Established,
        _ => State::CloseWait,
    }
}
