// SPDX-License-Identifier: GPL-2.0-only

//! Processes that do nothing but be in a network namespace.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

/// A process in the network namespace of the thread that started it. It ends when this is dropped, or with the test.
pub struct Idle(Child);

impl Idle {
    /// Starts it.
    pub fn start() -> io::Result<Self> {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The inode number of its network namespace.
    pub fn namespace(&self) -> io::Result<u64> {
        Ok(fs::metadata(format!("/proc/{}/ns/net", self.pid()))?.ino())
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
