// SPDX-License-Identifier: MIT OR Apache-2.0

//! Opening what belongs to another network namespace than that of the calling thread.

use std::fs::{self, File};
use std::io;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::error::Error;

/// The calling thread's own network namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// Calls `open` in the network namespace that `path` leads to, such as `/proc/PID/ns/net`.
///
/// A netlink socket belongs to the namespace in which it was opened, wherever it is used then. The calling thread
/// stays where it is: another one enters the namespace, which takes `CAP_SYS_ADMIN` in both (`setns(2)`).
pub(super) fn inside<T: Send>(
    path: &Path,
    open: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let failed = |error| Error::Namespace {
        path: path.to_owned(),
        error,
    };
    // One's own needs no right.
    if fs::read_link(path).map_err(failed)? == fs::read_link(OWN).map_err(failed)? {
        return open();
    }
    thread::scope(|scope| {
        let enter = || {
            let namespace = File::open(path)?;
            setns(namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
        };
        let opened = thread::Builder::new()
            .spawn_scoped(scope, move || enter().map_err(failed).and_then(|()| open()))
            .map_err(failed)?;
        opened.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use nix::unistd::gettid;
    use tcpstat_tests::netns;

    use super::*;

    #[test]
    fn enters_another_namespace_and_comes_back() {
        let own = || fs::read_link(OWN).unwrap();
        let here = own();
        let there = netns::in_new(|| {
            let there = own();
            assert_ne!(there, here);
            let path = format!("/proc/{}/ns/net", gettid());
            // This very namespace, and from it the one of the process.
            assert_eq!(inside(Path::new(&path), || Ok(own())).unwrap(), there);
            let first = format!("/proc/{}/ns/net", std::process::id());
            assert_eq!(inside(Path::new(&first), || Ok(own())).unwrap(), here);
            assert_eq!(own(), there);
            there
        });
        assert_ne!(there.unwrap(), own());
    }

    #[test]
    fn says_which_namespace_cannot_be_entered() {
        let path = Path::new("/proc/self/ns/nothing");
        let error = inside(path, || Ok(())).unwrap_err();
        assert!(error.is_absence_or_refusal());
        assert_eq!(
            error.to_string(),
            "cannot enter the network namespace /proc/self/ns/nothing: ENOENT: No such file or directory"
        );
    }
}
