// SPDX-License-Identifier: MIT OR Apache-2.0

//! The rules, alerts and their runbook (`monitoring/`, `docs/alerts.md`): each alert is tested and
//! explained, and every metric that a rule names is one of the exporter's. promtool runs the unit
//! tests of the rules.
//!
//! Needs `CAP_SYS_ADMIN` for a namespace, and promtool, which is required if
//! `TCPSTAT_REQUIRE_PROMTOOL` is set.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use common::dashboard::{Dashboard, Variables};
use common::exporter::{ALL, Exporter};
use common::project_file as file;
use common::promtool;
use common::rules::{metrics, values};
use common::serial::serial;
use tcpstat_tests::netns;

fn text(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The files of unit tests.
fn tests() -> Vec<PathBuf> {
    let entries = fs::read_dir(file("monitoring/tests")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|name| name == "yml"))
        .collect()
}

#[test]
fn every_alert_is_tested_for_firing_and_for_silence() {
    let alerts = text("monitoring/alerts.yml");
    let tests: Vec<_> = tests()
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let cases: Vec<_> = tests
        .iter()
        .flat_map(|text| text.split("- alertname: ").skip(1))
        .collect();
    for alert in values(&alerts, "alert") {
        let fires = |fires: bool| {
            cases.iter().any(|case| {
                case.lines().next() == Some(alert) && case.contains("exp_alerts:") == fires
            })
        };
        assert!(fires(true), "no test in which {alert} fires");
        assert!(fires(false), "no test in which {alert} is silent");
    }
}

#[test]
fn every_alert_has_a_paragraph_in_the_runbook() {
    let (alerts, runbook) = (text("monitoring/alerts.yml"), text("docs/alerts.md"));
    let names: Vec<_> = values(&alerts, "alert").collect();
    let links: Vec<_> = names
        .iter()
        .map(|name| format!("docs/alerts.md#{}", name.to_lowercase()))
        .collect();
    assert!(
        values(&alerts, "runbook_url").eq(&links),
        "in this order: {links:?}"
    );
    let headings: Vec<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let sorted = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(sorted(headings), sorted(names));
}

/// What the runbook says to type.
#[test]
fn the_commands_of_the_runbook_are_understood() {
    if netns::must_skip() {
        return;
    }
    let runbook = text("docs/alerts.md");
    let commands: Vec<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("    tcpstat "))
        .collect();
    assert!(commands.len() > 12, "{commands:?}");
    netns::in_new(|| {
        let _listener = TcpListener::bind("127.0.0.1:8080").unwrap();
        for command in commands {
            let output = Command::new("sh")
                .arg("-c")
                .arg(format!("\"$0\" {command}"))
                .arg(env!("CARGO_BIN_EXE_tcpstat"))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "tcpstat {command}: {said}");
        }
    })
    .unwrap();
}

#[test]
fn every_metric_of_a_rule_is_one_of_the_exporter() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _listener = TcpListener::bind("127.0.0.1:8080").unwrap();
        let exporter = Exporter::start(&ALL);
        let answer = exporter.get("/metrics", &[]).text();
        let mut known: BTreeSet<_> = answer
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let rules = text("monitoring/rules.yml");
        known.extend(values(&rules, "record"));
        for path in [
            "monitoring/rules.yml",
            "monitoring/alerts.yml",
            "monitoring/dashboard.json",
        ] {
            let text = text(path);
            let unknown: Vec<_> = metrics(&text)
                .into_iter()
                .filter(|name| !known.contains(name))
                .collect();
            assert!(unknown.is_empty(), "{path} names {unknown:?}");
        }
    })
    .unwrap();
}

#[test]
fn the_dashboard_has_panels_with_ids_of_their_own_and_uses_its_variables() {
    let dashboard = Dashboard::read(&file("monitoring/dashboard.json"));
    let panels = dashboard.panels();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
    let titles: BTreeSet<_> = panels.iter().map(|panel| panel["title"].as_str()).collect();
    assert_eq!(titles.len(), panels.len());
    let text = text("monitoring/dashboard.json");
    for variable in dashboard.variables() {
        let used = text.matches(&format!("${variable}")).count();
        let braces = text.matches(&format!("${{{variable}}}")).count();
        assert!(used + braces > 0, "${variable} is not used");
    }
    for (title, expression) in dashboard.expressions(&Variables::any()) {
        assert!(!expression.contains('$'), "{title}: {expression}");
    }
}

#[test]
fn promtool_accepts_every_expression_of_the_dashboard() {
    if !promtool::is_there() {
        return;
    }
    let dashboard = Dashboard::read(&file("monitoring/dashboard.json"));
    for (title, expression) in dashboard.expressions(&Variables::any()) {
        let formatted =
            promtool::must_accept(&["--experimental", "promql", "format", &expression], "");
        assert!(!formatted.is_empty(), "{title}");
    }
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    if !promtool::is_there() {
        return;
    }
    let with = |words: &[&str], files: Vec<PathBuf>| {
        let files: Vec<_> = files.iter().map(|path| path.to_str().unwrap()).collect();
        promtool::must_accept(&[words, &files].concat(), "")
    };
    let rules = ["monitoring/rules.yml", "monitoring/alerts.yml"].map(file);
    with(&["check", "rules", "--lint-fatal"], rules.into());
    let files = tests();
    let said = with(&["test", "rules"], files.clone());
    assert_eq!(said.matches("SUCCESS").count(), files.len(), "{said}");
}
