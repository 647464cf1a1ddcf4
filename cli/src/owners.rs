// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whose sockets are: their units and processes, as they are printed.

use std::path::Path;

use serde::Serialize;
use tcpstat::{Process, Processes, Units};

use crate::failure::Failure;
use crate::output::say;

/// Finds units and processes.
pub(crate) struct Owners {
    /// `None` without cgroup v2: units are not known then.
    units: Option<Units>,
    /// `None` if they were not asked for.
    processes: Option<Processes>,
    said: bool,
}

impl Owners {
    /// Those of the machine that the procfs at `proc_root` is of.
    pub(crate) fn new(proc_root: &Path) -> Self {
        Self {
            units: Units::new(proc_root).ok(),
            processes: None,
            said: false,
        }
    }

    /// Reads the processes again. Says once if some may not be looked at.
    pub(crate) fn read_processes(&mut self, proc_root: &Path) -> Result<(), Failure> {
        let processes = Processes::read(proc_root).map_err(Failure::Sample)?;
        self.said = self.said || say_hidden(processes.hidden(), processes.invisible());
        self.processes = Some(processes);
        Ok(())
    }

    /// The unit of a cgroup, if it is known.
    pub(crate) fn unit(&mut self, cgroup: Option<u64>) -> Option<String> {
        let unit = self.units.as_mut()?.of(cgroup)?;
        Some(unit.to_string())
    }

    /// The processes that have a socket open, if they were asked for.
    pub(crate) fn processes(&self, inode: Option<u64>) -> Option<&[Process]> {
        Some(self.processes.as_ref()?.of(inode))
    }
}

/// Says that the processes of some sockets are not found. Returns whether it did.
pub(crate) fn say_hidden(hidden: u64, invisible: bool) -> bool {
    const ROOT: &str =
        "the processes of some sockets are not known. Run as root (CAP_SYS_PTRACE) to see all.";
    match hidden {
        0 if invisible => say(format_args!("processes are hidden (hidepid=): {ROOT}")),
        0 => return false,
        1 => say(format_args!(
            "the descriptors of 1 process cannot be read: {ROOT}"
        )),
        hidden => say(format_args!(
            "the descriptors of {hidden} processes cannot be read: {ROOT}"
        )),
    }
    true
}

/// A process in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct JsonProcess<'a> {
    name: &'a str,
    pid: u32,
}

impl<'a> From<&'a Process> for JsonProcess<'a> {
    fn from(process: &'a Process) -> Self {
        Self {
            name: &process.comm,
            pid: process.pid,
        }
    }
}

/// `nginx[81,82],systemd[1]`, without control characters: it reaches terminals.
pub(crate) fn processes_text(processes: &[Process]) -> String {
    printable(&tcpstat::GroupKey::Processes(processes.into()).to_string())
}

/// A name without control characters: it reaches terminals.
pub(crate) fn printable(name: &str) -> String {
    name.replace(char::is_control, "?")
}
