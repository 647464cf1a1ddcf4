// SPDX-License-Identifier: MIT OR Apache-2.0

//! What to count, and how.

use std::path::{Path, PathBuf};

use crate::namespaces::Namespace;
use crate::source::Source;

/// What to count, and how.
///
/// ```
/// use tcpstat::{Options, Source};
///
/// let mut options = Options::default();
/// options.source = Some(Source::Netlink);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The source to use, or `None` for the first that answers: module, netlink, procfs.
    pub source: Option<Source>,
    /// The network namespace whose connections are counted.
    pub target: Target,
    /// The root of the procfs to read; `/proc` by default. Another may be a host's, mounted in a
    /// container, or a saved sample.
    pub proc_root: PathBuf,
}

/// The network namespace whose connections are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// The network namespace of the calling thread, for every source. With another procfs than
    /// `/proc`, the namespace that its files describe.
    #[default]
    Own,
    /// The network namespace of the process with this PID, at the time of the call.
    Process(u32),
    /// This network namespace, through its process. An error if that process is in another one now,
    /// or if its PID has been reused.
    Namespace(Namespace),
}

impl Target {
    /// The process whose directory in procfs leads to the network namespace.
    pub(crate) fn pid(self) -> Option<u32> {
        match self {
            Self::Own => None,
            Self::Process(pid) => Some(pid),
            Self::Namespace(namespace) => Some(namespace.pid),
        }
    }

    /// The inode number that the network namespace must have.
    pub(crate) fn inode(self) -> Option<u64> {
        match self {
            Self::Own | Self::Process(_) => None,
            Self::Namespace(namespace) => Some(namespace.inode),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: None,
            target: Target::Own,
            proc_root: PathBuf::from(Self::PROC_ROOT),
        }
    }
}

impl Options {
    /// The usual mount point of procfs.
    pub const PROC_ROOT: &'static str = "/proc";

    /// Whether netlink would count other connections than those of `proc_root`. It would not for
    /// the namespace of a process, which it enters.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.target == Target::Own && self.proc_root != Path::new(Self::PROC_ROOT)
    }
}
