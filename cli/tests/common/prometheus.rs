// SPDX-License-Identifier: MIT OR Apache-2.0

//! A running Prometheus with the rules and alerts of `monitoring/`, in which time passes 60 times
//! as fast.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tempfile::TempDir;

use super::exporter::{LONG, request};
use super::{project_file, promtool};

const ADDRESS: &str = "127.0.0.1:9090";

/// How often it scrapes and evaluates the rules, instead of once a minute.
const CONFIGURATION: &str = "\
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml, alerts.yml]
scrape_configs:
  - job_name: tcpstat
    static_configs: [{targets: [TARGET]}]
";

/// The labels of a sample, and its value.
pub(crate) type Sample = (Map<String, Value>, f64);

/// The labels of a line, and its times and values.
pub(crate) type Line = (Map<String, Value>, Vec<(f64, f64)>);

/// It is killed when this is dropped.
pub(crate) struct Prometheus {
    child: Child,
    folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `target`, in the network namespace of this thread, and waits until
    /// it answers.
    pub(crate) fn start(target: &str) -> Self {
        assert!(promtool::is_there(), "there is no promtool");
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["rules.yml", "alerts.yml"] {
            let text = fs::read_to_string(project_file(&format!("monitoring/{name}"))).unwrap();
            fs::write(path(name), hurried(&text)).unwrap();
        }
        let configuration = CONFIGURATION.replace("TARGET", target);
        fs::write(path("prometheus.yml"), configuration).unwrap();
        let log = File::create(path("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!(
                "--config.file={}",
                path("prometheus.yml").display()
            ))
            .arg(format!("--storage.tsdb.path={}", path("data").display()))
            .arg(format!("--web.listen-address={ADDRESS}"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("prometheus: {e}"));
        let prometheus = Self { child, folder };
        let start = Instant::now();
        while !is_ready() {
            assert!(start.elapsed() < LONG, "{}", prometheus.log());
            sleep(Duration::from_millis(100));
        }
        prometheus
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The samples of an expression, now or at a time.
    pub(crate) fn query(&self, expression: &str, time: Option<f64>) -> Vec<Sample> {
        let time = time.map(|time| format!("--time={time:.3}"));
        let mut arguments = vec!["query", "instant", "-o", "json"];
        arguments.extend(time.as_deref());
        let url = format!("http://{ADDRESS}");
        arguments.extend([&url, expression]);
        let answer = promtool::must_accept(&arguments, "");
        let answer: Vec<Value> =
            serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{expression}: {e}: {answer}"));
        let sample = |sample: &Value| {
            let labels = sample["metric"].as_object().unwrap().clone();
            (labels, number(&sample["value"][1]))
        };
        answer.iter().map(sample).collect()
    }

    /// The lines of an expression in the last `length`: in steps of a second.
    pub(crate) fn query_range(&self, expression: &str, length: Duration) -> Vec<Line> {
        let url = format!("http://{ADDRESS}");
        let end = super::seconds_since_1970();
        let start = format!("--start={:.0}", end - length.as_secs_f64());
        let (end, step) = (format!("--end={end:.0}"), "--step=1s");
        let options = ["query", "range", "-o", "json", &start, &end, step];
        let arguments = [&options[..], &[&url, expression]].concat();
        let answer = promtool::must_accept(&arguments, "");
        let answer: Vec<Value> = serde_json::from_str(&answer).unwrap();
        let point = |point: &Value| (point[0].as_f64().unwrap(), number(&point[1]));
        let line = |line: &Value| {
            let points = line["values"].as_array().unwrap();
            let labels = line["metric"].as_object().unwrap().clone();
            (labels, points.iter().map(point).collect())
        };
        answer.iter().map(line).collect()
    }

    /// Waits until an expression has a sample.
    pub(crate) fn wait_for(&self, expression: &str, patience: Duration) {
        let start = Instant::now();
        while self.query(expression, None).is_empty() {
            assert!(start.elapsed() < patience, "{expression}: {}", self.log());
            sleep(Duration::from_millis(500));
        }
    }

    /// Waits until the names of the alerts that fire are as wanted, and returns them.
    pub(crate) fn wait_for_alerts(
        &self,
        patience: Duration,
        wanted: impl Fn(&BTreeSet<String>) -> bool,
    ) -> BTreeSet<String> {
        let start = Instant::now();
        loop {
            let firing: BTreeSet<_> = self
                .query("ALERTS{alertstate=\"firing\"}", None)
                .into_iter()
                .map(|(labels, _)| labels["alertname"].as_str().unwrap().to_owned())
                .collect();
            if wanted(&firing) {
                return firing;
            }
            assert!(start.elapsed() < patience, "firing: {firing:?}");
            sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready() -> bool {
    let answer = TcpStream::connect(ADDRESS)
        .and_then(|mut stream| request(&mut stream, "GET", "/-/ready", &[]));
    answer.is_ok_and(|answer| answer.status == 200)
}

fn number(text: &Value) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}

/// The rules with every duration divided by 60: a minute is a second.
fn hurried(rules: &str) -> String {
    let mut hurried = String::new();
    let mut rest = rules;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let digits = from
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(from.len());
        let (number, after) = from.split_at(digits);
        hurried += before;
        let unit = after.chars().next();
        let ends = !after.chars().nth(1).is_some_and(char::is_alphanumeric);
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
        let seconds = match unit {
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => 0,
        };
        if begins && ends && seconds > 0 {
            let number: u64 = number.parse().unwrap();
            hurried += &format!("{}s", number * seconds / 60);
            rest = &after[1..];
        } else {
            hurried += number;
            rest = after;
        }
    }
    hurried + rest
}

#[test]
fn a_minute_is_a_second() {
    let rules = "for: 5m # 12 m3 0.5 1hour\nx[6h] offset 1d > 10";
    let hurried = hurried(rules);
    assert_eq!(
        hurried,
        "for: 5s # 12 m3 0.5 1hour\nx[360s] offset 1440s > 10"
    );
}
