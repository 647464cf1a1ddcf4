// SPDX-License-Identifier: MIT OR Apache-2.0

//! Opening sockets and files of another network namespace than that of the calling thread.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};

use crate::error::Error;

/// The calling thread's own network namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// The files of the calling thread's own network namespace.
pub(crate) const THREAD_NET: &str = "/proc/thread-self/net";

/// What identifies a file, and with it a namespace: device and inode number.
pub(crate) type Id = (u64, u64);

pub(crate) fn id(metadata: &Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

/// A network namespace that is held open: it stays the same one when the process whose path led to
/// it ends, or enters another.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    path: PathBuf,
    file: Arc<File>,
    id: Id,
}

impl Handle {
    /// Opens the namespace that `path` leads to, such as `/proc/PID/ns/net`.
    ///
    /// In a saved procfs, the path leads nowhere.
    ///
    /// # Errors
    /// [`Error::Namespace`]; [`Error::OtherNamespace`] if it has another inode number than `inode`.
    pub(crate) fn open(path: PathBuf, inode: Option<u64>) -> Result<Self, Error> {
        // A saved sample may have a FIFO there: opening it must not wait.
        let mut options = File::options();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let opened = options.open(&path);
        let opened = opened.and_then(|file| Ok((id(&file.metadata()?), file)));
        match (opened, inode) {
            (Ok(((_, found), _)), Some(inode)) if found != inode => {
                Err(Error::OtherNamespace { path, inode })
            }
            (Ok((id, file)), _) => Ok(Self {
                path,
                file: Arc::new(file),
                id,
            }),
            (Err(error), _) => Err(Error::Namespace { path, error }),
        }
    }

    pub(crate) fn inode(&self) -> u64 {
        self.id.1
    }

    /// Whether it is the calling thread's own. The text of the link is not enough: in the procfs of
    /// another machine, it may be the same.
    fn is_own(&self) -> bool {
        // Without /proc, the thread's own namespace is not known, and is entered like any other.
        fs::metadata(OWN).is_ok_and(|own| id(&own) == self.id)
    }
}

/// Calls `work` in `namespace`; in that of the calling thread, if there is none.
///
/// A netlink socket belongs to the namespace in which it was opened, wherever it is used later; so
/// does a file below `/proc/thread-self/net`. The calling thread stays where it is: another thread
/// enters the namespace, which needs `CAP_SYS_ADMIN` in both (`setns(2)`).
pub(crate) fn inside<T: Send>(
    namespace: Option<&Handle>,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let handle = match namespace {
        // The thread's own needs no right.
        Some(handle) if !handle.is_own() => handle,
        _ => return work(),
    };
    let failed = |error| Error::Namespace {
        path: handle.path.clone(),
        error,
    };
    let enter =
        || setns(&handle.file, CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()));
    thread::scope(|scope| {
        let entered = thread::Builder::new()
            .spawn_scoped(scope, move || enter().and_then(|()| work()))
            .map_err(|error| Error::Thread {
                path: handle.path.clone(),
                error,
            })?;
        entered.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: impl Into<PathBuf>) -> Handle {
        Handle::open(path.into(), None).unwrap()
    }

    #[test]
    fn says_which_namespace_cannot_be_entered() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let no_namespace = inside(Some(&open(file.path())), || Ok(())).unwrap_err();
        assert!(no_namespace.is_absence_or_refusal());
        assert!(
            no_namespace
                .to_string()
                .ends_with(": EINVAL: Invalid argument"),
            "{no_namespace}"
        );
        let error = Handle::open("/proc/self/ns/nothing".into(), None).unwrap_err();
        assert!(error.is_absence_or_refusal());
        assert_eq!(
            error.to_string(),
            "cannot enter the network namespace /proc/self/ns/nothing: ENOENT: No such file or directory"
        );
    }
}
