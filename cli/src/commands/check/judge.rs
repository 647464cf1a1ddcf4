// SPDX-License-Identifier: MIT OR Apache-2.0

//! A number with its limits, and the resulting status.

use std::process::ExitCode;
use std::time::Duration;

use super::expression::{Expression, Subject};

/// The status of a monitoring plugin, in ascending severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    /// No limit is crossed.
    Ok,
    /// The number is not known.
    Unknown,
    /// A limit of `--warn` is crossed.
    Warning,
    /// A limit of `--crit` is crossed.
    Critical,
}

impl Status {
    /// Its name in the output of monitoring plugins.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Unknown => "UNKNOWN",
            Status::Warning => "WARNING",
            Status::Critical => "CRITICAL",
        }
    }

    pub(super) fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Status::Ok => 0,
            Status::Warning => 1,
            Status::Critical => 2,
            Status::Unknown => 3,
        })
    }
}

/// A number, and the limits it is compared with.
#[derive(Debug)]
pub(super) struct Comparison {
    /// The name of the network namespace, with `--all-namespaces`.
    pub(super) namespace: Option<String>,
    /// The number that the limits name.
    pub(super) subject: Subject,
    /// Its value, or why it is not known.
    pub(super) value: Result<Value, String>,
    /// The limits of `--warn` on it.
    pub(super) warn: Vec<Expression>,
    /// The limits of `--crit` on it.
    pub(super) crit: Vec<Expression>,
}

/// A number that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// The port, for a number of one service.
    pub(super) port: Option<u16>,
    /// The count; for a rate the change, which may be negative.
    pub(super) amount: i128,
    /// The whole of which it is a share: all sockets; at a port its connections; for `accept_queue`
    /// the backlog of the fullest listener. For a rate, the microseconds between the two readings.
    /// `None` if there is neither, or it is not known.
    pub(super) whole: Option<u64>,
}

impl Value {
    /// A count without a whole and without a port.
    pub(super) fn count(amount: u64) -> Self {
        Self {
            port: None,
            amount: amount.into(),
            whole: None,
        }
    }

    /// A change by `amount` in the time `over`.
    pub(super) fn rate(amount: i128, over: Duration) -> Self {
        Self {
            port: None,
            amount,
            whole: Some(u64::try_from(over.as_micros()).unwrap_or(u64::MAX)),
        }
    }
}

impl Comparison {
    /// The status of this number alone, and the limit that it crosses.
    pub(super) fn status(&self) -> (Status, Option<&Expression>) {
        let Ok(value) = self.value else {
            return (Status::Unknown, None);
        };
        let holds = |limit: &&Expression| limit.holds(value.amount, value.whole);
        if let Some(limit) = self.crit.iter().find(holds) {
            (Status::Critical, Some(limit))
        } else if let Some(limit) = self.warn.iter().find(holds) {
            (Status::Warning, Some(limit))
        } else {
            (Status::Ok, None)
        }
    }
}
