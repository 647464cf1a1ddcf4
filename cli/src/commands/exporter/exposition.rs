// SPDX-License-Identifier: MIT OR Apache-2.0

//! The text of an answer: OpenMetrics 1.0, or Prometheus' text format 0.0.4; compressed or not.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::families::Families;

/// A format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Exposition {
    Text,
    OpenMetrics,
}

impl Exposition {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The metrics in this format.
    pub(super) fn encode(self, families: &[Arc<Families>]) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        for family in families {
            registry.register_collector(Box::new(family.clone()));
        }
        let mut open_metrics = String::new();
        text::encode(&mut open_metrics, &registry)?;
        Ok(match self {
            Self::OpenMetrics => without_empty(&open_metrics),
            Self::Text => text_format(&without_empty(&open_metrics)),
        })
    }
}

/// The same without the metrics that have no samples: promtool takes them for a mistake.
fn without_empty(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut comments = String::new();
    for line in open_metrics.split_inclusive('\n') {
        if line.starts_with("# HELP ") {
            comments.clear();
        }
        match line.starts_with('#') && line != "# EOF\n" {
            true => comments += line,
            false if line == "# EOF\n" => text += line,
            false => {
                text += &std::mem::take(&mut comments);
                text += line;
            }
        }
    }
    text
}

/// Text format 0.0.4 of OpenMetrics: counters have the name of their samples, info metrics are
/// gauges, there is neither a unit nor an end.
fn text_format(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, help)) = help.take() {
                text += &format!("# HELP {name}{suffix} {help}\n");
            }
            text += &format!("# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            text += line;
            text.push('\n');
        }
    }
    text
}

/// The same, compressed by gzip.
pub(super) fn gzip(text: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_no_end_and_counters_have_their_full_name() {
        let open_metrics = "\
# HELP a Help a.
# TYPE a counter
a_total{x=\"# TYPE\"} 1
# HELP empty Help.
# TYPE empty gauge
# HELP b Help b.
# TYPE b gauge
b 2
# HELP last Help.
# TYPE last gauge
# EOF
";
        let text = "\
# HELP a_total Help a.
# TYPE a_total counter
a_total{x=\"# TYPE\"} 1
# HELP b Help b.
# TYPE b gauge
b 2
";
        let full = without_empty(open_metrics);
        assert_eq!(text_format(&full), text);
        assert!(full.ends_with("b 2\n# EOF\n") && !full.contains("empty"));
    }
}
