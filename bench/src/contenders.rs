// SPDX-License-Identifier: GPL-2.0-only

//! Who is measured, how each is run, and what it says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use crate::Outcome;
use crate::exporter;
use crate::results::LeftOut;

/// Every way to count that may be in the results: its name there, and its name for people.
pub(crate) const LABELS: &[(&str, &str)] = &[
    ("psutil-list", "psutil, list"),
    ("psutil-generator", "psutil, generator"),
    ("procfs-python", "/proc/net/tcp, Python, 8 KiB buffer"),
    ("procfs-python-1m", "/proc/net/tcp, Python, 1 MiB buffer"),
    ("netstat", "netstat -tan | awk"),
    ("ss", "ss -Htan | awk"),
    ("node_exporter", "node_exporter, one scrape"),
    ("bpf", "BPF iterator iter/tcp"),
    ("procfs-drain", "/proc/net/tcp, read and thrown away"),
    ("tcpstat-procfs", "tcpstat --source procfs"),
    ("netlink-drain", "netlink dump, received and thrown away"),
    ("tcpstat-netlink-full", "tcpstat --source netlink-full"),
    ("tcpstat-netlink", "tcpstat --source netlink"),
    (
        "tcpstat-services-procfs",
        "tcpstat services --source procfs",
    ),
    (
        "tcpstat-services-netlink",
        "tcpstat services --source netlink",
    ),
    ("tcpstat-module", "tcpstat --source module"),
    ("module-drain", "/proc/tcpstat, one reading"),
    ("services-drain", "/proc/net/tcpstat_services, one reading"),
    (
        "module-obvious",
        "/proc/tcpstat, one reading, by the obvious walk",
    ),
];

/// A contender's name for people.
pub(crate) fn label(who: &str) -> &str {
    LABELS
        .iter()
        .find(|(name, _)| *name == who)
        .map_or(who, |(_, label)| label)
}

/// How a contender counts.
pub(crate) enum How {
    /// By a process that is started anew each time.
    Process(Vec<String>),
    /// By being scraped.
    Scrape,
}

/// One way to count.
pub(crate) struct Contender {
    /// Its name in the results, one of [`LABELS`].
    pub(crate) who: &'static str,
    /// How it counts.
    pub(crate) how: How,
    /// Whether it says what it counted: not if it throws that away.
    pub(crate) answers: bool,
    /// Whether fewer rounds have to do.
    pub(crate) slow: bool,
}

impl Contender {
    /// A process without shell.
    fn process<const N: usize>(who: &'static str, command: [&str; N]) -> Contender {
        Contender {
            who,
            how: How::Process(command.map(str::to_owned).to_vec()),
            answers: true,
            slow: false,
        }
    }

    fn slow(self) -> Contender {
        Contender { slow: true, ..self }
    }

    fn silent(self) -> Contender {
        Contender {
            answers: false,
            ..self
        }
    }
}

/// Those who can be measured here, in an order that has those beside each other whose ratio is wanted; and those who
/// cannot, with the reason.
pub(crate) fn present(
    tcpstat: &str,
    rivals: &str,
    iterator: Result<String, String>,
) -> (Vec<Contender>, Vec<LeftOut>) {
    const SELF: &str = "/proc/self/exe";
    let mut here = Vec::new();
    let mut left_out = Vec::new();
    let mut add = |contender: Contender, problem: Option<String>| match problem {
        None => here.push(contender),
        Some(why) => left_out.push(LeftOut {
            who: label(contender.who).to_owned(),
            why,
        }),
    };

    let python = || missing("python3");
    let psutil = || python().or_else(|| fails("python3", &["-c", "import psutil"]));
    for (who, way, slow, problem) in [
        ("psutil-list", "psutil-list", true, psutil()),
        ("psutil-generator", "psutil-generator", true, psutil()),
        ("procfs-python", "procfs", false, python()),
        ("procfs-python-1m", "procfs-1m", false, python()),
    ] {
        let contender = Contender::process(who, ["python3", "-I", rivals, way]);
        add(if slow { contender.slow() } else { contender }, problem);
    }
    let netstat = "netstat -tan | awk 'NR > 2 { n[$6]++ } END { for (s in n) print s, n[s] }'";
    add(
        Contender::process("netstat", ["sh", "-c", netstat]).slow(),
        missing("netstat").or_else(|| missing("awk")),
    );
    add(
        Contender {
            who: "node_exporter",
            how: How::Scrape,
            answers: true,
            slow: false,
        },
        missing(exporter::PROGRAM),
    );
    add(
        Contender::process("procfs-drain", [SELF, "drain", "procfs"]).silent(),
        None,
    );
    let own = |who, source| Contender::process(who, [tcpstat, "--source", source]);
    let services = |who, source| Contender::process(who, [tcpstat, "services", "--source", source]);
    add(own("tcpstat-procfs", "procfs"), None);
    add(services("tcpstat-services-procfs", "procfs"), None);
    add(
        Contender::process("netlink-drain", [SELF, "drain", "netlink"]).silent(),
        None,
    );
    add(own("tcpstat-netlink-full", "netlink-full"), None);
    add(services("tcpstat-services-netlink", "netlink"), None);
    add(own("tcpstat-netlink", "netlink"), None);
    let ss = "ss -Htan | awk '{ n[$1]++ } END { for (s in n) print s, n[s] }'";
    add(
        Contender::process("ss", ["sh", "-c", ss]),
        missing("ss").or_else(|| missing("awk")),
    );
    let (pinned, problem) = match iterator {
        Ok(path) => (path, None),
        Err(why) => (String::new(), Some(why)),
    };
    add(
        Contender::process("bpf", [SELF, "read-iterator", &pinned]),
        problem,
    );
    let no_module = !Path::new("/proc/tcpstat").exists();
    add(
        own("tcpstat-module", "module"),
        no_module.then(|| {
            "the module is not loaded on this machine; the virtual machine has it".to_owned()
        }),
    );
    (here, left_out)
}

/// Says so if there is no such program.
fn missing(program: &str) -> Option<String> {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    });
    (!found).then(|| format!("there is no {program} here"))
}

/// Says so if the command fails.
fn fails(program: &str, arguments: &[&str]) -> Option<String> {
    let status = Command::new(program)
        .args(arguments)
        .stderr(Stdio::null())
        .status();
    let good = status.is_ok_and(|status| status.success());
    (!good).then(|| format!("{program} {} fails here", arguments.join(" ")))
}

/// The counts in what a contender printed: tcpstat's JSON, of all or of each service, node_exporter's metrics, or lines of a state and its count.
/// States go by the kernel's names, those of `ss`, or numbers.
pub(crate) fn counts(text: &str) -> Outcome<Counts> {
    let mut counts = Counts::ZERO;
    if text.starts_with("{\"timestamp\"") {
        let services: Services = serde_json::from_str(text)?;
        for row in services.services.iter().chain([&services.other]) {
            for (name, share) in &row.states {
                add(&mut counts, name, share.count)?;
            }
        }
        return Ok(counts);
    }
    if text.starts_with('{') {
        let values: BTreeMap<String, u64> = serde_json::from_str(text)?;
        for (name, count) in values {
            add(&mut counts, &name, count)?;
        }
        return Ok(counts);
    }
    const METRIC: &str = "node_tcp_connection_states{state=\"";
    let metrics = text.contains(METRIC);
    for line in text.lines() {
        let line = if metrics {
            let Some(line) = line.strip_prefix(METRIC) else {
                continue;
            };
            line.replacen("\"}", "", 1)
        } else {
            line.to_owned()
        };
        let (name, count) = line
            .split_once(' ')
            .ok_or_else(|| format!("no count in {line:?}"))?;
        match name {
            // Of ss -a: bound to a port and nothing else. Of node_exporter: no states.
            "UNCONN" | "rx_queued_bytes" | "tx_queued_bytes" => continue,
            _ => {}
        }
        // node_exporter writes a million as 1e+06.
        let count: f64 = count
            .parse()
            .map_err(|_| format!("no number in {line:?}"))?;
        add(&mut counts, name, count as u64)?;
    }
    Ok(counts)
}

/// What `tcpstat services` prints, as far as it is of interest here.
#[derive(Deserialize)]
struct Services {
    services: Vec<ServiceRow>,
    other: ServiceRow,
}

#[derive(Deserialize)]
struct ServiceRow {
    states: BTreeMap<String, Share>,
}

#[derive(Deserialize)]
struct Share {
    count: u64,
}

/// Two names may be of one state: a request socket has a number of its own in the kernel.
fn add(counts: &mut Counts, name: &str, count: u64) -> Outcome {
    let state = state(name)?;
    counts.set(state, counts.get(state) + count);
    Ok(())
}

fn state(name: &str) -> Outcome<State> {
    let name = name.to_ascii_uppercase().replace('-', "_");
    let by_name = match name.as_str() {
        "ESTAB" => Some(State::Established),
        "FIN_WAIT_1" => Some(State::FinWait1),
        "FIN_WAIT_2" => Some(State::FinWait2),
        name => State::ALL.into_iter().find(|state| state.name() == name),
    };
    by_name
        .or_else(|| State::from_code(name.parse().ok()?))
        .ok_or_else(|| format!("no state is called {name:?}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(pairs: &[(State, u64)]) -> Counts {
        let mut counts = Counts::ZERO;
        for &(state, count) in pairs {
            counts.set(state, count);
        }
        counts
    }

    #[test]
    fn everybody_is_understood() {
        use State::{Established, FinWait1, Listen, SynSent};
        let want = some(&[(Established, 1_000_000), (FinWait1, 2), (Listen, 1)]);
        for text in [
            "{\"ESTABLISHED\":1000000,\"FIN_WAIT1\":2,\"LISTEN\":1,\"CLOSING\":0}\n",
            "{\"timestamp\":\"\",\"services\":[{\"port\":1,\"states\":{\"ESTABLISHED\":{\"count\":999999,\"ratio\":1.0},\
             \"LISTEN\":{\"count\":1,\"ratio\":0.0}}}],\"other\":{\"states\":{\"ESTABLISHED\":{\"count\":1},\
             \"FIN_WAIT1\":{\"count\":2}}}}\n",
            "ESTAB 1000000\nUNCONN 4\nFIN-WAIT-1 2\nLISTEN 1\n",
            "ESTABLISHED 1000000\nFIN_WAIT1 2\nLISTEN 1\n",
            "1 1000000\n4 2\n10 1\n",
            "# HELP x y\nnode_tcp_connection_states{state=\"established\"} 1e+06\n\
             node_tcp_connection_states{state=\"fin_wait1\"} 2\nnode_tcp_connection_states{state=\"listen\"} 1\n\
             node_tcp_connection_states{state=\"rx_queued_bytes\"} 77\nother 3\n",
        ] {
            assert_eq!(counts(text).unwrap(), want, "{text}");
        }
        assert_eq!(counts("3 2\n12 3\n").unwrap(), some(&[(State::SynRecv, 5)]));
        assert_eq!(counts("SYN-SENT 3\n").unwrap(), some(&[(SynSent, 3)]));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in ["ESTAB\n", "NOTHING 3\n", "LISTEN x\n", "13 1\n", "{\n"] {
            assert!(counts(text).is_err(), "{text}");
        }
    }
}
