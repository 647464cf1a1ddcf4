// SPDX-License-Identifier: MIT OR Apache-2.0

//! What to count, and how.

use std::path::{Path, PathBuf};

use crate::source::Source;

/// What to count, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The source to use, or `None` for the first that answers: module, netlink, procfs.
    pub source: Option<Source>,
    /// The process, in `proc_root`, whose network namespace is meant; one's own, or that of `proc_root`, if `None`.
    pub pid: Option<u32>,
    /// The inode number of the network namespace that this process is in, as [`Namespaces`](crate::Namespaces) found
    /// it: then no other one is counted, should the process change it or its number be another's by now.
    pub inode: Option<u64>,
    /// The root of the procfs to read; `/proc` unless told, and then the network namespace of the calling thread is
    /// meant, whatever the source. Another may be a host's, mounted in a container, or a saved sample.
    pub proc_root: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: None,
            pid: None,
            inode: None,
            proc_root: PathBuf::from(Self::PROC_ROOT),
        }
    }
}

impl Options {
    /// Where procfs is on every Linux machine.
    pub const PROC_ROOT: &'static str = "/proc";

    /// Whether netlink would answer for other connections than those of `proc_root`. The namespace of a process it
    /// enters.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.pid.is_none() && self.proc_root != Path::new(Self::PROC_ROOT)
    }
}
