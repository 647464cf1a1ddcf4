// SPDX-License-Identifier: GPL-2.0-only

//! Processes that do nothing, to keep a network namespace alive.

use std::io;
use std::process::{Child, Command, Stdio};

use crate::netns;

/// An idle process in the network namespace of the thread that started it. It ends when this is
/// dropped or when the test ends.
pub struct Idle(Child);

impl Idle {
    /// Starts it.
    pub fn start() -> io::Result<Self> {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The inode number of its network namespace.
    pub fn namespace(&self) -> io::Result<u64> {
        netns::of_process(self.pid())
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
