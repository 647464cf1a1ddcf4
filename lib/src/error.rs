// SPDX-License-Identifier: MIT OR Apache-2.0

//! The errors, and which of them allow another source to be tried.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::groups::Key;
use crate::source::Source;

/// Why connections could not be counted or listed. Each message says what failed, and on what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened.
    #[error("{}: cannot open: {}", path.display(), SystemMessage(error))]
    Open {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// A file was opened, but could not be read.
    #[error("{}: cannot read: {}", path.display(), SystemMessage(error))]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// The module's file disappeared between lookup and read: the module is being unloaded.
    #[error("{}: the module is being unloaded: {}", path.display(), SystemMessage(error))]
    Unloading {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// A file is malformed. There are no counts then.
    #[error("{}, line {line}: {problem}{}", path.display(), Quotation(text))]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
        /// The beginning of the line, escaped; may be empty.
        text: String,
    },
    /// A netlink socket could not be opened or set up, or the request could not be sent.
    #[error("cannot {call} a NETLINK_SOCK_DIAG socket: {}", SystemMessage(error))]
    Socket {
        /// The system call: `open`, `connect`, `set the timeout of`, `write to`.
        call: &'static str,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// The kernel's answer could not be received.
    #[error(
        "the answer from NETLINK_SOCK_DIAG did not arrive: {}",
        SystemMessage(error)
    )]
    Receive {
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// The kernel answered a netlink request with an error (in `NLMSG_ERROR` or `NLMSG_DONE`).
    #[error("NETLINK_SOCK_DIAG answers {}", SystemMessage(error))]
    Answer {
        /// The error in the kernel's answer.
        #[source]
        error: io::Error,
    },
    /// The kernel's netlink answer is malformed. There are no counts then.
    #[error(
        "the answer from NETLINK_SOCK_DIAG is malformed: datagram {datagram}, byte {offset}: {problem}"
    )]
    Message {
        /// The datagram of the answer, from 1.
        datagram: u64,
        /// Where the message begins in it, in bytes.
        offset: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Netlink answers for this machine only, not for a saved sample.
    #[error("it would count this machine's connections, not those of {}", proc_root.display())]
    Elsewhere {
        /// The directory of the saved sample.
        proc_root: PathBuf,
    },
    /// The network namespace could not be entered to use netlink there: no permission, or it is
    /// gone.
    #[error("cannot enter the network namespace {}: {}", path.display(), SystemMessage(error))]
    Namespace {
        /// The namespace's file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// No thread could be started to enter the network namespace.
    #[error(
        "cannot start a thread to enter the network namespace {}: {}{}",
        path.display(), SystemMessage(error), Limit(error)
    )]
    Thread {
        /// The namespace's file.
        path: PathBuf,
        /// The error of the system; `EAGAIN` at the limit of processes.
        #[source]
        error: io::Error,
    },
    /// The process that led to the network namespace has ended or moved to another one, no other
    /// process is found in it, and it cannot be entered.
    #[error(
        "{}: the process has ended or left the network namespace that is counted, no other process \
         is found in it, and it cannot be entered: {}",
        path.display(), SystemMessage(error)
    )]
    Left {
        /// The process's directory.
        path: PathBuf,
        /// Why it cannot be entered.
        #[source]
        error: io::Error,
    },
    /// The process is now in another network namespace, or its PID has been reused.
    #[error("{}: no longer the network namespace {inode}", path.display())]
    OtherNamespace {
        /// The namespace's file.
        path: PathBuf,
        /// The inode number of the expected namespace.
        inode: u64,
    },
    /// The process whose network namespace was requested does not exist.
    #[error("{}: there is no such process, or it is hidden (hidepid=)", path.display())]
    NoProcess {
        /// The process's directory.
        path: PathBuf,
    },
    /// The network namespaces of all processes were requested, but there is no process.
    #[error("no process in {}: is a procfs mounted there?", proc_root.display())]
    NoProcesses {
        /// The root of the procfs.
        proc_root: PathBuf,
    },
    /// A list of connections was requested from the module.
    #[error("the module counts connections and does not list them")]
    NotListed,
    /// Sockets were to be grouped by something that the source does not know.
    #[error("it does not know the {key} of a socket, which netlink does")]
    NotKnown {
        /// What is not known.
        key: Key,
    },
    /// The kernel's netlink answer does not have the cgroups of sockets.
    #[error(
        "the answer from NETLINK_SOCK_DIAG has no cgroups (INET_DIAG_CGROUP_ID): this kernel is older \
         than Linux 5.9, or built without cgroups"
    )]
    NoCgroupIds,
    /// The cgroups of sockets have no names, since cgroup v2 is not mounted.
    #[error(
        "no cgroup v2 at /sys/fs/cgroup or /sys/fs/cgroup/unified: with cgroup v1 alone, the units and \
         cgroups of sockets are not known"
    )]
    NoCgroup2,
    /// Every source that was tried is absent, or refused.
    #[error("no source could answer{}", Attempts(.0))]
    NoSource(
        /// Each source that was tried, in order.
        Vec<Attempt>,
    ),
}

/// A source that was tried, and why it could not answer.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The source.
    pub source: Source,
    /// Why it could not answer.
    pub error: Error,
}

impl Error {
    /// Whether the source is absent or may not be used, so that another one can be tried.
    ///
    /// All other errors are failures of a source that exists. They must be reported.
    pub fn is_absence_or_refusal(&self) -> bool {
        use Errno::*;
        match self {
            Self::Open { error, .. } => matches!(errno(error), ENOENT | ENOTDIR | EACCES | EPERM),
            // Sandboxes and kernels without netlink refuse the socket in many ways.
            Self::Socket { call, error } => match errno(error) {
                EPERM | EACCES | EPROTONOSUPPORT | EAFNOSUPPORT | ENOSYS | ECONNREFUSED => true,
                EINVAL | ESOCKTNOSUPPORT | EOPNOTSUPP => *call == "open",
                _ => false,
            },
            // ENOENT: no inet_diag or tcp_diag in the kernel; EOPNOTSUPP: it does not support the
            // request.
            Self::Answer { error } => matches!(errno(error), ENOENT | EPERM | EACCES | EOPNOTSUPP),
            // EINVAL: a file that is not a namespace (`setns`), as in a saved procfs; EOPNOTSUPP
            // and ENOSYS: a kernel without `setns`, such as gVisor.
            Self::Namespace { error, .. } => matches!(
                errno(error),
                ENOENT | ESRCH | EPERM | EACCES | EINVAL | EOPNOTSUPP | ENOSYS
            ),
            Self::Thread { error, .. } => {
                matches!(errno(error), EAGAIN | EPERM | EACCES | ENOSYS)
            }
            Self::Unloading { .. } | Self::Elsewhere { .. } | Self::NoSource(_) => true,
            Self::NotKnown { .. } | Self::NoCgroupIds => true,
            Self::Read { .. }
            | Self::Line { .. }
            | Self::Receive { .. }
            | Self::Message { .. }
            | Self::NotListed
            | Self::NoCgroup2
            | Self::Left { .. }
            | Self::OtherNamespace { .. }
            | Self::NoProcess { .. }
            | Self::NoProcesses { .. } => false,
        }
    }

    /// The same error for a file of the module. While the module is being unloaded, a reading in
    /// progress ends with ENODEV; once the entry is being removed, `read` fails with EIO, and
    /// following a link with EINVAL (`proc_reg_read`, `proc_get_link`).
    pub(crate) fn of_module(self) -> Self {
        match self {
            Self::Open { path, error } | Self::Read { path, error }
                if matches!(
                    error.raw_os_error().map(Errno::from_raw),
                    Some(Errno::EIO | Errno::EINVAL | Errno::ENODEV)
                ) =>
            {
                Self::Unloading { path, error }
            }
            other => other,
        }
    }

    pub(crate) fn open(path: &Path, error: io::Error) -> Self {
        Self::Open {
            path: path.to_owned(),
            error,
        }
    }

    pub(crate) fn read(path: &Path, error: io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            error,
        }
    }
}

/// An error in the text of a file, without the path of the file, which the reader adds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) line: u64,
    pub(crate) problem: String,
    pub(crate) text: String,
}

impl BadLine {
    pub(crate) fn new(line: u64, problem: impl Into<String>, text: &[u8]) -> Self {
        Self {
            line,
            problem: problem.into(),
            text: excerpt(text),
        }
    }

    pub(crate) fn of(self, path: &Path) -> Error {
        let Self {
            line,
            problem,
            text,
        } = self;
        Error::Line {
            path: path.to_owned(),
            line,
            problem,
            text,
        }
    }
}

/// The beginning of `text`, escaped, so that it can be shown on any terminal.
fn excerpt(text: &[u8]) -> String {
    const SHOWN: usize = 60;
    match text.get(..SHOWN) {
        Some(beginning) if text.len() > SHOWN => format!("{}...", beginning.escape_ascii()),
        _ => text.escape_ascii().to_string(),
    }
}

/// The error number of the system. EINVAL if there is none, as for a path with a NUL in it.
pub(crate) fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw)
}

/// A system error with the name of its number: `ENOENT: No such file or directory`.
struct SystemMessage<'a>(&'a io::Error);

impl fmt::Display for SystemMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.raw_os_error().map(Errno::from_raw) {
            None | Some(Errno::UnknownErrno) => write!(f, "{}", self.0),
            Some(errno) => write!(f, "{errno}"),
        }
    }
}

/// Which limit an error of `pthread_create(3)` is about.
struct Limit<'a>(&'a io::Error);

impl fmt::Display for Limit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match errno(self.0) {
            Errno::EAGAIN => f.write_str(" (limit of processes: pids.max, ulimit -u)"),
            _ => Ok(()),
        }
    }
}

struct Quotation<'a>(&'a str);

impl fmt::Display for Quotation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, ": \"{}\"", self.0)
        }
    }
}

struct Attempts<'a>(&'a [Attempt]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|Attempt { source, error }| match error {
                Error::Elsewhere { .. } => write!(f, "\n  {source}: skipped: {error}"),
                _ => write!(f, "\n  {source}: {error}"),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno as i32)
    }

    #[test]
    fn only_absence_and_refusal_move_on() {
        let path = PathBuf::from("/proc/tcpstat");
        for (errno, expected) in [
            (Errno::ENOENT, true),
            (Errno::ENOTDIR, true),
            (Errno::EACCES, true),
            (Errno::EPERM, true),
            (Errno::EMFILE, false),
            (Errno::EIO, false),
        ] {
            assert_eq!(
                Error::open(&path, system(errno)).is_absence_or_refusal(),
                expected,
                "open: {errno}"
            );
            assert!(
                !Error::read(&path, system(errno)).is_absence_or_refusal(),
                "read: {errno}"
            );
        }
        for (errno, expected) in [
            (Errno::EIO, true),
            (Errno::EINVAL, true),
            (Errno::ENODEV, true),
            (Errno::ERANGE, false),
            (Errno::EISDIR, false),
        ] {
            assert_eq!(
                Error::read(&path, system(errno))
                    .of_module()
                    .is_absence_or_refusal(),
                expected,
                "the module's file: {errno}"
            );
        }
        for (errno, expected) in [
            (Errno::EPERM, true),
            (Errno::EACCES, true),
            (Errno::EPROTONOSUPPORT, true),
            (Errno::EAFNOSUPPORT, true),
            (Errno::ENOSYS, true),
            (Errno::ECONNREFUSED, true),
            (Errno::EINVAL, true),
            (Errno::ESOCKTNOSUPPORT, true),
            (Errno::EOPNOTSUPP, true),
            (Errno::EMFILE, false),
            (Errno::ENOBUFS, false),
        ] {
            let error = Error::Socket {
                call: "open",
                error: system(errno),
            };
            assert_eq!(error.is_absence_or_refusal(), expected, "socket: {errno}");
        }
        let sent = Error::Socket {
            call: "write to",
            error: system(Errno::EINVAL),
        };
        assert!(!sent.is_absence_or_refusal());
        for (errno, entered, started) in [
            (Errno::EPERM, true, true),
            (Errno::EOPNOTSUPP, true, false),
            (Errno::ENOSYS, true, true),
            (Errno::EAGAIN, false, true),
            (Errno::EMFILE, false, false),
        ] {
            let (path, error) = (path.clone(), system(errno));
            let error = Error::Namespace { path, error };
            assert_eq!(error.is_absence_or_refusal(), entered, "setns: {errno}");
            let (path, error) = (PathBuf::from("/proc/7/ns/net"), system(errno));
            let error = Error::Thread { path, error };
            assert_eq!(error.is_absence_or_refusal(), started, "thread: {errno}");
        }
        for (errno, expected) in [
            (Errno::ENOENT, true),
            (Errno::EPERM, true),
            (Errno::EACCES, true),
            (Errno::EOPNOTSUPP, true),
            (Errno::EINVAL, false),
            (Errno::EBUSY, false),
        ] {
            assert_eq!(
                Error::Answer {
                    error: system(errno)
                }
                .is_absence_or_refusal(),
                expected,
                "answer: {errno}"
            );
        }
        assert!(
            !BadLine::new(1, "bad", b"x")
                .of(&path)
                .is_absence_or_refusal()
        );
    }

    #[test]
    fn messages_name_the_place_and_the_errno() {
        let path = PathBuf::from("/proc/tcpstat");
        assert_eq!(
            Error::open(&path, system(Errno::EACCES)).to_string(),
            "/proc/tcpstat: cannot open: EACCES: Permission denied"
        );
        assert_eq!(
            BadLine::new(3, "unknown state", b"\x1b[2J\xff")
                .of(&path)
                .to_string(),
            r#"/proc/tcpstat, line 3: unknown state: "\x1b[2J\xff""#
        );
        assert_eq!(
            BadLine::new(1, "empty", b"").of(&path).to_string(),
            "/proc/tcpstat, line 1: empty"
        );
        assert!(BadLine::new(1, "long", &[b'x'; 1 << 20]).text.len() < 80);
    }
}
