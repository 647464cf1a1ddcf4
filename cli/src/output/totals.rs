// SPDX-License-Identifier: MIT OR Apache-2.0

//! The formats in which the counts of all connections are printed.

use std::fmt::Write as _;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde::{Serialize, Serializer};
use tcpstat::{Counts, Snapshot};

use crate::args::Format;
use crate::output::ratio;

impl Format {
    /// The snapshot as text, with its last newline. `timestamp` is when it was taken.
    pub(crate) fn text(
        self,
        snapshot: &Snapshot,
        timestamp: Timestamp,
    ) -> Result<String, Box<dyn std::error::Error>> {
        Ok(match self {
            Self::Json => serde_json::to_string(&Json(&snapshot.counts))? + "\n",
            Self::Report => serde_json::to_string(&Report::new(snapshot, timestamp))? + "\n",
            Self::Prometheus => prometheus(snapshot.counts)?,
            Self::Table => table(snapshot)?,
        })
    }
}

/// `{"ESTABLISHED":5,...}`: all states in kernel order.
struct Json<'a>(&'a Counts);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(state, count)| (state.name(), count)))
    }
}

#[derive(Serialize)]
struct Report<'a> {
    /// RFC 3339, UTC, in milliseconds.
    timestamp: String,
    source: &'static str,
    total: u64,
    states: Shares<'a>,
}

impl<'a> Report<'a> {
    fn new(snapshot: &'a Snapshot, timestamp: Timestamp) -> Self {
        Self {
            timestamp: format!("{timestamp:.3}"),
            source: snapshot.source.name(),
            total: snapshot.counts.total(),
            states: Shares(&snapshot.counts),
        }
    }
}

struct Shares<'a>(&'a Counts);

#[derive(Serialize)]
struct Share {
    count: u64,
    /// Of the total, 0 to 1, to six decimals.
    ratio: f64,
}

impl Serialize for Shares<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let total = self.0.total();
        serializer.collect_map(self.0.iter().map(|(state, count)| {
            let ratio = (ratio(count, total) * 1e6).round() / 1e6;
            (state.name(), Share { count, ratio })
        }))
    }
}

/// The names are those of node_exporter's tcpstat collector.
fn prometheus(counts: Counts) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(InKernelOrder(counts)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// A `Family` of the library would print the states in another order each time.
#[derive(Debug)]
struct InKernelOrder(Counts);

impl Collector for InKernelOrder {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = "node_tcp_connection_states";
        let mut metric = encoder.encode_descriptor(
            name,
            "Number of connection states.",
            None,
            MetricType::Gauge,
        )?;
        self.0.iter().try_for_each(|(state, count)| {
            let labels = [("state", state.name().to_ascii_lowercase())];
            ConstGauge::new(count).encode(metric.encode_family(&labels)?)
        })
    }
}

fn table(snapshot: &Snapshot) -> Result<String, std::fmt::Error> {
    let total = snapshot.counts.total();
    let width = total.to_string().len().max("COUNT".len());
    let mut text = format!("{:<12}  {:>width$}    SHARE\n", "STATE", "COUNT");
    let rows = snapshot
        .counts
        .iter()
        .map(|(state, count)| (state.name(), count));
    for (name, count) in rows.chain([("total", total)]) {
        writeln!(
            text,
            "{name:<12}  {count:>width$}  {:>5.1} %",
            100.0 * ratio(count, total)
        )?;
    }
    writeln!(text, "\nsource: {}", snapshot.source)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use tcpstat::{Method, Source, State};

    use super::*;

    fn snapshot() -> Snapshot {
        let mut counts = Counts::ZERO;
        counts.set(State::Established, 100);
        counts.set(State::Listen, 14);
        counts.set(State::TimeWait, 1);
        Snapshot {
            counts,
            source: Source::Module,
            method: Method::Whole,
            tried: Vec::new(),
        }
    }

    fn text(format: Format, snapshot: &Snapshot) -> String {
        format
            .text(
                snapshot,
                Timestamp::from_millisecond(1_700_000_000_120).unwrap(),
            )
            .unwrap()
    }

    #[test]
    fn json_is_eleven_keys_in_kernel_order_on_one_line() {
        assert_eq!(
            text(Format::Json, &snapshot()),
            "{\"ESTABLISHED\":100,\"SYN_SENT\":0,\"SYN_RECV\":0,\"FIN_WAIT1\":0,\"FIN_WAIT2\":0,\"TIME_WAIT\":1,\
             \"CLOSE\":0,\"CLOSE_WAIT\":0,\"LAST_ACK\":0,\"LISTEN\":14,\"CLOSING\":0}\n"
        );
    }

    #[test]
    fn report_has_time_source_total_and_ratios() {
        let report = text(Format::Report, &snapshot());
        assert!(report.starts_with(
            "{\"timestamp\":\"2023-11-14T22:13:20.120Z\",\"source\":\"module\",\"total\":115,\
             \"states\":{\"ESTABLISHED\":{\"count\":100,\"ratio\":0.869565},\"SYN_SENT\":{\"count\":0,\"ratio\":0.0},"
        ));
        assert_eq!(report.matches('\n').count(), 1);
    }

    #[test]
    fn ratios_of_nothing_are_zero() {
        let nothing = Snapshot {
            counts: Counts::ZERO,
            source: Source::Netlink,
            method: Method::Whole,
            tried: Vec::new(),
        };
        let report: serde_json::Value =
            serde_json::from_str(&text(Format::Report, &nothing)).unwrap();
        assert_eq!(report["total"], 0);
        assert_eq!(report["states"]["ESTABLISHED"]["ratio"], 0.0);
        assert!(text(Format::Table, &nothing).contains("total             0    0.0 %"));
    }

    #[test]
    fn prometheus_is_a_gauge_with_lower_case_labels() {
        assert_eq!(
            text(Format::Prometheus, &snapshot()),
            "\
# HELP node_tcp_connection_states Number of connection states.
# TYPE node_tcp_connection_states gauge
node_tcp_connection_states{state=\"established\"} 100
node_tcp_connection_states{state=\"syn_sent\"} 0
node_tcp_connection_states{state=\"syn_recv\"} 0
node_tcp_connection_states{state=\"fin_wait1\"} 0
node_tcp_connection_states{state=\"fin_wait2\"} 0
node_tcp_connection_states{state=\"time_wait\"} 1
node_tcp_connection_states{state=\"close\"} 0
node_tcp_connection_states{state=\"close_wait\"} 0
node_tcp_connection_states{state=\"last_ack\"} 0
node_tcp_connection_states{state=\"listen\"} 14
node_tcp_connection_states{state=\"closing\"} 0
# EOF
"
        );
    }

    #[test]
    fn table_is_aligned() {
        assert_eq!(
            text(Format::Table, &snapshot()),
            "\
STATE         COUNT    SHARE
ESTABLISHED     100   87.0 %
SYN_SENT          0    0.0 %
SYN_RECV          0    0.0 %
FIN_WAIT1         0    0.0 %
FIN_WAIT2         0    0.0 %
TIME_WAIT         1    0.9 %
CLOSE             0    0.0 %
CLOSE_WAIT        0    0.0 %
LAST_ACK          0    0.0 %
LISTEN           14   12.2 %
CLOSING           0    0.0 %
total           115  100.0 %

source: module
"
        );
    }

    #[test]
    fn the_largest_counts_are_printed_whole() {
        let mut counts = Counts::ZERO;
        counts.set(State::Established, u64::MAX);
        let snapshot = Snapshot {
            counts,
            source: Source::Module,
            method: Method::Whole,
            tried: Vec::new(),
        };
        for format in [
            Format::Json,
            Format::Report,
            Format::Prometheus,
            Format::Table,
        ] {
            assert!(
                text(format, &snapshot).contains("18446744073709551615"),
                "{format:?}"
            );
        }
    }
}
