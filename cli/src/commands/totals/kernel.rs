// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's counters and limits beside the totals, in JSON and as metrics.

use std::collections::HashMap;
use std::fmt;
use std::time::Instant;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::{Serialize, Serializer};
use tcpstat::{Ceiling, Counter, Gauge, Kernel, Namespace};

use crate::format::{Labels, rounded};

/// A reading of the kernel's numbers, and the one before it.
#[derive(Debug)]
pub(super) struct KernelReading {
    now: Kernel,
    /// The last reading of the namespace, and the seconds since.
    before: Option<(Kernel, f64)>,
}

/// The last readings, by the inode number of the namespace.
#[derive(Default)]
pub(super) struct Last(HashMap<Option<u64>, (Kernel, Instant)>);

impl Last {
    /// A reading, which becomes the last one of its namespace.
    pub(super) fn reading(&mut self, namespace: Option<Namespace>, now: Kernel) -> KernelReading {
        let key = namespace.map(|namespace| namespace.inode);
        let before = self.0.insert(key, (now.clone(), Instant::now()));
        KernelReading {
            now,
            before: before.map(|(kernel, at)| (kernel, at.elapsed().as_secs_f64())),
        }
    }
}

impl KernelReading {
    /// The numbers of this reading.
    pub(super) fn numbers(&self) -> &Kernel {
        &self.now
    }

    /// The change of a counter per second since the last reading.
    fn rate(&self, counter: Counter) -> Option<f64> {
        let (before, seconds) = self.before.as_ref()?;
        // The counters of an interface or a processor that is gone are subtracted from some sums.
        let change = self
            .now
            .counter(counter)?
            .saturating_sub(before.counter(counter)?);
        (*seconds > 0.0).then(|| change as f64 / seconds)
    }
}

/// A number that only grows, and its change per second: `null` in the first reading.
#[derive(Serialize)]
struct JsonCounter {
    count: Option<u64>,
    rate: Option<f64>,
}

/// `{"counters":{"ListenOverflows":{"count":0,"rate":0.0},...},"sockets":{...},"limits":{...}}`
#[derive(Serialize)]
pub(super) struct JsonKernel<'a> {
    counters: Counters<'a>,
    sockets: Gauges<'a>,
    limits: Limits<'a>,
}

impl<'a> From<&'a KernelReading> for JsonKernel<'a> {
    fn from(reading: &'a KernelReading) -> Self {
        Self {
            counters: Counters(reading),
            sockets: Gauges(&reading.now),
            limits: Limits(&reading.now),
        }
    }
}

struct Counters<'a>(&'a KernelReading);

impl Serialize for Counters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(reading) = self;
        serializer.collect_map(Counter::ALL.map(|counter| {
            let count = reading.now.counter(counter);
            let rate = reading.rate(counter).map(rounded);
            (counter.name(), JsonCounter { count, rate })
        }))
    }
}

struct Gauges<'a>(&'a Kernel);

impl Serialize for Gauges<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Gauge::ALL.map(|gauge| (gauge.name(), self.0.gauge(gauge))))
    }
}

struct Limits<'a>(&'a Kernel);

impl Serialize for Limits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Ceiling::ALL.map(|limit| (limit.name(), self.0.limit(limit))))
    }
}

/// The metrics of the counters and of the numbers of sockets in these readings, each with the
/// labels of its namespace. What is not known is left out.
pub(in crate::commands) fn encode_counters(
    readings: &[(Labels, Kernel)],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    for counter in Counter::ALL {
        let (name, help) = metric(counter);
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        let values = readings.iter().filter_map(|(labels, kernel)| {
            Some((labels.clone(), ConstCounter::new(kernel.counter(counter)?)))
        });
        encode_all(values, metric)?;
    }
    for gauge in Gauge::ALL {
        let (name, help) = match gauge {
            Gauge::Alloc => (
                "tcpstat_kernel_sockets_alloc",
                "Number of TCP sockets that exist on this machine.",
            ),
            Gauge::Orphan => (
                "tcpstat_kernel_sockets_orphan",
                "Number of TCP sockets of this machine that no process has.",
            ),
            _ => (
                "tcpstat_kernel_sockets_mem_pages",
                "Pages of memory in the queues of TCP sockets of this machine.",
            ),
        };
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let values = readings.iter().filter_map(|(labels, kernel)| {
            Some((labels.clone(), ConstGauge::new(kernel.gauge(gauge)?)))
        });
        encode_all(values, metric)?;
    }
    Ok(())
}

/// The metric of the limits in these readings, likewise.
pub(in crate::commands) fn encode_limits(
    readings: &[(Labels, Kernel)],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let metric = encoder.encode_descriptor(
        "tcpstat_kernel_limit",
        "Limits: sysctls, and the number of local ports.",
        None,
        MetricType::Gauge,
    )?;
    let values = readings.iter().flat_map(|(labels, kernel)| {
        Ceiling::ALL.into_iter().filter_map(|limit| {
            let mut labels = labels.clone();
            labels.push(("limit", limit.name().to_owned()));
            Some((labels, ConstGauge::new(kernel.limit(limit)?)))
        })
    });
    encode_all(values, metric)
}

/// Encodes values with their labels; a single one may have none.
fn encode_all<M: EncodeMetric>(
    values: impl Iterator<Item = (Labels, M)>,
    mut metric: MetricEncoder<'_>,
) -> fmt::Result {
    for (labels, value) in values {
        if labels.is_empty() {
            return value.encode(metric);
        }
        value.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// The name of a counter's metric, without `_total`, and its description.
fn metric(counter: Counter) -> (&'static str, &'static str) {
    match counter {
        Counter::ListenOverflows => (
            "tcpstat_kernel_listen_overflows",
            "Handshakes that were completed while the accept queue was full (ListenOverflows).",
        ),
        Counter::ListenDrops => (
            "tcpstat_kernel_listen_drops",
            "Handshakes that listeners refused (ListenDrops).",
        ),
        Counter::TcpReqQFullDrop => (
            "tcpstat_kernel_syn_queue_drops",
            "SYNs that were dropped because the queue of handshakes was full (TCPReqQFullDrop).",
        ),
        Counter::SyncookiesSent => (
            "tcpstat_kernel_syncookies_sent",
            "SYN cookies that were sent (SyncookiesSent).",
        ),
        Counter::RetransSegs => (
            "tcpstat_kernel_retransmitted_segments",
            "Segments that were sent again (RetransSegs).",
        ),
        Counter::OutRsts => (
            "tcpstat_kernel_resets_sent",
            "Resets that were sent (OutRsts).",
        ),
        Counter::EstabResets => (
            "tcpstat_kernel_established_resets",
            "Connections that were reset while they were open (EstabResets).",
        ),
        Counter::AttemptFails => (
            "tcpstat_kernel_failed_attempts",
            "Connections that were not opened (AttemptFails).",
        ),
        _ => (
            "tcpstat_kernel_time_wait_overflows",
            "Connections that skipped TIME_WAIT at tcp_max_tw_buckets (TCPTimeWaitOverflow).",
        ),
    }
}
