// SPDX-License-Identifier: GPL-2.0-only

//! node_exporter with its tcpstat collector only: a process that runs on, measured over one scrape.
//!
//! It is scraped over a Unix socket, which it gets in the way of systemd's socket activation: a TCP
//! socket would be among the sockets that are counted.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::outcome::Outcome;
use crate::results::Run;
use crate::ways::NODE_EXPORTER;

/// The time after a scrape for the work that it leaves, such as garbage collection.
const SETTLE: Duration = Duration::from_millis(100);

/// The running exporter. It ends when this is dropped.
pub(crate) struct Exporter {
    child: Child,
    socket: PathBuf,
}

impl Exporter {
    /// Starts it in this network namespace, with its socket in `directory`.
    pub(crate) fn start(directory: &Path) -> Outcome<Exporter> {
        let socket = directory.join("exporter.sock");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket)?;
        // sd_listen_fds(3): descriptor 3, and the ID of the process that it is for.
        let script = format!(
            "LISTEN_FDS=1 LISTEN_PID=$$ exec {NODE_EXPORTER} --web.systemd-socket --log.level=error \
             --collector.disable-defaults --collector.tcpstat --web.disable-exporter-metrics 3<&0 </dev/null"
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .spawn()?;
        let exporter = Exporter { child, socket };
        // The first scrape waits until it has started, and includes the work that is done only
        // once.
        exporter.scrape()?;
        Ok(exporter)
    }

    /// Scrapes once. Gives the exporter's cost and its answer.
    pub(crate) fn scrape(&self) -> Outcome<(Run, String)> {
        let pid = Pid::from_raw(self.child.id() as i32);
        let clock = clock_getcpuclockid(pid)?;
        let before = clock_gettime(clock)?;
        let start = Instant::now();
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let wall = start.elapsed();
        sleep(SETTLE);
        let cpu = Duration::from(clock_gettime(clock)? - before);
        if !text.contains("node_scrape_collector_success{collector=\"tcpstat\"} 1\n") {
            return Err(format!("{NODE_EXPORTER}: the scrape failed: {text:.400}").into());
        }
        let run = Run {
            cpu: cpu.as_secs_f64(),
            wall: wall.as_secs_f64(),
            peak_kib: Some(peak(pid)?),
        };
        Ok((run, text))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}

/// The peak of memory of a process, in KiB.
fn peak(pid: Pid) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.ok_or("no VmHWM in /proc/PID/status")?.parse()?)
}
