// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat exporter`: what it answers, in network namespaces of the tests.
//!
//! Needs `CAP_SYS_ADMIN` for the namespaces.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::container::{Container, in_container};
use common::exporter::{ALL, Exporter, LONG, answer, request};
use common::promtool;
use common::run::{run, tcpstat};
use common::saved::{EMPTY_TCP6, large_proc_root, proc_root};
use common::serial::serial;
use flate2::read::GzDecoder;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, socket,
};
use tcpstat_tests::exposition::{Format, Samples, parse};
use tcpstat_tests::netns;
use tcpstat_tests::sockets::Mix;
use tempfile::TempDir;

const OPEN_METRICS: &str =
    "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:01BB 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 1574 1 0000000000000000 100 0 0 10 0
   1: 0100007F:01BB 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:C350 0100007F:01BB 08 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1
";

const MODULE: &str = "ESTABLISHED : 60\nSYN_SENT    : 0\nSYN_RECV    : 0\nFIN_WAIT1   : 0\nFIN_WAIT2   : 0\n\
    TIME_WAIT   : 25\nCLOSE       : 0\nCLOSE_WAIT  : 5\nLAST_ACK    : 0\nLISTEN      : 10\nCLOSING     : 0\n";

/// Runs a test by itself, in a network namespace of its own.
fn alone(test: impl FnOnce() + Send) {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(test).unwrap();
}

/// The sum of the samples of a metric.
fn sum(samples: &Samples, name: &str) -> f64 {
    let of = |key: &&String| key.split('{').next() == Some(name);
    samples
        .iter()
        .filter(|(key, _)| of(key))
        .map(|(_, value)| value)
        .sum()
}

/// `promtool check metrics` must have nothing to say, if it is there.
fn check_metrics(text: &str) {
    if promtool::is_there() {
        assert_eq!(promtool::must_accept(&["check", "metrics"], text), "");
    }
}

#[test]
fn both_formats_are_strict_please_promtool_and_agree_with_the_command() {
    alone(|| {
        let mix = Mix {
            established: 3,
            close_wait: 2,
            ..Mix::default()
        };
        let _fixture = mix.make().unwrap();
        let _listener = TcpListener::bind("127.0.0.1:8080").unwrap();
        let exporter = Exporter::start(&ALL);
        let metrics = exporter.get("/metrics", &[OPEN_METRICS]);
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(metrics.headers["content-type"], kind);
        let open_metrics = parse(&metrics.text(), Format::OpenMetrics).unwrap();
        let text = exporter.get("/metrics", &[]);
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        assert_eq!(text.headers["content-type"], kind);
        check_metrics(&text.text());
        let text = parse(&text.text(), Format::Text).unwrap();
        let names = |samples: &Samples| {
            let names = samples
                .keys()
                .map(|key| key.split('{').next().unwrap().to_owned());
            names.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(names(&open_metrics), names(&text));
        for (key, expected) in [
            ("node_tcp_connection_states{state=\"close_wait\"}", 2.0),
            ("tcpstat_service_listeners{port=\"8080\"}", 1.0),
            (
                "tcpstat_service_connection_states{port=\"8080\",state=\"listen\"}",
                1.0,
            ),
            ("tcpstat_service_drops_total{port=\"8080\"}", 0.0),
            (
                "tcpstat_listener_sockets{address=\"127.0.0.1\",interface=\"\",port=\"8080\"}",
                1.0,
            ),
            (
                "tcpstat_local_port_connection_states{local_port=\"8080\",state=\"listen\"}",
                1.0,
            ),
            ("tcpstat_kernel_listen_overflows_total", 0.0),
            ("tcpstat_left_out{collector=\"services\"}", 0.0),
            (
                "tcpstat_source_info{collector=\"totals\",method=\"services\",source=\"netlink\"}",
                1.0,
            ),
            ("tcpstat_exporter_readings_total", 2.0),
        ] {
            let found = text.get(key);
            let on_module = key.contains("source_info") && found.is_none();
            assert!(found == Some(&expected) || on_module, "{key}: {found:?}");
        }
        assert!(text["process_resident_memory_bytes"] > 1e6);
        let succeeded = sum(&text, "tcpstat_reading_success");
        // Units need cgroup v2.
        let units = text["tcpstat_reading_success{collector=\"units\"}"];
        assert_eq!(succeeded - units, 9.0, "{}", exporter.log());
        // Series that have always been zero are left out.
        let closing = "tcpstat_service_connection_states{port=\"8080\",state=\"closing\"}";
        assert!(!text.contains_key(closing));
        // Totals are those of the services, and those of a reading of their own.
        let totals = exporter.scrape("/metrics?collect[]=totals");
        let totals_and_services = "/metrics?collect[]=totals&collect%5B%5D=services";
        let both = exporter.scrape(totals_and_services);
        let of = |samples: &Samples, name| {
            let key = format!("node_tcp_connection_states{{state=\"{name}\"}}");
            samples[&key]
        };
        for state in ["established", "listen", "close_wait", "fin_wait2"] {
            assert_eq!(of(&totals, state), of(&both, state), "{state}");
        }
        assert_eq!(sum(&totals, "tcpstat_service_listeners"), 0.0);
        // The command prints the same names.
        for arguments in [
            &["--format", "prometheus"][..],
            &["services", "--format", "prometheus"],
        ] {
            let (_, stdout, _) = run(&mut tcpstat(arguments));
            let printed = parse(&stdout, Format::OpenMetrics).unwrap();
            for name in names(&printed) {
                // Drops are a gauge there: it does not know the listeners that are gone.
                let name = name.replace("_service_drops", "_service_drops_total");
                assert!(names(&text).contains(&name), "{name}");
            }
        }
    });
}

#[test]
fn zeros_are_shown_if_asked_for_and_a_state_that_was_seen_stays() {
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:8080").unwrap();
        let state = |state: &str| {
            format!("tcpstat_service_connection_states{{port=\"8080\",state=\"{state}\"}}")
        };
        {
            let exporter = Exporter::start(&["--collector.zeros"]);
            assert_eq!(exporter.scrape("/metrics")[&state("closing")], 0.0);
        }
        let exporter = Exporter::start(&[]);
        assert!(
            !exporter
                .scrape("/metrics")
                .contains_key(&state("established"))
        );
        let client = TcpStream::connect("127.0.0.1:8080").unwrap();
        let (server, _) = listener.accept().unwrap();
        assert_eq!(exporter.scrape("/metrics")[&state("established")], 1.0);
        drop((client, server));
        let start = Instant::now();
        while exporter.scrape("/metrics")[&state("established")] != 0.0 {
            assert!(start.elapsed() < LONG);
        }
    });
}

#[test]
fn requests_are_get_and_head_of_three_pages() {
    alone(|| {
        let exporter = Exporter::start(&["--web.telemetry-path", "/m", "--no-collector.limits"]);
        let mut stream = exporter.connect();
        let head = request(&mut stream, "HEAD", "/m", &[]).unwrap();
        assert_eq!(head.status, 200);
        assert!(head.headers["content-length"].parse::<u64>().unwrap() > 1000);
        // The same connection goes on: nothing follows the head of the answer.
        for (method, path, status) in [
            ("GET", "/m", 200),
            ("GET", "/m?other=1", 200),
            ("GET", "/", 200),
            ("HEAD", "/", 200),
            ("GET", "/-/healthy", 200),
            ("GET", "/metrics", 404),
            ("GET", "/m/", 404),
            ("GET", "/m?collect[]=limits", 400),
            ("GET", "/m?collect[]=nonsense", 400),
            ("POST", "/m", 405),
            ("DELETE", "/", 405),
            ("OPTIONS", "/m", 405),
        ] {
            let answer = request(&mut stream, method, path, &[]).unwrap();
            assert_eq!(answer.status, status, "{method} {path}");
            if status == 405 {
                assert_eq!(answer.headers["allow"], "GET, HEAD");
            }
        }
        let landing = exporter.get("/", &[]).text();
        assert!(landing.contains("href=\"/m\"") && landing.contains("<td>limits</td><td>off"));
        let answer = request(&mut stream, "GET", "/m", &["Accept-Encoding: gzip"]).unwrap();
        assert_eq!(answer.headers["content-encoding"], "gzip");
        let mut text = String::new();
        GzDecoder::new(&answer.body[..])
            .read_to_string(&mut text)
            .unwrap();
        let samples = parse(&text, Format::Text).unwrap();
        assert_eq!(sum(&samples, "tcpstat_kernel_limit"), 0.0);
        assert!(sum(&samples, "node_tcp_connection_states") > 0.0);
    });
}

#[test]
fn usage_errors_are_said() {
    let off =
        ["totals", "services", "counters", "limits"].map(|one| format!("--no-collector.{one}"));
    let off: Vec<&str> = off.iter().map(String::as_str).collect();
    for (arguments, code, expected) in [
        (&["--web.telemetry-path", "metrics"][..], 2, "not a path"),
        (&["--web.telemetry-path", "/-/healthy"], 2, "not a path"),
        (&["--web.timeout-offset", "1"], 2, "no unit"),
        (
            &["--web.listen-address", "nonsense"],
            1,
            "cannot listen at nonsense",
        ),
        (
            &["--web.listen-address", "192.0.2.1:1"],
            1,
            "cannot listen at 192.0.2.1:1",
        ),
        (&["--web.systemd-socket"], 1, "systemd has passed no socket"),
        (&["--web.config.file", "/nonexistent"], 1, "/nonexistent"),
        (&off, 2, "every collector is off"),
    ] {
        let (found, _, stderr) = run(tcpstat(&["exporter"]).args(arguments));
        assert_eq!(found, Some(code), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[test]
fn an_error_of_one_collector_leaves_the_others() {
    alone(|| {
        let files = [
            ("net/tcp", TCP),
            ("net/tcp6", EMPTY_TCP6),
            ("net/netstat", "TcpExt: ListenOverflows\nTcpExt: many\n"),
        ];
        let root = proc_root(&files);
        let proc_root = ["--proc-root", root.path().to_str().unwrap()];
        let exporter = Exporter::start(&[&ALL[..], &proc_root].concat());
        let success = |samples: &Samples, name: &str| {
            samples[&format!("tcpstat_reading_success{{collector=\"{name}\"}}")]
        };
        let samples = exporter.scrape("/metrics");
        // A procfs knows no units; nothing is zero instead of what is not known.
        for (name, expected) in [
            ("totals", 1.0),
            ("services", 1.0),
            ("counters", 0.0),
            ("limits", 0.0),
            ("units", 0.0),
            ("peer-ports", 1.0),
            ("local-ports", 1.0),
            ("namespaces", 0.0),
        ] {
            assert_eq!(
                success(&samples, name),
                expected,
                "{name}: {}",
                exporter.log()
            );
        }
        let name = |key: &String| key.split('{').next().unwrap().to_owned();
        let has = |prefix: &str| samples.keys().any(|key| name(key).starts_with(prefix));
        assert!(!has("tcpstat_kernel") && !has("tcpstat_unit") && !has("tcpstat_namespace"));
        // It does not know drops and backlogs.
        assert!(!has("tcpstat_service_drops") && !has("tcpstat_service_backlog"));
        assert_eq!(
            samples["node_tcp_connection_states{state=\"established\"}"],
            1.0
        );
        // Said once, and that it works again.
        exporter.scrape("/metrics");
        let said = |text: &str| exporter.log().matches(text).count();
        assert_eq!(
            said("msg=\"reading fails\" collector=counters"),
            1,
            "{}",
            exporter.log()
        );
        fs::copy("/proc/net/netstat", root.path().join("net/netstat")).unwrap();
        let samples = exporter.scrape("/metrics");
        assert_eq!(success(&samples, "counters"), 1.0, "{}", exporter.log());
        exporter.wait_for_log("msg=\"reading works again\" collector=counters");
    });
}

#[test]
fn a_source_that_comes_or_goes_changes_source_info() {
    alone(|| {
        let root = proc_root(&[("net/tcp", TCP), ("net/tcp6", EMPTY_TCP6)]);
        let exporter = Exporter::start(&["--proc-root", root.path().to_str().unwrap()]);
        let module = root.path().join("tcpstat");
        for (is_there, source, established) in [
            (false, "procfs", 1.0),
            (true, "module", 60.0),
            (false, "procfs", 1.0),
        ] {
            match is_there {
                true => fs::write(&module, MODULE).unwrap(),
                false => drop(fs::remove_file(&module)),
            }
            let samples = exporter.scrape("/metrics?collect[]=totals");
            let info = format!(
                "tcpstat_source_info{{collector=\"totals\",method=\"whole\",source=\"{source}\"}}"
            );
            assert_eq!(samples.get(&info), Some(&1.0), "{samples:?}");
            assert_eq!(sum(&samples, "tcpstat_source_info"), 1.0);
            let found = samples["node_tcp_connection_states{state=\"established\"}"];
            assert_eq!(found, established);
        }
        exporter.wait_for_log("msg=\"another source answers\" collector=totals source=module");
        // A malformed answer is an error of the reading, and no reason for another source.
        fs::write(&module, "nonsense\n").unwrap();
        let samples = exporter.scrape("/metrics?collect[]=totals");
        assert_eq!(
            samples["tcpstat_reading_success{collector=\"totals\"}"],
            0.0
        );
        assert_eq!(sum(&samples, "node_tcp_connection_states"), 0.0);
    });
}

#[test]
fn what_is_left_out_is_counted() {
    alone(|| {
        let listeners =
            [8001, 8002, 8003].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        let limits = [
            "--collector.max-items",
            "2",
            "--collector.destinations.max-items",
            "1",
        ];
        let exporter = Exporter::start(&[&ALL[..4], &ALL[4..5], &limits].concat());
        let clients =
            [8002, 8003, 8003].map(|port| TcpStream::connect(("127.0.0.1", port)).unwrap());
        let samples = exporter.scrape("/metrics");
        // With the exporter itself, there are four ports.
        for (collector, left_out) in [
            ("services", 2.0),
            ("listeners", 2.0),
            ("local-ports", 2.0),
            ("destinations", 2.0),
        ] {
            let key = format!("tcpstat_left_out{{collector=\"{collector}\"}}");
            assert_eq!(samples[&key], left_out, "{collector}");
        }
        let shown = |port| {
            let key = format!("tcpstat_service_listeners{{port=\"{port}\"}}");
            samples.contains_key(&key)
        };
        assert!(shown(8003) && !shown(8001));
        let most = "tcpstat_destination_local_ports{address=\"127.0.0.1\",port=\"8003\"}";
        assert_eq!(samples[most], 2.0);
        assert_eq!(sum(&samples, "tcpstat_destination_local_ports"), 2.0);
        // What is not shown is in the sums.
        let peers = "tcpstat_peer_port_connection_states{peer_port=\"8003\",state=\"established\"}";
        assert_eq!(samples[peers], 2.0);
        let all = sum(&samples, "node_tcp_connection_states");
        assert_eq!(sum(&samples, "tcpstat_local_port_connection_states"), all);
        drop((listeners, clients));
    });
}

/// A listener with this backlog, whose drops can be made.
fn listener(port: u16, backlog: i32) -> OwnedFd {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    let address: SockaddrIn = format!("127.0.0.1:{port}").parse().unwrap();
    bind(socket.as_raw_fd(), &address).unwrap();
    listen(&socket, Backlog::new(backlog).unwrap()).unwrap();
    socket
}

/// Fills the queue of a listener with two connections, and has one more dropped. Returns what has
/// to stay open.
fn overflow(exporter: &Exporter, key: &str, at_least: f64) -> Vec<OwnedFd> {
    let mut open = Vec::new();
    let start = Instant::now();
    loop {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let client = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        let address: SockaddrIn = "127.0.0.1:8500".parse().unwrap();
        let _ = nix::sys::socket::connect(client.as_raw_fd(), &address);
        open.push(client);
        if exporter.scrape("/metrics")[key] >= at_least {
            return open;
        }
        assert!(start.elapsed() < LONG, "no drops");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn drops_of_a_service_do_not_fall_when_a_listener_is_closed() {
    alone(|| {
        let exporter = Exporter::start(&["--collector.listeners"]);
        let first = listener(8500, 1);
        let port = "tcpstat_service_drops_total{port=\"8500\"}";
        let place =
            "tcpstat_listener_drops_total{address=\"127.0.0.1\",interface=\"\",port=\"8500\"}";
        let open = overflow(&exporter, port, 1.0);
        let before = exporter.scrape("/metrics");
        assert!(before[port] >= 1.0 && before[place] == before[port]);
        drop((open, first));
        assert!(!exporter.scrape("/metrics").contains_key(port));
        // Another listener of the port: its own drops are added.
        let _second = listener(8500, 1);
        let after = exporter.scrape("/metrics");
        assert!(
            after[port] >= before[port],
            "{} {}",
            after[port],
            before[port]
        );
        let open = overflow(&exporter, port, after[port] + 1.0);
        drop((open, exporter));
        // An exporter that starts again begins at 0, whatever the listeners have dropped.
        let again = Exporter::start(&["--collector.listeners"]).scrape("/metrics");
        assert_eq!((again[port], again[place]), (0.0, 0.0));
    });
}

#[test]
fn simultaneous_scrapes_share_a_reading() {
    alone(|| {
        // A reading of this sample takes long enough.
        let root = large_proc_root(&[("net/tcp", TCP), ("net/tcp6", EMPTY_TCP6)]);
        let exporter = Exporter::start(&["--proc-root", root.path().to_str().unwrap()]);
        let path = "/metrics?collect[]=totals";
        let total = 300_003.0;
        thread::scope(|scope| {
            let scrapes: Vec<_> = (0..30)
                .map(|_| scope.spawn(|| exporter.scrape(path)))
                .collect();
            for scrape in scrapes {
                let samples = scrape.join().unwrap();
                assert_eq!(sum(&samples, "node_tcp_connection_states"), total);
            }
        });
        // The one that came first, the others, and those that were slow to come.
        let readings = exporter.scrape(path)["tcpstat_exporter_readings_total"];
        assert!(readings <= 5.0, "{readings}");

        // A reading that takes longer than the timeout, less the offset, is no answer.
        let timeout = "X-Prometheus-Scrape-Timeout-Seconds: 0.255";
        let start = Instant::now();
        let late = exporter.get(path, &[timeout]);
        assert_eq!(late.status, 503, "{}", late.text());
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(!late.text().contains("node_tcp"));
        // Other pages do not wait for it.
        assert_eq!(exporter.get("/-/healthy", &[]).status, 200);
        let early = exporter.get(path, &["X-Prometheus-Scrape-Timeout-Seconds: 60"]);
        assert_eq!(early.status, 200);
    });
}

#[test]
fn the_end_waits_for_answers_under_way() {
    alone(|| {
        let root = large_proc_root(&[("net/tcp", TCP), ("net/tcp6", EMPTY_TCP6)]);
        let mut exporter = Exporter::start(&["--proc-root", root.path().to_str().unwrap()]);
        let mut idle = exporter.connect();
        let mut scrape = exporter.connect();
        scrape
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        thread::sleep(Duration::from_millis(50));
        exporter.terminate();
        let answer = answer(&mut scrape, false).unwrap();
        assert_eq!(answer.status, 200);
        let samples = parse(&answer.text(), Format::Text).unwrap();
        assert_eq!(sum(&samples, "node_tcp_connection_states"), 300_003.0);
        assert_eq!(idle.read(&mut [0]).unwrap(), 0);
        assert!(exporter.wait().success());
        assert!(TcpStream::connect(&exporter.address).is_err());
    });
}

/// A day of scrapes every fifteen seconds, and connections that come and go.
#[test]
fn memory_does_not_grow_in_a_day() {
    const DAY: usize = 24 * 60 * 4;
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:8080").unwrap();
        let exporter = Exporter::start(&ALL[..5]);
        let mut stream = exporter.connect();
        let mut after_some = 0;
        for scrape in 0..DAY {
            let port = 20_000 + (scrape % 1000) as u16;
            let other = TcpListener::bind(("127.0.0.1", port));
            let pair = (scrape % 20 == 0).then(|| {
                let client = TcpStream::connect("127.0.0.1:8080").unwrap();
                (client, listener.accept().unwrap())
            });
            let headers = match scrape % 3 {
                0 => &["Accept-Encoding: gzip"][..],
                1 => &[OPEN_METRICS],
                _ => &[],
            };
            assert_eq!(
                request(&mut stream, "GET", "/metrics", headers)
                    .unwrap()
                    .status,
                200
            );
            drop((other, pair));
            if scrape == DAY / 4 {
                after_some = exporter.memory();
            }
        }
        // Ports of the last quarter were all seen in the first.
        let growth = exporter.memory().saturating_sub(after_some);
        assert!(growth < 1024, "{growth} KiB more than {after_some}");
    });
}

#[test]
fn namespaces_may_end_while_they_are_read() {
    alone(|| {
        let exporter = Exporter::start(&["--collector.namespaces"]);
        let done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut command = Command::new("unshare");
                    command.args(["--net", "sleep", "0.01"]);
                    assert!(command.status().unwrap().success());
                }
            });
            for _ in 0..50 {
                let samples = exporter.scrape("/metrics?collect[]=namespaces&collect[]=totals");
                let key = "tcpstat_reading_success{collector=\"namespaces\"}";
                assert_eq!(samples[key], 1.0, "{}", exporter.log());
                let listen = |key: &&String| key.contains("namespace_connection_states{netns=");
                assert!(samples.keys().filter(listen).count() >= 11);
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    });
}

/// A socket of systemd, and what systemd is told.
#[test]
fn systemd_passes_the_socket_and_is_told() {
    alone(|| {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let listener = UnixListener::bind(path("http")).unwrap();
        let told = UnixDatagram::bind(path("notify")).unwrap();
        told.set_read_timeout(Some(LONG)).unwrap();
        let message = || {
            let mut buffer = [0; 256];
            let length = told.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let program = assert_cmd::cargo::cargo_bin!("tcpstat");
        let mut command = Command::new("sh");
        let script = "exec env LISTEN_FDS=1 LISTEN_PID=$$ WATCHDOG_PID=$$ WATCHDOG_USEC=3000000 \
                      NOTIFY_SOCKET=$1 $0 exporter --web.systemd-socket 3<&0 </dev/null";
        command
            .args(["-c", script])
            .arg(program)
            .arg(path("notify"));
        command.stdin(Stdio::from(OwnedFd::from(listener)));
        let mut exporter = Exporter::start_as(&mut command, "");
        assert_eq!(message().trim(), "READY=1");
        let mut stream = UnixStream::connect(path("http")).unwrap();
        assert_eq!(
            request(&mut stream, "GET", "/metrics", &[]).unwrap().status,
            200
        );
        assert_eq!(message().trim(), "WATCHDOG=1");
        exporter.terminate();
        while message().trim() != "STOPPING=1" {}
        assert!(exporter.wait().success());
    });
}

/// Units with the flag have the sockets of other network namespaces, as a container has one.
#[test]
fn units_are_those_of_all_namespaces_if_asked() {
    alone(|| {
        let _here = TcpListener::bind("127.0.0.1:7001").unwrap();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                netns::in_new(move || {
                    let listeners: Vec<_> = (0..40)
                        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
                        .collect();
                    ready.send(listeners.len()).unwrap();
                    let _ = ended.recv();
                })
                .unwrap();
            });
            let elsewhere = is_ready.recv().unwrap() as f64;
            let listening = |flags: &[&str]| {
                let exporter = Exporter::start(flags);
                let samples = exporter.scrape("/metrics?collect[]=units");
                let key = "tcpstat_reading_success{collector=\"units\"}";
                assert_eq!(samples[key], 1.0, "{}", exporter.log());
                let listen = |key: &&String| {
                    key.starts_with("tcpstat_unit_connection_states{") && key.contains("\"listen\"")
                };
                let found = samples.iter().filter(|(key, _)| listen(key));
                found.map(|(_, value)| value).sum::<f64>()
            };
            let own = listening(&["--collector.units"]);
            let all = listening(&["--collector.units", "--collector.units.all-namespaces"]);
            // Other tests of this machine have namespaces, too.
            assert!(own < elsewhere && all >= own + elsewhere, "{own}, {all}");
            drop(end);
        });
    });
}

/// The arguments of monitoring/kubernetes.yml, with `HOST` for the host's procfs.
fn kubernetes_arguments() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../monitoring/kubernetes.yml");
    let text = fs::read_to_string(path).unwrap();
    let documents = yaml_rust2::YamlLoader::load_from_str(&text).unwrap();
    let container = &documents[0]["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_vec().unwrap().iter();
    let arguments = arguments.flat_map(|argument| {
        let argument = argument.as_str().unwrap();
        let parts = argument
            .split_once('=')
            .map(|(flag, value)| vec![flag, value]);
        parts.unwrap_or_else(|| vec![argument])
    });
    arguments
        .map(|part| part.replace("/host/proc", "HOST"))
        .collect()
}

/// In a container, with the procfs of the host elsewhere, the numbers are the host's.
#[test]
fn a_container_shows_its_host() {
    alone(|| {
        let _listeners = [7001, 7002].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("http");
        let program = assert_cmd::cargo::cargo_bin!("tcpstat").to_str().unwrap();
        let script = "exec env LISTEN_FDS=1 LISTEN_PID=$$ \"$@\" 3<&0 </dev/null";
        for container in [Container::Alone, Container::WithProcessesOfTheHost] {
            let _ = fs::remove_file(&socket);
            let listener = UnixListener::bind(&socket).unwrap();
            let whole = [
                "sh",
                "-c",
                script,
                "sh",
                program,
                "exporter",
                "--web.systemd-socket",
            ];
            let arguments = kubernetes_arguments();
            assert!(arguments.iter().any(|argument| argument == "HOST"));
            let arguments = arguments.iter().map(String::as_str);
            let whole: Vec<&str> = whole.into_iter().chain(arguments).collect();
            let mut command = in_container(container, "hidepid=0", &whole);
            command.stdin(Stdio::from(OwnedFd::from(listener)));
            let mut exporter = Exporter::start_as(&mut command, "");
            let mut stream = UnixStream::connect(&socket).unwrap();
            let answer = request(&mut stream, "GET", "/metrics", &[]).unwrap();
            let samples = parse(&answer.text(), Format::Text).unwrap();
            let listening = samples["node_tcp_connection_states{state=\"listen\"}"];
            assert_eq!(listening, 2.0, "{container:?}");
            assert_eq!(samples["tcpstat_service_listeners{port=\"7001\"}"], 1.0);
            let namespaces = samples["tcpstat_reading_success{collector=\"namespaces\"}"];
            assert_eq!(namespaces, 1.0);
            let name = "tcpstat_namespace_connection_states";
            assert!(sum(&samples, name) >= 2.0);
            // Its children are in a PID namespace that ends with their parent.
            let _ = exporter.child.kill();
            exporter.wait();
        }
    });
}
