// SPDX-License-Identifier: MIT OR Apache-2.0

//! The output formats of `tcpstat` without a command.

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::{Serialize, Serializer};
use tcpstat::{Counts, Kernel};

use super::Totals;
use super::kernel::{self, JsonKernel};
use crate::format::{
    Answer, Format, JsonNamespace, Labels, Shares, Whole, blocks, labels, lines, metrics, ratio,
    rfc3339,
};
use crate::netns_name::Names;
use crate::table::{self, Column};

/// The values of `--format`.
pub(super) const FORMATS: [Format; 4] = [
    Format::Json,
    Format::Report,
    Format::Prometheus,
    Format::Table,
];

/// The answers as text, with the final newline. `timestamp` is the time of the reading,
/// `names` are those of the network namespaces.
pub(super) fn text(
    format: Format,
    answers: &[Answer<Totals>],
    timestamp: Timestamp,
    names: &Names,
) -> Result<String, Box<dyn std::error::Error>> {
    let json = |answer: &Answer<Totals>| {
        let Answer { namespace, answer } = answer;
        serde_json::to_string(&Json {
            namespace: JsonNamespace::of(*namespace, names),
            states: States(&answer.snapshot.counts),
        })
    };
    let report = |answer| serde_json::to_string(&Report::new(answer, timestamp, names));
    Ok(match format {
        Format::Json => lines(answers.iter().map(json))?,
        Format::Report => lines(answers.iter().map(report))?,
        Format::Prometheus => prometheus(answers, names)?,
        Format::Table => blocks(answers, names, totals_table),
    })
}

/// All states in kernel order, after the namespace if there is one.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    namespace: Option<JsonNamespace>,
    #[serde(flatten)]
    states: States<'a>,
}

/// `{"ESTABLISHED":5,...}`
struct States<'a>(&'a Counts);

impl Serialize for States<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(state, count)| (state.name(), count)))
    }
}

#[derive(Serialize)]
struct Report<'a> {
    timestamp: String,
    #[serde(flatten)]
    namespace: Option<JsonNamespace>,
    source: &'static str,
    total: u64,
    states: Shares<'a>,
    /// `null` if it cannot be read.
    kernel: Option<JsonKernel<'a>>,
}

impl<'a> Report<'a> {
    fn new(answer: &'a Answer<Totals>, timestamp: Timestamp, names: &Names) -> Self {
        let Totals { snapshot, kernel } = &answer.answer;
        Self {
            timestamp: rfc3339(timestamp),
            namespace: JsonNamespace::of(answer.namespace, names),
            source: snapshot.source.name(),
            total: snapshot.counts.total(),
            states: Shares {
                counts: &snapshot.counts,
                whole: Whole::Total,
            },
            kernel: kernel.as_ref().map(JsonKernel::from),
        }
    }
}

/// The names are those of node_exporter's tcpstat collector.
fn prometheus(answers: &[Answer<Totals>], names: &Names) -> Result<String, std::fmt::Error> {
    let counts = answers.iter().map(|answer| {
        let counts = answer.answer.snapshot.counts;
        (labels(answer.namespace, names), counts)
    });
    let kernels = answers.iter().filter_map(|answer| {
        let kernel = answer.answer.kernel.as_ref()?.numbers().clone();
        Some((labels(answer.namespace, names), kernel))
    });
    metrics(AllMetrics {
        counts: counts.collect(),
        kernels: kernels.collect(),
    })
}

/// Prints states in kernel order. A `Family` of the library would print them in random order.
#[derive(Debug)]
struct AllMetrics {
    counts: Vec<(Labels, Counts)>,
    kernels: Vec<(Labels, Kernel)>,
}

impl Collector for AllMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        encode_states(&self.counts, &mut encoder)?;
        if self.kernels.is_empty() {
            return Ok(());
        }
        kernel::encode_counters(&self.kernels, &mut encoder)?;
        kernel::encode_limits(&self.kernels, &mut encoder)
    }
}

/// The metric of the totals of network namespaces, each with its labels.
pub(in crate::commands) fn encode_states(
    counts: &[(Labels, Counts)],
    encoder: &mut DescriptorEncoder<'_>,
) -> std::fmt::Result {
    let mut metric = encoder.encode_descriptor(
        "node_tcp_connection_states",
        "Number of connection states.",
        None,
        MetricType::Gauge,
    )?;
    for (namespace, counts) in counts {
        for (state, count) in counts.iter() {
            let mut labels = namespace.clone();
            labels.push(("state", state.name().to_ascii_lowercase()));
            ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn totals_table(totals: &Totals) -> String {
    let snapshot = &totals.snapshot;
    const COLUMNS: [Column; 3] = [
        Column::text("STATE", 12),
        Column::number("COUNT", 0),
        Column::number("SHARE", 7),
    ];
    let total = snapshot.counts.total();
    let states = snapshot
        .counts
        .iter()
        .map(|(state, count)| (state.name(), count));
    let rows = states.chain([("total", total)]).map(|(name, count)| {
        let share = format!("{:.1} %", 100.0 * ratio(count, total));
        vec![name.to_owned(), count.to_string(), share]
    });
    let text = table::text(&COLUMNS, &rows.collect::<Vec<_>>());
    text + &format!("\nsource: {}\n", snapshot.source)
}

#[cfg(test)]
mod tests {
    use tcpstat::{Namespace, Snapshot, Source, State};

    use super::*;

    fn snapshot() -> Answer<Totals> {
        let mut counts = Counts::ZERO;
        counts.set(State::Established, 100);
        counts.set(State::Listen, 14);
        counts.set(State::TimeWait, 1);
        of(counts)
    }

    fn of(counts: Counts) -> Answer<Totals> {
        Answer {
            namespace: None,
            answer: Totals {
                snapshot: Snapshot::new(Source::Module, counts),
                kernel: None,
            },
        }
    }

    fn text(format: Format, answer: &Answer<Totals>) -> String {
        let timestamp = Timestamp::from_millisecond(1_700_000_000_120).unwrap();
        super::text(
            format,
            std::slice::from_ref(answer),
            timestamp,
            &Names::default(),
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
        let nothing = of(Counts::ZERO);
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
        let snapshot = of(counts);
        for format in FORMATS {
            assert!(
                text(format, &snapshot).contains("18446744073709551615"),
                "{format:?}"
            );
        }
    }

    #[test]
    fn several_namespaces_are_distinguished() {
        let namespaces = [(4026531840, 1), (4026532000, 77)];
        let answers = namespaces.map(|(inode, pid)| Answer {
            namespace: Some(Namespace::new(inode, pid)),
            ..snapshot()
        });
        let text = |format: Format| {
            super::text(format, &answers, Timestamp::UNIX_EPOCH, &Names::default()).unwrap()
        };
        let json = text(Format::Json);
        assert!(json.starts_with(
            "{\"namespace\":4026531840,\"pid\":1,\"netns_name\":null,\"ESTABLISHED\":100,"
        ));
        assert_eq!(json.matches('\n').count(), 2);
        assert!(text(Format::Report).contains(
            "\n{\"timestamp\":\"1970-01-01T00:00:00.000Z\",\"namespace\":4026532000,\"pid\":77,\"netns_name\":null,\"source\":\"module\","
        ));
        let prometheus = text(Format::Prometheus);
        assert_eq!(prometheus.matches("# TYPE").count(), 1);
        assert!(prometheus.contains(
            "node_tcp_connection_states{netns=\"4026532000\",netns_name=\"\",state=\"listen\"} 14\n"
        ));
        assert!(
            text(Format::Table)
                .contains("\n\nnamespace 4026532000, process 77\nSTATE         COUNT    SHARE\n")
        );
    }
}
