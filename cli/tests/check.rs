// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat check` as a monitoring system meets it: one line, perfdata and the exit code, on saved
//! samples of procfs, on sockets of a network namespace, and with a wrong command line.

mod common;

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use common::run::{self, tcpstat};
use common::saved::proc_root;
use common::sources;
use tcpstat_tests::cgroup::Cgroup;
use tcpstat_tests::netns;
use tempfile::TempDir;

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
            "TCP UNKNOWN - 25:total is not known: nothing listens at this port; 25:listeners<1 reports that | '25:total'=U;1;;0 '443:total'=2;10;;0",
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
    assert!(line.contains("'drops'=0c;;0;0"), "{line}");
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
             'accept_queue%'=125.0%;100;;0 'accept_queue'=3727;4000;;0 'drops'=7c;;7;0",
        ),
        (
            &["--crit", "443:listeners<2,443:drops>=5"],
            2,
            "TCP CRITICAL - 443: drops 5 (>= 5) | '443:listeners'=2;;2:;0 '443:drops'=5c;;@5:;0",
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
fn without_limits_the_totals_are_printed() {
    let root = proc_root(&[("tcpstat", MODULE)]);
    let (code, line) = check_on(root.path(), &[]);
    assert_eq!(code, 0);
    let expected = "TCP OK - total 100; ESTABLISHED 60; SYN_SENT 0; ";
    assert!(line.starts_with(expected), "{line}");
    let expected = " | 'total'=100;;;0 'ESTABLISHED'=60;;;0 'SYN_SENT'=0;;;0 ";
    assert!(line.contains(expected), "{line}");
    assert_eq!(line.matches(";;;0").count(), 12, "{line}");
    let (code, line) = check_on(proc_root(&[]).path(), &[]);
    assert_eq!(code, 3, "{line}");
    assert!(line.contains("CLOSING are not known: no source could answer"));
}

#[test]
fn a_local_port_is_counted_whether_something_listens_there_or_not() {
    let root = proc_root(&[("net/tcp", TCP)]);
    for (limits, code, line) in [
        (
            // C350 has no listener.
            "local-port=50000:ESTABLISHED>0,local-port=50001:total<1",
            2,
            "TCP CRITICAL - local-port=50000: ESTABLISHED 1 (> 0); local-port=50001: total 0 (< 1) | \
             'local-port:50000:ESTABLISHED'=1;;0;0 'local-port:50001:total'=0;;1:;0",
        ),
        (
            // Shares are those of connections, as at a service.
            "local-port=8080:close-wait>50%,local-port=8080:total>3,local-port=8080:listeners>1",
            0,
            "TCP OK - local-port=8080: CLOSE_WAIT 50.0% of 2; local-port=8080: total 3; \
             local-port=8080: listeners 1 | 'local-port:8080:CLOSE_WAIT%'=50.0%;;50;0 \
             'local-port:8080:total'=3;;3;0 'local-port:8080:listeners'=1;;1;0",
        ),
    ] {
        let found = check_on(root.path(), &["--crit", limits]);
        assert_eq!(found, (code, line.to_owned()));
    }
    let module = ["--crit", "local-port=443:total>1", "--source", "module"];
    let (code, line) = check_on(root.path(), &module);
    assert_eq!(code, 3, "{line}");
}

/// The exit code and the line in the network namespace of this thread.
fn check_here(arguments: &[&str]) -> (i32, String) {
    let (code, line, stderr) = run(command(arguments));
    assert_eq!(stderr, "");
    (code, line)
}

#[test]
fn units_peers_and_listeners_have_limits() {
    if netns::must_skip() {
        return;
    }
    let path = format!("/tcpstat-check-{}.slice/web.service", std::process::id());
    let Some(service) = Cgroup::new(&path) else {
        return;
    };
    netns::in_new(|| {
        let bind = |address| TcpListener::bind(address).unwrap();
        let web = service.while_inside(|| bind("127.0.0.1:7103")).unwrap();
        let _other = bind("127.0.0.2:7103");
        let connect = || service.while_inside(|| TcpStream::connect("127.0.0.1:7103").unwrap());
        let clients = [connect().unwrap(), connect().unwrap(), connect().unwrap()];
        let _accepted = web.accept().unwrap();
        clients[0].shutdown(Shutdown::Write).unwrap();
        for source in ["auto", "netlink"] {
            let check = |limits: &str| check_here(&["--crit", limits, "--source", source]);
            assert_eq!(
                check("unit=web.service:close-wait>0,unit=web.service:total<8,unit=no.service:total>0"),
                (
                    2,
                    "TCP CRITICAL - unit=web.service: CLOSE_WAIT 1 (> 0); unit=web.service: total 7 (< 8) | \
                     'unit:web.service:CLOSE_WAIT'=1;;0;0 'unit:web.service:total'=7;;8:;0 \
                     'unit:no.service:total'=0;;0;0"
                        .to_owned()
                )
            );
            assert_eq!(
                check("unit=web.service:listeners<1,unit=web.service:CLOSE_WAIT>20%"),
                (
                    0,
                    "TCP OK - unit=web.service: listeners 1; unit=web.service: CLOSE_WAIT 16.7% of 6 | \
                     'unit:web.service:listeners'=1;;1:;0 'unit:web.service:CLOSE_WAIT%'=16.7%;;20;0"
                        .to_owned()
                )
            );
        }
        for source in sources::names_and_auto() {
            let check = |limits: &str| check_here(&["--crit", limits, "--source", source]);
            assert_eq!(
                check("peer-port=7103:total>2,peer-port=7104:total>0"),
                (
                    2,
                    "TCP CRITICAL - peer-port=7103: total 3 (> 2) | 'peer-port:7103:total'=3;;2;0 \
                     'peer-port:7104:total'=0;;0;0"
                        .to_owned()
                )
            );
            let (code, line) = check("listener=127.0.0.1:7103:accept_queue>1");
            assert_eq!(code, 2, "{line}");
            assert!(
                line.starts_with("TCP CRITICAL - listener=127.0.0.1:7103: accept_queue 2 (> 1) | "),
                "{line}"
            );
            let (code, line) = check("listener=127.0.0.2:7103:accept_queue>0");
            assert_eq!(code, 0, "{line}");
            let gone = "listener=127.0.0.3:7103";
            let (code, line) = check(&format!("{gone}:listeners<1,{gone}:accept_queue>1"));
            assert_eq!(code, 2, "{line}");
            assert!(line.contains("nothing listens at 127.0.0.3:7103; "), "{line}");
            let (code, line) = check("listener=127.0.0.1:7103:accept_queue>1%");
            let knows = source != "procfs";
            assert_eq!(code, if knows { 2 } else { 3 }, "{line}");
            assert!(line.contains("1.6% of 128") || !knows, "{line}");
            let over = ["--over", "1ms", "--source", source];
            let limit = ["--crit", "listener=127.0.0.1:7103:drops/s>0"];
            let (code, line) = check_here(&[&limit[..], &over].concat());
            assert_eq!(code, if knows { 0 } else { 3 }, "{line}");
        }
        let (code, line) = check_here(&["--crit", "unit=x:total>1", "--source", "procfs"]);
        assert_eq!(code, 3);
        assert!(line.contains("it does not know the unit of a socket"), "{line}");
        drop(clients);
    })
    .unwrap();
}

#[test]
fn a_service_that_is_gone_is_unknown_but_its_listeners_are_none() {
    let root = proc_root(&[("net/tcp", TCP)]);
    let limits = "25:LISTEN<1,25:listeners<1,25:listeners/s<0,25:total>1,25:drops/s>1";
    assert_eq!(
        check_on(root.path(), &["--crit", limits, "--over", "1ms"]),
        (
            2,
            "TCP CRITICAL - 25: LISTEN 0 (< 1); 25: listeners 0 (< 1); UNKNOWN 25:total, 25:drops/s \
             are not known: nothing listens at this port; 25:listeners<1 reports that | \
             '25:LISTEN'=0;;1:;0 '25:listeners'=0;;1:;0 '25:listeners/s'=0.0;;0:; \
             '25:total'=U;;1;0 '25:drops/s'=U;;1;0"
                .to_owned()
        )
    );
}

/// Replaces a file of a sample by the next text, again and again, while `work` is done.
fn changing<T>(path: &Path, text: impl Fn(u64) -> String + Sync, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    let replace = |step| {
        let next = path.with_extension("next");
        fs::write(&next, text(step)).unwrap();
        fs::rename(next, path).unwrap();
    };
    replace(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for step in 1.. {
                if is_over.load(SeqCst) {
                    return;
                }
                thread::sleep(Duration::from_millis(1));
                replace(step);
            }
        });
        let done = work();
        is_over.store(true, SeqCst);
        done
    })
}

#[test]
fn rates_are_changes_between_two_readings() {
    let root = proc_root(&[("tcpstat", MODULE), ("net/tcpstat_services", SERVICES)]);
    let check = |limits: &str| check_on(root.path(), &["--crit", limits, "--over", "50ms"]);
    assert_eq!(
        check("443:drops/s>0,drops/s>0,CLOSE_WAIT/s>0,CLOSE_WAIT/s<0,total>=100"),
        (
            2,
            "TCP CRITICAL - total 100 (>= 100) | '443:drops/s'=0.0;;0;0 'drops/s'=0.0;;0;0 \
             'CLOSE_WAIT/s'=0.0;;0:0; 'total'=100;;@100:;0"
                .to_owned()
        )
    );

    let module = root.path().join("tcpstat");
    let established = |number: u64| MODULE.replacen("60", &number.to_string(), 1);
    let (code, line) = changing(&module, established, || check("ESTABLISHED/s>0"));
    assert_eq!(code, 2, "{line}");
    let falling = |step: u64| established(1_000_000 - step);
    let (code, line) = changing(&module, falling, || check("ESTABLISHED/s<0"));
    assert_eq!(code, 2, "{line}");
    assert!(line.contains("TCP CRITICAL - ESTABLISHED -"), "{line}");
    let (code, line) = changing(&module, falling, || check("ESTABLISHED/s>0"));
    assert_eq!(code, 0, "{line}");

    let services = root.path().join("net/tcpstat_services");
    let drops = |number: u64| SERVICES.replacen(" 8192 5 ", &format!(" 8192 {number} "), 1);
    let (code, line) = changing(&services, drops, || check("443:drops/s>0"));
    assert_eq!(code, 2, "{line}");
    let (code, line) = changing(&services, drops, || check("drops/s>0,22:drops/s>0"));
    assert_eq!(code, 2, "{line}");
    assert!(line.contains(" '22:drops/s'=0.0;;0;0"), "{line}");
    // Listeners that are replaced by others begin with no drops.
    let falling = |step: u64| drops(1_000_000 - step);
    assert_eq!(
        changing(&services, falling, || check("443:drops/s>0")),
        (
            0,
            "TCP OK - 443: drops 0.0/s | '443:drops/s'=0.0;;0;0".to_owned()
        )
    );
}

/// The kernel's numbers, with this many overflows.
fn netstat(overflows: u64) -> String {
    format!("TcpExt: ListenOverflows ListenDrops\nTcpExt: {overflows} 22\n")
}

const SOCKSTAT: &str = "TCP: inuse 1 orphan 7 tw 0 alloc 8 mem 3\n";

#[test]
fn numbers_of_the_kernel_have_limits() {
    let root = proc_root(&[
        ("tcpstat", MODULE),
        ("net/netstat", &netstat(5)),
        ("net/sockstat", SOCKSTAT),
        ("sys/net/ipv4/tcp_max_orphans", "8\n"),
    ]);
    let limits = "ListenOverflows>4,listendrops>22,orphan>80%,alloc<9,mem>3";
    assert_eq!(
        check_on(root.path(), &["--crit", limits]),
        (
            2,
            "TCP CRITICAL - ListenOverflows 5 (> 4); orphan 87.5% of 8 (> 80%); alloc 8 (< 9) | \
             'ListenOverflows'=5c;;4;0 'ListenDrops'=22c;;22;0 'orphan%'=87.5%;;80;0 \
             'alloc'=8;;9:;0 'mem'=3;;3;0"
                .to_owned()
        )
    );
    let (code, line) = check_on(root.path(), &["--crit", "SyncookiesSent>0"]);
    assert_eq!(code, 3);
    assert!(
        line.contains("not known: this kernel has no SyncookiesSent"),
        "{line}"
    );
    let path = root.path().join("net/netstat");
    let rate = |text: fn(u64) -> String| {
        let limit = ["--crit", "ListenOverflows/s>0", "--over", "50ms"];
        changing(&path, text, || check_on(root.path(), &limit))
    };
    let (code, line) = rate(|step| netstat(5 + step));
    assert!(
        code == 2 && line.contains("CRITICAL - ListenOverflows "),
        "{line}"
    );
    let (code, line) = rate(|step| netstat(1_000_000 - step));
    assert!(
        code == 0 && line.ends_with("'ListenOverflows/s'=0.0;;0;0"),
        "{line}"
    );
}

/// A sample with two namespaces, of which the first is a container's; a service at port 443 is in
/// the second.
fn two_namespaces() -> TempDir {
    let id = "4f0c3a9be1d27d6e5f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6";
    let cgroup = format!("0::/system.slice/docker-{id}.scope\n");
    let header = TCP.split_inclusive('\n').next().unwrap();
    let root = proc_root(&[
        ("7/net/tcp", header),
        ("7/cgroup", &cgroup),
        ("8/net/tcp", TCP),
        ("8/cgroup", "0::/init.scope\n"),
    ]);
    for (pid, inode) in [("7", 70), ("8", 80)] {
        let ns = root.path().join(pid).join("ns");
        fs::create_dir(&ns).unwrap();
        symlink(format!("net:[{inode}]"), ns.join("net")).unwrap();
    }
    root
}

#[test]
fn each_namespace_is_compared_by_itself_and_the_worst_is_named() {
    let root = two_namespaces();
    let check = |arguments: &[&str]| {
        let all = [&["--all-namespaces"], arguments].concat();
        check_on(root.path(), &all)
    };
    assert_eq!(
        check(&[
            "--warn",
            "total<3",
            "--crit",
            "ESTABLISHED>2,443:accept_queue>2"
        ]),
        (
            2,
            "TCP CRITICAL - netns 80: ESTABLISHED 3 (> 2); netns 80: 443: accept_queue 3 (> 2); \
             WARNING netns 4f0c3a9be1d2: total 0 (< 3) | \
             '4f0c3a9be1d2:total'=0;3:;;0 '80:total'=6;3:;;0 \
             '4f0c3a9be1d2:ESTABLISHED'=0;;2;0 '80:ESTABLISHED'=3;;2;0 '80:443:accept_queue'=3;;2;0"
                .to_owned()
        )
    );
    // A service need not be in every namespace, but in one.
    let (code, line) = check(&["--crit", "443:total>2,443:listeners<1"]);
    assert_eq!(code, 0, "{line}");
    assert!(
        line.starts_with("TCP OK - 2 network namespaces | '80:443:total'=2;"),
        "{line}"
    );
    let (code, line) = check(&["--crit", "25:total>2"]);
    assert_eq!(code, 3);
    let expected = "4f0c3a9be1d2:25:total, 80:25:total are not known: nothing listens";
    assert!(line.contains(expected), "{line}");
    assert_eq!(check(&["--crit", "25:listeners<1"]).0, 2);
    let (code, line) = check(&["--crit", "total/s>0,443:listeners/s<0", "--over", "1ms"]);
    assert_eq!(code, 0, "{line}");
    let (code, line) = check(&[]);
    assert_eq!(code, 0, "{line}");
    assert!(line.contains("'80:LISTEN'=2;;;0"), "{line}");

    fs::write(root.path().join("7/net/tcp"), "nonsense\n").unwrap();
    let (code, line) = check(&["--warn", "total>5"]);
    assert_eq!(code, 1, "{line}");
    let expected = "UNKNOWN 4f0c3a9be1d2:total is not known: ";
    assert!(
        line.contains(expected) && line.contains("7/net/tcp, line 1: "),
        "{line}"
    );
    // Two namespaces of a container have the name once.
    fs::copy(root.path().join("7/cgroup"), root.path().join("8/cgroup")).unwrap();
    let (_, line) = check(&["--warn", "total>5"]);
    assert!(
        line.contains("netns 80: total 6") && line.contains("'70:total'=U"),
        "{line}"
    );

    let nothing = proc_root(&[]);
    let (code, line) = check_on(nothing.path(), &["--all-namespaces", "--warn", "total>5"]);
    assert_eq!(code, 3);
    assert!(line.starts_with("TCP UNKNOWN - no process in "), "{line}");
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
            &["--crit", "443:drops>1", "--over", "10s"],
            "--over is the time between two readings, which only a change per second needs",
            "write drops/s>1, or leave it out",
        ),
        (
            &["--crit", "443:drops/s>1", "--over", "10"],
            "write 10s for seconds",
            "--over <TIME>",
        ),
        (
            &["--crit", "443:drops/m>1"],
            "a change is per second: /s",
            "\n  443:drops/m>1\n            ^\n",
        ),
        (
            &["--crit", "local-port=5432:accept_queue>1"],
            "queues and drops are those of a listener: 5432:accept_queue",
            "\n                  ^^^^^^^^^^^^\n",
        ),
        (
            &["--pid", "1", "--all-namespaces"],
            "cannot be used with",
            "--all-namespaces",
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
    let header = TCP.split_inclusive('\n').next().unwrap();
    let root = proc_root(&[("tcpstat", MODULE), ("net/tcp", TCP), ("net/tcp6", header)]);
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

/// Drops only grow: an alarm on them stays, one on their rate ends with the cause.
#[test]
fn an_alarm_on_the_rate_of_drops_ends() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let stuck = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = stuck.local_addr().unwrap();
        // As many as wait, with one more; the others are dropped.
        nix::sys::socket::listen(&stuck, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
        let _waiting = [(); 2].map(|()| TcpStream::connect(at).unwrap());
        let limits = [
            format!("{}:drops>0", at.port()),
            format!("{}:drops/s>0", at.port()),
        ];
        for source in sources::names_and_auto().filter(|&source| source != "procfs") {
            let check = || {
                let limits = ["--warn", &limits[0], "--crit", &limits[1]];
                let arguments = [&limits[..], &["--over", "200ms", "--source", source]].concat();
                let (code, line, stderr) = run(command(&arguments));
                assert_eq!(stderr, "");
                (code, line)
            };
            let is_over = AtomicBool::new(false);
            let (code, line) = thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_over.load(SeqCst) {
                        let soon = Duration::from_millis(1);
                        let error = TcpStream::connect_timeout(&at, soon).unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::TimedOut);
                    }
                });
                let answer = check();
                is_over.store(true, SeqCst);
                answer
            });
            assert_eq!(code, 2, "{source}: {line}");
            let (code, line) = check();
            assert_eq!(code, 1, "{source}: {line}");
            assert!(line.contains("drops/s'=0.0;"), "{source}: {line}");
        }
    })
    .unwrap();
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
