// SPDX-License-Identifier: MIT OR Apache-2.0

//! What `docs/stability.md` promises: the fields of JSON, the metrics with their labels, and the
//! options are those of the lists in `stability/`. What is added goes into a list; what disappears
//! is a change of version.
//!
//! `TCPSTAT_WRITE_LISTS=1 cargo test -p tcpstat-cli --test stability` adds what is new, and never
//! takes anything away.
//!
//! Needs `CAP_SYS_ADMIN` for a network namespace.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};

use common::exporter::{ALL, Exporter};
use common::project_file;
use common::run::{run, tcpstat, tcpstat_on};
use common::saved::proc_root;
use common::serial::serial;
use serde_json::Value;
use tcpstat_tests::netns;

/// Compares what there is with the list of that name.
fn compare(name: &str, found: &BTreeSet<String>) {
    let path = project_file("cli/tests/stability").join(name);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let listed: BTreeSet<_> = text.lines().map(str::to_owned).collect();
    if std::env::var_os("TCPSTAT_WRITE_LISTS").is_some() {
        let all: Vec<_> = listed.union(found).map(String::as_str).collect();
        fs::write(&path, all.join("\n") + "\n").unwrap();
        return;
    }
    let missing: Vec<_> = listed.difference(found).collect();
    assert!(
        missing.is_empty(),
        "promised by {name}, and gone: {missing:#?}"
    );
    let new: Vec<_> = found.difference(&listed).collect();
    assert!(
        new.is_empty(),
        "not in {name} yet; add it by TCPSTAT_WRITE_LISTS=1: {new:#?}"
    );
}

/// Runs `test` in a network namespace with a service, a connection to it and one from it.
fn with_sockets(test: impl FnOnce() + Send) {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let listener = TcpListener::bind("127.0.0.1:8080").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _server = listener.accept().unwrap();
        test();
    })
    .unwrap();
}

/// The paths of the fields of a value, with `[]` for the elements of an array.
fn fields(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                // Shares are numbers, and null of nothing.
                let path = format!("{path}.{name}");
                into.insert(path.clone());
                fields(value, &path, into);
            }
        }
        Value::Array(array) => array
            .iter()
            .for_each(|value| fields(value, &format!("{path}[]"), into)),
        _ => {}
    }
}

#[test]
fn the_fields_of_json() {
    with_sockets(|| {
        let mut found = BTreeSet::new();
        for arguments in [
            &["--format", "json"][..],
            &["--format", "report"],
            &["--format", "json", "--all-namespaces"],
            &["services", "-p"],
            &["services", "--listeners", "-p"],
            &["services", "--all-namespaces"],
            &["connections", "-p"],
            &["connections", "--all-namespaces"],
            &["top", "--by", "peer-port"],
            &["top", "--by", "state", "--all-namespaces"],
            &[
                "watch", "--format", "json", "--count", "1", "--port", "8080",
            ],
        ] {
            let (code, stdout, stderr) = run(&mut tcpstat(arguments));
            // Another machine's processes may hide a namespace.
            assert!(
                code == Some(0) || arguments.contains(&"--all-namespaces"),
                "{stderr}"
            );
            let name = arguments.join(" ");
            let values = serde_json::Deserializer::from_str(&stdout).into_iter::<Value>();
            for value in values {
                fields(&value.unwrap(), &name, &mut found);
            }
        }
        compare("json.txt", &found);
    });
}

#[test]
fn the_metrics_and_their_labels() {
    with_sockets(|| {
        let exporter = Exporter::start(&[&ALL[..], &["--collector.zeros"]].concat());
        let mut found = BTreeSet::new();
        let texts = [
            exporter.get("/metrics", &[]).text(),
            run(&mut tcpstat(&["--format", "prometheus"])).1,
            run(&mut tcpstat(&["services", "--format", "prometheus"])).1,
            run(&mut tcpstat(&[
                "top",
                "--by",
                "peer",
                "--format",
                "prometheus",
            ]))
            .1,
        ];
        for (from, text) in ["exporter", "totals", "services", "top"].iter().zip(&texts) {
            for line in text.lines() {
                if let Some(kind) = line.strip_prefix("# TYPE ") {
                    found.insert(format!("{from}: {kind}"));
                } else if let Some((name, labels)) = line.split_once('{') {
                    let labels = labels.split("=\"").map(|part| {
                        part.rsplit([',', ' '])
                            .next()
                            .unwrap()
                            .trim_start_matches('"')
                    });
                    let labels: Vec<_> = labels.filter(|name| !name.is_empty()).collect();
                    let labels = &labels[..labels.len() - 1];
                    found.insert(format!("{from}: {name}{{{}}}", labels.join(",")));
                }
            }
        }
        compare("metrics.txt", &found);
    });
}

#[test]
fn the_options_and_their_defaults() {
    let mut found = BTreeSet::new();
    let mut all = vec![(String::from("tcpstat"), tcpstat_cli::command())];
    while let Some((name, command)) = all.pop() {
        for argument in command.get_arguments() {
            let option = match argument.get_long() {
                Some(long) => format!("--{long}"),
                None => format!("<{}>", argument.get_id()),
            };
            let defaults = argument.get_default_values().iter();
            let defaults: Vec<_> = defaults.map(|value| value.to_str().unwrap()).collect();
            let default = match &defaults[..] {
                [] => String::new(),
                defaults => format!(" [{}]", defaults.join(",")),
            };
            found.insert(format!("{name} {option}{default}"));
        }
        for command in command.get_subcommands() {
            all.push((format!("{name} {}", command.get_name()), command.clone()));
        }
    }
    compare("options.txt", &found);
}

/// What the module of 0.1 wrote, and what one of a later version may.
#[test]
fn files_of_an_older_and_of_a_newer_module_are_read() {
    let states = "ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK \
                  LISTEN CLOSING";
    let older = format!(
        "PORT LISTENERS ACCEPT_QUEUE BACKLOG DROPS {states}\n\
         443 2 3 256 7 5 0 0 0 0 1 0 4 0 2 0\n\
         - 0 0 0 0 6 1 0 0 0 0 0 0 0 0 0\n"
    );
    let newer = format!(
        "PORT NEW LISTENERS ACCEPT_QUEUE BACKLOG DROPS FULLEST_QUEUE FULLEST_BACKLOG {states} LATER\n\
         443 9 2 3 256 7 3 128 5 0 0 0 0 1 0 4 0 2 0 8\n\
         - 0 0 0 0 0 0 0 6 1 0 0 0 0 0 0 0 0 0 0\n"
    );
    for (services, fullest) in [(older, false), (newer, true)] {
        let root = proc_root(&[("net/tcpstat_services", &services)]);
        let arguments = ["services", "--source", "module", "--format", "json"];
        let (code, stdout, stderr) = run(&mut tcpstat_on(root.path(), &arguments));
        assert_eq!(code, Some(0), "{stderr}");
        let answer: Value = serde_json::from_str(&stdout).unwrap();
        let row = &answer["services"][0];
        assert_eq!(
            (&row["port"], &row["drops"]),
            (&Value::from(443), &Value::from(7))
        );
        assert_eq!(row["states"]["CLOSE_WAIT"]["count"], 4);
        assert_eq!(row["fullest"].is_null(), !fullest, "{row}");
    }
    // Without a column of a state nothing can be counted.
    let lacking = "PORT LISTENERS ACCEPT_QUEUE BACKLOG DROPS ESTABLISHED\n- 0 0 0 0 6\n";
    let root = proc_root(&[("net/tcpstat_services", lacking)]);
    let arguments = ["services", "--source", "module"];
    let (code, stdout, stderr) = run(&mut tcpstat_on(root.path(), &arguments));
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.contains("tcpstat_services") && stderr.contains("SYN_SENT"),
        "{stderr}"
    );
}
