// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whose a socket is: the unit of its cgroup, and the processes that have it open.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::groups::Process;
use crate::readers::cgroups;
use crate::readers::holders::{Holders, procfs_of};
use crate::units;

/// How soon the cgroups are read again for one that was not there.
const SOON: Duration = Duration::from_secs(1);

/// The units and containers of cgroups, by the IDs that sockets have.
///
/// ```no_run
/// use tcpstat::{Filter, Options, Sampler, Units};
///
/// let options = Options::default();
/// let mut units = Units::new(&options.proc_root)?;
/// for connection in Sampler::new(options)?.connections(Filter::default())? {
///     let connection = connection?;
///     println!("{}: {:?}", connection.local, units.of(connection.cgroup));
/// }
/// # Ok::<(), tcpstat::Error>(())
/// ```
#[derive(Debug)]
pub struct Units {
    mount: PathBuf,
    /// `None` for cgroups that were looked for and not found.
    known: HashMap<u64, Option<Arc<str>>>,
    read: Option<Instant>,
}

impl Units {
    /// The units of the machine that the procfs at `proc_root` is of. Nothing is read yet.
    ///
    /// # Errors
    /// [`Error::NoCgroup2`] if cgroup v2 is not mounted.
    pub fn new(proc_root: &Path) -> Result<Self, Error> {
        Ok(Self::at(cgroups::mount(proc_root)?))
    }

    fn at(mount: PathBuf) -> Self {
        Self {
            mount,
            known: HashMap::new(),
            read: None,
        }
    }

    /// The unit of the cgroup with this ID; `None` if it is not known, or not there any more.
    pub fn of(&mut self, cgroup: Option<u64>) -> Option<Arc<str>> {
        let id = cgroup?;
        match self.known.get(&id) {
            Some(Some(unit)) => return Some(unit.clone()),
            Some(None) => return None,
            None => {}
        }
        // All at once: sockets of other cgroups follow. A new cgroup is found the next time.
        let is_due = self.read.is_none_or(|read| read.elapsed() >= SOON);
        if !is_due {
            return None;
        }
        let paths = cgroups::all(&self.mount);
        self.read = Some(Instant::now());
        let mut names: HashSet<Arc<str>> = HashSet::new();
        self.known = paths
            .into_iter()
            .map(|(id, path)| {
                let unit: Arc<str> = units::unit(&path).into();
                // Cgroups of a unit share its name.
                let unit = names.get(&unit).cloned().unwrap_or(unit);
                names.insert(unit.clone());
                (id, Some(unit))
            })
            .collect();
        self.known.entry(id).or_insert(None).clone()
    }
}

/// The processes that have sockets open. Memory grows with the number of sockets that are open on
/// the machine.
#[derive(Debug)]
pub struct Processes(Holders);

impl Processes {
    /// Reads the descriptors of all processes in the procfs at `proc_root`.
    ///
    /// # Errors
    /// If the processes cannot be listed, or there are none.
    pub fn read(proc_root: &Path) -> Result<Self, Error> {
        Holders::find(procfs_of(proc_root), |_| true).map(Self)
    }

    /// The processes that have the socket with this inode open, by name; none if there are none,
    /// or none that may be looked at.
    pub fn of(&self, inode: Option<u64>) -> &[Process] {
        let inode = inode.and_then(|inode| u32::try_from(inode).ok());
        let set = inode.and_then(|inode| self.0.set(inode));
        set.map_or(&[], |set| &self.0.sets[set as usize])
    }

    /// The number of processes whose descriptors may not be looked at.
    pub fn hidden(&self) -> u64 {
        self.0.hidden
    }

    /// Whether the procfs hides processes: it is mounted with `hidepid=invisible`.
    pub fn invisible(&self) -> bool {
        self.0.invisible
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn units_are_found_by_the_ids_of_cgroups() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("system.slice/nginx.service/workers")).unwrap();
        let id = |path: &str| Some(fs::metadata(at(path)).unwrap().ino());
        let mut units = Units::at(root.path().to_owned());
        assert_eq!(units.of(None), None);
        for path in [
            "system.slice/nginx.service",
            "system.slice/nginx.service/workers",
        ] {
            assert_eq!(units.of(id(path)).as_deref(), Some("nginx.service"));
        }
        // One that was made since is found, but not looked for at each socket.
        fs::create_dir(at("system.slice/new.service")).unwrap();
        assert_eq!(units.of(id("system.slice/new.service")), None);
        units.read = None;
        let new = units.of(id("system.slice/new.service"));
        assert_eq!(new.as_deref(), Some("new.service"));
        units.read = None;
        assert_eq!(units.of(Some(u64::MAX)), None);
        assert_eq!(units.known[&u64::MAX], None);
    }

    #[test]
    fn processes_are_found_by_the_inodes_of_their_sockets() {
        let root = tempfile::tempdir().unwrap();
        for (pid, links) in [
            ("5", &["socket:[7]", "socket:[8]"][..]),
            ("6", &["socket:[7]"]),
        ] {
            let fd = root.path().join(pid).join("fd");
            fs::create_dir_all(&fd).unwrap();
            for link in links {
                symlink(link, fd.join(&link[8..9])).unwrap();
            }
            fs::write(root.path().join(pid).join("comm"), "nginx\n").unwrap();
        }
        for proc_root in [root.path(), &root.path().join("5")] {
            let processes = Processes::read(proc_root).unwrap();
            let pids = |inode| {
                let of = processes.of(inode).iter();
                of.map(|process| process.pid).collect::<Vec<_>>()
            };
            assert_eq!(pids(Some(7)), [5, 6]);
            assert_eq!(pids(Some(8)), [5]);
            assert!(pids(Some(9)).is_empty() && pids(None).is_empty());
            assert_eq!((processes.hidden(), processes.invisible()), (0, false));
        }
    }
}
