// SPDX-License-Identifier: GPL-2.0-only

//! Processes that hold sockets until they are told to end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tcpstat_census::counts::Counts;

use crate::naive;

/// A process that holds sockets. It is killed when this is dropped.
pub struct Holder {
    child: Child,
    /// The sockets that it holds; zero until [`Holder::wait_until_ready`] has returned.
    pub expected: Counts,
}

impl Holder {
    /// Starts this program again with `arguments`, with which it must make sockets and call
    /// [`hold`].
    pub fn start(arguments: &[&str]) -> io::Result<Holder> {
        // Not by its path, which leads elsewhere in a root file system of its own.
        let child = Command::new("/proc/self/exe")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Holder {
            child,
            expected: Counts::ZERO,
        })
    }

    /// Waits until its sockets exist. To be called once.
    ///
    /// # Errors
    /// If the process ends before; it has written the reason to standard error.
    pub fn wait_until_ready(&mut self) -> io::Result<()> {
        let mut text = String::new();
        if let Some(stdout) = self.child.stdout.take() {
            for line in BufReader::new(stdout).lines().take(naive::NAMES.len()) {
                text += &(line? + "\n");
            }
        }
        self.expected = naive::module_text(&text)
            .map_err(|e| io::Error::other(format!("a process that makes sockets failed: {e}")))?;
        Ok(())
    }

    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The path of a file in its `/proc/PID/net`.
    pub fn net(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/net/{file}", self.pid()))
    }

    /// The paths of the files that the module publishes there.
    pub fn module_files(&self) -> [PathBuf; 2] {
        ["tcpstat", "tcpstat_services"].map(|file| self.net(file))
    }

    /// Ends it in order and waits until it has ended. Its network namespace, if it has its own,
    /// ends soon after.
    ///
    /// # Errors
    /// If it did not end with success.
    pub fn end(mut self) -> io::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "a process that held sockets: {status}"
            )))
        }
    }

    /// Kills it without waiting for its end, which dropping it does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// What the process of a [`Holder`] does once it has made its sockets, which `counts` counts:
/// prints these, and returns when it is told to end.
pub fn hold(counts: &Counts) -> io::Result<()> {
    print!("{counts}");
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
