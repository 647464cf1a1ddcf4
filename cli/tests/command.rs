// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command as its users meet it: good and bad saved samples of procfs, exit codes, and outputs
//! that are closed.

mod common;

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;
use common::run::{self, tcpstat, tcpstat_on};
use common::saved::{large_proc_root, proc_root};
use serde_json::Value;
use tempfile::TempDir;

const MODULE: &str = "\
ESTABLISHED : 5
SYN_SENT    : 0
SYN_RECV    : 0
FIN_WAIT1   : 0
FIN_WAIT2   : 0
TIME_WAIT   : 1
CLOSE       : 0
CLOSE_WAIT  : 0
LAST_ACK    : 0
LISTEN      : 14
CLOSING     : 0
";

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1574 1 0000000000000000 100 0 0 10 0
   1: 0100007F:C350 0100007F:07E8 01 00000000:00000000 00:00000000 00000000     0        0 8412 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:C351 0100007F:07E8 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000
";

const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1574 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000001000000:0016 00000000000000000000000001000000:D431 03 00000000:00000000 01:00000064 00000000     0        0 0 0 0000000000000000
";

/// What a command printed, or its exit code and what it complained about.
fn run(mut command: Command) -> Result<String, (i32, String)> {
    let (code, stdout, stderr) = run::run(&mut command);
    match code {
        Some(0) => {
            assert_eq!(stderr, "");
            Ok(stdout)
        }
        code => {
            assert_eq!(stdout, "", "never an answer together with an error");
            Err((code.expect("not killed by a signal"), stderr))
        }
    }
}

fn report(root: &Path, arguments: &[&str]) -> Value {
    let command = tcpstat_on(root, &[arguments, &["--format", "report"]].concat());
    serde_json::from_str(&run(command).unwrap()).unwrap()
}

#[test]
fn the_first_source_that_is_there_answers() {
    let all = proc_root(&[("tcpstat", MODULE), ("net/tcp", TCP), ("net/tcp6", TCP6)]);
    let answer = report(all.path(), &[]);
    assert_eq!(
        (&answer["source"], &answer["total"]),
        (&"module".into(), &20.into())
    );
    assert_eq!(answer["states"]["ESTABLISHED"]["ratio"], 0.25);
    let answer = report(all.path(), &["--source", "procfs"]);
    assert_eq!(
        (&answer["source"], &answer["total"]),
        (&"procfs".into(), &5.into())
    );
    assert_eq!(answer["states"]["LISTEN"]["count"], 2);
    assert_eq!(answer["states"]["SYN_RECV"]["count"], 1);

    let no_module = proc_root(&[("net/tcp", TCP), ("net/tcp6", TCP6)]);
    assert_eq!(report(no_module.path(), &[])["source"], "procfs");
    // /proc/tcpstat is a link without a target.
    symlink("net/tcpstat", no_module.path().join("tcpstat")).unwrap();
    assert_eq!(report(no_module.path(), &[])["source"], "procfs");
    fs::write(no_module.path().join("net/tcpstat"), MODULE).unwrap();
    assert_eq!(report(no_module.path(), &[])["source"], "module");
    // Like below /proc/PID.
    fs::remove_file(no_module.path().join("tcpstat")).unwrap();
    assert_eq!(report(no_module.path(), &[])["source"], "module");

    let no_ipv6 = proc_root(&[("net/tcp", TCP)]);
    assert_eq!(report(no_ipv6.path(), &[])["total"], 3);
}

#[test]
fn every_format_has_the_same_counts() {
    let root = proc_root(&[("tcpstat", MODULE)]);
    let json = run(tcpstat_on(root.path(), &[])).unwrap();
    assert_eq!(
        json,
        "{\"ESTABLISHED\":5,\"SYN_SENT\":0,\"SYN_RECV\":0,\"FIN_WAIT1\":0,\"FIN_WAIT2\":0,\"TIME_WAIT\":1,\"CLOSE\":0,\
         \"CLOSE_WAIT\":0,\"LAST_ACK\":0,\"LISTEN\":14,\"CLOSING\":0}\n"
    );
    assert_eq!(
        run(tcpstat_on(root.path(), &["--format", "json"])).unwrap(),
        json
    );
    let prometheus = run(tcpstat_on(root.path(), &["--format", "prometheus"])).unwrap();
    assert!(
        prometheus.contains("\nnode_tcp_connection_states{state=\"established\"} 5\n"),
        "{prometheus}"
    );
    let table = run(tcpstat_on(root.path(), &["--format", "table"])).unwrap();
    assert!(
        table.contains("\nLISTEN           14   70.0 %\n"),
        "{table}"
    );
    assert!(table.ends_with("\nsource: module\n"), "{table}");
}

#[test]
fn a_malformed_module_is_an_error_and_no_reason_to_read_another_source() {
    let with = |from, to| MODULE.replacen(from, to, 1);
    for (text, line, expected) in [
        (String::new(), 1, "ESTABLISHED is missing"),
        (MODULE[..100].to_owned(), 7, "the line is cut"),
        (MODULE[..MODULE.len() - 1].to_owned(), 11, "the line is cut"),
        (with("CLOSING     : 0\n", ""), 11, "CLOSING is missing"),
        (
            with("LISTEN ", "LISTENS"),
            10,
            "unknown state: \"LISTENS     : 14\"",
        ),
        (with("SYN_SENT   ", "ESTABLISHED"), 2, "there before"),
        (with("SYN_SENT    : 0\n", ""), 2, "SYN_SENT must come first"),
        (
            with("14", "-14"),
            10,
            "a negative count: \"LISTEN      : -14\"",
        ),
        (
            with("14", "99999999999999999999"),
            10,
            "does not fit into 64 bits",
        ),
        (with("14", "many"), 10, "not a number"),
        (with("14", "\u{1b}[2J"), 10, "\\x1b[2J"),
        (MODULE.repeat(2), 12, "more after the last state"),
        ("x".repeat(1 << 20), 1, "is cut: \"xxx"),
    ] {
        let root = proc_root(&[("tcpstat", &text), ("net/tcp", TCP), ("net/tcp6", TCP6)]);
        for source in ["auto", "module"] {
            let (code, stderr) = run(tcpstat_on(root.path(), &["--source", source])).unwrap_err();
            assert_eq!(code, 1, "{stderr}");
            let place = format!(
                "tcpstat: {}, line {line}: ",
                root.path().join("tcpstat").display()
            );
            assert!(
                stderr.starts_with(&place) && stderr.contains(expected),
                "{text}: {stderr}"
            );
            assert!(stderr.len() < 300, "{stderr}");
        }
    }
}

#[test]
fn a_malformed_procfs_is_an_error() {
    let with = |from, to| TCP6.replacen(from, to, 1);
    let huge = TCP6.lines().next().unwrap().to_owned() + "\n" + &"0".repeat(2 << 20);
    for (text, line, expected) in [
        (String::new(), 1, "empty"),
        (MODULE.to_owned(), 1, "not the header"),
        (TCP6[..TCP6.len() - 1].to_owned(), 3, "the line is cut"),
        (TCP6[..TCP6.len() - 100].to_owned(), 3, "the line is cut"),
        (with(" 03 ", " 0D "), 3, "unknown state: \"0D\""),
        (with(" 03 ", " FF "), 3, "unknown state: \"FF\""),
        (with(" 03 ", " -3 "), 3, "not a TCP connection"),
        (
            with(" 03 ", " 99999999999999999999 "),
            3,
            "not a TCP connection",
        ),
        (with("   1: 0", "   1: "), 3, "not a TCP connection"),
        (TCP.to_owned(), 2, "not a TCP connection"),
        (huge, 2, "does not end"),
    ] {
        let root = proc_root(&[("net/tcp", TCP), ("net/tcp6", &text)]);
        let (code, stderr) = run(tcpstat_on(root.path(), &[])).unwrap_err();
        assert_eq!(code, 1, "{stderr}");
        let place = format!(
            "tcpstat: {}, line {line}: ",
            root.path().join("net/tcp6").display()
        );
        assert!(
            stderr.starts_with(&place) && stderr.contains(expected),
            "{stderr}"
        );
        assert!(stderr.len() < 300, "{stderr}");
    }
}

#[test]
fn without_an_answer_each_source_is_named_with_its_reason() {
    let nothing = TempDir::new().unwrap();
    let (code, stderr) = run(tcpstat_on(nothing.path(), &[])).unwrap_err();
    assert_eq!(code, 1);
    let root = nothing.path().display();
    assert_eq!(
        stderr,
        format!(
            "tcpstat: no source could answer
  module: {root}/tcpstat: cannot open: ENOENT: No such file or directory
  netlink: skipped: it would count this machine's connections, not those of {root}
  procfs: {root}/net/tcp: cannot open: ENOENT: No such file or directory
Is a procfs mounted there (mount -t proc proc DIR)? --proc-root DIR names another. Processes may be gone, or hidden (hidepid=).
"
        )
    );

    let (code, stderr) = run(tcpstat_on(nothing.path(), &["--source", "module"])).unwrap_err();
    assert_eq!(code, 1);
    assert!(
        stderr.contains("module: ") && stderr.contains("modprobe tcpstat"),
        "{stderr}"
    );

    // Half of procfs is not an answer.
    let only_ipv6 = proc_root(&[("net/tcp6", TCP6)]);
    let (code, stderr) = run(tcpstat_on(only_ipv6.path(), &[])).unwrap_err();
    assert_eq!(code, 1);
    assert!(stderr.contains("net/tcp: cannot open: ENOENT"), "{stderr}");

    let file = nothing.path().join("file");
    fs::write(&file, "").unwrap();
    let (code, stderr) = run(tcpstat_on(&file, &[])).unwrap_err();
    assert_eq!(code, 1);
    assert_eq!(stderr.matches("ENOTDIR").count(), 2, "{stderr}");
}

#[test]
fn a_source_that_is_there_but_fails_is_an_error() {
    let root = proc_root(&[("net/tcp", TCP)]);
    fs::create_dir(root.path().join("tcpstat")).unwrap();
    let (code, stderr) = run(tcpstat_on(root.path(), &[])).unwrap_err();
    assert_eq!(code, 1);
    assert!(stderr.contains("tcpstat: cannot read: EISDIR"), "{stderr}");

    fs::remove_dir(root.path().join("tcpstat")).unwrap();
    symlink("tcpstat", root.path().join("tcpstat")).unwrap();
    let (code, stderr) = run(tcpstat_on(root.path(), &[])).unwrap_err();
    assert_eq!(code, 1);
    assert!(stderr.contains("tcpstat: cannot open: ELOOP"), "{stderr}");

    // A file that cannot be opened does not count as missing.
    fs::remove_file(root.path().join("tcpstat")).unwrap();
    symlink("tcp6", root.path().join("net/tcp6")).unwrap();
    let (code, stderr) = run(tcpstat_on(root.path(), &[])).unwrap_err();
    assert_eq!(code, 1);
    assert!(stderr.contains("tcp6: cannot open: ELOOP"), "{stderr}");
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    for (arguments, expected) in [
        (&["--interval", "0"][..], "longer than zero"),
        (&["--interval", "0s"], "longer than zero"),
        (&["--interval", "-5s"], "longer than zero"),
        (&["--interval", "10"], "write 10s"),
        (&["--interval", "soon"], "10s, 500ms, 1m"),
        (&["--interval", ""], "--interval"),
        (&["--interval", "1s", "--count", "0"], "--count"),
        (&["--interval", "1s", "--count", "-1"], "--count"),
        (
            &["--interval", "1s", "--count", "99999999999999999999"],
            "--count",
        ),
        (&["--count", "3"], "--interval"),
        (
            &["--interval", "1s", "--format", "table"],
            "use json or report",
        ),
        (
            &["--interval", "1s", "--format", "prometheus"],
            "use json or report",
        ),
        (
            &["--source", "netlink", "--proc-root", "/host/proc"],
            "--source netlink cannot be used with --proc-root alone: it would count this machine's connections, not those of \
             /host/proc",
        ),
        (
            &["--source", "netlink-full", "--proc-root", "/host/proc"],
            "--source netlink-full cannot be used with",
        ),
        (&["--source", "guess"], "netlink-full"),
        (&["--format", "yaml"], "prometheus"),
        (&["extra"], "extra"),
    ] {
        let (code, stderr) = run(tcpstat(arguments)).unwrap_err();
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_report_has_the_numbers_of_the_kernel() {
    let root = proc_root(&[
        ("net/tcp", TCP),
        ("net/tcp6", TCP6),
        ("net/netstat", "TcpExt: ListenDrops\nTcpExt: 22\n"),
        ("net/sockstat", "TCP: inuse 1 orphan 7 tw 0 alloc 8 mem 3\n"),
        ("sys/net/core/somaxconn", "4096\n"),
    ]);
    let kernel = &report(root.path(), &[])["kernel"];
    let first = serde_json::json!({"count": 22, "rate": null});
    assert_eq!(kernel["counters"]["ListenDrops"], first);
    assert_eq!(kernel["counters"]["OutRsts"]["count"], Value::Null);
    assert_eq!(
        kernel["sockets"],
        serde_json::json!({"alloc": 8, "orphan": 7, "mem": 3})
    );
    assert_eq!(kernel["limits"]["somaxconn"], 4096);
    assert_eq!(kernel["limits"]["tcp_max_orphans"], Value::Null);
    let twice = ["--format", "report", "--interval", "1ms", "--count", "2"];
    let lines = run(tcpstat_on(root.path(), &twice)).unwrap();
    let second: Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!(second["kernel"]["counters"]["ListenDrops"]["rate"], 0.0);
    let metrics = run(tcpstat_on(root.path(), &["--format", "prometheus"])).unwrap();
    for line in [
        "tcpstat_kernel_listen_drops_total 22",
        "tcpstat_kernel_sockets_orphan 7",
        "tcpstat_kernel_limit{limit=\"somaxconn\"} 4096",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}: {metrics}"
        );
    }
    // What explains the counts is not needed to print them.
    std::fs::write(
        root.path().join("net/netstat"),
        "TcpExt: ListenDrops\nTcpExt: x\n",
    )
    .unwrap();
    let broken = report(root.path(), &[]);
    assert_eq!(
        (&broken["kernel"], &broken["total"]),
        (&Value::Null, &5.into())
    );
    let metrics = run(tcpstat_on(root.path(), &["--format", "prometheus"])).unwrap();
    assert!(!metrics.contains("tcpstat_kernel"), "{metrics}");
}

#[test]
fn help_and_version_are_answers() {
    let help = run(tcpstat(&["--help"])).unwrap();
    for expected in [
        "--interval <TIME>",
        "Examples:",
        "Exit codes:",
        "until a reading fails",
        "a namespace could not be seen",
        "--format table  every network namespace that has a process or a name",
        "netlink-full",
    ] {
        assert!(help.contains(expected), "{help}");
    }
    assert!(help.lines().all(|line| line.len() <= 110), "{help}");
    assert_eq!(
        run(tcpstat(&["--version"])).unwrap(),
        format!("tcpstat {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_verbose_version_says_what_would_answer() {
    let version = format!("tcpstat {}\nmodule: ", env!("CARGO_PKG_VERSION"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    for arguments in [
        &["--version", "-v"][..],
        &["-v", "-V"],
        &["--verbose", "-V"],
    ] {
        let text = run(tcpstat(arguments)).unwrap();
        assert!(text.starts_with(&version), "{text}");
        assert!(
            text.contains(&format!("\nkernel: {kernel}sources:\n")),
            "{text}"
        );
        assert!(text.ends_with("\n  procfs        answers\n"), "{text}");
    }
    let nothing = TempDir::new().unwrap();
    let text = run(tcpstat_on(nothing.path(), &["-v", "-V"])).unwrap();
    let root = nothing.path().display();
    let sources = format!(
        "sources:
  module        {root}/tcpstat: cannot open: ENOENT: No such file or directory
  netlink       it would count this machine's connections, not those of {root}
  netlink-full  it would count this machine's connections, not those of {root}
  procfs        {root}/net/tcp: cannot open: ENOENT: No such file or directory
"
    );
    assert!(text.ends_with(&sources), "{text}");
}

#[test]
fn an_interval_prints_a_line_each_time() {
    let root = proc_root(&[("tcpstat", MODULE)]);
    for format in ["json", "report"] {
        let text = run(tcpstat_on(
            root.path(),
            &["--interval", "1ms", "--count", "3", "--format", format],
        ))
        .unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(text.ends_with("}\n"));
        if format == "report" {
            let times: Vec<jiff::Timestamp> = lines
                .iter()
                .map(|line| line["timestamp"].as_str().unwrap().parse().unwrap())
                .collect();
            assert!(times.is_sorted(), "{times:?}");
            assert!(
                text.contains("Z\",\"source\":\"module\",\"total\":20,"),
                "{text}"
            );
        }
    }
}

#[test]
fn every_reading_chooses_the_source_again_and_an_error_ends_it() {
    use std::io::{BufRead, BufReader};

    let root = proc_root(&[("tcpstat", MODULE)]);
    let mut child = tcpstat_on(root.path(), &["--interval", "1ms", "--format", "report"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"module\""));
    fs::write(root.path().join("net/tcp"), TCP).unwrap();
    fs::remove_file(root.path().join("tcpstat")).unwrap();
    assert!(lines.any(|line| line.unwrap().contains("\"procfs\"")));
    fs::remove_file(root.path().join("net/tcp")).unwrap();
    lines.for_each(|line| drop(line.unwrap()));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no source could answer"));
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let root = proc_root(&[("tcpstat", MODULE)]);
    for arguments in [
        &[][..],
        &["--format", "table"],
        &["--interval", "1ms"],
        &["--help"],
        &["--version"],
    ] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        let output = tcpstat_on(root.path(), arguments)
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .output()
            .unwrap();
        assert_eq!(
            (output.status.code(), &output.stderr[..]),
            (Some(0), &b""[..]),
            "{arguments:?}"
        );
    }

    // A pipe that is closed after a few lines.
    let mut child = tcpstat_on(root.path(), &["--interval", "1ms"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 500]).unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_full_disk_is_an_error() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let root = proc_root(&[("tcpstat", MODULE)]);
    for arguments in [&[][..], &["--interval", "1ms"], &["--help"]] {
        let output = tcpstat_on(root.path(), arguments)
            .stdout(full())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.starts_with("tcpstat: cannot write to standard output: "),
            "{arguments:?}: {stderr}"
        );
    }
    // If standard error cannot be written to, the exit code is still right.
    assert_eq!(
        tcpstat_on(root.path(), &["--source", "procfs"])
            .stderr(full())
            .status()
            .unwrap()
            .code(),
        Some(1)
    );
    assert_eq!(
        tcpstat_on(root.path(), &["--count", "0"])
            .stderr(full())
            .status()
            .unwrap()
            .code(),
        Some(2)
    );
}

/// Rust's start-up opens `/dev/null` in its place, as the README says.
#[test]
fn a_closed_output_is_no_error() {
    let root = proc_root(&[("tcpstat", MODULE)]);
    let mut closed = Command::new("sh");
    closed.args(["-c", "\"$0\" --proc-root \"$1\" >&-"]);
    closed.arg(cargo_bin!("tcpstat")).arg(root.path());
    assert_eq!(run(closed).unwrap(), "");
}

#[test]
fn memory_does_not_grow_with_the_number_of_connections() {
    let root = large_proc_root(&[("net/tcp", TCP)]);
    // Less memory than the size of the file.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 24576 && exec \"$0\" --proc-root \"$1\""]);
    limited.arg(cargo_bin!("tcpstat")).arg(root.path());
    let answer: Value = serde_json::from_str(&run(limited).unwrap()).unwrap();
    assert_eq!(answer["ESTABLISHED"], 100_001);
    assert_eq!(answer["LISTEN"], 100_001);
}

#[test]
fn services_are_those_of_the_listening_ports() {
    let root = proc_root(&[("net/tcp", TCP), ("net/tcp6", TCP6)]);
    let text = run(tcpstat_on(root.path(), &["services", "--sort", "total"])).unwrap();
    let services: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(services["source"], "procfs");
    let rows = services["services"].as_array().unwrap();
    let ports: Vec<&Value> = rows.iter().map(|row| &row["port"]).collect();
    assert_eq!(ports, [22, 2024]);
    assert_eq!(rows[0]["states"]["SYN_RECV"]["count"], 1);
    assert_eq!(rows[0]["drops"], Value::Null);
    assert_eq!(services["other"]["total"], 2);

    let text = run(tcpstat_on(
        root.path(),
        &["services", "--port", "2000-3000"],
    ))
    .unwrap();
    let services: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(services["services"].as_array().unwrap().len(), 1);
    assert_eq!(services["services"][0]["listeners"], 1);
    assert!(services.get("other").is_none());

    let text = run(tcpstat_on(
        root.path(),
        &["services", "--format", "table", "--port", "443"],
    ))
    .unwrap();
    assert!(
        text.contains("nothing listens on the requested ports"),
        "{text}"
    );
}

#[test]
fn what_services_cannot_do_is_a_usage_error() {
    for (arguments, expected) in [
        (&["services", "--port", "http"][..], "is not a port"),
        (&["services", "--port", "70000"], "the highest is 65535"),
        (&["services", "--sort", "name"], "unknown column"),
        (
            &["services", "--format", "table", "--interval", "1s"],
            "tcpstat watch",
        ),
        (&["--format", "table", "services"], "cannot be used with"),
        (
            &["services", "--pid", "1", "--all-namespaces"],
            "cannot be used with",
        ),
        (&["service"], "services"),
    ] {
        let (code, stderr) = run(tcpstat(arguments)).unwrap_err();
        assert_eq!(code, 2, "{arguments:?}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}
