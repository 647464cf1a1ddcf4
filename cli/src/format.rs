// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the formats of several commands share.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tcpstat::{Counts, Namespace, State};

/// An answer, and whose it is where several namespaces are asked.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pub(crate) namespace: Option<Namespace>,
    pub(crate) answer: T,
}

/// One line for each answer.
pub(crate) fn lines<E>(answers: impl Iterator<Item = Result<String, E>>) -> Result<String, E> {
    answers.map(|line| Ok(line? + "\n")).collect()
}

/// A block for each answer, below a line that says whose it is where several namespaces are asked.
pub(crate) fn blocks<T>(answers: &[Answer<T>], block: impl Fn(&T) -> String) -> String {
    let blocks: Vec<String> = answers
        .iter()
        .map(|Answer { namespace, answer }| {
            let heading = namespace.map(|namespace| format!("{namespace}\n"));
            heading.unwrap_or_default() + &block(answer)
        })
        .collect();
    blocks.join("\n")
}

/// Labels of Prometheus.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// What tells the values of several namespaces apart.
pub(crate) fn labels(namespace: Option<Namespace>) -> Labels {
    namespace.map_or(Vec::new(), |Namespace { inode, pid }| {
        vec![("namespace", inode.to_string()), ("pid", pid.to_string())]
    })
}

/// The same in JSON.
#[derive(Serialize)]
pub(crate) struct JsonNamespace {
    namespace: u64,
    pid: u32,
}

impl From<Namespace> for JsonNamespace {
    fn from(Namespace { inode, pid }: Namespace) -> Self {
        Self {
            namespace: inode,
            pid,
        }
    }
}

/// `count` as a share of `total`, 0 to 1; of nothing, it is 0.
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
    pub(crate) of: Of,
}

/// What shares are of.
pub(crate) enum Of {
    /// All sockets.
    Total,
    /// So many connections. Listeners are none of them.
    Connections(u64),
}

#[derive(Serialize)]
pub(crate) struct Share {
    count: u64,
    /// 0 to 1; `null` for listeners where shares are of connections.
    ratio: Option<f64>,
}

impl Serialize for Shares<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of = match self.of {
            Of::Total => self.counts.total(),
            Of::Connections(connections) => connections,
        };
        serializer.collect_map(self.counts.iter().map(|(state, count)| {
            let ratio = match (&self.of, state) {
                (Of::Connections(_), State::Listen) => None,
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
