// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat watch` of real sockets: a stuck listener, a leak, and other network namespaces.
//!
//! Needs `CAP_SYS_ADMIN` for the network namespaces. With `TCPSTAT_WATCH_PICTURE=FILE`, also draws
//! the picture of the README, docs/watch.svg.

mod common;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::run::{run, tcpstat};
use common::serial::serial;
use common::sockets::{connect, listen};
use common::watch::{Watch, rows, watch};
use serde_json::Value;
use tcpstat_tests::idle::Idle;
use tcpstat_tests::netns;
use tcpstat_tests::terminal::vt100;

/// The source that every kernel has, and that knows queues.
const NETLINK: [&str; 4] = ["--source", "netlink", "--interval", "500ms"];

#[test]
fn a_stuck_listener_and_a_leak_come_first() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _idle: Vec<_> = (7000..7030).map(|port| listen(port, 128)).collect();
        let _stuck = listen(8500, 3);
        let leaky = listen(8080, 128);
        let mut watch = Watch::start(&mut watch(&NETLINK), 80, 24);
        // There are 32 services, of which there is room for half.
        assert!(!watch.rows().iter().any(|row| row.contains(" 8500 ")));

        let _waiting: Vec<_> = (0..4).map(|_| connect(8500)).collect();
        watch.wait_for("! 8500 accept queue full 4/3");
        let is_first = |screen: &vt100::Screen| {
            let rows = rows(screen);
            let heading = rows.iter().position(|row| row.starts_with("  PORT"));
            let first = heading.and_then(|heading| rows.get(heading + 1));
            first.is_some_and(|row| row.starts_with("! 8500 ") && row.contains(" 4/3 133.3 %"))
        };
        watch.terminal.wait_for("the full queue", is_first);
        assert!(watch.has_colour("! 8500", 1));

        let (stop, stopped) = mpsc::channel::<()>();
        let leak = move || {
            let mut leaked = Vec::new();
            while stopped.recv_timeout(Duration::from_millis(200)).is_err() && leaked.len() < 300 {
                drop(connect(8080));
                leaked.push(leaky.accept().unwrap());
            }
        };
        // The thread is in this network namespace, too.
        let leak = thread::spawn(leak);
        watch.wait_for("8080 CLOSE_WAIT grows: ");
        watch.wait_for("\n! 8080 ");
        assert!(watch.has_colour("CLOSE_WAIT grows", 1) || watch.has_colour("8080 CLOSE", 1));

        if let Some(path) = std::env::var_os("TCPSTAT_WATCH_PICTURE") {
            // With a past to be seen.
            thread::sleep(Duration::from_secs(20));
            watch.terminal.settle().unwrap();
            std::fs::write(path, watch.picture()).unwrap();
        }

        // The first row is the worst; opened, it has its listener, its process and its peer.
        watch.press("\r", "port 8500");
        watch.wait_for("127.0.0.1:8500       4/3");
        watch.wait_for(&format!("[{}]", std::process::id()));
        watch.wait_for("127.0.0.1           4 ESTABLISHED 4");
        watch.press("\x1b", "\n! 8080 ");
        watch.press("b", "by unit");
        // What is wrong stays in sight.
        watch.wait_for("! 8500 accept queue full 4/3");
        watch.press("b", "by process");
        watch.wait_for(&format!("[{}]", std::process::id()));
        watch.press("b", "by peer");
        watch.wait_for("127.0.0.1");
        watch.leave();
        stop.send(()).unwrap();
        leak.join().unwrap();
    })
    .unwrap();
}

#[test]
fn the_namespace_of_a_process_that_has_ended_goes_on() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    let (stop, stopped) = mpsc::channel::<()>();
    let (send, idle) = mpsc::channel();
    // The namespace lives as long as this thread, and longer than its process.
    let namespace = thread::spawn(move || {
        netns::enter_new().unwrap();
        send.send(Idle::start().unwrap()).unwrap();
        let listener = listen(8080, 128);
        let mut connections = Vec::new();
        while stopped.recv().is_ok() {
            connections.push((connect(8080), listener.accept().unwrap()));
        }
    });
    let idle = idle.recv().unwrap();
    let pid = idle.pid().to_string();
    let arguments = [&NETLINK[..], &["--pid", &pid]].concat();
    let mut watch = Watch::start(&mut watch(&arguments), 80, 24);
    watch.wait_for("\n  8080 ");
    drop(idle);
    stop.send(()).unwrap();
    watch.wait_for("ESTABLISHED 1 ");
    stop.send(()).unwrap();
    watch.wait_for("ESTABLISHED 2 ");
    watch.leave();
    drop(stop);
    namespace.join().unwrap();
}

#[test]
fn all_namespaces_are_summed_and_have_a_row_a_port() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _here = listen(7777, 128);
        let _client = connect(7777);
        let (stop, stopped) = mpsc::channel::<()>();
        let (send, ready) = mpsc::channel();
        let other = thread::spawn(move || {
            netns::enter_new().unwrap();
            let _there = listen(7777, 16);
            let idle = Idle::start().unwrap();
            send.send(idle.namespace().unwrap().to_string()).unwrap();
            let _ = stopped.recv();
        });
        let there = ready.recv().unwrap();
        let here = Idle::start().unwrap().namespace().unwrap().to_string();
        let _here = Idle::start().unwrap();

        let ports = ["--all-namespaces", "--port", "7777"];
        let arguments = [&NETLINK[..], &ports].concat();
        let mut shown = Watch::start(&mut watch(&arguments), 120, 50);
        for namespace in [&here, &there] {
            shown.wait_for(&format!("  7777  {namespace}"));
        }
        shown.leave();

        // Other processes of the machine may open sockets between two readings.
        let totals = || {
            // 1 if some namespaces of the machine cannot be seen.
            let (code, text, _) = run(&mut tcpstat(&["--all-namespaces"]));
            assert!(matches!(code, Some(0 | 1)));
            let states = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            let counts = states.map(|one| {
                let counts = one.as_object().unwrap().iter();
                let counts = counts.filter(|(name, _)| name.parse::<tcpstat::State>().is_ok());
                counts.filter_map(|(_, count)| count.as_u64()).sum::<u64>()
            });
            counts.sum::<u64>()
        };
        let lines = [
            "watch",
            "--all-namespaces",
            "--port",
            "7777",
            "--format",
            "json",
        ];
        let lines = [&lines[..], &["--count", "1"]].concat();
        let is_equal = (0..20).any(|_| {
            let before = totals();
            let (code, text, stderr) = run(&mut tcpstat(&lines));
            assert!(matches!(code, Some(0 | 1)), "{stderr}");
            let line: Value = serde_json::from_str(&text).unwrap();
            let services = line["services"].as_array().unwrap();
            let of = services.iter().filter(|one| one["port"] == 7777);
            let of: Vec<_> = of.map(|one| one["namespace"].to_string()).collect();
            assert!(of.contains(&here) && of.contains(&there), "{text}");
            line["total"] == before && totals() == before
        });
        assert!(is_equal, "the total is not that of all namespaces");
        drop(stop);
        other.join().unwrap();
    })
    .unwrap();
}
