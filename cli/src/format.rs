// SPDX-License-Identifier: MIT OR Apache-2.0

//! The parts of output formats that several commands share.

use std::fmt;
use std::io::{self, Write};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::registry::Registry;
use serde::{Serialize, Serializer};
use tcpstat::{Counts, Interface, Namespace, State};

use crate::failure::Failure;
use crate::netns_name::Names;

/// The values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One line of JSON.
    Json,
    /// One line of JSON with time, source and ratios.
    Report,
    /// Metrics for Prometheus.
    Prometheus,
    /// A table for people.
    Table,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Report => "report",
            Self::Prometheus => "prometheus",
            Self::Table => "table",
        }
    }

    /// Whether an answer is one line, which `--interval` requires.
    pub(crate) fn is_one_line(self) -> bool {
        matches!(self, Self::Json | Self::Report)
    }

    /// The parser of `--format` for a command that has these formats.
    pub(crate) fn parser(formats: &'static [Self]) -> impl TypedValueParser<Value = Self> {
        let names = formats
            .iter()
            .map(|format| PossibleValue::new(format.name()));
        PossibleValuesParser::new(names).try_map(|name| {
            let found = formats.iter().find(|format| format.name() == name);
            found.copied().ok_or("unknown format")
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An answer, and its namespace with `--all-namespaces`.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pub(crate) namespace: Option<Namespace>,
    pub(crate) answer: T,
}

impl<T> Answer<T> {
    /// The answer that `convert` makes of this one.
    pub(crate) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Answer<U> {
        Answer {
            namespace: self.namespace,
            answer: convert(self.answer),
        }
    }
}

/// One line for each answer.
pub(crate) fn lines<E>(answers: impl Iterator<Item = Result<String, E>>) -> Result<String, E> {
    answers.map(|line| Ok(line? + "\n")).collect()
}

/// A block for each answer, below a line with its namespace if it has one.
pub(crate) fn blocks<T>(
    answers: &[Answer<T>],
    names: &Names,
    block: impl Fn(&T) -> String,
) -> String {
    let heading = |namespace: Namespace| match names.name(namespace) {
        name if name.is_empty() => format!("{namespace}\n"),
        name => format!("{namespace}, {name}\n"),
    };
    let blocks: Vec<String> = answers
        .iter()
        .map(|Answer { namespace, answer }| {
            namespace.map_or(String::new(), heading) + &block(answer)
        })
        .collect();
    blocks.join("\n")
}

/// The text of the metrics that a collector gives.
pub(crate) fn metrics(collector: impl Collector) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Writes the metrics that a collector gives.
pub(crate) fn write_metrics(collector: impl Collector, to: &mut impl Write) -> Result<(), Failure> {
    /// Keeps the error of a write, which has no place in `fmt::Error`.
    struct Text<'a, W>(&'a mut W, io::Result<()>);

    impl<W: Write> fmt::Write for Text<'_, W> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.1 = self.0.write_all(text.as_bytes());
            self.1.as_ref().map_err(|_| fmt::Error).copied()
        }
    }

    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let mut text = Text(to, Ok(()));
    let encoded = prometheus_client::encoding::text::encode(&mut text, &registry);
    text.1.map_err(Failure::Print)?;
    encoded.map_err(|error| Failure::Format(error.into()))
}

/// Labels of Prometheus.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// The labels of a namespace; empty for `None`. They stay the same while it exists, unlike its
/// processes.
pub(crate) fn labels(namespace: Option<Namespace>, names: &Names) -> Labels {
    namespace.map_or(Vec::new(), |namespace| {
        vec![
            ("netns", namespace.inode.to_string()),
            ("netns_name", names.name(namespace)),
        ]
    })
}

/// A namespace in JSON.
#[derive(Serialize)]
pub(crate) struct JsonNamespace {
    namespace: u64,
    /// `null` if no process is in it.
    pid: Option<u32>,
    /// `null` if it has none.
    netns_name: Option<String>,
}

impl JsonNamespace {
    /// The namespace of an answer, if it has one.
    pub(crate) fn of(namespace: Option<Namespace>, names: &Names) -> Option<Self> {
        namespace.map(|one| Self::named(one, Some(names.name(one)).filter(|name| !name.is_empty())))
    }

    /// A namespace with its name, if it has one.
    pub(crate) fn named(namespace: Namespace, name: Option<String>) -> Self {
        Self {
            namespace: namespace.inode,
            pid: namespace.pid,
            netns_name: name,
        }
    }
}

/// A network interface in JSON.
#[derive(Serialize)]
pub(crate) struct JsonInterface<'a> {
    index: u32,
    name: Option<&'a str>,
}

impl<'a> From<&'a Interface> for JsonInterface<'a> {
    fn from(Interface { index, name, .. }: &'a Interface) -> Self {
        Self {
            index: *index,
            name: name.as_deref(),
        }
    }
}

/// A network interface in a table.
pub(crate) fn interface_text(interface: &Interface) -> String {
    match &interface.name {
        Some(name) => name.clone(),
        None => format!("index {}", interface.index),
    }
}

/// `count` as a share of `total`, 0 to 1; 0 if `total` is 0.
pub(crate) fn ratio(count: u64, total: u64) -> f64 {
    if total == 0 {
        0.0
    } else {
        count as f64 / total as f64
    }
}

/// A ratio as it is printed in JSON: to six decimals.
pub(crate) fn rounded(ratio: f64) -> f64 {
    (ratio * 1e6).round() / 1e6
}

/// A time as it is printed in JSON: RFC 3339, UTC, in milliseconds.
pub(crate) fn rfc3339(timestamp: Timestamp) -> String {
    format!("{timestamp:.3}")
}

/// `{"ESTABLISHED":{"count":5,"ratio":0.25},...}`: all states in kernel order, and their shares.
pub(crate) struct Shares<'a> {
    pub(crate) counts: &'a Counts,
    pub(crate) whole: Whole,
}

/// The number that shares are computed from.
pub(crate) enum Whole {
    /// All sockets.
    Total,
    /// This number of connections. Listeners are not connections.
    Connections(u64),
}

#[derive(Serialize)]
pub(crate) struct Share {
    count: u64,
    /// 0 to 1; `null` for listeners if shares are of connections.
    ratio: Option<f64>,
}

impl Serialize for Shares<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of = match self.whole {
            Whole::Total => self.counts.total(),
            Whole::Connections(connections) => connections,
        };
        serializer.collect_map(self.counts.iter().map(|(state, count)| {
            let ratio = match (&self.whole, state) {
                (Whole::Connections(_), State::Listen) => None,
                _ => Some(rounded(ratio(count, of))),
            };
            (state.name(), Share { count, ratio })
        }))
    }
}

/// These counts, and zero in every other state.
#[cfg(test)]
pub(crate) fn counts(states: &[(State, u64)]) -> Counts {
    let mut counts = Counts::ZERO;
    for &(state, count) in states {
        counts.set(state, count);
    }
    counts
}

/// A service with these numbers; its fullest listener has all of the queue and of the backlog.
#[cfg(test)]
pub(crate) fn service(
    port: u16,
    listeners: u64,
    (accept_queue, backlog): (u64, Option<u64>),
    drops: Option<u64>,
    states: &[(State, u64)],
) -> tcpstat::Service {
    let mut service = tcpstat::Service::new(port);
    service.listeners = listeners;
    service.accept_queue = accept_queue;
    service.backlog = backlog;
    service.fullest = backlog.map(|backlog| fullest(accept_queue, backlog));
    service.drops = drops;
    service.counts = counts(states);
    service
}

/// The queue of a listener with these numbers.
#[cfg(test)]
pub(crate) fn fullest(accept_queue: u64, backlog: u64) -> tcpstat::AcceptQueue {
    tcpstat::AcceptQueue {
        length: u32::try_from(accept_queue).unwrap(),
        backlog: u32::try_from(backlog).unwrap(),
    }
}
