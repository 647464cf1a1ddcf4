// SPDX-License-Identifier: MIT OR Apache-2.0

//! The metrics of each collector. Those that other commands print too are written by their code.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use prometheus_client::collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tcpstat::{AcceptQueue, Counts, Kernel, State};

use super::collectors::Collector;
use super::drops::Place;
use super::process::ProcessNumbers;
use super::seen::States;
use crate::commands::{services, totals};
use crate::format::Labels;

/// What a collector has read, as metrics.
#[derive(Debug)]
pub(super) enum Families {
    Totals(Counts),
    Counters(Kernel),
    Limits(Kernel),
    Services(ServiceFamilies),
    Listeners(Vec<ListenerPlace>),
    Groups(GroupFamilies),
    Destinations(Vec<Destination>),
    Namespaces(Vec<(Labels, Counts)>),
    About(About),
}

impl collector::Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let none = || vec![];
        match self {
            Self::Totals(counts) => totals::formats::encode_states(&[(none(), *counts)], encoder),
            Self::Counters(kernel) => {
                totals::kernel::encode_counters(&[(none(), kernel.clone())], encoder)
            }
            Self::Limits(kernel) => {
                totals::kernel::encode_limits(&[(none(), kernel.clone())], encoder)
            }
            Self::Services(services) => services.encode(encoder),
            Self::Listeners(places) => encode_listeners(places, encoder),
            Self::Groups(groups) => groups.encode(encoder),
            Self::Destinations(destinations) => encode_destinations(destinations, encoder),
            Self::Namespaces(namespaces) => {
                let all = namespaces.iter();
                let all = all.map(|(labels, counts)| (labels.clone(), counts, States::ALL));
                let name = "tcpstat_namespace_connection_states";
                let help = "Number of sockets of a network namespace, by state.";
                encode_states(name, help, all, encoder)
            }
            Self::About(about) => about.encode(encoder),
        }
    }
}

/// A gauge of counts by state: those states that are to be shown.
fn encode_states<'a>(
    name: &str,
    help: &str,
    all: impl Iterator<Item = (Labels, &'a Counts, States)>,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, counts, shown) in all {
        for (state, count) in counts.iter().filter(|&(state, _)| shown.has(state)) {
            let mut labels = labels.clone();
            labels.push(("state", state.name().to_ascii_lowercase()));
            ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// A gauge or a counter with a value for each set of labels.
fn encode_values(
    (name, help, kind): (&str, &str, MetricType),
    values: impl Iterator<Item = (Labels, u64)>,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let is_counter = matches!(kind, MetricType::Counter);
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        let one = metric.encode_family(&labels)?;
        match is_counter {
            true => ConstCounter::new(value).encode(one)?,
            false => ConstGauge::new(value).encode(one)?,
        }
    }
    Ok(())
}

/// Services, with their drops as counters.
#[derive(Debug)]
pub(super) struct ServiceFamilies {
    pub(super) metrics: services::formats::Metrics,
    /// Which states of a port are shown.
    pub(super) shown: HashMap<u16, States>,
    pub(super) drops: Vec<(u16, u64)>,
}

impl ServiceFamilies {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        use services::formats::{DROPS, encode_gauges, encode_states};
        let all = std::slice::from_ref(&self.metrics);
        let shows = |port: u16, state: State| self.shown.get(&port).is_some_and(|of| of.has(state));
        encode_states(all, shows, encoder)?;
        encode_gauges(all, |name| name != DROPS, encoder)?;
        let help = "Segments and connections dropped at the listeners of the port.";
        let drops = self.drops.iter();
        let drops = drops.map(|&(port, drops)| (self.metrics.at(port), drops));
        encode_values((DROPS, help, MetricType::Counter), drops, encoder)
    }
}

/// The listening sockets at an address and port.
#[derive(Debug)]
pub(super) struct ListenerPlace {
    pub(super) place: Place,
    pub(super) sockets: u64,
    /// The sum over all of these sockets.
    pub(super) accept_queue: u64,
    /// `None` if the source does not know it.
    pub(super) fullest: Option<AcceptQueue>,
    /// `None` if the source does not know them.
    pub(super) drops: Option<u64>,
}

fn encode_listeners(places: &[ListenerPlace], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let labels = |place: &Place| {
        vec![
            ("address", place.address.to_string()),
            ("port", place.port.to_string()),
            ("interface", place.interface.clone()),
        ]
    };
    type Value = fn(&ListenerPlace) -> Option<u64>;
    let values: [(&str, &str, MetricType, Value); 5] = [
        (
            "tcpstat_listener_sockets",
            "Number of sockets that listen at the address and port.",
            MetricType::Gauge,
            |one| Some(one.sockets),
        ),
        (
            "tcpstat_listener_accept_queue",
            "Number of connections that wait to be accepted.",
            MetricType::Gauge,
            |one| Some(one.accept_queue),
        ),
        (
            "tcpstat_listener_fullest_accept_queue",
            "Number of connections that wait at the fullest of these sockets.",
            MetricType::Gauge,
            |one| Some(one.fullest?.length.into()),
        ),
        (
            "tcpstat_listener_fullest_backlog",
            "Number of connections that may wait at the fullest of these sockets.",
            MetricType::Gauge,
            |one| Some(one.fullest?.backlog.into()),
        ),
        (
            "tcpstat_listener_drops",
            "Segments and connections dropped at these sockets.",
            MetricType::Counter,
            |one| one.drops,
        ),
    ];
    for (name, help, kind, value) in values {
        let all = places.iter();
        let all = all.filter_map(|one| Some((labels(&one.place), value(one)?)));
        encode_values((name, help, kind), all, encoder)?;
    }
    Ok(())
}

/// Sockets in groups.
#[derive(Debug)]
pub(super) struct GroupFamilies {
    pub(super) collector: Collector,
    /// The value of the label, the counts, and which of them are shown.
    pub(super) groups: Vec<(String, Counts, States)>,
}

impl GroupFamilies {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help, label) = match self.collector {
            Collector::Units => (
                "tcpstat_unit_connection_states",
                "Number of sockets of a systemd unit or container, by state.",
                "unit",
            ),
            Collector::PeerPorts => (
                "tcpstat_peer_port_connection_states",
                "Number of sockets from ports without a listener to a remote port, by state.",
                "peer_port",
            ),
            _ => (
                "tcpstat_local_port_connection_states",
                "Number of sockets at a port with a listener, by state; other: at all other ports.",
                "local_port",
            ),
        };
        let groups = self.groups.iter();
        let groups =
            groups.map(|(key, counts, shown)| (vec![(label, key.clone())], counts, *shown));
        encode_states(name, help, groups, encoder)
    }
}

/// A remote address and port, and the sockets from ports without a listener to it.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) local_ports: u64,
    /// At most so many more, if there are too many destinations to count each.
    pub(super) error: u64,
}

fn encode_destinations(
    destinations: &[Destination],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let labels = |one: &Destination| {
        let address = one.address.to_string();
        vec![("address", address), ("port", one.port.to_string())]
    };
    let name = "tcpstat_destination_local_ports";
    let help = "Number of sockets that are connected to a remote address and port, each from a local port.";
    let values = destinations.iter();
    let values = values.map(|one| (labels(one), one.local_ports));
    encode_values((name, help, MetricType::Gauge), values, encoder)?;
    if destinations.iter().all(|one| one.error == 0) {
        return Ok(());
    }
    let name = "tcpstat_destination_error";
    let help = "Maximum number of sockets that were missed, since there are too many destinations.";
    let values = destinations.iter().map(|one| (labels(one), one.error));
    encode_values((name, help, MetricType::Gauge), values, encoder)
}

/// How a collector was read.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) collector: Collector,
    pub(super) seconds: f64,
    pub(super) success: bool,
    /// The name of the source and the method; `None` for what sources are not asked for.
    pub(super) source: Option<(&'static str, &'static str)>,
    /// How many items were left out; `None` where there is no limit.
    pub(super) left_out: Option<u64>,
}

/// What is said of the exporter and of its reading, for the collectors that were asked for.
#[derive(Debug)]
pub(super) struct About {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) readings: u64,
    pub(super) process: ProcessNumbers,
}

impl About {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut build = encoder.encode_descriptor(
            "tcpstat_build_info",
            "The version of tcpstat; always 1.",
            None,
            MetricType::Gauge,
        )?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        ConstGauge::new(1u64).encode(build.encode_family(&version)?)?;
        let labels = |one: &Outcome| vec![("collector", one.collector.name().to_owned())];
        let sources = self.outcomes.iter().filter_map(|one| {
            let (source, method) = one.source?;
            let mut labels = labels(one);
            labels.push(("source", source.to_owned()));
            labels.push(("method", method.to_owned()));
            Some((labels, 1))
        });
        let name = "tcpstat_source_info";
        let help = "Where the numbers are from, and how they were counted; always 1.";
        encode_values((name, help, MetricType::Gauge), sources, encoder)?;

        let mut metric = encoder.encode_descriptor(
            "tcpstat_reading_duration_seconds",
            "Time that the reading took; collectors that list all sockets share one.",
            None,
            MetricType::Gauge,
        )?;
        for one in &self.outcomes {
            ConstGauge::new(one.seconds).encode(metric.encode_family(&labels(one))?)?;
        }
        let name = "tcpstat_reading_success";
        let help = "Whether the reading succeeded; without success there are no numbers.";
        let values = self.outcomes.iter();
        let values = values.map(|one| (labels(one), u64::from(one.success)));
        encode_values((name, help, MetricType::Gauge), values, encoder)?;
        let name = "tcpstat_left_out";
        let help =
            "Number of ports, addresses or groups that are not shown, since there is a limit.";
        let values = self.outcomes.iter();
        let values = values.filter_map(|one| Some((labels(one), one.left_out?)));
        encode_values((name, help, MetricType::Gauge), values, encoder)?;

        let metric = encoder.encode_descriptor(
            "tcpstat_exporter_readings",
            "Readings since the exporter started; one may answer several scrapes.",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(self.readings).encode(metric)?;
        self.process.encode(encoder)
    }
}
