// SPDX-License-Identifier: MIT OR Apache-2.0

//! The paths of cgroups by their IDs. The ID of a cgroup is the inode number of its directory in
//! the hierarchy of cgroup v2 (`cgroup_id`, `include/linux/cgroup.h`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::error::Error;
use crate::options::Options;

/// Where systemd mounts the hierarchy of cgroup v2: alone, and beside those of v1.
const MOUNTS: [&str; 2] = ["sys/fs/cgroup", "sys/fs/cgroup/unified"];

/// The directory of cgroup v2 of the machine that the procfs at `proc_root` is of.
///
/// # Errors
/// [`Error::NoCgroup2`] if it is not mounted.
pub(crate) fn mount(proc_root: &Path) -> Result<PathBuf, Error> {
    // Another procfs may be that of a host, whose files are those of its first process.
    let roots = match proc_root == Path::new(Options::PROC_ROOT) {
        true => vec![PathBuf::from("/")],
        false => vec![proc_root.join("1/root"), PathBuf::from("/")],
    };
    let places = roots
        .iter()
        .flat_map(|root| MOUNTS.map(|mount| root.join(mount)));
    { places }
        .find(|path| statfs(path).is_ok_and(|is| is.filesystem_type() == CGROUP2_SUPER_MAGIC))
        .ok_or(Error::NoCgroup2)
}

/// The paths of the cgroups with these IDs below `mount`, each beginning with a slash. A cgroup
/// that is not there is left out.
pub(crate) fn paths(mount: &Path, mut ids: HashSet<u64>) -> HashMap<u64, String> {
    let mut found = HashMap::new();
    each(mount, |id, path| {
        if ids.remove(&id) {
            found.insert(id, path.to_owned());
        }
        !ids.is_empty()
    });
    found
}

/// The paths of all cgroups below `mount`.
pub(crate) fn all(mount: &Path) -> HashMap<u64, String> {
    let mut found = HashMap::new();
    each(mount, |id, path| {
        found.insert(id, path.to_owned());
        true
    });
    found
}

/// Calls `found` with the ID and the path of each cgroup until it says no.
fn each(mount: &Path, mut found: impl FnMut(u64, &str) -> bool) {
    let root = fs::metadata(mount).map(|root| root.ino());
    if !root.is_ok_and(|id| found(id, "/")) {
        return;
    }
    let mut directories = vec![(mount.to_owned(), String::new())];
    while let Some((directory, path)) = directories.pop() {
        // A cgroup that has just been removed, or may not be looked at, has nothing in it.
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = format!("{path}/{}", entry.file_name().to_string_lossy());
            if !found(entry.ino(), &path) {
                return;
            }
            directories.push((entry.path(), path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_found_by_the_inodes_of_their_directories() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("system.slice/nginx.service/workers")).unwrap();
        fs::create_dir_all(at("user.slice/user-1000.slice")).unwrap();
        fs::write(at("system.slice/cgroup.procs"), "").unwrap();
        let inode = |path: &str| fs::metadata(at(path)).unwrap().ino();
        let wanted = [
            ("", "/"),
            ("system.slice/nginx.service", "/system.slice/nginx.service"),
            (
                "system.slice/nginx.service/workers",
                "/system.slice/nginx.service/workers",
            ),
            ("user.slice/user-1000.slice", "/user.slice/user-1000.slice"),
        ];
        // A file is no cgroup, and nothing has the inode number 0.
        let others = [0, inode("system.slice/cgroup.procs")];
        let ids = wanted.iter().map(|(path, _)| inode(path)).chain(others);
        let found = paths(root.path(), ids.collect());
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        for (path, expected) in wanted {
            assert_eq!(found[&inode(path)], expected);
        }
        assert!(paths(&at("nothing"), [1].into()).is_empty());
        assert!(paths(root.path(), HashSet::new()).is_empty());
    }
}
