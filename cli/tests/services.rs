// SPDX-License-Identifier: MIT OR Apache-2.0

//! The fullest listener of a port, and `tcpstat services --listeners`, on this machine's kernel and
//! on saved samples.

mod common;

use std::ffi::OsString;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use common::saved::proc_root;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket,
    sockopt,
};
use serde_json::{Value, json};
use tcpstat_tests::at_addresses::{self, AtAddresses, ONLY_V6, PROCFS_MORE, STATES};
use tcpstat_tests::idle::Idle;
use tcpstat_tests::netns;

/// The exit code, standard output and standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(cargo_bin!("tcpstat"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The JSON of an answer.
fn answer(arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = run(arguments);
    assert_eq!((code, &stderr[..]), (0, ""), "{arguments:?}");
    serde_json::from_str(&stdout).unwrap()
}

/// A socket that listens at this address, on all interfaces or on one.
fn listener(address: &str, backlog: i32, interface: Option<&str>) -> OwnedFd {
    let none = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, none, None).unwrap();
    if let Some(interface) = interface {
        setsockopt(&socket, sockopt::BindToDevice, &OsString::from(interface)).unwrap();
    }
    let address: SockaddrIn = address.parse().unwrap();
    bind(socket.as_raw_fd(), &address).unwrap();
    listen(&socket, Backlog::new(backlog).unwrap()).unwrap();
    socket
}

/// One worker of three is stuck: its queue takes one more than its backlog, and is full.
fn stuck_worker() -> (Vec<OwnedFd>, Vec<TcpStream>) {
    let workers = [("127.0.0.1", 64), ("127.0.0.2", 2), ("127.0.0.3", 64)];
    let workers = workers.map(|(ip, backlog)| listener(&format!("{ip}:8500"), backlog, None));
    let clients = ["127.0.0.2:8500"; 3].into_iter().chain(["127.0.0.3:8500"]);
    let clients = clients.map(|address| TcpStream::connect(address).unwrap());
    let clients: Vec<TcpStream> = clients.collect();
    // The last segment of a handshake may still be on its way.
    let start = Instant::now();
    while answer(&["services", "--source", "netlink"])["services"][0]["accept_queue"] != 4 {
        assert!(start.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(10));
    }
    (workers.into(), clients)
}

#[test]
fn one_full_listener_does_not_hide_in_the_sum_of_its_port() {
    netns::in_new(|| {
        netns::loopback_up().unwrap();
        let _sockets = stuck_worker();
        let _other = listener("127.0.0.1:22", 4, None);
        for source in ["netlink", "netlink-full"] {
            let sorted = answer(&["services", "--source", source, "--sort", "use"]);
            let row = &sorted["services"][0];
            assert_eq!(row["port"], 8500);
            assert_eq!(
                (&row["accept_queue"], &row["backlog"]),
                (&json!(4), &json!(130))
            );
            assert_eq!(row["fullest"], json!({"accept_queue": 3, "backlog": 2}));
            assert_eq!(row["accept_queue_ratio"], 1.5);
            for limit in ["8500:accept_queue>80%", "accept_queue>80%"] {
                let (code, stdout, _) = run(&["check", "--source", source, "--crit", limit]);
                assert_eq!(code, 2, "{stdout}");
                assert!(
                    stdout.starts_with("TCP CRITICAL - 8500: accept_queue 150.0% of 2 (> 80%)"),
                    "{stdout}"
                );
            }
            // The number of all that wait is a sum.
            let limit = "8500:accept_queue>3";
            assert_eq!(run(&["check", "--source", source, "--crit", limit]).0, 2);
            let (_, text, _) = run(&["services", "--source", source, "--format", "prometheus"]);
            assert!(text.contains("\ntcpstat_service_fullest_accept_queue{port=\"8500\"} 3\n"));
            assert!(text.contains("\ntcpstat_service_fullest_backlog{port=\"8500\"} 2\n"));
        }
        let procfs = answer(&["services", "--source", "procfs", "--port", "8500"]);
        assert_eq!(procfs["services"][0]["accept_queue"], 4);
        assert_eq!(procfs["services"][0]["fullest"], Value::Null);
        let limit = "8500:accept_queue>80%";
        let (code, stdout, _) = run(&["check", "--source", "procfs", "--crit", limit]);
        assert_eq!(code, 3, "{stdout}");
    })
    .unwrap();
}

/// What a module without the columns of the fullest listener writes.
const OLDER: &str = "\
PORT LISTENERS ACCEPT_QUEUE BACKLOG DROPS ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING
22 1 0 128 0 1 0 0 0 0 0 0 0 0 1 0
8500 4 66 256 9 66 0 0 0 0 0 0 0 0 4 0
- 0 0 0 0 7 0 0 0 0 0 0 0 0 0 0
";

#[test]
fn an_older_module_does_not_know_the_fullest_listener() {
    let root = proc_root(&[("net/tcpstat_services", OLDER)]);
    let at = |arguments: &[&str]| {
        let root = root.path().to_str().unwrap();
        run(&[arguments, &["--proc-root", root, "--source", "module"]].concat())
    };
    let (code, stdout, _) = at(&["services"]);
    let row = &serde_json::from_str::<Value>(&stdout).unwrap()["services"][1];
    assert_eq!((code, &row["backlog"]), (0, &json!(256)));
    assert_eq!(
        (&row["fullest"], &row["accept_queue_ratio"]),
        (&Value::Null, &Value::Null)
    );
    let (_, stdout, _) = at(&["services", "--format", "prometheus"]);
    assert!(stdout.contains("tcpstat_service_backlog{port=\"8500\"} 256\n"));
    assert!(!stdout.contains("fullest_backlog{"), "{stdout}");
    for limit in ["8500:accept_queue>80%", "accept_queue>80%"] {
        let (code, stdout, _) = at(&["check", "--crit", limit]);
        assert_eq!(code, 3);
        assert!(
            stdout.contains("the module is too old to know the fullest listener"),
            "{stdout}"
        );
    }
    assert_eq!(at(&["check", "--crit", "8500:accept_queue>65"]).0, 2);
    let (code, _, stderr) = at(&["services", "--listeners"]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("does not list them: use --source netlink"),
        "{stderr}"
    );
}

#[test]
fn each_listener_has_a_row() {
    netns::in_new(|| {
        netns::loopback_up().unwrap();
        let _sockets = stuck_worker();
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 22)).unwrap();
        let list = |source: &str, more: &[&str]| {
            let arguments = ["services", "--listeners", "--source", source];
            answer(&[&arguments, more].concat())
        };
        let places = |answer: &Value| -> Vec<String> {
            let rows = answer["listeners"].as_array().unwrap().iter();
            rows.map(|row| format!("{}:{}", row["address"].as_str().unwrap(), row["port"]))
                .collect()
        };
        for source in ["netlink", "procfs"] {
            let all = list(source, &[]);
            assert_eq!(all["source"], source);
            let [worker, stuck, other] = ["127.0.0.1:8500", "127.0.0.2:8500", "127.0.0.3:8500"];
            assert_eq!(places(&all), ["::1:22", worker, stuck, other]);
            assert_eq!(places(&list(source, &["--port", "22"])), ["::1:22"]);
            assert_eq!(places(&list(source, &["--port", "23"])).len(), 0);
            let sorted = list(source, &["--sort", "accept-queue"]);
            assert_eq!(places(&sorted), [stuck, other, "::1:22", worker]);
        }
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", v6.as_raw_fd()));
        let inode = std::os::unix::fs::MetadataExt::ino(&inode.unwrap());
        let all = list("netlink", &["--sort", "use"]);
        let uid = nix::unistd::getuid().as_raw();
        let row = &all["listeners"][0];
        assert_eq!(
            (
                &row["address"],
                &row["accept_queue"],
                &row["backlog"],
                &row["accept_queue_ratio"]
            ),
            (&json!("127.0.0.2"), &json!(3), &json!(2), &json!(1.5))
        );
        assert_eq!((&row["uid"], &row["drops"]), (&json!(uid), &json!(0)));
        let rows = all["listeners"].as_array().unwrap();
        let row = rows.iter().find(|row| row["port"] == 22).unwrap();
        assert_eq!(
            (&row["inode"], &row["interface"]),
            (&json!(inode), &Value::Null)
        );

        let (_, table, _) = run(&[
            "services",
            "--listeners",
            "--format",
            "table",
            "--sort",
            "use",
        ]);
        let words: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            words[..6],
            ["127.0.0.2", "8500", "3", "2", "150.0", "%"],
            "{table}"
        );
        let (_, table, _) = run(&[
            "services",
            "--listeners",
            "--format",
            "table",
            "--source",
            "procfs",
        ]);
        assert!(
            table.contains("::1          22  ?                     0        ?    ?      ?    "),
            "{table}"
        );
        assert!(
            table.ends_with(
                "source: procfs, which knows neither interface, backlog, drops nor unit\n"
            )
        );
    })
    .unwrap();
}

/// A connection of a port is that of its listener only if it has the listener's family and address.
#[test]
fn a_connection_at_another_address_is_not_that_of_the_listener() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let _sockets = AtAddresses::new().unwrap();
        for source in ["netlink", "netlink-full", "procfs"] {
            let all = answer(&["services", "--source", source]);
            let counts = |row: &Value| {
                STATES.map(|state| row["states"][state.name()]["count"].as_u64().unwrap())
            };
            let rows = all["services"].as_array().unwrap().iter();
            let rows: Vec<_> = rows
                .map(|row| (row["port"].as_u64().unwrap(), counts(row)))
                .collect();
            let mut want = at_addresses::COUNTS.map(|(port, counts)| (u64::from(port), counts));
            let mut other = at_addresses::OTHER;
            if source == "procfs" {
                let only_v6 = |(port, _): &&mut (u64, _)| *port == u64::from(ONLY_V6);
                want.iter_mut().find(only_v6).unwrap().1[0] += PROCFS_MORE;
                other[0] -= PROCFS_MORE;
            }
            assert_eq!(rows, want, "{source}");
            assert_eq!(counts(&all["other"]), other, "{source}");
        }
    })
    .unwrap();
}

#[test]
fn a_sample_without_ipv6_is_said_to_be() {
    let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0
   1: 0100007F:0016 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 4 30 10 -1
";
    let root = proc_root(&[("net/tcp", tcp)]);
    let root = root.path().to_str().unwrap();
    let arguments = [
        "services",
        "--listeners",
        "--source",
        "procfs",
        "-v",
        "--proc-root",
        root,
    ];
    let (code, stdout, stderr) = run(&arguments);
    assert_eq!(code, 0);
    let missing = format!(
        "tcpstat: the files in {root}/net\n\
         tcpstat: procfs: 1 listeners, of IPv4 alone: there is no {root}/net/tcp6\n"
    );
    assert_eq!(stderr, missing);
    let listeners = &serde_json::from_str::<Value>(&stdout).unwrap()["listeners"];
    let expected = json!([{
        "address": "0.0.0.0", "port": 22, "interface": null, "accept_queue": 3, "backlog": null,
        "accept_queue_ratio": null, "drops": null, "uid": 1000, "inode": 4711, "unit": null,
    }]);
    assert_eq!(*listeners, expected);
}

#[test]
fn an_interface_is_named_as_in_the_namespace_of_the_listener() {
    if Command::new("ip").arg("-V").output().is_err() {
        eprintln!("skipped: there is no ip");
        return;
    }
    let (idle, _listener) = netns::in_new(|| {
        let rename = Command::new("ip")
            .args(["link", "set", "lo", "name", "inner"])
            .status();
        assert!(rename.unwrap().success());
        (
            Idle::start().unwrap(),
            listener("0.0.0.0:53", 9, Some("inner")),
        )
    })
    .unwrap();
    let pid = idle.pid().to_string();
    let arguments = ["services", "--listeners", "--source", "netlink"];
    let one = answer(&[&arguments[..], &["--pid", &pid]].concat());
    let expected = json!({"index": 1, "name": "inner"});
    assert_eq!(one["listeners"].as_array().unwrap().len(), 1);
    assert_eq!(one["listeners"][0]["interface"], expected);
    let (_, table, _) = run(&[&arguments[..], &["--pid", &pid, "--format", "table"]].concat());
    assert!(table.contains("0.0.0.0    53  inner "), "{table}");

    let (_, lines, _) = run(&[&arguments[..], &["--all-namespaces"]].concat());
    let namespace = idle.namespace().unwrap();
    let mut lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let line: Value = lines
        .find(|line: &Value| line["namespace"] == namespace)
        .unwrap();
    assert_eq!(line["listeners"][0]["interface"], expected);
}

#[test]
fn what_listeners_cannot_do_is_a_usage_error() {
    for (more, expected) in [
        (
            &["--format", "prometheus"][..],
            "the fullest listener of each port",
        ),
        (
            &["--sort", "total"],
            "can only be sorted by port, accept-queue, use or drops",
        ),
        (&["--sort", "close-wait"], "can only be sorted by port"),
        (
            &["--source", "module"],
            "does not list them: use --source netlink",
        ),
        (&["--format", "table", "--interval", "1s"], "tcpstat watch"),
    ] {
        let (code, _, stderr) = run(&[&["services", "--listeners"], more].concat());
        assert_eq!(code, 2, "{more:?}");
        assert!(stderr.contains(expected), "{more:?}: {stderr}");
    }
}
