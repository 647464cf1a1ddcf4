// SPDX-License-Identifier: MIT OR Apache-2.0

//! The network namespaces of a machine: those that have a process, and those that have a name
//! alone.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tcpstat_census::counts::Counts;

use crate::error::Error;
use crate::readers::module_namespaces;

/// The usual mount point of procfs.
pub(crate) const PROC_ROOT: &str = "/proc";

/// A network namespace, and a process or thread in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Namespace {
    /// The inode number, which identifies the namespace; `readlink /proc/PID/ns/net` and
    /// `lsns -t net` print it.
    pub inode: u64,
    /// A process in it; in [`Namespaces::seen`], the one with the lowest PID. If only threads of
    /// processes in other namespaces are in it, the ID of one of these threads. `None` if nothing
    /// is in it.
    pub pid: Option<u32>,
}

impl Namespace {
    /// The namespace with this inode number, and process `pid` in it, if there is one.
    pub fn new(inode: u64, pid: impl Into<Option<u32>>) -> Self {
        let pid = pid.into();
        Self { inode, pid }
    }

    /// The network namespace of a process (or thread), from the procfs at `proc_root`; `None` if
    /// there is no such process, or it is about to end. If its first thread has ended, the
    /// namespace of the next one.
    ///
    /// # Errors
    /// [`Error::Read`] if the link cannot be read, or does not lead to a namespace.
    pub fn of(proc_root: &Path, pid: u32) -> Result<Option<Self>, Error> {
        let process = proc_root.join(pid.to_string());
        let of = |thread: &Path| inode_at(&thread.join("ns/net")).transpose();
        let inode = of(&process).or_else(|| threads(&process).find_map(|thread| of(&thread)));
        Ok(inode.transpose()?.map(|inode| Self::new(inode, pid)))
    }

    /// The same namespace with another process in it, to use if this one has ended or has moved to
    /// another namespace; `None` if no other is found.
    ///
    /// # Errors
    /// [`Error::Open`] or [`Error::Read`] if the processes cannot be listed.
    pub fn by_another(self, proc_root: &Path) -> Result<Option<Self>, Error> {
        let others = processes(proc_root)?.into_iter();
        Ok(others
            .filter(|&pid| Some(pid) != self.pid)
            // A process whose namespace cannot be read does not help.
            .filter_map(|pid| Self::of(proc_root, pid).ok().flatten())
            .find(|other| other.inode == self.inode))
    }
}

/// `namespace 4026531840, process 1`
impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespace {}", self.inode)?;
        match self.pid {
            Some(pid) => write!(f, ", process {pid}"),
            None => Ok(()),
        }
    }
}

/// A network namespace that is a file, such as `/run/netns/web`: it exists without a process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Named {
    /// The inode number, which identifies the namespace.
    pub inode: u64,
    /// The file.
    pub path: PathBuf,
}

impl Named {
    /// The directories of such files: those of `ip netns` and of Docker.
    const DIRECTORIES: [&str; 2] = ["run/netns", "run/docker/netns"];

    /// Every network namespace with a name, once, in the order of the directories and of the names,
    /// on the machine that the procfs at `proc_root` is of. Directories that cannot be read have
    /// none.
    pub fn list(proc_root: &Path) -> Vec<Self> {
        // The device of the files that are namespaces: others are what they are mounted on.
        let Ok(namespaces) = fs::metadata("/proc/self/ns/net").map(|own| own.dev()) else {
            return Vec::new();
        };
        let directories = Self::directories(proc_root).into_iter();
        directories
            .flat_map(|directory| below(&directory, namespaces))
            .collect()
    }

    /// The file of the network namespace that `ip netns add` or Docker has given this name; below
    /// `/run/netns` if there is none. A name with a slash is a path.
    pub fn path_of(proc_root: &Path, name: &Path) -> PathBuf {
        if name.as_os_str().as_encoded_bytes().contains(&b'/') {
            return name.to_owned();
        }
        let files = Self::directories(proc_root).map(|directory| directory.join(name));
        let found = files.iter().position(|file| file.exists());
        let [first, second] = files;
        match found {
            Some(1) => second,
            _ => first,
        }
    }

    fn directories(proc_root: &Path) -> [PathBuf; 2] {
        // Another procfs may be that of a host, whose files are those of its first process.
        let root = match proc_root == Path::new(PROC_ROOT) {
            true => PathBuf::from("/"),
            false => proc_root.join("1/root"),
        };
        Self::DIRECTORIES.map(|directory| root.join(directory))
    }
}

/// The files of this device in a directory, in the order of their names.
fn below(directory: &Path, device: u64) -> Vec<Named> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let named = |path: PathBuf| {
        // A name may be a link to /proc/PID/ns/net.
        let metadata = fs::metadata(&path).ok()?;
        let inode = metadata.ino();
        (metadata.dev() == device).then_some(Named { inode, path })
    };
    paths.into_iter().filter_map(named).collect()
}

/// The network namespaces of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Namespaces {
    /// Each namespace once, in ascending order of `pid`.
    pub seen: Vec<Namespace>,
    /// Those without a process that have a name (`ip netns add`), each once.
    pub named: Vec<Named>,
    /// Processes and threads, in ascending order, whose namespace cannot be read: it may or may not
    /// be in `seen`.
    pub hidden: Vec<u32>,
    /// Whether the procfs hides processes: it is mounted with `hidepid=invisible`.
    pub invisible: bool,
}

impl Namespaces {
    /// Looks at every process and thread in the procfs at `proc_root`, and at the files in
    /// `/run/netns` and `/run/docker/netns`. A namespace that is only mounted elsewhere, or that
    /// only has sockets, is not found.
    ///
    /// # Errors
    /// [`Error::Open`] or [`Error::Read`] if the processes cannot be listed, or a link does not
    /// lead to a namespace; [`Error::NoProcesses`] if there are none.
    pub fn list(proc_root: &Path) -> Result<Self, Error> {
        let mut found = BTreeMap::new();
        let mut hidden = Vec::new();
        let pids = processes(proc_root)?;
        // Threads come last: a process is preferred.
        let threads = pids.iter().flat_map(|&pid| other_threads(proc_root, pid));
        for pid in pids.iter().copied().chain(threads) {
            match Namespace::of(proc_root, pid) {
                Ok(Some(Namespace { inode, .. })) => {
                    found.entry(inode).or_insert(pid);
                }
                Ok(None) => {}
                // ptrace_may_access() denies it.
                Err(Error::Read { error, .. }) if error.kind() == ErrorKind::PermissionDenied => {
                    hidden.push(pid);
                }
                Err(error) => return Err(error),
            }
        }
        if found.is_empty() && hidden.is_empty() {
            let proc_root = proc_root.to_owned();
            return Err(Error::NoProcesses { proc_root });
        }
        let mut named = Named::list(proc_root);
        let mut known: HashSet<u64> = found.keys().copied().collect();
        named.retain(|one| known.insert(one.inode));
        let mut seen: Vec<_> = found
            .into_iter()
            .map(|(inode, pid)| Namespace::new(inode, pid))
            .collect();
        seen.sort_by_key(|namespace| namespace.pid);
        hidden.sort_unstable();
        // A live procfs has `self` and, if it hides no processes, process 1.
        let has = |name| fs::metadata(proc_root.join(name)).is_ok();
        let invisible = has("self") && !has("1");
        Ok(Self {
            seen,
            named,
            hidden,
            invisible,
        })
    }

    /// The number of connections in each state, in every network namespace of the machine, by the
    /// inode number: the module counts them all in one walk (`/proc/tcpstat_namespaces`). `None` if
    /// it is not loaded, or its file refused; it is for `CAP_NET_ADMIN` in the initial user
    /// namespace.
    ///
    /// # Errors
    /// Any other failure to open or read the file, which names it; [`Error::Line`] if it is
    /// malformed.
    pub fn counts(proc_root: &Path) -> Result<Option<BTreeMap<u64, Counts>>, Error> {
        match module_namespaces::counts(proc_root) {
            Ok(counts) => Ok(Some(counts)),
            Err(error) if error.is_absence_or_refusal() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Which network namespace is counted. See [`Sampler::origin`](crate::Sampler::origin).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A network namespace of this machine.
    Namespace {
        /// Its inode number.
        inode: u64,
        /// The link in a procfs that led to it.
        path: PathBuf,
    },
    /// That of the calling thread, which only a procfs could identify.
    Own,
    /// The namespace that files describe: those of a saved sample, or of a process whose namespace
    /// may not be looked at.
    Files {
        /// The directory of the files.
        path: PathBuf,
    },
}

/// `network namespace 4026531840, through /proc/1/ns/net`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace { inode, path } => {
                write!(f, "network namespace {inode}, through {}", path.display())
            }
            Self::Own => f.write_str("the network namespace of this process"),
            Self::Files { path } => write!(f, "the files in {}", path.display()),
        }
    }
}

/// The directories of the threads of a process, in ascending order; none if they cannot be listed.
pub(crate) fn threads(process: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let task = process.join("task");
    let ids = processes(&task).unwrap_or_default();
    ids.into_iter().map(move |id| task.join(id.to_string()))
}

/// The threads of a process without the first, if it has more than that one.
fn other_threads(proc_root: &Path, pid: u32) -> Vec<u32> {
    let task = proc_root.join(pid.to_string()).join("task");
    // Like any directory, `task` has a link for each directory in it, and two more.
    let mut others = match fs::metadata(&task) {
        Ok(metadata) if metadata.nlink() > 3 => processes(&task).unwrap_or_default(),
        _ => Vec::new(),
    };
    others.retain(|&other| other != pid);
    others
}

/// The processes of a procfs, or the threads of a process, in ascending order.
pub(crate) fn processes(proc_root: &Path) -> Result<Vec<u32>, Error> {
    let mut pids = Vec::new();
    for entry in fs::read_dir(proc_root).map_err(|error| Error::open(proc_root, error))? {
        let entry = entry.map_err(|error| Error::read(proc_root, error))?;
        let name = entry.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    Ok(pids)
}

/// The inode number of the network namespace that a link leads to, in a live or saved procfs;
/// `None` if there is no link.
pub(crate) fn inode_at(path: &Path) -> Result<Option<u64>, Error> {
    match fs::read_link(path) {
        Ok(target) => match inode(&target) {
            None => {
                let problem = format!("{} is not a network namespace", target.display());
                let error = io::Error::new(ErrorKind::InvalidData, problem);
                Err(Error::read(path, error))
            }
            inode => Ok(inode),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => Ok(None),
        Err(error) => Err(Error::read(path, error)),
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

    /// A procfs with these processes, and the targets of their `ns/net`.
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
        // A process that ends during the reading.
        fs::create_dir(root.path().join("77")).unwrap();
        let expected =
            [(4026532000, 2), (4026531840, 9)].map(|(inode, pid)| Namespace::new(inode, pid));
        let namespaces = Namespaces::list(root.path()).unwrap();
        assert_eq!(namespaces.seen, expected);
        assert!(namespaces.hidden.is_empty());

        let [_, last] = expected;
        let other = last.by_another(root.path()).unwrap();
        assert_eq!(other, Some(Namespace::new(last.inode, 10)));
        let [alone, _] = expected;
        assert_eq!(alone.by_another(root.path()).unwrap(), None);
    }

    #[test]
    fn a_procfs_without_a_process_is_an_error_and_one_without_init_hides_some() {
        let root = procfs(&[("self", "net:[1]")]);
        let error = Namespaces::list(root.path()).unwrap_err().to_string();
        let expected = format!(
            "no process in {}: is a procfs mounted there?",
            root.path().display()
        );
        assert_eq!(error, expected);

        let hides = |processes: &[(&str, &str)]| {
            Namespaces::list(procfs(processes).path())
                .unwrap()
                .invisible
        };
        let [itself, init, other] = ["self", "1", "77"].map(|pid| (pid, "net:[4026531840]"));
        assert!(hides(&[itself, other]));
        assert!(!hides(&[itself, init, other]));
        // A saved procfs usually has no `self`.
        assert!(!hides(&[other]));
    }

    #[test]
    fn files_of_namespaces_are_found_in_the_order_of_their_names() {
        let root = procfs(&[("8", "net:[80]")]);
        let directory = root.path().join("1/root/run/netns");
        fs::create_dir_all(&directory).unwrap();
        for name in ["web", "app"] {
            symlink("/proc/self/ns/net", directory.join(name)).unwrap();
        }
        // What `ip netns add` mounts a namespace on, and a namespace of another kind of file.
        fs::write(directory.join("db"), "").unwrap();
        symlink("nowhere", directory.join("gone")).unwrap();
        let own = fs::metadata("/proc/self/ns/net").unwrap();
        let names = |named: &[Named]| {
            let name = |one: &Named| one.path.file_name().unwrap().to_owned();
            named.iter().map(name).collect::<Vec<_>>()
        };
        let named = Named::list(root.path());
        assert_eq!(names(&named), ["app", "web"]);
        assert!(named.iter().all(|one| one.inode == own.ino()));
        // Each once, and only those without a process.
        let namespaces = Namespaces::list(root.path()).unwrap();
        assert_eq!(names(&namespaces.named), ["app"]);
        let link = root.path().join("8/ns/net");
        fs::remove_file(&link).unwrap();
        symlink(format!("net:[{}]", own.ino()), link).unwrap();
        assert!(Namespaces::list(root.path()).unwrap().named.is_empty());

        let path_of = |name: &str| Named::path_of(root.path(), Path::new(name));
        assert_eq!(path_of("web"), directory.join("web"));
        assert_eq!(path_of("nothing"), directory.join("nothing"));
        assert_eq!(path_of("./web"), Path::new("./web"));
        let docker = root.path().join("1/root/run/docker/netns");
        fs::create_dir_all(&docker).unwrap();
        fs::write(docker.join("1b2c"), "").unwrap();
        assert_eq!(path_of("1b2c"), docker.join("1b2c"));
    }

    #[test]
    fn a_link_to_no_namespace_is_an_error() {
        for target in ["net:[]", "net:[12", "pid:[12]", "net:[-1]", "elsewhere"] {
            let root = procfs(&[("1", target)]);
            let error = Namespaces::list(root.path()).unwrap_err().to_string();
            assert!(error.contains("1/ns/net"), "{error}");
            assert!(error.contains("is not a network namespace"), "{error}");
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
