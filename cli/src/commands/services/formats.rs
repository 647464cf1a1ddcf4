// SPDX-License-Identifier: MIT OR Apache-2.0

//! The output formats of `tcpstat services`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;
use tcpstat::{Counts, Owner, Process, Queues, Service, Services, State};

use crate::format::{
    Answer, Format, JsonNamespace, Labels, Shares, Whole, blocks, labels, lines, metrics, ratio,
    rfc3339, rounded,
};
use crate::netns_name::Names;
use crate::owners::{JsonProcess, Owners, printable, processes_text};
use crate::table::{self, Column};

/// The values of `--format`.
pub(super) const FORMATS: [Format; 3] = [Format::Json, Format::Prometheus, Format::Table];

/// The services of a namespace, and whose their listeners are.
pub(in crate::commands) struct OwnedServices {
    pub(in crate::commands) services: Services,
    owners: BTreeMap<u16, PortOwners>,
    /// Whether processes were asked for.
    processes: bool,
}

/// Whose the listeners of a port are.
#[derive(Default)]
struct PortOwners {
    units: BTreeSet<String>,
    processes: BTreeSet<Process>,
}

impl OwnedServices {
    /// `listeners` are those of the services, if they could be listed.
    pub(in crate::commands) fn new(
        services: Services,
        listeners: Option<Vec<Owner>>,
        owners: &mut Owners,
    ) -> Self {
        let mut by_port: BTreeMap<u16, PortOwners> = BTreeMap::new();
        let processes = listeners.is_some() && owners.processes(None).is_some();
        for listener in listeners.unwrap_or_default() {
            let port = by_port.entry(listener.port).or_default();
            port.units.extend(owners.unit(listener.cgroup));
            let processes = owners.processes(listener.inode);
            port.processes
                .extend(processes.unwrap_or_default().iter().cloned());
        }
        Self {
            services,
            owners: by_port,
            processes,
        }
    }

    /// The units of the listeners of a port, if they are known.
    pub(in crate::commands) fn unit(&self, port: u16) -> Option<String> {
        let units: Vec<&str> = self
            .owners
            .get(&port)?
            .units
            .iter()
            .map(String::as_str)
            .collect();
        (!units.is_empty()).then(|| units.join(","))
    }

    /// The processes that listen at a port, if they were asked for.
    fn processes(&self, port: u16) -> Option<Vec<&Process>> {
        let processes = || Some(self.owners.get(&port)?.processes.iter().collect());
        self.processes.then(|| processes().unwrap_or_default())
    }
}

/// The services as text, with the final newline. `timestamp` is the time of the reading,
/// `names` are those of the network namespaces.
pub(super) fn text(
    format: Format,
    answers: &[Answer<OwnedServices>],
    timestamp: Timestamp,
    names: &Names,
) -> Result<String, Box<dyn std::error::Error>> {
    let json = |answer| serde_json::to_string(&Json::new(answer, timestamp, names));
    Ok(match format {
        // The JSON of services always has time, source and ratios.
        Format::Json | Format::Report => lines(answers.iter().map(json))?,
        Format::Prometheus => prometheus(answers, names)?,
        Format::Table => blocks(answers, names, services_table),
    })
}

#[derive(Serialize)]
struct Json<'a> {
    timestamp: String,
    #[serde(flatten)]
    namespace: Option<JsonNamespace>,
    source: &'static str,
    services: Vec<JsonService<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<JsonOther<'a>>,
    /// Bytes in the queues of all of these connections.
    queues: Option<JsonQueues>,
}

/// A service. Values that the source does not know are `null`. Shares are of its connections, so
/// the ratio of `LISTEN` is `null` too; `total` includes the listeners.
#[derive(Serialize)]
pub(in crate::commands) struct JsonService<'a> {
    port: u16,
    listeners: u64,
    accept_queue: u64,
    backlog: Option<u64>,
    fullest: Option<JsonQueue>,
    /// Of the fullest listener.
    accept_queue_ratio: Option<f64>,
    drops: Option<u64>,
    total: u64,
    states: Shares<'a>,
    /// Bytes in the queues of the connections.
    queues: Option<JsonQueues>,
    /// Of the listeners.
    unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<Vec<JsonProcess<'a>>>,
}

impl<'a> JsonService<'a> {
    /// `unit` and `processes` are those of the listeners.
    pub(in crate::commands) fn new(
        service: &'a Service,
        unit: Option<String>,
        processes: Option<Vec<JsonProcess<'a>>>,
    ) -> Self {
        Self {
            port: service.port,
            listeners: service.listeners,
            accept_queue: service.accept_queue,
            backlog: service.backlog,
            fullest: service.fullest.map(|queue| JsonQueue {
                accept_queue: queue.length,
                backlog: queue.backlog,
            }),
            accept_queue_ratio: service.accept_queue_ratio().map(rounded),
            drops: service.drops,
            total: service.counts.total(),
            states: Shares {
                counts: &service.counts,
                whole: Whole::Connections(service.connections()),
            },
            queues: service.queues.map(JsonQueues::from),
            unit,
            processes,
        }
    }
}

/// The bytes in the queues of connections.
#[derive(Serialize)]
struct JsonQueues {
    receive: u64,
    send: u64,
}

impl From<Queues> for JsonQueues {
    fn from(Queues { receive, send, .. }: Queues) -> Self {
        Self { receive, send }
    }
}

/// The queue of one listener.
#[derive(Serialize)]
struct JsonQueue {
    accept_queue: u32,
    backlog: u32,
}

#[derive(Serialize)]
struct JsonOther<'a> {
    total: u64,
    states: Shares<'a>,
}

impl<'a> Json<'a> {
    fn new(answer: &'a Answer<OwnedServices>, timestamp: Timestamp, names: &Names) -> Self {
        let owned = &answer.answer;
        let services = &owned.services;
        Self {
            timestamp: rfc3339(timestamp),
            namespace: JsonNamespace::of(answer.namespace, names),
            source: services.source.name(),
            services: services
                .services
                .iter()
                .map(|service| {
                    let processes = owned.processes(service.port);
                    let processes =
                        processes.map(|processes| processes.into_iter().map(Into::into).collect());
                    JsonService::new(service, owned.unit(service.port), processes)
                })
                .collect(),
            other: services.other.as_ref().map(|counts| JsonOther {
                total: counts.total(),
                states: Shares {
                    counts,
                    whole: Whole::Total,
                },
            }),
            queues: services.queues.map(JsonQueues::from),
        }
    }
}

/// Replaces the port number for the sockets at ports without a listener.
const OTHER: &str = "other";

fn prometheus(answers: &[Answer<OwnedServices>], names: &Names) -> Result<String, fmt::Error> {
    let answers = answers.iter().map(|Answer { namespace, answer }| Metrics {
        labels: labels(*namespace, names),
        services: answer.services.services.clone(),
        other: answer.services.other,
    });
    metrics(AllMetrics(answers.collect()))
}

#[derive(Debug)]
struct AllMetrics(Vec<Metrics>);

/// The metrics of one namespace.
#[derive(Debug)]
pub(in crate::commands) struct Metrics {
    pub(in crate::commands) labels: Labels,
    pub(in crate::commands) services: Vec<Service>,
    pub(in crate::commands) other: Option<Counts>,
}

impl Metrics {
    /// The labels of a port.
    pub(in crate::commands) fn at(&self, port: impl fmt::Display) -> Labels {
        let mut labels = self.labels.clone();
        labels.push(("port", port.to_string()));
        labels
    }
}

impl Collector for AllMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode_states(&self.0, |_, _| true, &mut encoder)?;
        encode_gauges(&self.0, |_| true, &mut encoder)
    }
}

/// The metric of the connections of services: of each port those states that `shows` accepts.
pub(in crate::commands) fn encode_states(
    all: &[Metrics],
    shows: impl Fn(u16, State) -> bool,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(
        "tcpstat_service_connection_states",
        "Number of sockets at ports with a listener, by state.",
        None,
        MetricType::Gauge,
    )?;
    for all in all {
        let services = all.services.iter();
        let services = services.map(|one| (Some(one.port), all.at(one.port), &one.counts));
        let other = all.other.iter();
        let other = other.map(|counts| (None, all.at(OTHER), counts));
        for (port, port_labels, counts) in services.chain(other) {
            for (state, count) in counts.iter() {
                if port.is_some_and(|port| !shows(port, state)) {
                    continue;
                }
                let mut labels = port_labels.clone();
                labels.push(("state", state.name().to_ascii_lowercase()));
                ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

/// The gauge of the drops of the current listeners.
pub(in crate::commands) const DROPS: &str = "tcpstat_service_drops";

type Value = fn(&Service) -> Option<u64>;

/// The gauges of a service: name, description and value.
const GAUGES: [(&str, &str, Value); 8] = [
    (
        "tcpstat_service_listeners",
        "Number of sockets that listen on the port.",
        |service| Some(service.listeners),
    ),
    (
        "tcpstat_service_accept_queue",
        "Number of connections that wait to be accepted.",
        |service| Some(service.accept_queue),
    ),
    (
        "tcpstat_service_backlog",
        "Maximum number of connections that wait to be accepted.",
        |service| service.backlog,
    ),
    (
        "tcpstat_service_fullest_accept_queue",
        "Number of connections that wait at the fullest listener of the port.",
        |service| Some(service.fullest?.length.into()),
    ),
    (
        "tcpstat_service_fullest_backlog",
        "Number of connections that may wait at the fullest listener of the port.",
        |service| Some(service.fullest?.backlog.into()),
    ),
    // Not a counter: when a listener is closed, its drops are subtracted from the sum.
    (
        DROPS,
        "Number of segments and connections dropped at the current listeners.",
        |service| service.drops,
    ),
    (
        "tcpstat_service_receive_queue_bytes",
        "Bytes that wait to be read by the service.",
        |service| Some(service.queues?.receive),
    ),
    (
        "tcpstat_service_send_queue_bytes",
        "Bytes that the clients of the service have not acknowledged yet.",
        |service| Some(service.queues?.send),
    ),
];

/// The other metrics of services, those whose names `shows` accepts.
pub(in crate::commands) fn encode_gauges(
    all: &[Metrics],
    shows: impl Fn(&str) -> bool,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    for (name, help, value) in GAUGES.into_iter().filter(|(name, ..)| shows(name)) {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for all in all {
            for service in &all.services {
                // Values that the source does not know are left out.
                let Some(value) = value(service) else {
                    continue;
                };
                let labels = all.at(service.port);
                ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

/// A row for each service, a column for each state that occurs, with its share of the connections.
/// `LISTEN` is in the column `LISTENERS`.
fn services_table(owned: &OwnedServices) -> String {
    let services = &owned.services;
    let rows = &services.services;
    let counts = rows.iter().map(|service| service.counts);
    let mut all: Counts = counts.chain(services.other).sum();
    all.set(State::Listen, 0);
    let states: Vec<State> = all
        .iter()
        .filter(|&(_, count)| count > 0)
        .map(|(state, _)| state)
        .collect();

    let mut columns = [
        "PORT",
        "LISTENERS",
        "ACCEPT_QUEUE",
        "BACKLOG",
        "USE",
        "DROPS",
        "TOTAL",
    ]
    .map(|heading| Column::number(heading, 0))
    .to_vec();
    // Those of the sockets in no service are what is left of these.
    let mut left = services.queues.unwrap_or_default();
    let has_queues = left != Queues::default();
    if has_queues {
        columns.extend(["RECV_BYTES", "SEND_BYTES"].map(|heading| Column::number(heading, 0)));
    }
    columns.extend(states.iter().map(|state| Column::number(state.name(), 0)));
    let has_units = rows
        .iter()
        .any(|service| owned.unit(service.port).is_some());
    if has_units {
        columns.push(Column::text("UNIT", 0));
    }
    if owned.processes {
        columns.push(Column::text("PROCESSES", 0));
    }
    let shares = |counts: &Counts, of| {
        let counts = *counts;
        let share = move |state| match counts.get(state) {
            0 => "0".to_owned(),
            count => format!("{count} {:5.1} %", 100.0 * ratio(count, of)),
        };
        states.clone().into_iter().map(share)
    };
    let mut cells = Vec::new();
    for service in rows {
        let row = [
            service.port.to_string(),
            service.listeners.to_string(),
            service.accept_queue.to_string(),
            known(service.backlog),
            percent(service.accept_queue_ratio()),
            known(service.drops),
            service.counts.total().to_string(),
        ];
        let queues = service.queues.unwrap_or_default();
        left.receive = left.receive.saturating_sub(queues.receive);
        left.send = left.send.saturating_sub(queues.send);
        let queues = has_queues.then(|| bytes(queues)).into_iter().flatten();
        let shares = shares(&service.counts, service.connections());
        let unit = owned.unit(service.port).unwrap_or_default();
        let processes = owned.processes(service.port).map(|processes| {
            let processes: Vec<Process> = processes.into_iter().cloned().collect();
            processes_text(&processes)
        });
        let unit = has_units.then(|| printable(&unit));
        cells.push(
            row.into_iter()
                .chain(queues)
                .chain(shares)
                .chain(unit)
                .chain(processes)
                .collect(),
        );
    }
    if let Some(other) = &services.other {
        let row = [OTHER, "", "", "", "", ""].map(str::to_owned);
        let row = row.into_iter().chain([other.total().to_string()]);
        let queues = has_queues.then(|| bytes(left)).into_iter().flatten();
        let row = row.chain(queues).chain(shares(other, other.total()));
        let mut row: Vec<String> = row.collect();
        row.resize(columns.len(), String::new());
        cells.push(row);
    }

    let mut text = table::text(&columns, &cells);
    if rows.is_empty() && services.other.is_none() {
        text += "nothing listens on the requested ports\n";
    }
    text += &format!("\nsource: {}", services.source);
    if rows.iter().any(|service| service.backlog.is_none()) {
        text += ", which knows neither backlog nor drops";
    } else if rows.iter().any(|service| service.fullest.is_none()) {
        text += ", which is too old to know the fullest listener";
    }
    text + "\n"
}

/// The bytes in queues, as cells of a table.
fn bytes(Queues { receive, send, .. }: Queues) -> [String; 2] {
    [receive, send].map(|bytes| bytes.to_string())
}

/// Shown for a number that the source does not know.
const UNKNOWN: &str = "?";

/// A number that the source may not know, as a cell of a table.
pub(in crate::commands) fn known(number: Option<impl fmt::Display>) -> String {
    number.map_or(UNKNOWN.to_owned(), |number| number.to_string())
}

/// The use of a queue, as a cell of a table.
pub(in crate::commands) fn percent(ratio: Option<f64>) -> String {
    known(ratio.map(|ratio| format!("{:.1} %", 100.0 * ratio)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tcpstat::{Namespace, Source};

    use super::*;
    use crate::format::{counts, fullest, service};

    fn services(source: Source) -> Services {
        let known = |number| (source != Source::Procfs).then_some(number);
        let mut services = Services::new(source);
        let usual = [(State::Listen, 2), (State::Established, 1)];
        let leaking = [
            (State::Listen, 1),
            (State::Established, 199),
            (State::CloseWait, 300),
        ];
        services.services = vec![
            service(22, 2, (0, known(256)), known(0), &usual),
            service(8080, 1, (129, known(128)), known(77), &leaking),
        ];
        services.other = Some(counts(&[(State::Established, 7), (State::TimeWait, 1)]));
        services
    }

    fn owned(services: Services) -> OwnedServices {
        OwnedServices::new(services, None, &mut Owners::new(Path::new("/nonexistent")))
    }

    fn text(format: Format, services: Services) -> String {
        let timestamp = Timestamp::from_millisecond(1_700_000_000_120).unwrap();
        let answer = Answer {
            namespace: None,
            answer: owned(services),
        };
        super::text(format, &[answer], timestamp, &Names::default()).unwrap()
    }

    #[test]
    fn table_has_a_column_for_each_state_that_occurs() {
        assert_eq!(
            text(Format::Table, services(Source::Module)),
            [
                " PORT  LISTENERS  ACCEPT_QUEUE  BACKLOG      USE  DROPS  TOTAL  ESTABLISHED  TIME_WAIT   CLOSE_WAIT\n",
                "   22          2             0      256    0.0 %      0      3    1 100.0 %          0            0\n",
                " 8080          1           129      128  100.8 %     77    500  199  39.9 %          0  300  60.1 %\n",
                "other                                                        8    7  87.5 %  1  12.5 %            0\n",
                "\nsource: module\n",
            ]
            .concat()
        );
    }

    #[test]
    fn unknown_numbers_are_not_zero() {
        let text = |format| text(format, services(Source::Procfs));
        let table = text(Format::Table);
        assert!(table.contains("source: procfs, which knows neither backlog nor drops"));
        assert!(table.contains("   22          2             0        ?    ?      ?      3"));
        let json: serde_json::Value = serde_json::from_str(&text(Format::Json)).unwrap();
        for key in ["backlog", "drops", "fullest", "accept_queue_ratio"] {
            assert!(json["services"][0].as_object().unwrap()[key].is_null());
        }
        let prometheus = text(Format::Prometheus);
        assert!(!prometheus.contains("tcpstat_service_backlog{"));
        assert!(!prometheus.contains("tcpstat_service_drops{"));
        assert!(!prometheus.contains("tcpstat_service_fullest_accept_queue{"));
        assert!(prometheus.contains("tcpstat_service_accept_queue{port=\"8080\"} 129\n"));
    }

    #[test]
    fn the_use_is_that_of_the_fullest_listener() {
        let stuck = &mut service(8500, 4, (66, Some(256)), Some(9), &[(State::Listen, 4)]);
        stuck.fullest = Some(fullest(65, 64));
        let text = |format, service| {
            let mut services = Services::new(Source::Module);
            services.services = vec![service];
            text(format, services)
        };
        let table = text(Format::Table, *stuck);
        assert!(table.contains(" 66      256  101.6 %      9 "), "{table}");
        let json = text(Format::Json, *stuck);
        assert!(
            json.contains(
                "\"accept_queue\":66,\"backlog\":256,\"fullest\":{\"accept_queue\":65,\"backlog\":64},\
                 \"accept_queue_ratio\":1.015625,"
            ),
            "{json}"
        );

        stuck.fullest = None;
        let table = text(Format::Table, *stuck);
        assert!(table.contains(" 66      256    ?      9 "), "{table}");
        assert!(table.ends_with("source: module, which is too old to know the fullest listener\n"));
        assert!(
            text(Format::Json, *stuck).contains("\"fullest\":null,\"accept_queue_ratio\":null,")
        );
        let prometheus = text(Format::Prometheus, *stuck);
        assert!(
            !prometheus.contains("fullest_backlog{") && prometheus.contains("service_backlog{")
        );
    }

    #[test]
    fn json_is_one_line_with_shares() {
        let text = text(Format::Json, services(Source::Netlink));
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.starts_with(
            "{\"timestamp\":\"2023-11-14T22:13:20.120Z\",\"source\":\"netlink\",\"services\":[\
             {\"port\":22,\"listeners\":2,\"accept_queue\":0,\"backlog\":256,\
             \"fullest\":{\"accept_queue\":0,\"backlog\":256},\"accept_queue_ratio\":0.0,\
             \"drops\":0,\"total\":3,\"states\":{\"ESTABLISHED\":{\"count\":1,\"ratio\":1.0},"
        ));
        // Listeners are not connections, so they have no ratio; the other ports have no listeners.
        assert_eq!(
            text.matches("\"LISTEN\":{\"count\":2,\"ratio\":null}")
                .count(),
            1
        );
        assert_eq!(
            text.matches("\"LISTEN\":{\"count\":0,\"ratio\":0.0}")
                .count(),
            1
        );
        assert!(text.contains("\"other\":{\"total\":8,\"states\":{\"ESTABLISHED\":{\"count\":7,"));
    }

    #[test]
    fn with_ports_there_are_no_others() {
        let text = |format| {
            let nothing = Services::new(Source::Module);
            text(format, nothing)
        };
        let json: serde_json::Value = serde_json::from_str(&text(Format::Json)).unwrap();
        assert_eq!(json["services"], serde_json::json!([]));
        assert!(json.get("other").is_none());
        assert!(text(Format::Table).contains("nothing listens on the requested ports"));
        assert!(!text(Format::Prometheus).contains("port="));
    }

    #[test]
    fn prometheus_has_a_value_for_each_port_and_state() {
        let text = text(Format::Prometheus, services(Source::Module));
        for line in [
            "# TYPE tcpstat_service_connection_states gauge",
            "tcpstat_service_connection_states{port=\"8080\",state=\"close_wait\"} 300",
            "tcpstat_service_connection_states{port=\"other\",state=\"time_wait\"} 1",
            "tcpstat_service_listeners{port=\"22\"} 2",
            "tcpstat_service_backlog{port=\"8080\"} 128",
            "tcpstat_service_fullest_accept_queue{port=\"8080\"} 129",
            "tcpstat_service_fullest_backlog{port=\"8080\"} 128",
            "# TYPE tcpstat_service_drops gauge",
            "tcpstat_service_drops{port=\"8080\"} 77",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let states = text
            .lines()
            .filter(|line| line.starts_with("tcpstat_service_connection_states{"));
        assert_eq!(states.count(), 3 * State::COUNT);
    }

    #[test]
    fn several_namespaces_are_distinguished() {
        let answers = [(4026531840, 1), (4026532000, 77)].map(|(inode, pid)| Answer {
            namespace: Some(Namespace::new(inode, pid)),
            answer: owned(services(Source::Module)),
        });
        let text = |format: Format| {
            super::text(format, &answers, Timestamp::UNIX_EPOCH, &Names::default()).unwrap()
        };
        let json = text(Format::Json);
        assert_eq!(json.matches('\n').count(), 2);
        assert!(json.contains(
            "\"namespace\":4026532000,\"pid\":77,\"netns_name\":null,\"source\":\"module\","
        ));
        let prometheus = text(Format::Prometheus);
        assert_eq!(prometheus.matches("# TYPE").count(), 9);
        assert!(prometheus.contains(
            "tcpstat_service_drops{netns=\"4026532000\",netns_name=\"\",port=\"8080\"} 77\n"
        ));
        assert!(text(Format::Table).contains("\n\nnamespace 4026532000, process 77\n"));
    }
}
