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
    /// Whose connections are counted.
    pub target: Target,
    /// The root of the procfs to read; `/proc` by default. Another may be a host's, mounted in a
    /// container, or a saved sample.
    pub proc_root: PathBuf,
}

/// Whose connections are counted: those of one network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// The network namespace of the calling thread, whatever the source; with another procfs than
    /// `/proc`, the one that its files are about.
    #[default]
    Own,
    /// The network namespace that the process of this number is in when it is asked.
    Process(u32),
    /// This network namespace, through its process. An error if that process is in another one
    /// now, or if its number has become another process's.
    Namespace(Namespace),
}

impl Target {
    /// The process whose folder in procfs leads to the network namespace.
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
    /// Where procfs is mounted on every Linux machine.
    pub const PROC_ROOT: &'static str = "/proc";

    /// Whether netlink would answer for other connections than those of `proc_root`. It enters the
    /// namespace of a process.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.target == Target::Own && self.proc_root != Path::new(Self::PROC_ROOT)
    }
}
