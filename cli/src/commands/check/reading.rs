// SPDX-License-Identifier: MIT OR Apache-2.0

//! The numbers of a network namespace at one time, and their change between two times.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use tcpstat::{Namespace, State};

use super::expression::{Quantity, Scope, Subject};
use super::judge::Value;

/// The numbers of one network namespace at one time.
pub(super) struct Reading {
    /// With `--all-namespaces`.
    pub(super) namespace: Option<Namespace>,
    /// When it was begun.
    pub(super) at: Instant,
    /// What was read for each subject, or why it is not known.
    pub(super) levels: Vec<(Subject, Result<Level, String>)>,
}

/// What was read for a subject.
pub(super) enum Level {
    /// Its number.
    Value(Value),
    /// What the rate of drops is computed from.
    Drops(Drops),
    /// Nothing listens at its port.
    Absent,
}

/// The drops of listeners since each of them started.
pub(super) enum Drops {
    /// Those of each listener, by its inode and address.
    OfListeners(BTreeMap<(Option<u64>, SocketAddr), u32>),
    /// Those of each port, for a source that does not list listeners.
    OfPorts(BTreeMap<u16, u64>),
}

impl Reading {
    /// The inode number of the namespace.
    pub(super) fn inode(&self) -> Option<u64> {
        self.namespace.map(|namespace| namespace.inode)
    }

    fn level(&self, subject: &Subject) -> Result<&Level, String> {
        let level = self.levels.iter().find(|(read, _)| read == subject);
        let (_, level) = level.ok_or("it was not read")?;
        level.as_ref().map_err(Clone::clone)
    }

    /// Whether nothing listens at the port of a subject.
    pub(super) fn is_absent(&self, subject: &Subject) -> bool {
        matches!(self.level(subject), Ok(Level::Absent))
    }

    /// The number, or why it is not known; for a rate, its change since `before`.
    pub(super) fn value(&self, subject: &Subject, before: Option<&Self>) -> Result<Value, String> {
        let after = self.level(subject)?;
        let Some(before) = before.filter(|_| subject.is_rate()) else {
            return after.value(subject);
        };
        let over = self.at - before.at;
        let in_first = |reason| format!("in the first reading: {reason}");
        let before = before.level(subject).map_err(in_first)?;
        let (port, change) = match (before, after) {
            (Level::Drops(before), Level::Drops(after)) => {
                (subject.scope.service(), increase(before, after)?)
            }
            // All listeners are new.
            (_, Level::Drops(_)) => (subject.scope.service(), 0),
            _ => {
                let after = after.value(subject)?;
                let before = before.value(subject).map_err(in_first)?;
                // The longest queue may be that of another port now.
                let is_other = |port| before.port.is_some_and(|before| before != port);
                let port = after.port.filter(|&port| !is_other(port));
                let change = after.amount - before.amount;
                let only_grows = matches!(subject.what, Quantity::Counter(_));
                (port, if only_grows { change.max(0) } else { change })
            }
        };
        Ok(Value {
            port,
            ..Value::rate(change, over)
        })
    }
}

/// The drops between two readings, of the listeners that are in both. If only the sum of a port is
/// known and it decreases, a listener was closed, and the increase is counted as 0.
fn increase(before: &Drops, after: &Drops) -> Result<i128, String> {
    match (before, after) {
        (Drops::OfListeners(before), Drops::OfListeners(after)) => {
            // The kernel's counter has 32 bits, too.
            let increase = |(key, after): (_, &u32)| {
                let increase = after.wrapping_sub(*before.get(key)?);
                Some(i128::from(increase))
            };
            Ok(after.iter().filter_map(increase).sum())
        }
        (Drops::OfPorts(before), Drops::OfPorts(after)) => {
            let increase = |(key, after): (_, &u64)| {
                let increase = after.saturating_sub(*before.get(key)?);
                Some(i128::from(increase))
            };
            Ok(after.iter().filter_map(increase).sum())
        }
        _ => Err("another source answered the first reading".into()),
    }
}

impl Level {
    /// The number at this time, or why it is not known.
    fn value(&self, Subject { scope, what, .. }: &Subject) -> Result<Value, String> {
        match (self, scope, what) {
            (Self::Value(value), ..) => Ok(*value),
            (Self::Drops(_), ..) => Err("only its change is known".into()),
            (
                Self::Absent,
                Scope::Service(port),
                Quantity::Listeners | Quantity::State(State::Listen),
            ) => Ok(Value {
                port: Some(*port),
                ..Value::count(0)
            }),
            (Self::Absent, Scope::Listener(_), Quantity::Listeners) => Ok(Value::count(0)),
            (Self::Absent, Scope::Listener(address), _) => Err(format!(
                "nothing listens at {address}; {scope}listeners<1 reports that"
            )),
            (Self::Absent, ..) => Err(format!(
                "nothing listens at this port; {scope}listeners<1 reports that"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::commands::check::expression::Expression;

    /// Drops of the listeners with these inodes.
    fn drops<const N: usize>(drops: [(u64, u32); N]) -> Level {
        let address = SocketAddr::from(([0, 0, 0, 0], 443));
        let drops = drops.map(|(inode, drops)| ((Some(inode), address), drops));
        Level::Drops(Drops::OfListeners(BTreeMap::from(drops)))
    }

    fn drops_of_ports<const N: usize>(drops: [(u16, u64); N]) -> Level {
        Level::Drops(Drops::OfPorts(BTreeMap::from(drops)))
    }

    /// The number for the left-hand side of `limit`, from two readings two seconds apart.
    fn value(limit: &str, before: Level, after: Level) -> Result<Value, String> {
        let Expression { subject, .. } = limit.parse().unwrap();
        let at = Instant::now();
        let reading = |at, level| Reading {
            namespace: None,
            at,
            levels: vec![(subject.clone(), Ok(level))],
        };
        let after = reading(at + Duration::from_secs(2), after);
        after.value(&subject, Some(&reading(at, before)))
    }

    #[test]
    fn only_listeners_that_are_in_both_readings_drop() {
        let change = |limit, before, after| value(limit, before, after).unwrap().amount;
        let before = || drops([(8001, 1), (8002, 100), (8003, 7)]);
        let after = || drops([(8001, 1), (8002, 103), (8004, 50)]);
        assert_eq!(change("drops/s>1", before(), after()), 3);
        let full = drops([(8001, u32::MAX)]);
        assert_eq!(change("443:drops/s>1", full, drops([(8001, 4)])), 5);
        assert_eq!(
            change("443:drops/s>1", Level::Absent, drops([(8001, 4)])),
            0
        );
        let before = || drops_of_ports([(22, 1), (443, 100), (81, 7)]);
        let after = || drops_of_ports([(22, 4), (443, 90), (8080, 50)]);
        assert_eq!(change("drops/s>1", before(), after()), 3);
        let other = value("drops/s>1", before(), drops([(8001, 4)]));
        assert!(other.unwrap_err().contains("another source"));
        let gone = value("443:drops/s>1", drops([(8001, 4)]), Level::Absent);
        assert!(
            gone.unwrap_err()
                .starts_with("nothing listens at this port; 443:listeners<1")
        );
    }

    #[test]
    fn a_change_may_be_a_decrease() {
        let count = |number| Level::Value(Value::count(number));
        let fall = value("total/s<0", count(5), count(3)).unwrap();
        assert_eq!((fall.amount, fall.whole), (-2, Some(2_000_000)));
        assert_eq!(value("total>1", count(5), count(3)), Ok(Value::count(3)));
        let gone = value("443:listeners/s<0", count(2), Level::Absent).unwrap();
        assert_eq!((gone.port, gone.amount), (Some(443), -2));
        let new = value("443:total/s>1", Level::Absent, count(3)).unwrap_err();
        assert!(
            new.starts_with("in the first reading: nothing listens"),
            "{new}"
        );
    }
}
