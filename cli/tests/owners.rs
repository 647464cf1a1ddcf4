// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whose the sockets are that `services`, `services --listeners` and `connections` list: units,
//! processes, interfaces. And the bytes in their queues.
//!
//! Needs `CAP_SYS_ADMIN` for the namespaces.

mod common;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::run::{run, tcpstat};
use common::serial::serial;
use common::sources;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{Value, json};
use tcpstat_tests::cgroup::Cgroup;
use tcpstat_tests::netns;
use tcpstat_tests::ss;

/// What a command prints with these arguments: lines of JSON.
fn answers(arguments: &[&str]) -> Vec<Value> {
    let (code, stdout, stderr) = run(&mut tcpstat(arguments));
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    let lines = stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// This process, as it is in `/proc/PID/comm`.
fn own_name() -> String {
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    name.trim_end().to_owned()
}

#[test]
fn units_and_processes_are_those_of_the_listeners() {
    if netns::must_skip() {
        return;
    }
    let path = format!("/tcpstat-test-{}.slice/web.service", process::id());
    let Some(service) = Cgroup::new(&path) else {
        return;
    };
    let _serial = serial();
    netns::in_new(|| {
        let web = service.while_inside(|| TcpListener::bind("127.0.0.1:8080").unwrap());
        let web = web.unwrap();
        let other = TcpListener::bind("127.0.0.1:8080");
        assert!(other.is_err(), "only one listens there");
        let _elsewhere = TcpListener::bind("127.0.0.1:9090").unwrap();
        let client = TcpStream::connect("127.0.0.1:8080").unwrap();
        let _accepted = web.accept().unwrap();

        let own = json!([{"name": own_name(), "pid": process::id()}]);
        for source in sources::names_and_auto() {
            let of = |arguments: &[&str], rows: &str| {
                let all = [arguments, &["--source", source]].concat();
                let answer = &answers(&all)[0];
                let rows = answer[rows].as_array().unwrap().iter();
                rows.map(|row| (row["unit"].clone(), row.get("processes").cloned()))
                    .collect::<Vec<_>>()
            };
            let knows = source != "procfs";
            for (command, rows) in [
                (&["services"][..], "services"),
                (&["services", "--listeners"], "listeners"),
            ] {
                let [(first, none), (second, _)] = &of(command, rows)[..] else {
                    panic!("{source}")
                };
                assert_eq!((first == "web.service", none), (knows, &None), "{source}");
                assert_eq!(first != second, knows, "{source}");
                let with = of(&[command, &["-p"]].concat(), rows);
                assert_eq!((&with[0].0, &with[0].1), (first, &Some(own.clone())));
            }

            let list = ["connections", "--source", source, "--port", "8080", "-p"];
            for line in answers(&list) {
                // The connections that a listener accepts are of its cgroup.
                let expected = if knows {
                    json!("web.service")
                } else {
                    Value::Null
                };
                assert_eq!(
                    (&line["unit"], &line["processes"]),
                    (&expected, &own),
                    "{line}"
                );
            }
            let table = [&list[..], &["--format", "table"]].concat();
            let (_, table, _) = run(&mut tcpstat(&table));
            let lines: Vec<&str> = table.lines().collect();
            assert_eq!(lines.len(), 3, "{table}");
            assert!(
                lines[0].starts_with("STATE        RECV_Q  SEND_Q  LOCAL "),
                "{table}"
            );
            let end = format!("{}[{}]", own_name(), process::id());
            for line in &lines[1..] {
                assert!(
                    line.ends_with(&end) && line.contains("127.0.0.1:8080"),
                    "{table}"
                );
                assert_eq!(line.contains("  web.service  "), knows, "{table}");
            }
        }
        for command in [&["services"][..], &["services", "--listeners"]] {
            let table = [command, &["-p", "--format", "table"]].concat();
            let (_, table, _) = run(&mut tcpstat(&table));
            assert!(table.contains("  web.service  "), "{table}");
            assert!(
                table.contains(&format!("{}[{}]\n", own_name(), process::id())),
                "{table}"
            );
        }
        drop(client);
    })
    .unwrap();
}

#[test]
fn connections_have_the_interface_that_they_are_bound_to() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let listener = TcpListener::bind("127.0.0.1:8080").unwrap();
        setsockopt(&listener, sockopt::BindToDevice, &"lo".into()).unwrap();
        let lo = json!({"index": 1, "name": "lo"});
        for (source, expected) in [("netlink", lo), ("procfs", Value::Null)] {
            let list = ["connections", "--source", source];
            assert_eq!(answers(&list)[0]["interface"], expected);
        }
        let (_, table, _) = run(&mut tcpstat(&["connections", "--format", "table"]));
        assert!(table.contains("0.0.0.0:0              lo  "), "{table}");
    })
    .unwrap();
}

#[test]
fn bytes_in_queues_are_added_up_by_service() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let listeners = ["127.0.0.1:8080", "127.0.0.1:9090"];
        let listeners = listeners.map(|address| TcpListener::bind(address).unwrap());
        let pairs: Vec<_> = listeners
            .iter()
            .flat_map(|listener| [listener; 2])
            .map(|listener| {
                let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                (client, listener.accept().unwrap().0)
            })
            .collect();
        // Nobody reads it.
        for (bytes, (client, _)) in [10, 20, 300, 0].into_iter().zip(&pairs) {
            { client }.write_all(&vec![0; bytes]).unwrap();
        }
        // More than the queue of the other end takes.
        let full = &pairs[3].1;
        full.set_nonblocking(true).unwrap();
        while { full }.write(&[0; 65536]).is_ok() {}
        // Until as much has arrived as the other end takes.
        let queues = || answers(&["services"])[0]["queues"].clone();
        let start = Instant::now();
        let mut before = queues();
        loop {
            sleep(Duration::from_millis(300));
            let now = queues();
            if now == before {
                break;
            }
            before = now;
            assert!(start.elapsed() < Duration::from_secs(20));
        }
        for source in sources::names_and_auto() {
            let answer = &answers(&["services", "--source", source])[0];
            let queues = |row: usize| &answer["services"][row]["queues"];
            assert_eq!(queues(0), &json!({"receive": 30, "send": 0}), "{source}");
            assert_eq!(queues(1)["receive"], 300, "{source}");
            assert!(queues(1)["send"].as_u64().unwrap() > 65536, "{source}");
            let Some(lines) = ss::lines() else { continue };
            let connections = lines.iter().filter(|line| line.remote_port > 0);
            let sum = |queue: fn(&ss::Line) -> u32| -> u64 {
                connections.clone().map(|line| u64::from(queue(line))).sum()
            };
            let expected = json!({
                "receive": sum(|line| line.receive_queue), "send": sum(|line| line.send_queue),
            });
            assert_eq!(answer["queues"], expected, "{source}");
            let few = &answers(&["services", "--source", source, "--port", "8080"])[0];
            assert_eq!(few["queues"], json!({"receive": 30, "send": 0}), "{source}");
        }
        let (_, table, _) = run(&mut tcpstat(&["services", "--format", "table"]));
        assert!(
            table.contains("  TOTAL  RECV_BYTES  SEND_BYTES  "),
            "{table}"
        );
        let (_, text, _) = run(&mut tcpstat(&["services", "--format", "prometheus"]));
        let line = "\ntcpstat_service_receive_queue_bytes{port=\"8080\"} 30\n";
        assert!(text.contains(line), "{text}");
    })
    .unwrap();
}
