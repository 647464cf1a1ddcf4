// SPDX-License-Identifier: GPL-2.0-only

//! New cgroups of version 2, for tests to make sockets in.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

/// The file of a cgroup to which a process is written that enters it.
const PROCESSES: &str = "cgroup.procs";

/// A cgroup without processes. It is removed when this is dropped.
pub struct Cgroup {
    mount: PathBuf,
    /// Below `mount`.
    path: String,
}

impl Cgroup {
    /// Makes one with this path below the root of cgroups. `None` if cgroup v2 is not mounted, or
    /// if this process may not change it; the reason is printed to standard error.
    ///
    /// # Panics
    /// If something else is the reason.
    pub fn new(path: &str) -> Option<Self> {
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let mounted = |mount: &&Path| {
            statfs(*mount).is_ok_and(|is| is.filesystem_type() == CGROUP2_SUPER_MAGIC)
        };
        let Some(mount) = mounts.into_iter().find(mounted) else {
            skipped("cgroup v2 is not mounted");
            return None;
        };
        let cgroup = Self {
            mount: mount.to_owned(),
            path: path.to_owned(),
        };
        let made = fs::create_dir_all(cgroup.directory());
        // Whoever may make it may enter it, and come back.
        match made.and_then(|()| cgroup.while_inside(|| ())) {
            Ok(()) => Some(cgroup),
            Err(error) if is_refused(&error) => {
                skipped(&format!("cannot use a cgroup: {error}"));
                None
            }
            Err(error) => panic!("{}: {error}", cgroup.directory().display()),
        }
    }

    /// Its path, as in `/proc/PID/cgroup`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its directory.
    pub fn directory(&self) -> PathBuf {
        self.mount.join(self.path.trim_start_matches('/'))
    }

    /// Runs `work` while this process, with all of its threads, is in the cgroup.
    pub fn while_inside<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::"));
        let own = own.unwrap_or("/").trim_start_matches('/');
        let enter =
            |directory: PathBuf| fs::write(directory.join(PROCESSES), process::id().to_string());
        enter(self.directory())?;
        let result = work();
        enter(self.mount.join(own))?;
        Ok(result)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let mut directory = self.directory();
        // A parent that others use stays.
        while directory != self.mount && fs::remove_dir(&directory).is_ok() {
            directory.pop();
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    )
}

fn skipped(why: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    // `eprintln!` would be captured, and not shown for a test that passes.
    let _ = io::stderr().write_all(format!("skipped: {name}: {why}\n").as_bytes());
}
