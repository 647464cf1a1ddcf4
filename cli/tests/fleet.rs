// SPDX-License-Identifier: MIT OR Apache-2.0

//! The exporter, the alerts and the dashboard by a real Prometheus, which scrapes every second:
//! `scripts/test-fleet`. It takes four minutes, so that it is no part of `cargo test` without
//! `--ignored`.
//!
//! Needs `CAP_SYS_ADMIN` for a network namespace, `prometheus`, `promtool` and `ss`.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use common::dashboard::{Dashboard, Variables};
use common::exporter::{ALL, Exporter};
use common::prometheus::Prometheus;
use common::seconds_since_1970;
use common::sockets::listen;
use nix::errno::Errno;
use socket2::{Domain, Socket, Type};
use tcpstat::{Counts, State};
use tcpstat_tests::sockets::{Family, Mix};
use tcpstat_tests::{netns, ss};

/// How long an alert may take to fire or to end. The longest takes 90 s of samples.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long the states change and are compared.
const CHANGES: Duration = Duration::from_secs(60);

/// The ports of services: one that leaks sockets, one that does not accept, one that ends.
const LEAKY: u16 = 8080;
const STUCK: u16 = 8081;
const ENDING: u16 = 8082;

/// What the faults make fire.
const EXPECTED: [&str; 6] = [
    "TcpstatAcceptQueueFilling",
    "TcpstatAcceptQueueFull",
    "TcpstatCloseWaitGrowing",
    "TcpstatListenDrops",
    "TcpstatListenerGone",
    "TcpstatSynSentPilingUp",
];

#[test]
#[ignore = "it takes four minutes; scripts/test-fleet runs it"]
fn prometheus_sees_what_there_is() {
    netns::in_new(|| {
        let start = Instant::now();
        let step = |what: &str| println!("{:>4} s  {what}", start.elapsed().as_secs());
        let leaky = listen(LEAKY, 4);
        let stuck = listen(STUCK, 4);
        let ending = listen(ENDING, 4);
        let mut exporter = Exporter::start(&ALL);
        let prometheus = Prometheus::start(&exporter.address);

        let compared = compare_states(&prometheus);
        step(&format!(
            "{compared} times Prometheus had the counts of ss in all states"
        ));

        let faults = Faults::plant(leaky.try_clone().unwrap(), ending);
        let fired = prometheus.wait_for_alerts(PATIENCE, |firing| {
            EXPECTED.iter().all(|alert| firing.contains(*alert))
        });
        step(&format!("fired: {}", words(&fired)));
        let unexpected: Vec<_> = fired
            .iter()
            .filter(|alert| !EXPECTED.contains(&alert.as_str()))
            .collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");

        let dashboard = Dashboard::read(&common::project_file("monitoring/dashboard.json"));
        every_metric_is_there(&prometheus, &dashboard);
        step("every metric of the rules, the alerts and the dashboard is there");
        if let Some(path) = std::env::var_os("TCPSTAT_DASHBOARD") {
            let length = start.elapsed();
            let picture = dashboard.picture(&prometheus, &Variables::of(STUCK), length);
            fs::write(&path, picture).unwrap();
            step(&format!("drawn: {}", Path::new(&path).display()));
        }

        let _again = faults.mend(&stuck);
        prometheus.wait_for_alerts(PATIENCE, BTreeSet::is_empty);
        step("mended: nothing fires");

        exporter.child.kill().unwrap();
        exporter.wait();
        prometheus.wait_for("up == 0", PATIENCE);
        drop(exporter);
        let _exporter = Exporter::start(&ALL);
        prometheus.wait_for("up == 1", PATIENCE);
        // Longer than any alert here waits.
        sleep(Duration::from_secs(40));
        let fired = prometheus.query("max_over_time(ALERTS{alertstate=\"firing\"}[40s])", None);
        assert!(fired.is_empty(), "{fired:?}");
        step("killed and started again: up went to 0 and back, and nothing fired");
    })
    .unwrap();
}

fn words(names: &BTreeSet<String>) -> String {
    names
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

/// What `ss` counts.
fn counted_by_ss() -> Counts {
    let mut counts = Counts::ZERO;
    for line in ss::lines().expect("there is no ss") {
        counts.add_one(line.state);
    }
    counts
}

/// Makes and ends sockets in all states, and compares what `ss` and Prometheus had at each moment
/// that held still for longer than the time between two scrapes. Returns how many these were.
///
/// Prometheus is asked afterwards, since a question is a connection.
fn compare_states(prometheus: &Prometheus) -> usize {
    prometheus.wait_for("up == 1", PATIENCE);
    let (start, mut moments) = (Instant::now(), Vec::new());
    for round in 0.. {
        if start.elapsed() > CHANGES {
            break;
        }
        let family = [Family::V4, Family::V6, Family::V4Mapped][round % 3];
        let _fixture = Mix::of_each(family, 1 + round as u32 % 4).make().unwrap();
        let before = counted_by_ss();
        sleep(Duration::from_millis(2500));
        let time = seconds_since_1970();
        if counted_by_ss() == before {
            moments.push((time, before));
        }
    }
    assert!(
        moments.len() > 5,
        "only {} moments held still",
        moments.len()
    );
    for (time, expected) in &moments {
        let mut counts = Counts::ZERO;
        for (labels, value) in prometheus.query("node_tcp_connection_states", Some(*time)) {
            let state: State = labels["state"].as_str().unwrap().parse().unwrap();
            counts.set(state, value as u64);
        }
        assert_eq!(counts, *expected, "at {time}");
    }
    moments.len()
}

/// The planted faults.
struct Faults {
    leak: thread::JoinHandle<()>,
    end: Arc<AtomicBool>,
    /// In the queue of the worker that does not accept, and waiting for room in it.
    waiting: Vec<Socket>,
}

impl Faults {
    fn plant(leaky: TcpListener, ending: TcpListener) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let leak = thread::spawn(move || {
            let mut leaked = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                drop(TcpStream::connect(leaky.local_addr().unwrap()).unwrap());
                leaked.push(leaky.accept().unwrap());
                sleep(Duration::from_millis(300));
            }
        });
        // Five fill the queue; a worker that does not accept leaves the others without an answer.
        let waiting = (0..40).map(|_| connect_without_waiting(STUCK)).collect();
        drop(ending);
        Self { leak, end, waiting }
    }

    /// Mends all of them. Returns the service that had ended.
    fn mend(self, stuck: &TcpListener) -> TcpListener {
        self.end.store(true, Ordering::Relaxed);
        self.leak.join().unwrap();
        drop(self.waiting);
        stuck.set_nonblocking(true).unwrap();
        while stuck.accept().is_ok() {}
        listen(ENDING, 4)
    }
}

fn connect_without_waiting(port: u16) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match socket.connect(&address.into()) {
        Err(e) if e.raw_os_error() != Some(Errno::EINPROGRESS as i32) => panic!("{e}"),
        _ => socket,
    }
}

/// Every metric that a rule or an alert names has samples, and every expression of the dashboard
/// gives data.
fn every_metric_is_there(prometheus: &Prometheus, dashboard: &Dashboard) {
    for path in ["monitoring/rules.yml", "monitoring/alerts.yml"] {
        let text = fs::read_to_string(common::project_file(path)).unwrap();
        for name in common::rules::metrics(&text) {
            let found = prometheus.query(&format!("count({name})"), None);
            assert!(!found.is_empty(), "{path}: there is no {name}");
        }
    }
    for (title, expression) in dashboard.expressions(&Variables::any()) {
        let found = prometheus.query(&expression, None);
        assert!(
            !found.is_empty(),
            "no data in the panel {title}: {expression}"
        );
    }
}
