// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat check` as a monitoring system meets it: one line, perfdata and the exit code, on saved
//! samples of procfs, on sockets of a network namespace, and with a wrong command line.

mod common;

use std::fs::File;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use common::run::{self, tcpstat};
use common::saved::{EMPTY_TCP6, proc_root};
use common::sources;
use tcpstat_tests::netns;

const MODULE: &str = "\
ESTABLISHED : 60
SYN_SENT    : 0
SYN_RECV    : 0
FIN_WAIT1   : 0
FIN_WAIT2   : 0
TIME_WAIT   : 25
CLOSE       : 0
CLOSE_WAIT  : 5
LAST_ACK    : 0
LISTEN      : 10
CLOSING     : 0
";

/// Port 443 (01BB): a listener with three connections in its queue, one of which has a line; 8080
/// (1F90): a listener and two connections, one of them in CLOSE_WAIT.
const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:01BB 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 1574 1 0000000000000000 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1575 1 0000000000000000 100 0 0 10 0
   2: 0100007F:01BB 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1
   3: 0100007F:1F90 0100007F:C351 08 00000000:00000001 00:00000000 00000000     0        0 8413 1 0000000000000000 20 4 30 10 -1
   4: 0100007F:1F90 0100007F:C352 01 00000000:00000000 00:00000000 00000000     0        0 8414 1 0000000000000000 20 4 30 10 -1
   5: 0100007F:C350 0100007F:01BB 01 00000000:00000000 00:00000000 00000000     0        0 8415 1 0000000000000000 20 4 30 10 -1
";

/// The sum over the listeners of port 443 would be 45 % full.
const SERVICES: &str = "\
PORT LISTENERS ACCEPT_QUEUE BACKLOG DROPS FULLEST_QUEUE FULLEST_BACKLOG ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING
22 1 0 128 2 0 128 1 0 0 0 0 0 0 0 0 1 0
81 3 0 384 0 0 128 0 1 0 0 0 0 0 3 0 3 0
443 2 3727 8192 5 3727 4096 9000 0 0 0 0 0 0 0 0 2 0
8080 1 5 4 0 5 4 20 0 0 0 0 0 0 150 0 1 0
- 0 0 0 0 0 0 7 0 0 0 0 0 0 0 0 0 0
";

fn command(arguments: &[&str]) -> Command {
    tcpstat(&[&["check"], arguments].concat())
}

/// The exit code, the line on standard output without its newline, and standard error.
fn run(mut command: Command) -> (i32, String, String) {
    let (code, stdout, stderr) = run::run(&mut command);
    let line = stdout.strip_suffix('\n').expect("a line");
    assert!(!line.contains('\n'), "{stdout}");
    let code = code.expect("not killed by a signal");
    let status = ["OK", "WARNING", "CRITICAL", "UNKNOWN"][code as usize];
    assert!(
        line.starts_with(&format!("TCP {status} - ")),
        "{code}: {line}"
    );
    (code, line.to_owned(), stderr)
}

/// The exit code and the line of a check that writes nothing to standard error.
fn check_on(root: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = command(arguments);
    command.arg("--proc-root").arg(root);
    let (code, line, stderr) = run(command);
    assert_eq!(stderr, "");
    (code, line)
}

#[test]
fn totals_are_compared_exactly_and_the_worst_is_the_exit_code() {
    let root = proc_root(&[("tcpstat", MODULE)]);
    for (arguments, code, line) in [
        (
            &["--warn", "CLOSE_WAIT>5", "--crit", "CLOSE_WAIT>10"][..],
            0,
            "TCP OK - CLOSE_WAIT 5 | 'CLOSE_WAIT'=5;5;10;0",
        ),
        (
            &[
                "--warn",
                "close-wait>=5",
                "--crit",
                "total>100,listeners<10",
            ],
            1,
            "TCP WARNING - CLOSE_WAIT 5 (>= 5) | 'CLOSE_WAIT'=5;@5:;;0 'total'=100;;100;0 'listeners'=10;;10:;0",
        ),
        (
            &[
                "--warn",
                "CLOSE_WAIT>4",
                "--crit",
                "TIME_WAIT>24.9%",
                "--crit",
                "ESTABLISHED<1",
            ],
            2,
            "TCP CRITICAL - TIME_WAIT 25.0% of 100 (> 24.9%); WARNING CLOSE_WAIT 5 (> 4) | \
             'CLOSE_WAIT'=5;4;;0 'TIME_WAIT%'=25.0%;;24.9;0 'ESTABLISHED'=60;;1:;0",
        ),
        (
            &["--crit", " TIME_WAIT > 25 % , TIME_WAIT < 25% "],
            0,
            "TCP OK - TIME_WAIT 25.0% of 100 | 'TIME_WAIT%'=25.0%;;25:25;0",
        ),
    ] {
        assert_eq!(check_on(root.path(), arguments), (code, line.to_owned()));
    }
}

#[test]
fn services_are_compared_and_unknown_values_are_named() {
    let root = proc_root(&[("net/tcp", TCP)]);
    for (arguments, code, line) in [
        (
            &[
                "--warn",
                "443:accept_queue>5",
                "--crit",
                "8080:CLOSE_WAIT>50%",
            ][..],
            0,
            "TCP OK - 443: accept_queue 3; 8080: CLOSE_WAIT 50.0% of 2 | \
             '443:accept_queue'=3;5;;0 '8080:CLOSE_WAIT%'=50.0%;;50;0",
        ),
        (
            &["--crit", "accept_queue>2,8080:total>3,8080:listeners<1"],
            2,
            "TCP CRITICAL - 443: accept_queue 3 (> 2) | 'accept_queue'=3;;2;0 '8080:total'=3;;3;0 '8080:listeners'=1;;1:;0",
        ),
        (
            &["--crit", "25:listeners<1,443:listeners<1"],
            2,
            "TCP CRITICAL - 25: listeners 0 (< 1) | '25:listeners'=0;;1:;0 '443:listeners'=1;;1:;0",
        ),
        (
            &["--warn", "25:total>1,443:total>10"],
            3,
            "TCP UNKNOWN - 25:total is not known: nothing listens at this port | '25:total'=U;1;;0 '443:total'=2;10;;0",
        ),
        (
            &[
                "--warn",
                "443:accept_queue>80%,accept_queue>80%",
                "--crit",
                "drops>0",
            ],
            3,
            "TCP UNKNOWN - 443:accept_queue%, accept_queue% are not known: procfs does not know the backlog; \
             drops is not known: procfs does not know the drops | \
             '443:accept_queue%'=U;80;;0 'accept_queue%'=U;80;;0 'drops'=U;;0;0",
        ),
        (
            // A warning outranks an unknown value.
            &["--warn", "443:total>1", "--crit", "443:drops>0"],
            1,
            "TCP WARNING - 443: total 2 (> 1); UNKNOWN 443:drops is not known: procfs does not know the drops | \
             '443:total'=2;1;;0 '443:drops'=U;;0;0",
        ),
    ] {
        assert_eq!(check_on(root.path(), arguments), (code, line.to_owned()));
    }
    let nothing = proc_root(&[("net/tcp", TCP.split_inclusive('\n').next().unwrap())]);
    let (code, line) = check_on(
        nothing.path(),
        &["--warn", "accept_queue>5", "--crit", "drops>0"],
    );
    assert_eq!(code, 3);
    assert!(
        line.contains("accept_queue is not known: nothing listens at any port"),
        "{line}"
    );
    assert!(line.contains("'drops'=0;;0;0"), "{line}");
}

#[test]
fn queues_are_compared_with_their_backlog() {
    let root = proc_root(&[("net/tcpstat_services", SERVICES)]);
    for (arguments, code, line) in [
        (
            &[
                "--warn",
                "8080:CLOSE_WAIT>100",
                "--crit",
                "443:accept_queue>80%",
            ][..],
            2,
            "TCP CRITICAL - 443: accept_queue 91.0% of 4096 (> 80%); WARNING 8080: CLOSE_WAIT 150 (> 100) | \
             '8080:CLOSE_WAIT'=150;100;;0 '443:accept_queue%'=91.0%;;80;0",
        ),
        (
            // 443 has the longest queue; 8080 has the fullest one, with one connection more than
            // its backlog.
            &[
                "--warn",
                "accept_queue>100%,accept_queue>4000",
                "--crit",
                "drops>7",
            ],
            1,
            "TCP WARNING - 8080: accept_queue 125.0% of 4 (> 100%) | \
             'accept_queue%'=125.0%;100;;0 'accept_queue'=3727;4000;;0 'drops'=7;;7;0",
        ),
        (
            &["--crit", "443:listeners<2,443:drops>=5"],
            2,
            "TCP CRITICAL - 443: drops 5 (>= 5) | '443:listeners'=2;;2:;0 '443:drops'=5;;@5:;0",
        ),
    ] {
        assert_eq!(check_on(root.path(), arguments), (code, line.to_owned()));
    }
}

/// Three of the four connections are stuck, which the three listeners must not hide.
#[test]
fn shares_of_a_service_are_of_its_connections() {
    let root = proc_root(&[("tcpstat", MODULE), ("net/tcpstat_services", SERVICES)]);
    assert_eq!(
        check_on(root.path(), &["--crit", "81:CLOSE_WAIT>50%,LISTEN>10%"]),
        (
            2,
            "TCP CRITICAL - 81: CLOSE_WAIT 75.0% of 4 (> 50%) | \
             '81:CLOSE_WAIT%'=75.0%;;50;0 'LISTEN%'=10.0%;;10;0"
                .to_owned()
        )
    );
    let (code, line) = check_on(root.path(), &["--crit", "81:LISTEN<3,81:total>7"]);
    assert_eq!(
        (code, line.contains("'81:total'=7;;7;0")),
        (0, true),
        "{line}"
    );
}

#[test]
fn only_the_needed_sources_are_read() {
    // First the file of the connections is malformed, then that of the totals.
    let totals = proc_root(&[("tcpstat", MODULE), ("net/tcp", "cut")]);
    assert_eq!(
        check_on(
            totals.path(),
            &["--warn", "total>100,listeners>10,LISTEN>10%"]
        )
        .0,
        0
    );
    let (code, line) = check_on(totals.path(), &["--crit", "total>99,443:total>1"]);
    assert_eq!(code, 2);
    assert!(
        line.contains("; UNKNOWN 443:total is not known: "),
        "{line}"
    );

    let services = proc_root(&[("tcpstat", "cut"), ("net/tcp", TCP)]);
    assert_eq!(
        check_on(services.path(), &["--warn", "443:total>2,accept_queue>3"]).0,
        0
    );
    let (code, line) = check_on(services.path(), &["--crit", "total>99,443:total>1"]);
    assert_eq!(code, 2);
    assert!(
        line.contains("UNKNOWN total is not known: ") && line.contains("line 1: "),
        "{line}"
    );
}

#[test]
fn no_answer_is_unknown_and_names_every_source() {
    let root = proc_root(&[]);
    let (code, line) = check_on(root.path(), &["--crit", "total>0,LISTEN<1"]);
    assert_eq!(code, 3);
    for expected in [
        "total, LISTEN are not known: no source could answer; module: ",
        "tcpstat: cannot open: ENOENT",
        "; procfs: ",
        " | 'total'=U;;0;0 'LISTEN'=U;;1:;0",
    ] {
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn a_wrong_command_line_is_unknown_and_never_critical() {
    for (arguments, on_stdout, on_stderr) in [
        (
            &["--crit", "total>100", "--warn", "443:CLOSE_WIAT>1"][..],
            "invalid value '443:CLOSE_WIAT>1' for '--warn <EXPR>': expected total,",
            "\n  443:CLOSE_WIAT>1\n      ^^^^^^^^^^\n",
        ),
        (
            &["--crit", "total>1,8080:total=3"],
            "invalid value 'total>1,8080:total=3' for '--crit <EXPR>': expected one of > >= < <=",
            "\n  total>1,8080:total=3\n                    ^\n",
        ),
        (
            &["--warn", "total>1|2\n"],
            "invalid value 'total>1/2",
            "\n  total>1|2?\n        ^^^\n",
        ),
        (
            &["--warn", "total>1,"],
            "invalid value 'total>1,' for '--warn <EXPR>': an expression is missing",
            "\n  total>1,\n          ^\n",
        ),
        (
            &["--crit", "total>1,TIME_WAIT>12,5%"],
            "a fraction has a point, as in 12.5%",
            "\n  total>1,TIME_WAIT>12,5%\n                       ^\n",
        ),
        (&["--warn", ""], "an expression is missing", "\n  ^\n"),
        (
            &[],
            "the following required arguments were not provided:  <--warn <EXPR>/--crit <EXPR>>",
            "--crit <EXPR>",
        ),
        (
            &["--warn"],
            "a value is required for '--warn <EXPR>'",
            "--warn",
        ),
        (
            &["--critical", "total>1"],
            "unexpected argument '--critical'",
            "'--crit'",
        ),
        (
            &["--warn", "total>1", "extra"],
            "unexpected argument 'extra'",
            "extra",
        ),
        (
            &["--warn", "total>1", "--source", "guess"],
            "invalid value 'guess'",
            "netlink-full",
        ),
        (
            &[
                "--warn",
                "total>1",
                "--source",
                "netlink",
                "--proc-root",
                "/host",
            ],
            "not those of /host",
            "not those of /host",
        ),
    ] {
        let (code, line, stderr) = run(command(arguments));
        assert_eq!(code, 3, "{arguments:?}");
        assert!(line.starts_with("TCP UNKNOWN - wrong usage: "), "{line}");
        assert!(line.contains(on_stdout), "{line}");
        assert!(!line.contains('|'), "{line}");
        assert!(stderr.contains(on_stderr), "{stderr}");
    }
    // Also arguments before the subcommand.
    let before = tcpstat(&["--source", "procfs", "check", "--warn", "total>1"]);
    assert_eq!(run(before).0, 3);
}

#[test]
fn help_lists_the_exit_codes() {
    let output = command(&["--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "3 UNKNOWN",
        "wrong usage",
        "443:accept_queue>80%",
        "CRITICAL, then WARNING",
    ] {
        assert!(help.contains(expected), "{help}");
    }
    assert!(
        help.lines().all(|line| line.chars().count() <= 120),
        "{help}"
    );
}

#[test]
fn the_exit_code_is_right_even_if_the_line_is_not_read() {
    let root = proc_root(&[("tcpstat", MODULE)]);
    for (limit, closed, full) in [("total>1", 2, 2), ("total<1", 0, 3)] {
        let check = |stdout: Stdio| {
            let mut command = command(&["--crit", limit, "--proc-root"]);
            command.arg(root.path()).stdout(stdout).output().unwrap()
        };
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        let output = check(OwnedFd::from(theirs).into());
        assert_eq!(
            (output.status.code(), &output.stderr[..]),
            (Some(closed), &b""[..])
        );
        let output = check(
            File::options()
                .write(true)
                .open("/dev/full")
                .unwrap()
                .into(),
        );
        assert_eq!(output.status.code(), Some(full));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.starts_with("tcpstat: cannot write to standard output: "),
            "{stderr}"
        );
    }
}

#[test]
fn verbose_names_the_sources() {
    let root = proc_root(&[
        ("tcpstat", MODULE),
        ("net/tcp", TCP),
        ("net/tcp6", EMPTY_TCP6),
    ]);
    let mut command = command(&["-v", "--warn", "total>1000,443:total>1000"]);
    command.arg("--proc-root").arg(root.path());
    let (code, _, stderr) = run(command);
    assert_eq!(code, 0);
    assert!(stderr.starts_with("tcpstat: the files in "), "{stderr}");
    assert!(stderr.contains("\ntcpstat: module: "), "{stderr}");
    assert!(
        stderr.ends_with("tcpstat: procfs: counted by port\n"),
        "{stderr}"
    );
}

/// Real sockets; needs `CAP_SYS_ADMIN` for the namespace.
#[test]
fn a_service_that_does_not_accept_and_one_that_does_not_close() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let stuck = TcpListener::bind("127.0.0.1:0").unwrap();
        let leaky = TcpListener::bind("[::1]:0").unwrap();
        let (stuck_at, leaky_at) = (stuck.local_addr().unwrap(), leaky.local_addr().unwrap());
        let _waiting: Vec<TcpStream> = (0..3)
            .map(|_| TcpStream::connect(stuck_at).unwrap())
            .collect();
        drop(TcpStream::connect(leaky_at).unwrap());
        let mut leaked = leaky.accept().unwrap().0;
        assert_eq!(
            leaked.read(&mut [0]).unwrap(),
            0,
            "the other side has closed"
        );

        let (stuck, leaky) = (stuck_at.port(), leaky_at.port());
        for source in sources::names_and_auto() {
            let check = |warn: &str, crit: &str| {
                let (code, line, stderr) = run(command(&[
                    "--source", source, "--warn", warn, "--crit", crit,
                ]));
                assert_eq!(stderr, "");
                (code, line)
            };
            // The listener may not have received the last ACKs yet.
            let all_wait =
                (0..500).any(|_| check("total<0", &format!("{stuck}:accept_queue>=3")).0 == 2);
            assert!(all_wait, "{source}");
            let (code, line) = check("accept_queue>2", &format!("{leaky}:CLOSE_WAIT>0"));
            assert_eq!(code, 2);
            let expected = format!(
                "TCP CRITICAL - {leaky}: CLOSE_WAIT 1 (> 0); WARNING {stuck}: accept_queue 3"
            );
            assert!(line.starts_with(&expected), "{source}: {line}");
            assert_eq!(
                check(&format!("{stuck}:accept_queue>3"), "listeners<2").0,
                0
            );
            assert_eq!(check(&format!("{stuck}:ESTABLISHED>=100%"), "total<0").0, 1);
            let (code, line) = check(
                &format!("{stuck}:accept_queue>100%"),
                &format!("{stuck}:drops>0"),
            );
            assert_eq!(
                code,
                if source == "procfs" { 3 } else { 0 },
                "{source}: {line}"
            );
            // A remote port is no service.
            assert_eq!(check("total<0", "1:total>0").0, 3);
        }
    })
    .unwrap();
}
