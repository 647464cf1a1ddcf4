// SPDX-License-Identifier: MIT OR Apache-2.0

//! A running `tcpstat exporter`, and requests to it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tcpstat_tests::exposition::{Format, Samples, parse};

use super::run::tcpstat;

/// How long anything may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The flags of the collectors that are off by default.
pub(crate) const ALL: [&str; 6] = [
    "--collector.listeners",
    "--collector.units",
    "--collector.peer-ports",
    "--collector.local-ports",
    "--collector.destinations",
    "--collector.namespaces",
];

/// An exporter in the network namespace of the thread that started it. It is killed when this is
/// dropped.
pub(crate) struct Exporter {
    pub(crate) child: Child,
    pub(crate) address: String,
    log: Arc<Mutex<String>>,
}

impl Exporter {
    /// Starts it at 127.0.0.1:10069, and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = tcpstat(&["exporter", "--web.listen-address", "127.0.0.1:10069"]);
        Self::start_as(command.args(arguments), "127.0.0.1:10069")
    }

    /// Starts this command, and waits until it listens.
    pub(crate) fn start_as(command: &mut Command, address: &str) -> Self {
        Self::of(command.stderr(Stdio::piped()).spawn().unwrap(), address)
    }

    /// This process, whose standard error is a pipe. Waits until it listens.
    pub(crate) fn of(mut child: Child, address: &str) -> Self {
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let all = log.clone();
        thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                *all.lock().unwrap() += &std::mem::take(&mut line);
            }
        });
        let exporter = Self {
            child,
            address: address.to_owned(),
            log,
        };
        exporter.wait_for_log("msg=\"listening\"");
        exporter
    }

    /// The log until now.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log has this text.
    pub(crate) fn wait_for_log(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < LONG, "no {text} in: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream
    }

    /// The answer to a request of its own connection.
    pub(crate) fn get(&self, path: &str, headers: &[&str]) -> Answer {
        request(&mut self.connect(), "GET", path, headers).unwrap()
    }

    /// The samples of a scrape, which must succeed.
    pub(crate) fn scrape(&self, path: &str) -> Samples {
        let answer = self.get(path, &[]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        parse(&answer.text(), Format::Text).unwrap()
    }

    /// A number of `/proc/PID/status`, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap()
            .trim()
            .strip_suffix(" kB")
            .unwrap()
            .parse()
            .unwrap()
    }

    pub(crate) fn terminate(&self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < LONG, "it does not end: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }
}

/// An answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// Sends a request and reads its answer; the connection can be used again.
pub(crate) fn request(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    headers: &[&str],
) -> io::Result<Answer> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
    for header in headers {
        text += &format!("{header}\r\n");
    }
    stream.write_all((text + "\r\n").as_bytes())?;
    answer(stream, method == "HEAD")
}

/// Reads an answer, which says how long it is.
pub(crate) fn answer(stream: &mut impl Read, is_head: bool) -> io::Result<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(head.clone()))?;
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok());
    let mut body = vec![0; if is_head { 0 } else { length.unwrap_or(0) }];
    stream.read_exact(&mut body)?;
    Ok(Answer {
        status,
        headers,
        body,
    })
}
