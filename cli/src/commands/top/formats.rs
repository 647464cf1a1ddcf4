// SPDX-License-Identifier: MIT OR Apache-2.0

//! The output formats of groups. Groups are written one by one, since there may be very many.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::{Serialize, Serializer};
use tcpstat::{Counts, Group, GroupKey, Groups, Key, State};

use crate::failure::Failure;
use crate::format::{Format, Labels, Shares, Whole, ratio, rfc3339, write_metrics};
use crate::owners::printable;
use crate::table::{self, Column};
use crate::users::Users;

/// The formats of this command.
pub(super) const FORMATS: [Format; 3] = [Format::Json, Format::Prometheus, Format::Table];

/// Replaces the key for the sockets that are in no listed group.
const OTHER: &str = "other";

/// The groups of a reading, and what is needed to print them.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) groups: Groups,
    /// The number of groups to print.
    pub(super) limit: usize,
    /// The names of network namespaces, by their inode numbers.
    pub(super) names: BTreeMap<u64, String>,
    pub(super) users: Arc<Users>,
}

impl Reading {
    /// Writes the groups. `timestamp` is the time of the reading.
    pub(super) fn write(
        self,
        format: Format,
        timestamp: Timestamp,
        to: &mut impl Write,
    ) -> Result<(), Failure> {
        match format {
            Format::Table => self.write_table(to).map_err(Failure::Print),
            Format::Prometheus => write_metrics(Metrics(self), to),
            Format::Json | Format::Report => {
                let written = serde_json::to_writer(&mut *to, &self.json(timestamp));
                let written = written.map_err(io::Error::from);
                written
                    .and_then(|()| to.write_all(b"\n"))
                    .map_err(Failure::Print)
            }
        }
    }

    /// The groups to print.
    fn listed(&self) -> impl ExactSizeIterator<Item = Group> + Clone + '_ {
        self.groups.iter().take(self.limit)
    }

    /// The key as text, by which no two groups are the same.
    fn key(&self, key: &GroupKey) -> String {
        match key {
            GroupKey::User(uid) => self.users.name(*uid),
            key => key.to_string(),
        }
    }

    /// The sources that answered.
    fn source(&self) -> String {
        let sources = self.groups.sources.iter().map(|source| source.name());
        sources.collect::<Vec<_>>().join(",")
    }

    fn json(&self, timestamp: Timestamp) -> Json<'_> {
        let other = self.groups.other(self.limit);
        Json {
            timestamp: rfc3339(timestamp),
            source: self.source(),
            by: self.groups.key.name(),
            groups: JsonGroups(self),
            other: JsonOther {
                total: other.total(),
                states: JsonStates(other),
            },
            exact: self.groups.is_exact(),
        }
    }

    /// A row for each group, a column for each state that occurs, with its share of the group.
    fn write_table(&self, to: &mut impl Write) -> io::Result<()> {
        let groups = &self.groups;
        let all = groups.all();
        let states: Vec<State> = State::ALL
            .into_iter()
            .filter(|&state| all.get(state) > 0)
            .collect();
        let mut columns = vec![
            Column::text(heading(groups.key), 0),
            Column::number("TOTAL", 0),
        ];
        if !groups.is_exact() {
            columns.push(Column::number("ERROR", 0));
        }
        columns.extend(states.iter().map(|state| Column::number(state.name(), 0)));
        let row = |key: String, total: u64, error: Option<u64>, counts: Counts| {
            let mut row = vec![key, total.to_string()];
            if !groups.is_exact() {
                row.push(error.map_or(String::new(), |error| error.to_string()));
            }
            row.extend(states.iter().map(|&state| match counts.get(state) {
                0 => "0".to_owned(),
                count => format!("{count} {:5.1} %", 100.0 * ratio(count, counts.total())),
            }));
            row
        };
        let other = groups.other(self.limit);
        let others = (other.total() > 0).then_some(other);
        let others = others
            .map(|other| row(OTHER.to_owned(), other.total(), None, other))
            .into_iter();
        let listed = self.listed().map(|group| {
            let mut key = printable(&self.key(&group.key));
            if let GroupKey::Netns(inode) = group.key {
                let name = self.names.get(&inode).filter(|name| !name.is_empty());
                key += &name.map_or(String::new(), |name| format!(" {name}"));
            }
            row(key, group.total, Some(group.error), group.counts)
        });
        table::write(to, &columns, listed.chain(others))?;
        if groups.is_empty() {
            writeln!(to, "no sockets")?;
        }
        write!(to, "\nsource: {}", self.source())?;
        if !groups.is_exact() {
            write!(
                to,
                "; more groups than can be kept: a total is too high by at most its error"
            )?;
        }
        writeln!(to)
    }

    /// The label of a group in Prometheus; `None` for groups that are added up.
    fn labels(&self, group: &Group) -> Option<Labels> {
        let value = match &group.key {
            GroupKey::State(_) | GroupKey::Processes(_) => return None,
            _ if self.groups.key == Key::Process => return None,
            key => self.key(key),
        };
        let mut labels = vec![(label(self.groups.key), value)];
        if self.groups.key == Key::Netns {
            let name = match group.key {
                GroupKey::Netns(inode) => self.names.get(&inode).cloned(),
                _ => None,
            };
            labels.push(("netns_name", name.unwrap_or_default()));
        }
        Some(labels)
    }

    /// The labels and counts of the groups that are added up, and of all that is not listed: by
    /// state everything, and by process the processes that have the same name. Process IDs would
    /// make new series all the time.
    fn sums(&self) -> Vec<(Labels, Counts)> {
        let other = self.groups.other(self.limit);
        let other_labels = || {
            let mut labels = vec![(label(self.groups.key), OTHER.to_owned())];
            if self.groups.key == Key::Netns {
                labels.push(("netns_name", String::new()));
            }
            labels
        };
        match self.groups.key {
            Key::State => vec![(Labels::new(), self.groups.all())],
            Key::Process => {
                // A process may have this name.
                let mut sums = BTreeMap::from([(OTHER.to_owned(), other)]);
                for group in self.listed() {
                    let name = match &group.key {
                        GroupKey::Processes(processes) => {
                            let processes = processes.iter();
                            let mut names: Vec<&str> =
                                processes.map(|process| &*process.comm).collect();
                            names.dedup();
                            names.join(",")
                        }
                        key => key.to_string(),
                    };
                    let sum = sums.entry(name).or_insert(Counts::ZERO);
                    *sum = [*sum, group.counts].into_iter().sum();
                }
                let labels = |name| vec![(label(Key::Process), name)];
                sums.into_iter()
                    .map(|(name, sum)| (labels(name), sum))
                    .collect()
            }
            _ => vec![(other_labels(), other)],
        }
    }
}

/// The heading of the column of a key.
fn heading(key: Key) -> &'static str {
    match key {
        Key::Unit => "UNIT",
        Key::Cgroup => "CGROUP",
        Key::Process => "PROCESS",
        Key::User => "USER",
        Key::Peer => "PEER",
        Key::PeerPort => "PEER_PORT",
        Key::LocalPort => "LOCAL_PORT",
        Key::LocalAddress => "LOCAL_ADDRESS",
        Key::State => "STATE",
        Key::Family => "FAMILY",
        Key::Netns => "NETNS",
        _ => "KEY",
    }
}

/// The label of a key.
fn label(key: Key) -> &'static str {
    match key {
        Key::PeerPort => "peer_port",
        Key::LocalPort => "local_port",
        Key::LocalAddress => "local_address",
        key => key.name(),
    }
}

#[derive(Serialize)]
struct Json<'a> {
    timestamp: String,
    source: String,
    by: &'static str,
    groups: JsonGroups<'a>,
    other: JsonOther,
    exact: bool,
}

/// The groups, each made when it is written.
struct JsonGroups<'a>(&'a Reading);

impl Serialize for JsonGroups<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(reading) = self;
        serializer.collect_seq(reading.listed().map(|group| JsonGroup {
            key: reading.key(&group.key),
            total: group.total,
            error: group.error,
            states: JsonStates(group.counts),
        }))
    }
}

#[derive(Serialize)]
struct JsonGroup {
    key: String,
    total: u64,
    error: u64,
    states: JsonStates,
}

#[derive(Serialize)]
struct JsonOther {
    total: u64,
    states: JsonStates,
}

/// All states, with their shares of the sockets that are counted.
struct JsonStates(Counts);

impl Serialize for JsonStates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shares {
            counts: &self.0,
            whole: Whole::Total,
        }
        .serialize(serializer)
    }
}

/// The metrics of a reading.
#[derive(Debug)]
struct Metrics(Reading);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(reading) = self;
        let mut metric = encoder.encode_descriptor(
            "tcpstat_group_connection_states",
            "Number of sockets that have the label in common, by state.",
            None,
            MetricType::Gauge,
        )?;
        let groups = reading.listed();
        let groups = groups.filter_map(|group| Some((reading.labels(&group)?, group.counts)));
        for (labels, counts) in groups.chain(reading.sums()) {
            for (state, count) in counts.iter() {
                let mut labels = labels.clone();
                labels.push(("state", state.name().to_ascii_lowercase()));
                ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
        if reading.groups.is_exact() {
            return Ok(());
        }
        let mut metric = encoder.encode_descriptor(
            "tcpstat_group_error",
            "Maximum number of sockets that were missed, since there are too many groups.",
            None,
            MetricType::Gauge,
        )?;
        for group in reading.listed() {
            if let Some(labels) = reading.labels(&group) {
                ConstGauge::new(group.error).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_headings_for_every_key() {
        for key in Key::ALL {
            let expected = key.name().to_uppercase().replace('-', "_");
            assert_eq!(heading(key), expected);
            assert_eq!(label(key), expected.to_lowercase());
        }
    }
}
