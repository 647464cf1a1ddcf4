// SPDX-License-Identifier: MIT OR Apache-2.0

//! The `process_*` metrics of the exporter itself, by the names of Prometheus' client libraries.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{SysconfVar, sysconf};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// What this process takes. A number is `None` if it cannot be read.
#[derive(Debug, Default)]
pub(super) struct ProcessNumbers {
    cpu_seconds: Option<f64>,
    start_seconds: Option<f64>,
    virtual_bytes: Option<u64>,
    resident_bytes: Option<u64>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
}

impl ProcessNumbers {
    /// Those of now, from `/proc/self`.
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let number = |variable| sysconf(variable).ok().flatten();
        let mut numbers = Self::of_stat(&stat, number(SysconfVar::CLK_TCK));
        let page = number(SysconfVar::PAGE_SIZE).and_then(|bytes| u64::try_from(bytes).ok());
        numbers.resident_bytes = numbers
            .resident_bytes
            .zip(page)
            .map(|(pages, bytes)| pages * bytes);
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime "));
        let boot = boot.and_then(|seconds| seconds.parse::<f64>().ok());
        numbers.start_seconds = numbers
            .start_seconds
            .zip(boot)
            .map(|(since_boot, boot)| boot + since_boot);
        numbers.open_fds = open_fds();
        numbers.max_fds = getrlimit(Resource::RLIMIT_NOFILE)
            .ok()
            .map(|(soft, _)| soft);
        numbers
    }

    /// Those of a `/proc/PID/stat`: resident memory in pages, the start since boot.
    fn of_stat(stat: &str, ticks: Option<i64>) -> Self {
        // The name, in parentheses, may have any character.
        let Some((_, fields)) = stat.rsplit_once(')') else {
            return Self::default();
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // As proc(5) numbers them.
        let field = |at: usize| fields.get(at - 3)?.parse::<u64>().ok();
        let seconds = |count: u64| Some(count as f64 / ticks? as f64);
        let cpu = field(14).zip(field(15)).map(|(user, system)| user + system);
        Self {
            cpu_seconds: cpu.and_then(seconds),
            start_seconds: field(22).and_then(seconds),
            virtual_bytes: field(23),
            resident_bytes: field(24),
            ..Self::default()
        }
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(seconds) = self.cpu_seconds {
            let metric = encoder.encode_descriptor(
                "process_cpu_seconds",
                "Total user and system CPU time spent in seconds.",
                None,
                MetricType::Counter,
            )?;
            ConstCounter::new(seconds).encode(metric)?;
        }
        if let Some(seconds) = self.start_seconds {
            let metric = encoder.encode_descriptor(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(seconds).encode(metric)?;
        }
        for (name, help, value) in [
            (
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes.",
                self.virtual_bytes,
            ),
            (
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
                self.resident_bytes,
            ),
            (
                "process_open_fds",
                "Number of open file descriptors.",
                self.open_fds,
            ),
            (
                "process_max_fds",
                "Maximum number of open file descriptors.",
                self.max_fds,
            ),
        ] {
            if let Some(value) = value {
                let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(value).encode(metric)?;
            }
        }
        Ok(())
    }
}

/// The number of open descriptors. Since Linux 6.2 it is the size of the folder; listing thousands
/// would cost more than a reading.
fn open_fds() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).ok()?.size() {
        0 => Some(fs::read_dir(FOLDER).ok()?.count() as u64),
        size => Some(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_every_number() {
        let numbers = ProcessNumbers::read();
        assert!(numbers.cpu_seconds.is_some());
        assert!(numbers.start_seconds.unwrap() > 1.0e9);
        assert!(numbers.virtual_bytes > numbers.resident_bytes);
        assert!(numbers.resident_bytes.unwrap() > 100_000);
        assert!((3..100_000).contains(&numbers.open_fds.unwrap()));
        assert!(numbers.max_fds.is_some());
    }

    #[test]
    fn a_name_may_have_parentheses() {
        let rest =
            "S 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 700 4096 12 18446744073709551615";
        let numbers = ProcessNumbers::of_stat(&format!("7 (a) b (c) {rest}"), Some(100));
        assert_eq!(numbers.cpu_seconds, Some(2.0));
        assert_eq!(numbers.start_seconds, Some(7.0));
        assert_eq!(numbers.resident_bytes, Some(12));
        assert!(ProcessNumbers::of_stat("", Some(100)).cpu_seconds.is_none());
    }
}
