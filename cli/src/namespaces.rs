// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which network namespaces there are: those that a process is in.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::Error;

/// A network namespace, and a process that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// The namespace's inode number, which tells it from others: `readlink /proc/PID/ns/net`, `lsns -t net`.
    pub inode: u64,
    /// The process in it that has the lowest number.
    pub pid: u32,
}

/// The network namespaces of the processes that are in a procfs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Each of them once, in the order of their processes.
    pub seen: Vec<Namespace>,
    /// Processes, in ascending order, whose namespace may not be seen: it may be one of those, or another.
    pub hidden: Vec<u32>,
}

impl Namespaces {
    /// Looks at every process in the procfs at `proc_root`. Namespaces without a process (those that are only mounted
    /// somewhere, as `ip netns add` leaves them) are not found.
    ///
    /// # Errors
    /// [`Error::Open`] or [`Error::Read`] if the processes cannot be listed, or say something that is no namespace.
    pub fn list(proc_root: &Path) -> Result<Self, Error> {
        let mut pids = Vec::new();
        let entries = fs::read_dir(proc_root).map_err(|error| Error::open(proc_root, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Error::read(proc_root, error))?;
            pids.extend(
                entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<u32>().ok()),
            );
        }
        pids.sort_unstable();

        let mut found = BTreeMap::new();
        let mut hidden = Vec::new();
        for pid in pids {
            let path = proc_root.join(pid.to_string()).join("ns/net");
            match fs::read_link(&path) {
                Ok(target) => {
                    let inode = inode(&target).ok_or_else(|| {
                        let problem = format!("{} is no network namespace", target.display());
                        Error::read(&path, std::io::Error::new(ErrorKind::InvalidData, problem))
                    })?;
                    found.entry(inode).or_insert(pid);
                }
                // ptrace_may_access says no.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => hidden.push(pid),
                // It has ended, or is about to.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
                Err(error) => return Err(Error::read(&path, error)),
            }
        }
        let mut seen: Vec<_> = found
            .into_iter()
            .map(|(inode, pid)| Namespace { inode, pid })
            .collect();
        seen.sort_by_key(|namespace| namespace.pid);
        Ok(Self { seen, hidden })
    }
}

/// The number in `net:[4026531840]`.
fn inode(target: &Path) -> Option<u64> {
    let text = target.to_str()?;
    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A procfs with these processes and what their `ns/net` leads to.
    fn procfs(processes: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::TempDir::new().unwrap();
        for (pid, target) in processes {
            let ns = root.path().join(pid).join("ns");
            fs::create_dir_all(&ns).unwrap();
            symlink(target, ns.join("net")).unwrap();
        }
        root
    }

    #[test]
    fn each_namespace_is_there_once_with_its_lowest_process() {
        let root = procfs(&[
            ("10", "net:[4026531840]"),
            ("9", "net:[4026531840]"),
            ("2", "net:[4026532000]"),
            ("self", "net:[1]"),
            ("1x", "net:[2]"),
        ]);
        // One that ends meanwhile.
        fs::create_dir(root.path().join("77")).unwrap();
        let expected =
            [(4026532000, 2), (4026531840, 9)].map(|(inode, pid)| Namespace { inode, pid });
        let namespaces = Namespaces::list(root.path()).unwrap();
        assert_eq!(namespaces.seen, expected);
        assert!(namespaces.hidden.is_empty());
    }

    #[test]
    fn what_is_no_namespace_is_an_error() {
        for target in ["net:[]", "net:[12", "pid:[12]", "net:[-1]", "elsewhere"] {
            let root = procfs(&[("1", target)]);
            let error = Namespaces::list(root.path()).unwrap_err().to_string();
            assert!(error.contains("1/ns/net"), "{error}");
            assert!(error.contains("is no network namespace"), "{error}");
        }
        assert!(matches!(
            Namespaces::list(Path::new("/nonexistent")),
            Err(Error::Open { .. })
        ));
    }

    #[test]
    fn this_process_is_in_one_of_them() {
        let own = inode(&fs::read_link("/proc/self/ns/net").unwrap()).unwrap();
        let namespaces = Namespaces::list(Path::new("/proc")).unwrap();
        assert!(
            namespaces
                .seen
                .iter()
                .any(|namespace| namespace.inode == own)
        );
    }
}
