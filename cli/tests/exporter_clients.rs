// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat exporter` among clients that are slow, hostile or many.
//!
//! Needs `CAP_SYS_ADMIN` for the namespaces.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use common::exporter::{Exporter, request};
use common::serial::serial;
use tcpstat_tests::netns;

/// Runs a test by itself, in a network namespace of its own.
fn alone(test: impl FnOnce() + Send) {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(test).unwrap();
}

/// The median time of a scrape by a connection of its own.
fn latency(exporter: &Exporter) -> Duration {
    let mut times: Vec<Duration> = (0..21)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(exporter.get("/metrics?collect[]=limits", &[]).status, 200);
            let taken = start.elapsed();
            sleep(Duration::from_millis(10));
            taken
        })
        .collect();
    times.sort();
    times[10]
}

/// What is read until the other side closes.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends it too.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn requests_have_limits() {
    alone(|| {
        let exporter = Exporter::start(&[]);
        let answer_to = |request: String| {
            let mut stream = exporter.connect();
            // It may be refused before it is sent whole.
            let _ = stream.write_all(request.as_bytes());
            rest(&mut stream)
        };
        let long = "x".repeat(100_000);
        let many = "a: b\r\n".repeat(1000);
        for (request, expected) in [
            (format!("GET /{long} HTTP/1.1\r\n\r\n"), &["HTTP/1.1 4"][..]),
            (
                format!("GET / HTTP/1.1\r\na: {long}\r\n\r\n"),
                &["HTTP/1.1 4"],
            ),
            (format!("GET / HTTP/1.1\r\n{many}\r\n"), &["HTTP/1.1 4"]),
            ("nonsense\r\n\r\n".into(), &["HTTP/1.1 400"]),
            (
                "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n".into(),
                &["HTTP/1.1 400"],
            ),
            (
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
                &["", "HTTP/1.1 400"],
            ),
        ] {
            let answer = answer_to(request);
            let is_expected = |one: &&str| match one.is_empty() {
                true => answer.is_empty(),
                false => answer.starts_with(*one),
            };
            // A reset may come before the answer that was sent, if more was sent than is read.
            let fits = answer.is_empty() || expected.iter().any(is_expected);
            assert!(fits, "{answer:.200}");
            assert!(!answer.starts_with("HTTP/1.1 2"), "{answer:.200}");
        }
        assert_eq!(exporter.get("/metrics", &[]).status, 200);
    });
}

/// A request has ten seconds; half requests and slow ones are ended, whatever they still send. An
/// idle connection stays.
#[test]
fn slow_requests_are_ended() {
    alone(|| {
        let exporter = Exporter::start(&[]);
        let mut idle = exporter.connect();
        assert_eq!(
            request(&mut idle, "GET", "/metrics", &[]).unwrap().status,
            200
        );
        let mut half = exporter.connect();
        half.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
        let mut slow = exporter.connect();
        let start = Instant::now();
        let slow_ended = loop {
            if slow.write_all(b"G").is_err() || start.elapsed() > Duration::from_secs(30) {
                break start.elapsed();
            }
            sleep(Duration::from_millis(500));
        };
        let limit = Duration::from_secs(9)..Duration::from_secs(20);
        assert!(limit.contains(&slow_ended), "{slow_ended:?}");
        assert!(!rest(&mut half).contains("HTTP/1.1 2"));
        assert!(start.elapsed() < Duration::from_secs(20));
        assert_eq!(
            request(&mut idle, "GET", "/metrics", &[]).unwrap().status,
            200
        );
    });
}

/// Clients that ask and do not read are ended, and hold up nobody.
#[test]
fn clients_that_do_not_read_are_ended() {
    alone(|| {
        let exporter = Exporter::start(&[]);
        let mut streams: Vec<TcpStream> = (0..20).map(|_| exporter.connect()).collect();
        let asks = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20_000);
        for stream in &mut streams {
            stream.set_nonblocking(true).unwrap();
            let _ = stream.write(&asks);
        }
        let start = Instant::now();
        let key = "process_open_fds";
        let few = |exporter: &Exporter| exporter.scrape("/metrics")[key] < 20.0;
        while !few(&exporter) {
            assert!(
                start.elapsed() < Duration::from_secs(50),
                "they are still open"
            );
            sleep(Duration::from_millis(200));
        }
        assert!(start.elapsed() > Duration::from_secs(5));
    });
}

/// More connections than are allowed: those that have done nothing for longest are closed, so that
/// an honest client comes in.
#[test]
fn a_flood_of_connections_keeps_nobody_out() {
    alone(|| {
        let exporter = Exporter::start(&["--web.max-connections", "100"]);
        let flood: Vec<TcpStream> = (0..400).map(|_| exporter.connect()).collect();
        assert_eq!(exporter.get("/metrics", &[]).status, 200);
        let open = exporter.scrape("/metrics")["process_open_fds"];
        assert!(open < 130.0, "{open}");
        drop(flood);
    });
}

/// Hostile clients of every kind at once, all at the pace of a patient attacker.
#[test]
fn hostile_clients_do_not_slow_an_honest_one() {
    alone(|| {
        let exporter = Exporter::start(&[]);
        latency(&exporter);
        let mut last = (Duration::ZERO, Duration::MAX);
        // The machine may be busy with other things: three times before it is a failure.
        for _ in 0..3 {
            let quiet = latency(&exporter);
            let done = std::sync::atomic::AtomicBool::new(false);
            let hostile = thread::scope(|scope| {
                for bytes in [
                    &b"GET /metrics HTTP/1.1\r\n"[..],
                    b"\x16\x03\x01\x02\x00garbage\r\n\r\n",
                    b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
                    b"",
                ] {
                    let (done, exporter) = (&done, &exporter);
                    scope.spawn(move || {
                        let mut open = Vec::new();
                        while !done.load(std::sync::atomic::Ordering::Relaxed) {
                            if let Ok(mut stream) = TcpStream::connect(&exporter.address) {
                                let _ = stream.write_all(bytes);
                                open.push(stream);
                            }
                            sleep(Duration::from_millis(5));
                        }
                    });
                }
                sleep(Duration::from_millis(500));
                let hostile = latency(&exporter);
                done.store(true, std::sync::atomic::Ordering::Relaxed);
                hostile
            });
            last = (quiet, hostile);
            if hostile <= 2 * quiet {
                return;
            }
        }
        panic!("{last:?}");
    });
}
