// SPDX-License-Identifier: MIT OR Apache-2.0

//! What was counted beside its limits, and which answer that gives.

use std::process::ExitCode;

use super::expression::{Expression, Subject};

/// The answer of a monitoring plugin; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    /// No limit is passed.
    Ok,
    /// It cannot be told.
    Unknown,
    /// A limit of `--warn` is passed.
    Warning,
    /// A limit of `--crit` is passed.
    Critical,
}

impl Status {
    /// Its name, as every plugin prints it.
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

/// A number that was asked for, and the limits on it.
#[derive(Debug)]
pub(super) struct Judged {
    /// What was asked for.
    pub(super) subject: Subject,
    /// The number, or why it is not known.
    pub(super) value: Result<Value, String>,
    /// The limits of `--warn` on it.
    pub(super) warn: Vec<Expression>,
    /// The limits of `--crit` on it.
    pub(super) crit: Vec<Expression>,
}

/// A number that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// The service that it is of, if it is of one.
    pub(super) port: Option<u16>,
    /// How many.
    pub(super) amount: u64,
    /// Of how many: all sockets; at a service its connections; for `accept_queue` the backlog, if it is known.
    pub(super) of: Option<u64>,
}

impl Value {
    /// A number that is no share of anything, nor of one service.
    pub(super) fn of_none(amount: u64) -> Self {
        Self {
            port: None,
            amount,
            of: None,
        }
    }
}

impl Judged {
    /// What this number alone would mean, and the limit that it passed.
    pub(super) fn status(&self) -> (Status, Option<&Expression>) {
        let Ok(value) = self.value else {
            return (Status::Unknown, None);
        };
        let holds = |limit: &&Expression| limit.holds(value.amount, value.of);
        if let Some(limit) = self.crit.iter().find(holds) {
            (Status::Critical, Some(limit))
        } else if let Some(limit) = self.warn.iter().find(holds) {
            (Status::Warning, Some(limit))
        } else {
            (Status::Ok, None)
        }
    }
}
