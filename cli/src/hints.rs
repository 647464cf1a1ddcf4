// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hints that are printed below an error: what to try next.

use std::io::ErrorKind;

use nix::errno::Errno;
use tcpstat::{Attempt, Error, Source};

/// The hint for an error, if there is one.
pub(crate) fn hint(error: &Error) -> Option<&'static str> {
    let tried = match error {
        Error::NoSource(tried) => tried,
        Error::Open { error, .. }
        | Error::Read { error, .. }
        | Error::Socket { error, .. }
        | Error::Receive { error }
        | Error::Answer { error } => return hint_for(Errno::from_raw(error.raw_os_error()?)),
        // The file of --netns, which no source is tried without.
        Error::Namespace { error, .. } if error.kind() == ErrorKind::NotFound => {
            return Some(
                "The names are those of ip netns list, and the files in /run/docker/netns.",
            );
        }
        _ => return None,
    };
    let Attempt { source, error, .. } = tried.last()?;
    Some(match (source, error) {
        (_, Error::NotKnown { .. }) => {
            "Only netlink knows it: leave out --source, and allow netlink sockets here (seccomp, \
             SELinux, RestrictAddressFamilies=)."
        }
        (Source::Module, _) => "Load the module (modprobe tcpstat), or leave out --source.",
        (Source::Procfs, _) => {
            "Is a procfs mounted there (mount -t proc proc DIR)? --proc-root DIR names another. \
             Processes may be gone, or hidden (hidepid=)."
        }
        (_, Error::Answer { .. }) => {
            "Load the kernel module for it (modprobe tcp_diag), or try --source procfs."
        }
        (_, Error::Thread { .. }) => "Raise the limit of processes, or try --source procfs.",
        (_, Error::Namespace { error, .. }) if error.kind() == ErrorKind::PermissionDenied => {
            "Entering another network namespace requires root (CAP_SYS_ADMIN, CAP_SYS_PTRACE): \
             try --source procfs."
        }
        (_, Error::Namespace { error, .. })
            if matches!(
                error.raw_os_error().map(Errno::from_raw),
                Some(Errno::EOPNOTSUPP | Errno::ENOSYS)
            ) =>
        {
            "This kernel or sandbox cannot enter network namespaces: try --source procfs."
        }
        (_, Error::Namespace { .. }) => {
            "The process may have ended, or belong to a saved sample: try --source procfs. A file of \
             --netns may be no network namespace."
        }
        _ => {
            "A sandbox may forbid netlink sockets here (seccomp, SELinux, \
             RestrictAddressFamilies=): try --source procfs."
        }
    })
}

/// The hint for a system error of a source that exists.
fn hint_for(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::EMFILE => "This process has too many open files: raise its limit (ulimit -n).",
        Errno::ENFILE => "The machine has too many open files: raise fs.file-max.",
        Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN => {
            "The kernel may be short of memory: try again, or another --source."
        }
        _ => return None,
    })
}

/// The error, and what to try, in one line.
pub(crate) fn explained(error: &Error) -> String {
    match hint(error) {
        Some(hint) => format!("{error} {hint}"),
        None => error.to_string(),
    }
}
