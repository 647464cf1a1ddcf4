// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which processes have a socket open: those that have a descriptor of its inode, by the links in
//! `/proc/PID/fd`.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use super::root::open;
use crate::error::Error;
use crate::groups::Process;
use crate::namespaces::processes;

/// The processes that have sockets open.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    /// The sets of processes that have the same sockets open.
    pub(crate) sets: Vec<Arc<[Process]>>,
    /// The inode numbers of sockets, in ascending order, and the index of the set of each.
    set_of: Vec<(u32, u32)>,
    /// The number of processes whose descriptors may not be looked at.
    pub(crate) hidden: u64,
    /// Whether the procfs hides processes: it is mounted with `hidepid=invisible`.
    pub(crate) invisible: bool,
}

impl Holders {
    /// Looks for the sockets with these inode numbers in all processes of a procfs.
    ///
    /// # Errors
    /// If the processes cannot be listed, or there are none.
    pub(crate) fn find(proc_root: &Path, is_wanted: impl Fn(u32) -> bool) -> Result<Self, Error> {
        let pids = processes(proc_root)?;
        if pids.is_empty() {
            let proc_root = proc_root.to_owned();
            return Err(Error::NoProcesses { proc_root });
        }
        let has = |name| fs::metadata(proc_root.join(name)).is_ok();
        let mut holders = Self {
            invisible: has("self") && !has("1"),
            ..Self::default()
        };
        let mut held: Vec<(u32, u32)> = Vec::new();
        for pid in pids {
            let process = proc_root.join(pid.to_string());
            let mut add = |inode| {
                if is_wanted(inode) {
                    held.push((inode, pid));
                }
            };
            match each_socket(&process, &mut add) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => holders.hidden += 1,
                // Others have ended.
                _ => {}
            }
        }
        held.sort_unstable();
        // A process may have several descriptors of a socket.
        held.dedup();

        let mut numbers: HashMap<Vec<u32>, u32> = HashMap::new();
        for same in held.chunk_by(|a, b| a.0 == b.0) {
            let pids: Vec<u32> = same.iter().map(|&(_, pid)| pid).collect();
            let next = numbers.len() as u32;
            let set = *numbers.entry(pids).or_insert(next);
            holders.set_of.push((same[0].0, set));
        }
        let mut sets = vec![Vec::new(); numbers.len()];
        let mut names: HashMap<u32, String> = HashMap::new();
        for (pids, number) in numbers {
            let process = |&pid: &u32| {
                let comm = names.entry(pid).or_insert_with(|| comm(proc_root, pid));
                let comm = comm.clone();
                Process { comm, pid }
            };
            sets[number as usize] = pids.iter().map(process).collect();
        }
        let sorted = |mut set: Vec<Process>| {
            set.sort();
            set.into()
        };
        holders.sets = sets.into_iter().map(sorted).collect();
        Ok(holders)
    }

    /// The index of the set of processes that have this socket open.
    pub(crate) fn set(&self, inode: u32) -> Option<u32> {
        let found = self
            .set_of
            .binary_search_by_key(&inode, |&(inode, _)| inode);
        Some(self.set_of[found.ok()?].1)
    }
}

/// The procfs that `proc_root` is in, if it is the directory of a process.
pub(crate) fn procfs_of(proc_root: &Path) -> &Path {
    let is_process = proc_root.join("fd").exists();
    proc_root
        .parent()
        .filter(|_| is_process)
        .unwrap_or(proc_root)
}

/// Calls `each` with the inode number of every socket that a process has open. The kernel's numbers
/// of these have 32 bits (`get_next_ino`).
fn each_socket(process: &Path, each: &mut impl FnMut(u32)) -> io::Result<()> {
    for entry in fs::read_dir(process.join("fd"))? {
        let link = match entry.and_then(|entry| fs::read_link(entry.path())) {
            Ok(link) => link,
            // They may be listed by some who may not look at them.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
            // It was closed meanwhile.
            Err(_) => continue,
        };
        let inode = link.to_str().and_then(|link| {
            let inode = link.strip_prefix("socket:[")?.strip_suffix(']')?;
            inode.parse().ok()
        });
        if let Some(inode) = inode {
            each(inode);
        }
    }
    Ok(())
}

/// The name of a process; a question mark if it has ended.
fn comm(proc_root: &Path, pid: u32) -> String {
    /// More than the kernel's 15 bytes.
    const LONGEST: u64 = 64;
    let path = proc_root.join(pid.to_string()).join("comm");
    let mut name = Vec::new();
    match open(path).map(|(_, file)| file.take(LONGEST).read_to_end(&mut name)) {
        Ok(Ok(_)) => String::from_utf8_lossy(&name)
            .trim_end_matches('\n')
            .to_owned(),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn sockets_are_held_by_sets_of_processes() {
        let root = tempfile::tempdir().unwrap();
        for (pid, comm, links) in [
            ("10", "nginx", &["socket:[7]", "socket:[8]", "pipe:[9]"][..]),
            ("9", "nginx", &["socket:[7]", "socket:[7]", "socket:[8]"]),
            (
                "11",
                "a b",
                &["/dev/null", "socket:[x]", "socket:[12]", "socket:[5]"],
            ),
            ("12", "init", &["socket:[8]"]),
            ("self", "me", &["socket:[12]"]),
        ] {
            let fd = root.path().join(pid).join("fd");
            fs::create_dir_all(&fd).unwrap();
            for (number, link) in links.iter().enumerate() {
                symlink(link, fd.join(number.to_string())).unwrap();
            }
            fs::write(root.path().join(pid).join("comm"), format!("{comm}\n")).unwrap();
        }
        // A process that ends during the reading.
        fs::create_dir(root.path().join("77")).unwrap();
        let holders = Holders::find(root.path(), |inode| inode != 5).unwrap();
        let text = |set: Option<u32>| {
            let set = &holders.sets[set? as usize];
            let one = |process: &Process| format!("{} {}", process.comm, process.pid);
            Some(set.iter().map(one).collect::<Vec<_>>().join(", "))
        };
        let sets = [7, 8, 9, 12, 5].map(|inode| text(holders.set(inode)));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            sets,
            [
                some("nginx 9, nginx 10"),
                some("init 12, nginx 9, nginx 10"),
                None,
                some("a b 11"),
                None
            ]
        );
        assert!(holders.hidden == 0 && holders.invisible);
        let nothing = tempfile::tempdir().unwrap();
        assert!(matches!(
            Holders::find(nothing.path(), |_| true),
            Err(Error::NoProcesses { .. })
        ));
    }
}
