// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat connections` as its users meet it: on saved samples, in a network namespace, and with
//! outputs that are closed.

mod common;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use common::run::{self, tcpstat};
use common::saved::{large_proc_root, proc_root};
use common::sources;
use serde_json::Value;
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Family, Mix};
use tempfile::TempDir;

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 1574 1 0000000000000000 100 0 0 10 0
   1: 0100007F:C350 0100007F:07E8 01 00000000:00000000 00:00000000 00000000     0        0 8412 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:C351 0100007F:07E8 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000
";

const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:0016 00000000000000000000000001000000:D431 01 00000010:00000020 01:00000064 00000000     0        0 99 0 0000000000000000
";

const LISTEN: &str = "{\"state\":\"LISTEN\",\"local_address\":\"0.0.0.0\",\"local_port\":2024,\"remote_address\":\"0.0.0.0\",\"remote_port\":0,\
     \"uid\":1000,\"inode\":1574,\"receive_queue\":3,\"send_queue\":null,\"interface\":null,\"unit\":null}\n";
const ESTABLISHED: &str = "{\"state\":\"ESTABLISHED\",\"local_address\":\"127.0.0.1\",\"local_port\":50000,\"remote_address\":\"127.0.0.1\",\
     \"remote_port\":2024,\"uid\":0,\"inode\":8412,\"receive_queue\":0,\"send_queue\":0,\"interface\":null,\"unit\":null}\n";
const TIME_WAIT: &str = "{\"state\":\"TIME_WAIT\",\"local_address\":\"127.0.0.1\",\"local_port\":50001,\"remote_address\":\"127.0.0.1\",\
     \"remote_port\":2024,\"uid\":null,\"inode\":null,\"receive_queue\":0,\"send_queue\":0,\"interface\":null,\"unit\":null}\n";
const IPV6: &str = "{\"state\":\"ESTABLISHED\",\"local_address\":\"::1\",\"local_port\":22,\"remote_address\":\"::1\",\"remote_port\":54321,\
     \"uid\":0,\"inode\":99,\"receive_queue\":32,\"send_queue\":16,\"interface\":null,\"unit\":null}\n";

fn command(arguments: &[&str]) -> Command {
    tcpstat(&[&["connections"], arguments].concat())
}

fn on(root: &Path, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    command.arg("--proc-root").arg(root);
    command
}

/// The exit code, standard output and standard error.
fn run(mut command: Command) -> (Option<i32>, String, String) {
    run::run(&mut command)
}

#[test]
fn each_selected_connection_is_a_line_of_json() {
    let root = proc_root(&[("net/tcp", TCP), ("net/tcp6", TCP6)]);
    for (arguments, expected) in [
        (&[][..], &[LISTEN, ESTABLISHED, TIME_WAIT, IPV6][..]),
        (
            &["--source", "procfs"],
            &[LISTEN, ESTABLISHED, TIME_WAIT, IPV6],
        ),
        (&["--state", "established"], &[ESTABLISHED, IPV6]),
        (&["--state", "Time_Wait,LISTEN"], &[LISTEN, TIME_WAIT]),
        (
            &["--state", "time-wait", "--state", "listen"],
            &[LISTEN, TIME_WAIT],
        ),
        (&["--state", "syn-recv"], &[]),
        (&["--port", "1-100,50001"], &[TIME_WAIT, IPV6]),
        (&["--remote-port", "2024"], &[ESTABLISHED, TIME_WAIT]),
        (
            &["--port", "50000", "--remote-port", "2024"],
            &[ESTABLISHED],
        ),
        (&["--port", "50000", "--remote-port", "22"], &[]),
    ] {
        let expected = (Some(0), expected.concat(), String::new());
        assert_eq!(run(on(root.path(), arguments)), expected, "{arguments:?}");
    }
    let (code, _, stderr) = run(on(root.path(), &["-v"]));
    assert_eq!(code, Some(0));
    assert!(
        stderr.contains("tcpstat: netlink: it would count"),
        "{stderr}"
    );
    assert!(
        stderr.ends_with("tcpstat: procfs: lists every connection\n"),
        "{stderr}"
    );
}

#[test]
fn wrong_usage_is_explained() {
    for (arguments, expected) in [
        (
            &["--source", "module"][..],
            "the module counts connections and does not list them: use --source netlink or procfs",
        ),
        (
            &["--state", "established,open"],
            "'open' for '--state <STATE,...>': unknown state; the states are: ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, \
             FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING\n",
        ),
        (
            &["--state", "accept-queue"],
            "unknown state; the states are: ESTABLISHED",
        ),
        (
            &["--state", ""],
            "unknown state; the states are: ESTABLISHED",
        ),
        (&["--port", "http"], "\"http\" is not a port"),
        (&["--remote-port", "9-8"], "write 8-9"),
        (
            &["--all-namespaces", "--source", "module"],
            "the module counts connections and does not list them",
        ),
        (&["--all-namespaces", "--pid", "1"], "cannot be used with"),
        (&["--interval", "1s"], "unexpected argument '--interval'"),
    ] {
        let (code, stdout, stderr) = run(command(arguments));
        assert_eq!((code, &stdout[..]), (Some(2), ""), "{arguments:?}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn without_an_answer_each_source_is_named() {
    let nothing = TempDir::new().unwrap();
    let (code, stdout, stderr) = run(on(nothing.path(), &[]));
    assert_eq!((code, &stdout[..]), (Some(1), ""));
    assert!(!stderr.contains("module"), "{stderr}");
    assert!(stderr.contains("netlink: skipped: "), "{stderr}");
    assert!(stderr.contains("net/tcp: cannot open: ENOENT"), "{stderr}");
}

#[test]
fn an_error_in_the_middle_comes_after_the_connections_before_it() {
    let cut = &TCP6[..TCP6.len() - 20];
    let wrong = format!("{TCP6}x\n");
    for (tcp6, lines, expected) in [
        (cut, 3, "tcp6, line 2: the line is cut"),
        (&wrong, 4, "tcp6, line 3: not a TCP connection: \"x\""),
        ("", 3, "tcp6, line 1: the file is empty"),
    ] {
        let root = proc_root(&[("net/tcp", TCP), ("net/tcp6", tcp6)]);
        let (code, stdout, stderr) = run(on(root.path(), &[]));
        let expected_lines = [LISTEN, ESTABLISHED, TIME_WAIT, IPV6][..lines].concat();
        assert_eq!((code, stdout), (Some(1), expected_lines));
        assert!(stderr.contains(expected), "{stderr}");
    }
}

/// Far more connections than fit into a pipe, or into the memory that the tests allow.
fn many() -> TempDir {
    large_proc_root(&[("net/tcp", TCP), ("net/tcp6", TCP6)])
}

#[test]
fn memory_does_not_grow_with_the_number_of_connections() {
    let root = many();
    let mut limited = Command::new("sh");
    limited.args([
        "-c",
        "ulimit -v 24576 && exec \"$0\" connections --proc-root \"$1\"",
    ]);
    limited.arg(cargo_bin!("tcpstat")).arg(root.path());
    let (code, stdout, stderr) = run(limited);
    assert_eq!((code, &stderr[..]), (Some(0), ""));
    assert_eq!(stdout.lines().count(), 300_004);
    assert!(stdout.ends_with(IPV6));
}

#[test]
fn a_closed_pipe_is_not_an_error_and_a_full_disk_is() {
    let root = many();
    let mut child = on(root.path(), &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, LISTEN);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));

    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = on(root.path(), &[]).stdout(full).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("cannot write to standard output"),
        "{stderr}"
    );
}

/// Needs `CAP_SYS_ADMIN` for the namespace.
#[test]
fn every_source_lists_every_connection() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let fixture = Mix::of_each(Family::V4Mapped, 2).make().unwrap();
        let listed = |arguments: &[&str]| {
            let (code, stdout, stderr) = run(command(arguments));
            assert_eq!((code, &stderr[..]), (Some(0), ""));
            let lines = stdout
                .lines()
                .map(|line| serde_json::from_str(line).unwrap());
            lines.collect::<Vec<Value>>()
        };
        for source in sources::names_and_auto() {
            let all = listed(&["--source", source]);
            for (state, expected) in fixture.expected().iter() {
                let is = |line: &&Value| line["state"] == state.name();
                let few = listed(&["--source", source, "--state", state.name()]);
                assert!(few.iter().all(|line| is(&line)));
                for lines in [&all, &few] {
                    let count = lines.iter().filter(is).count();
                    assert_eq!(count as u64, expected, "{source}, {}", state.name());
                }
            }
            let port = &all[0]["local_port"];
            let at_port = all.iter().filter(|line| line["local_port"] == *port);
            let few = listed(&["--source", source, "--port", &port.to_string()]);
            assert_eq!(few.len(), at_port.count(), "{source}");
        }
    })
    .unwrap();
}
