// SPDX-License-Identifier: MIT OR Apache-2.0

//! What to count, and how.

use std::path::PathBuf;

use tcpstat_census::counts::Counts;

use crate::namespaces::{self, Namespace};
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
    /// The procfs to read; `/proc` by default. Another may be
    ///
    /// - a host's that is mounted in a container: another device than that of `/proc`. With
    ///   [`Target::Own`], the network namespace of its process 1 is counted;
    /// - the directory of a process in a procfs: the network namespace of this process is counted;
    /// - a saved sample: a directory that is no procfs. Its files are read.
    pub proc_root: PathBuf,
    /// The connections of the network namespace, if they have been counted together with those of
    /// all others: what [`Namespaces::counts`](crate::Namespaces::counts) has for it.
    /// [`Sampler::sample`](crate::Sampler::sample) then answers this. `None` by default.
    pub counted: Option<Counts>,
}

/// The network namespace whose connections are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// The network namespace of the calling thread, for every source. With another procfs than
    /// `/proc`, see [`Options::proc_root`].
    #[default]
    Own,
    /// The network namespace that the process (or thread) with this ID is in at the first reading
    /// of a sampler. The sampler holds it open and stays with it, even if the process ends, its ID
    /// is reused, or it moves to another namespace. Then the files are read through another process
    /// in the namespace, or by entering it, which needs `CAP_SYS_ADMIN`; if neither is possible,
    /// the reading fails with [`Error::Left`](crate::Error::Left).
    Process(u32),
    /// This network namespace, through its process. An error if that process is in another one now,
    /// or if its PID has been reused. Without a process, nothing is known of it but
    /// [`Options::counted`].
    Namespace(Namespace),
    /// The network namespace that a file is, such as `/run/netns/web` (`ip netns add`). Every
    /// source enters it, which needs `CAP_SYS_ADMIN`, unless it is that of the calling thread. See
    /// [`Named::path_of`](crate::Named::path_of).
    File {
        /// The file.
        path: PathBuf,
        /// The inode number that it must have, if it is known.
        inode: Option<u64>,
    },
}

impl Target {
    /// The process whose directory in procfs leads to the network namespace, and the inode number
    /// that the namespace must have.
    pub(crate) fn process(&self) -> Option<(u32, Option<u64>)> {
        match self {
            Self::Own | Self::File { .. } => None,
            Self::Process(pid) => Some((*pid, None)),
            Self::Namespace(Namespace { inode, pid }) => Some(((*pid)?, Some(*inode))),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: None,
            target: Target::Own,
            proc_root: PathBuf::from(Self::PROC_ROOT),
            counted: None,
        }
    }
}

impl Options {
    /// The usual mount point of procfs.
    pub const PROC_ROOT: &'static str = namespaces::PROC_ROOT;
}
