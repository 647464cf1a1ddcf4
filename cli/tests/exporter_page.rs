// SPDX-License-Identifier: MIT OR Apache-2.0

//! The page of `tcpstat exporter --web.page` and its stream of events. What a browser makes of them
//! is tried by `scripts/test-page`.
//!
//! Needs `CAP_SYS_ADMIN` for the network namespaces.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::exporter::{Exporter, LONG, request};
use common::run::tcpstat;
use common::saved::proc_root;
use common::serial::serial;
use common::sockets::{connect, listen};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use tcpstat_tests::{netns, ss};
use tempfile::TempDir;

/// Runs a test by itself, in a network namespace of its own.
fn alone(test: impl FnOnce() + Send) {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(test).unwrap();
}

fn start() -> Exporter {
    Exporter::start(&["--web.page"])
}

/// The events of a page.
struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// Opens the stream; the answer must be one.
    fn open(exporter: &Exporter, path: &str, headers: &str) -> Self {
        let mut stream = exporter.connect();
        // Of this version, the body is the rest, and not in chunks.
        let request = format!("GET {path} HTTP/1.0\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut events = Self {
            lines: BufReader::new(stream),
        };
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(events.lines.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.contains(" 200 OK\r\n"), "{head}");
        assert!(
            head.contains("content-type: text/event-stream\r\n"),
            "{head}"
        );
        assert!(head.contains("cache-control: no-store\r\n"), "{head}");
        events
    }

    /// The next event with this name; `None` at the end.
    fn next(&mut self, name: &str) -> Option<Value> {
        let wanted = format!("event: {name}\n");
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if line == wanted {
                line.clear();
                self.lines.read_line(&mut line).unwrap();
                return Some(serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap());
            }
        }
    }

    /// The next reading, which must not be an error.
    fn reading(&mut self) -> Value {
        let reading = self.next("reading").unwrap();
        assert_eq!(reading["error"], Value::Null);
        reading
    }

    /// The first reading that is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let reading = self.reading();
            if is_so(&reading) {
                return reading;
            }
            assert!(start.elapsed() < LONG, "{what}: {reading}");
        }
    }
}

/// How many readings the exporter has taken; asking is one of them.
fn readings(exporter: &Exporter) -> u64 {
    let answer = exporter.get("/metrics?collect[]=limits", &[]).text();
    let line = answer
        .lines()
        .find(|line| line.starts_with("tcpstat_exporter_readings_total "));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn figures_are_those_of_ss_and_what_is_wrong_is_first() {
    alone(|| {
        let busy = listen(443, 128);
        let mut open = Vec::new();
        for _ in 0..9 {
            open.push((connect(443), busy.accept().unwrap()));
        }
        let _stuck = listen(8500, 3);
        let _waiting: Vec<_> = (0..4).map(|_| connect(8500)).collect();
        let exporter = start();
        let mut events = Events::open(&exporter, "/-/live", "");
        let hello = events.next("hello").unwrap();
        assert_eq!(hello["states"].as_array().unwrap().len(), 11);
        assert_eq!(hello["topics"][7]["name"], "CLOSE_WAIT");
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(hello["host"], host.trim());

        let Some(lines) = ss::lines() else {
            return;
        };
        let reading = events.reading();
        for state in tcpstat::State::ALL {
            let listed = lines.iter().filter(|line| line.state == state).count();
            assert_eq!(reading["states"][state.name()], listed, "{state}");
        }
        let services = reading["services"].as_array().unwrap();
        let ports: Vec<_> = services
            .iter()
            .map(|one| one["port"].as_u64().unwrap())
            .collect();
        assert_eq!(ports, [8500, 443, 10069]);
        assert_eq!(services[0]["symptoms"][0], "queue_full");
        assert_eq!(services[0]["fullest"]["length"], 4);
        assert_eq!(services[1]["symptoms"], Value::Array(Vec::new()));
        for service in services {
            let of = |line: &&ss::Line| {
                u64::from(line.local_port) == service["port"] && line.state.name() == "ESTABLISHED"
            };
            let listed = lines.iter().filter(of).count();
            let shown = &service["states"]["ESTABLISHED"];
            assert_eq!(shown.as_u64().unwrap_or(0), listed as u64, "{service}");
        }
    });
}

#[test]
fn a_leak_is_seen_and_a_service_opens() {
    alone(|| {
        let leaky = listen(8080, 128);
        let exporter = start();
        let mut events = Events::open(&exporter, "/-/live?port=8080", "");
        let leaks = thread::spawn(move || {
            let mut open = Vec::new();
            for _ in 0..300 {
                drop(connect(8080));
                let Ok(accepted) = leaky.accept() else {
                    return;
                };
                open.push(accepted);
                sleep(Duration::from_millis(200));
            }
        });
        let reading = events.until("the leak", |reading| {
            reading["services"][0]["symptoms"][0] == "close_wait_growing"
        });
        assert_eq!(reading["services"][0]["port"], 8080);
        let service = &reading["service"];
        assert_eq!(service["port"], 8080);
        assert_eq!(service["listeners"][0]["address"], "127.0.0.1:8080");
        assert_eq!(service["listeners"][0]["backlog"], 128);
        assert_eq!(service["peers"]["groups"][0]["name"], "127.0.0.1");
        let waiting = &service["peers"]["groups"][0]["states"]["CLOSE_WAIT"];
        assert!(waiting.as_u64().unwrap() > 10, "{service}");
        // By the unit, or why it is not known.
        let errors = service["errors"].as_array().unwrap().len();
        let units = service["units"]["groups"].as_array().map_or(0, Vec::len);
        assert!(errors + units > 0, "{service}");
        // Another page has nothing open.
        let mut other = Events::open(&exporter, "/-/live", "");
        assert_eq!(other.reading()["service"], Value::Null);
        // What nothing listens at has no listeners.
        let mut nothing = Events::open(&exporter, "/-/live?port=1", "");
        assert_eq!(
            nothing.reading()["service"]["listeners"],
            Value::Array(Vec::new())
        );
        drop((events, exporter));
        // The thread ends by itself, with the namespace's last socket.
        drop(leaks);
    });
}

#[test]
fn pages_share_readings_and_nothing_reads_without_them() {
    alone(|| {
        let exporter = start();
        let before = readings(&exporter);
        sleep(Duration::from_secs(3));
        assert_eq!(readings(&exporter), before + 1, "only what asks is read");

        let mut pages: Vec<_> = (0..20)
            .map(|_| Events::open(&exporter, "/-/live", ""))
            .collect();
        pages.iter_mut().for_each(|page| drop(page.reading()));
        let before = readings(&exporter);
        let start = Instant::now();
        for _ in 0..2 {
            pages.iter_mut().for_each(|page| drop(page.reading()));
        }
        // Two ticks, and those that fell into the time of a slow machine.
        let ticks = start.elapsed().as_secs() / 2 + 2;
        let taken = readings(&exporter) - before - 1;
        assert!(
            taken <= 2 * ticks,
            "{taken} readings in {ticks} ticks for 20 pages"
        );
        // Closed pages cost nothing.
        drop(pages);
        sleep(Duration::from_secs(3));
        let before = readings(&exporter);
        sleep(Duration::from_secs(5));
        assert_eq!(readings(&exporter), before + 1);
    });
}

#[test]
fn the_last_hour_is_what_scrapes_have_read() {
    alone(|| {
        let exporter = start();
        for _ in 0..3 {
            exporter.scrape("/metrics");
            sleep(Duration::from_secs(6));
        }
        let mut events = Events::open(&exporter, "/-/live", "");
        let hello = events.next("hello").unwrap();
        let samples = hello["samples"].as_array().unwrap();
        // One of each scrape, and one of this page's own reading.
        assert_eq!(samples.len(), 4, "{hello}");
        assert!(
            samples
                .iter()
                .all(|sample| sample.as_array().unwrap().len() == 12)
        );
    });
}

#[test]
fn an_error_is_an_error_and_no_figures() {
    let _serial = serial();
    let heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    let root = proc_root(&[("net/tcp", heading)]);
    let path = root.path().to_str().unwrap();
    let arguments = ["--web.page", "--source", "procfs", "--proc-root", path];
    let mut command = tcpstat(&["exporter", "--web.listen-address", "127.0.0.1:10071"]);
    let exporter = Exporter::start_as(command.args(arguments), "127.0.0.1:10071");
    let mut events = Events::open(&exporter, "/-/live", "");
    assert_eq!(events.reading()["states"]["LISTEN"], 0);
    fs::write(
        root.path().join("net/tcp"),
        heading.to_owned() + "nonsense\n",
    )
    .unwrap();
    let reading = loop {
        let reading = events.next("reading").unwrap();
        if reading["error"] != Value::Null {
            break reading;
        }
    };
    let error = reading["error"].as_str().unwrap();
    assert!(error.contains("net/tcp, line 2"), "{error}");
    assert_eq!(reading["states"], Value::Null);
    fs::write(root.path().join("net/tcp"), heading).unwrap();
    while events.next("reading").unwrap()["error"] != Value::Null {}
}

#[test]
fn the_end_of_the_exporter_is_the_end_of_the_events() {
    alone(|| {
        let mut exporter = start();
        let mut pages: Vec<_> = (0..5)
            .map(|_| Events::open(&exporter, "/-/live", ""))
            .collect();
        pages.iter_mut().for_each(|page| drop(page.reading()));
        exporter.terminate();
        assert!(exporter.wait().success());
        // It has not waited for pages until its patience was at an end.
        assert!(
            exporter.log().contains("all answers are sent"),
            "{}",
            exporter.log()
        );
        pages
            .iter_mut()
            .for_each(|page| assert_eq!(page.next("none"), None));
    });
}

#[test]
fn the_page_runs_its_own_script_alone() {
    alone(|| {
        let exporter = Exporter::start(&["--web.page", "--web.telemetry-path", "/m&m"]);
        let answer = exporter.get("/", &[]);
        let policy = &answer.headers["content-security-policy"];
        let page = answer.text();
        for name in ["script", "style"] {
            let (_, rest) = page.split_once(&format!("<{name}>")).unwrap();
            let (content, after) = rest.split_once(&format!("</{name}>")).unwrap();
            assert!(
                !after.contains(&format!("<{name}")),
                "there is another {name}"
            );
            let hash = STANDARD.encode(digest(&SHA256, content.as_bytes()));
            let allowed = format!("{name}-src 'sha256-{hash}'");
            assert!(policy.contains(&allowed), "{policy} without {allowed}");
        }
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        // Nothing is loaded, and nothing needs what the policy forbids.
        for forbidden in [
            " style=\"",
            " src=\"",
            "onclick",
            "innerHTML",
            "http://",
            "https://",
        ] {
            let allowed = match forbidden {
                "http://" => 1, // the namespace of SVG
                _ => 0,
            };
            assert_eq!(page.matches(forbidden).count(), allowed, "{forbidden}");
        }
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert!(page.contains("href=\"m&amp;m\""));
        for (method, path, status) in [
            ("HEAD", "/", 200),
            ("HEAD", "/-/live", 200),
            ("POST", "/-/live", 405),
            ("GET", "/-/live?port=x", 400),
            ("GET", "/-/live?port=65536", 400),
            ("GET", "/-/live?port=0", 400),
            ("GET", "/-/live?port=+443", 400),
            ("GET", "/-/live?other=1", 400),
            ("GET", "/-/collectors", 200),
        ] {
            let answer = request(&mut exporter.connect(), method, path, &[]).unwrap();
            assert_eq!(answer.status, status, "{method} {path}");
        }
        drop(exporter);
        let without = Exporter::start(&[]);
        assert_eq!(without.get("/-/live", &[]).status, 404);
        assert!(without.get("/", &[]).text().contains("<th>Collector</th>"));
    });
}

#[test]
fn the_page_needs_the_password_of_the_metrics() {
    alone(|| {
        let folder = TempDir::new().unwrap();
        let hash = bcrypt::hash("secret", 4).unwrap();
        let config = folder.path().join("web.yml");
        fs::write(&config, format!("basic_auth_users: {{ann: '{hash}'}}\n")).unwrap();
        let config = config.to_str().unwrap();
        let exporter = Exporter::start(&["--web.page", "--web.config.file", config]);
        for path in ["/", "/-/live", "/-/live?port=443"] {
            assert_eq!(exporter.get(path, &[]).status, 401, "{path}");
        }
        let header = format!("Authorization: Basic {}\r\n", STANDARD.encode("ann:secret"));
        let mut events = Events::open(&exporter, "/-/live", &header);
        assert!(events.reading()["states"]["LISTEN"].as_u64() > Some(0));
        let answer = exporter.get("/", &[header.trim_end()]);
        assert!(answer.text().contains("<title>tcpstat</title>"));
    });
}
