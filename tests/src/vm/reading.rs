// SPDX-License-Identifier: GPL-2.0-only

//! Reads the counts in every way, and compares them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::scenario::{Outcome, ensure, fail};
use crate::naive::{self, Service, Services};

/// The command under test.
pub const COMMAND: &str = "/bin/tcpstat";

/// The sources that the command can be told to read.
pub const SOURCES: [&str; 4] = ["module", "netlink", "netlink-full", "procfs"];

/// The sources from which the command counts by service.
const SERVICE_SOURCES: [&str; 3] = ["module", "netlink", "procfs"];

/// The user and group ID of processes that must need no privilege.
pub const UNPRIVILEGED: u32 = 65534;

/// How often to read until the counts of `/proc/net/tcp` before and after it are equal: then no
/// timer has changed a state in between.
const ATTEMPTS: u32 = 20;

/// The counts that the module publishes for this process.
pub fn module() -> Result<Counts, Box<dyn Error>> {
    module_at(Path::new(LINK))
}

/// The counts in a file that the module publishes.
pub fn module_at(path: &Path) -> Result<Counts, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|e| format!("reading {}: {e}", path.display()))?;
    naive::module_text(&text).map_err(|e| format!("{}: {e}", path.display()).into())
}

/// The module's file that is a link.
pub const LINK: &str = "/proc/tcpstat";

/// The counts in the text of the module's file at `path`: the sums, if it has a row for each port;
/// those of this thread's namespace, if it has a row for each namespace.
pub fn counts_in(path: &str, text: &str) -> Result<Counts, String> {
    if path.ends_with("_services") {
        Ok(naive::sum(&naive::services_text(text)?))
    } else if path == NAMESPACES {
        let own = fs::metadata("/proc/thread-self/ns/net").map_err(|e| e.to_string())?;
        let counts = naive::namespaces_text(text)?.get(&own.ino()).copied();
        counts.ok_or_else(|| format!("no row of namespace {} in {text:?}", own.ino()))
    } else {
        naive::module_text(text)
    }
}

/// The file with a row for each port, of this process's network namespace.
pub const SERVICES: &str = "/proc/net/tcpstat_services";

/// The file with a row for each network namespace.
pub const NAMESPACES: &str = "/proc/tcpstat_namespaces";

/// What the module publishes for each port of this process's namespace.
pub fn services() -> Result<Services, Box<dyn Error>> {
    services_at(Path::new(SERVICES))
}

/// The rows in a file that the module publishes.
pub fn services_at(path: &Path) -> Result<Services, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|e| format!("reading {}: {e}", path.display()))?;
    naive::services_text(&text).map_err(|e| format!("{}: {e}", path.display()).into())
}

/// The naive counts of this process's network namespace.
pub fn procfs() -> Result<Counts, Box<dyn Error>> {
    Ok(naive::procfs(Path::new("/proc/self/net"))?)
}

/// What the command prints with `args`, as root or without privileges. Fails unless it succeeds
/// without complaint.
pub fn command(args: &[&str], unprivileged: bool) -> Result<String, Box<dyn Error>> {
    let mut command = Command::new(COMMAND);
    command.args(args);
    if unprivileged {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    let output = command
        .output()
        .map_err(|e| format!("starting {COMMAND}: {e}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let typed = format!("{COMMAND} {}", args.join(" "));
    ensure!(
        output.status.success(),
        "{typed}: {}: {}",
        output.status,
        errors.trim()
    );
    ensure!(
        errors.is_empty(),
        "{typed} complains, and succeeds: {}",
        errors.trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The counts in the command's JSON, of which every byte must be right.
pub fn command_counts(source: &str, unprivileged: bool) -> Result<Counts, Box<dyn Error>> {
    let text = command(&["--source", source], unprivileged)?;
    let values: BTreeMap<String, u64> =
        serde_json::from_str(&text).map_err(|e| format!("--source {source}: {e}: {text:?}"))?;
    let mut counts = Counts::ZERO;
    for (state, name) in State::ALL.into_iter().zip(naive::NAMES) {
        match values.get(name) {
            Some(count) => counts.set(state, *count),
            None => fail!("--source {source}: no {name} in {text:?}"),
        }
    }
    ensure!(
        text == naive::json(&counts),
        "--source {source}: the form of {text:?} is wrong"
    );
    Ok(counts)
}

/// What the command gives for each service, which must come from `source`.
pub fn command_services(source: &str) -> Result<Services, Box<dyn Error>> {
    let reports = command_reports(&["services", "--source", source])?;
    let [report] = &reports[..] else {
        fail!("services --source {source}: {} lines", reports.len());
    };
    ensure!(
        report["source"] == source,
        "it does not come from {source}: {report}"
    );
    services_in(report)
}

/// The lines of JSON that the command prints with `args`.
pub fn command_reports(args: &[&str]) -> Result<Vec<Value>, Box<dyn Error>> {
    command(args, false)?
        .lines()
        .map(|line| Ok(serde_json::from_str(line).map_err(|e| format!("{e}: {line:?}"))?))
        .collect()
}

/// The services in a report of the command.
pub fn services_in(value: &Value) -> Result<Services, Box<dyn Error>> {
    let wrong = |what: &str| format!("{what}: {value}");
    let rows = value["services"]
        .as_array()
        .ok_or_else(|| wrong("no services"))?;
    let mut services = Services::new();
    for row in rows.iter().chain([&value["other"]]) {
        let number = |value: &Value| value.as_u64();
        let mut service = Service {
            listeners: number(&row["listeners"]).unwrap_or(0),
            accept_queue: number(&row["accept_queue"]).unwrap_or(0),
            backlog: number(&row["backlog"]).unwrap_or(0),
            drops: number(&row["drops"]).unwrap_or(0),
            fullest: ["accept_queue", "backlog"]
                .map(|key| number(&row["fullest"][key]).unwrap_or(0)),
            counts: Counts::ZERO,
        };
        service.counts = shares_in(row)?;
        let port = number(&row["port"]).map(u16::try_from).transpose()?;
        ensure!(
            services.insert(port, service).is_none(),
            "{}",
            wrong("a port is listed twice")
        );
    }
    Ok(services)
}

/// The parts of the command's report that the scenarios compare.
pub struct Report {
    /// The source of the counts.
    pub source: String,
    /// The counts.
    pub counts: Counts,
}

/// The command's report, from the source that it chooses.
pub fn report() -> Result<Report, Box<dyn Error>> {
    let reports = command_reports(&["--format", "report"])?;
    let [value] = &reports[..] else {
        fail!("{} lines, not one", reports.len());
    };
    let timestamp = value["timestamp"].as_str().unwrap_or_default();
    ensure!(
        timestamp.len() >= 20 && timestamp.as_bytes()[10] == b'T',
        "no time in {value}"
    );
    match value["source"].as_str() {
        Some(source) => Ok(Report {
            source: source.to_owned(),
            counts: shares_in(value)?,
        }),
        None => fail!("no source in {value}"),
    }
}

/// The counts in a report of the command, whose total must be their sum.
pub fn shares_in(value: &Value) -> Result<Counts, Box<dyn Error>> {
    let mut counts = Counts::ZERO;
    for (state, name) in State::ALL.into_iter().zip(naive::NAMES) {
        match value["states"][name]["count"].as_u64() {
            Some(count) => counts.set(state, count),
            None => fail!("no count for {name} in {value}"),
        }
    }
    ensure!(
        value["total"].as_u64() == Some(counts.total()),
        "the total is not the sum: {value}"
    );
    Ok(counts)
}

/// Repeats `read` until the naive counts before and after it are equal. Gives these, and what it
/// read.
pub fn steady<T>(
    read: impl FnMut() -> Result<T, Box<dyn Error>>,
) -> Result<(Counts, T), Box<dyn Error>> {
    steady_by(procfs, read)
}

fn steady_by<N: PartialEq, T>(
    naive: impl Fn() -> Result<N, Box<dyn Error>>,
    mut read: impl FnMut() -> Result<T, Box<dyn Error>>,
) -> Result<(N, T), Box<dyn Error>> {
    for _ in 0..ATTEMPTS {
        let before = naive()?;
        let answer = read()?;
        if naive()? == before {
            return Ok((before, answer));
        }
        sleep(Duration::from_millis(50));
    }
    fail!("/proc/net/tcp did not stay the same over a reading, {ATTEMPTS} times")
}

/// Fails unless `got`, from `source`, is `want`.
pub fn same(source: &str, want: &Counts, got: &Counts) -> Outcome {
    match naive::difference(want, got) {
        None => Ok(()),
        Some(difference) => fail!("{source}: {difference}"),
    }
}

/// Fails unless `read`, from `source`, gives for each port the same as the naive count of the
/// directory `net`.
pub fn same_services(
    source: &str,
    net: &Path,
    read: impl FnMut() -> Result<Services, Box<dyn Error>>,
) -> Result<Services, Box<dyn Error>> {
    let (want, got) = steady_by(|| Ok(naive::procfs_services(net)?), read)?;
    match naive::services_difference(&want, &got) {
        None => Ok(got),
        Some(difference) => fail!("{source}: {difference}"),
    }
}

/// Fails unless the naive count, the module, and the command with every source give `want`.
pub fn every_source_gives(want: &Counts) -> Outcome {
    let (procfs, answers) = steady(|| {
        let mut answers = vec![("/proc/tcpstat".to_owned(), module()?)];
        for source in SOURCES {
            let counts = command_counts(source, false)?;
            answers.push((format!("tcpstat --source {source}"), counts));
        }
        Ok(answers)
    })?;
    same("/proc/net/tcp", want, &procfs)?;
    answers
        .iter()
        .try_for_each(|(source, counts)| same(source, want, counts))?;
    let net = Path::new("/proc/self/net");
    let (naive_services, answers) = steady_by(
        || Ok(naive::procfs_services(net)?),
        || {
            let mut answers = vec![(SERVICES.to_owned(), services()?)];
            for source in SERVICE_SOURCES {
                let name = format!("tcpstat services --source {source}");
                answers.push((name, command_services(source)?));
            }
            Ok(answers)
        },
    )?;
    same("the naive services", want, &naive::sum(&naive_services))?;
    for (source, services) in &answers {
        if let Some(difference) = naive::services_difference(&naive_services, services) {
            fail!("{source}: {difference}");
        }
        // procfs has no backlogs.
        let backlogs = services.values().map(|service| service.backlog);
        ensure!(
            source.ends_with("procfs")
                || backlogs.eq(answers[0].1.values().map(|service| service.backlog)),
            "{source}: other backlogs than {SERVICES}: {services:?}, {:?}",
            answers[0].1
        );
    }
    Ok(())
}
