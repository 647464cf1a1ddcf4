// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: the command and the module. It names the source of its counts, every source gives the
//! same counts, and each subcommand uses the module.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::helper::start_holder;
use super::module;
use super::need::Need;
use super::reading::{
    COMMAND, command, command_counts, command_reports, report, same, services_in, shares_in, steady,
};
use super::scenario::{Outcome, Scenario, ensure};
use super::services::{listen, port_of, wait_for};
use crate::naive;
use crate::netns;
use crate::sockets::{Family, Mix};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "the command takes the module, and netlink without it",
        seconds: 60,
        needs: &[Need::TcpDiag],
        run: module_then_netlink,
    },
    Scenario {
        name: "the command refuses the module's file where it is not",
        seconds: 30,
        needs: &[],
        run: no_module,
    },
    Scenario {
        name: "the command at intervals",
        seconds: 60,
        needs: &[],
        run: intervals,
    },
    Scenario {
        name: "the command takes the module for a process's namespace, and for all of them",
        seconds: 60,
        needs: &[Need::Ipv6],
        run: other_namespaces,
    },
    Scenario {
        name: "the command's check takes the module",
        seconds: 60,
        needs: &[Need::TcpDiag],
        run: check,
    },
    Scenario {
        name: "the command's watch takes the module, and ends when its output is closed",
        seconds: 60,
        needs: &[],
        run: watch,
    },
    Scenario {
        name: "the command lists as many connections as the module counts",
        seconds: 60,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: connections,
    },
];

fn module_then_netlink() -> Outcome {
    let fixture = Mix::of_each(Family::V4, 2).make()?;
    let want = fixture.expected();
    let with = steady(report)?.1;
    ensure!(
        with.source == "module",
        "with the module, the source is {}",
        with.source
    );
    same("the module", &want, &with.counts)?;
    module::unload()?;
    let without = steady(report)?.1;
    ensure!(
        without.source == "netlink",
        "without the module, the source is {}",
        without.source
    );
    same("netlink", &want, &without.counts)?;
    for source in ["auto", "netlink", "netlink-full", "procfs"] {
        same(source, &want, &steady(|| command_counts(source, false))?.1)?;
    }
    module::load()?;
    let again = steady(report)?.1;
    ensure!(
        again.source == "module",
        "with the module again, the source is {}",
        again.source
    );
    same("the module, loaded again", &want, &again.counts)
}

fn no_module() -> Outcome {
    module::unload()?;
    let output = Command::new(COMMAND)
        .args(["--source", "module"])
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1),
        "it ends with {}: {errors}",
        output.status
    );
    ensure!(
        output.stdout.is_empty(),
        "it prints {:?}",
        String::from_utf8_lossy(&output.stdout)
    );
    ensure!(
        errors.contains("tcpstat"),
        "it does not say what is missing: {errors:?}"
    );
    Ok(())
}

fn intervals() -> Outcome {
    let fixture = Mix {
        established: 2,
        listen: 1,
        ..Mix::default()
    }
    .make()?;
    let (_, text) = steady(|| command(&["--interval", "1s", "--count", "3"], false))?;
    let want = naive::json(&fixture.expected()).repeat(3);
    ensure!(text == want, "it prints {text:?}, not {want:?}");
    Ok(())
}

/// Fails unless a report of the command comes from the module.
fn from_module(report: &Value) -> Outcome {
    ensure!(report["source"] == "module", "the source: {report}");
    Ok(())
}

fn other_namespaces() -> Outcome {
    let mine = Mix::of_each(Family::V4, 1).make()?;
    let first = start_holder(&Mix::of_each(Family::V6, 2))?;
    let second = start_holder(&Mix::of_each(Family::V4Mapped, 1))?;
    let mut all = BTreeMap::new();
    for (pid, counts) in [
        // Earlier scenarios may have left time-wait sockets in the initial namespace.
        (1, None),
        (std::process::id(), Some(mine.expected())),
        (first.pid(), Some(first.expected)),
        (second.pid(), Some(second.expected)),
    ] {
        all.insert(netns::of_process(pid)?, (pid, counts));
    }
    for args in [&["--format", "report"][..], &["services"]] {
        for (pid, counts) in all.values() {
            let reports = command_reports(&[args, &["--pid", &pid.to_string()]].concat())?;
            ensure!(reports.len() == 1, "{args:?} --pid {pid}: {reports:?}");
            check_report(&reports[0], *pid, counts.as_ref())?;
        }
        let reports = command_reports(&[args, &["--all-namespaces"]].concat())?;
        let listed: Vec<_> = reports
            .iter()
            .map(|report| report["namespace"].as_u64().unwrap_or_default())
            .collect();
        ensure!(
            listed.iter().collect::<BTreeSet<_>>().len() == listed.len()
                && listed.len() == all.len(),
            "{args:?} lists {listed:?}, not {:?}",
            all.keys()
        );
        for (report, namespace) in reports.iter().zip(&listed) {
            let (pid, counts) = all
                .get(namespace)
                .ok_or_else(|| format!("{args:?} lists a namespace {namespace}"))?;
            ensure!(
                report["pid"] == *pid,
                "{args:?} names another process than {pid}: {report}"
            );
            check_report(report, *pid, counts.as_ref())?;
        }
    }
    Ok(mine.check()?)
}

/// Fails unless a report, of totals or of services, comes from the module and gives the sockets
/// that the namespace of the process has: `want`, if these are known.
fn check_report(report: &Value, pid: u32, want: Option<&Counts>) -> Outcome {
    from_module(report)?;
    let Some(want) = want else {
        return Ok(());
    };
    if report["services"].is_null() {
        return same(&format!("of process {pid}"), want, &shares_in(report)?);
    }
    let services = naive::procfs_services(Path::new(&format!("/proc/{pid}/net")))?;
    let got = services_in(report)?;
    same(&format!("services of {pid}"), want, &naive::sum(&got))?;
    match naive::services_difference(&services, &got) {
        None => Ok(()),
        Some(difference) => Err(format!("the services of process {pid}: {difference}").into()),
    }
}

fn check() -> Outcome {
    const BACKLOG: i32 = 4;
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), BACKLOG)?;
    let port = port_of(&listener)?;
    let critical = format!("{port}:accept_queue>80%");
    let mut clients = Vec::new();
    // With a backlog of 4, three are 75 % and four are 100 %.
    for waiting in 1..=BACKLOG as u64 {
        clients.push(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?);
        wait_for(port, "a connection in the queue", |row| {
            row.accept_queue == waiting
        })?;
        let (code, word) = match waiting {
            4.. => (2, "CRITICAL"),
            _ => (0, "OK"),
        };
        for source in ["auto", "module", "netlink"] {
            let args = ["check", "-v", "--source", source, "--crit", &critical];
            let output = Command::new(COMMAND).args(args).output()?;
            let line = String::from_utf8(output.stdout)?;
            let explained = String::from_utf8(output.stderr)?;
            let answered = if source == "auto" { "module" } else { source };
            let start = format!("TCP {word} - {port}: accept_queue {}.0% of 4", waiting * 25);
            ensure!(
                output.status.code() == Some(code)
                    && line.starts_with(&start)
                    && line.lines().count() == 1
                    && explained.starts_with("tcpstat: network namespace ")
                    && explained.contains(&format!("\ntcpstat: {answered}: ")),
                "{waiting} wait: {args:?}: {}: {line:?}, {explained:?}, not {code}, {start:?}",
                output.status
            );
        }
    }
    Ok(())
}

fn watch() -> Outcome {
    let fixture = Mix {
        established: 3,
        listen: 2,
        time_wait: 1,
        ..Mix::default()
    }
    .make()?;
    let want = fixture.expected();
    let mut watch = Command::new(COMMAND)
        .args(["watch", "--interval", "100ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdout = watch.stdout.take().ok_or("no standard output")?;
    // Like `head -n 1`: reads the first line, then closes the pipe.
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let output = watch.wait_with_output()?;
    let states: Vec<String> = naive::NAMES
        .iter()
        .zip(want.iter())
        .filter(|(_, (_, count))| *count > 0)
        .map(|(name, (_, count))| format!("{name} {count}"))
        .collect();
    let end = format!(" module: total {}, {}\n", want.total(), states.join(", "));
    ensure!(line.ends_with(&end), "it begins {line:?}, not {end:?}");
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "when the pipe is closed: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn connections() -> Outcome {
    let fixture = Mix::of_each(Family::V4, 3).make()?;
    let holder = start_holder(&Mix::of_each(Family::V6, 2))?;
    let pid = holder.pid().to_string();
    let one: &[&str] = &[];
    for (whose, want, is_ip) in [
        (
            one,
            fixture.expected(),
            IpAddr::is_ipv4 as fn(&IpAddr) -> bool,
        ),
        (&["--pid", &pid], holder.expected, IpAddr::is_ipv6),
    ] {
        let listed = ["connections", "--state", "established"];
        let listed = command_reports(&[&listed, whose].concat())?;
        let [report] = &command_reports(&[&["--format", "report"], whose].concat())?[..] else {
            return Err("not one report".into());
        };
        from_module(report)?;
        let counted = shares_in(report)?.get(State::Established);
        ensure!(
            listed.len() as u64 == counted && counted == want.get(State::Established),
            "{whose:?}: {} are listed, the module counts {counted}, {want:?} were made",
            listed.len()
        );
        for connection in &listed {
            let address = connection["local_address"].as_str().unwrap_or_default();
            ensure!(
                connection["state"] == "ESTABLISHED" && is_ip(&address.parse()?),
                "{whose:?}: {connection}"
            );
        }
    }
    Ok(())
}
