// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which network namespace is counted, and where its files are: in the caller's procfs, below a
//! process of any procfs, or in a saved sample.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};

use super::namespace::{Handle, Id, THREAD_NET, id, inside};
use super::sockstat;
use crate::error::{Error, errno};
use crate::namespaces::{Namespace, Origin, inode_at, processes, threads};
use crate::options::{Options, Target};

/// The namespace of a process, below its directory.
const NAMESPACE: &str = "ns/net";

/// A file that every namespace has. Its inode number is another in each one.
const SOCKSTAT: &str = "net/sockstat";

/// A network namespace and its files.
#[derive(Debug)]
pub(crate) struct Root {
    /// A procfs, the directory of a process in one, or a saved sample of either.
    pub(crate) path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The namespace of the calling thread; `path` is a procfs of the caller.
    Own,
    /// The namespace that the files in `path` describe; `path` is no procfs.
    Saved,
    /// The namespace of the process whose directory is `path`.
    Process(Process),
    /// The namespace that the file `path` is, which must have this inode number. It is held open
    /// from the first reading on.
    File(Option<u64>, OnceLock<Handle>),
}

#[derive(Debug)]
struct Process {
    /// The inode number that the namespace must have. If `None`, it is the one that the process is
    /// in at the first reading.
    inode: Option<u64>,
    held: OnceLock<Held>,
}

impl Root {
    /// What the options mean. Looks at what `proc_root` is, and opens nothing.
    pub(crate) fn of(options: &Options) -> Self {
        let path = &*options.proc_root;
        if let Some((pid, inode)) = options.target.process() {
            return Self::process(path.join(pid.to_string()), inode);
        }
        let file = |path, inode| Self {
            path,
            kind: Kind::File(inode, OnceLock::new()),
        };
        match &options.target {
            Target::File { path, inode } => return file(path.clone(), *inode),
            // No file leads to it: this is the name that one would have.
            Target::Namespace(Namespace { inode, pid: None }) => {
                return file(path.join(format!("net:[{inode}]")), Some(*inode));
            }
            _ => {}
        }
        if !is_procfs(path) {
            return path.into();
        }
        let own = Path::new(Options::PROC_ROOT);
        if path == own {
            return Self::own(path);
        }
        // The directory of a process that may not be looked at (hidepid=) has an unknown content.
        let has = |name| match fs::symlink_metadata(path.join(name)) {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::NotFound,
        };
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
        if has("ns") {
            Self::process(path.to_owned(), None)
        } else if !has("self") {
            path.into()
        } else if device(path) == device(own) {
            Self::own(path)
        } else {
            // `net` would be that of the calling process here as well.
            Self::process(path.join("1"), None)
        }
    }

    fn own(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            kind: Kind::Own,
        }
    }

    fn process(path: PathBuf, inode: Option<u64>) -> Self {
        let held = OnceLock::new();
        Self {
            path,
            kind: Kind::Process(Process { inode, held }),
        }
    }

    /// Whether netlink would count other connections than those of the files.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self.kind, Kind::Saved) && self.path != Path::new(Options::PROC_ROOT)
    }

    /// Opens the namespace of the process, if one is meant. All readings after the first are of
    /// this namespace.
    ///
    /// # Errors
    /// [`Error::NoProcess`]; [`Error::OtherNamespace`] if the process is in another one than it
    /// should be.
    pub(crate) fn hold(&self) -> Result<(), Error> {
        self.file()?;
        self.held().map(|_| ())
    }

    /// The namespace that a file is, if one is meant.
    fn file(&self) -> Result<Option<&Handle>, Error> {
        let Kind::File(inode, held) = &self.kind else {
            return Ok(None);
        };
        Ok(Some(match held.get() {
            Some(held) => held,
            None => {
                let opened = Handle::open(self.path.clone(), *inode)?;
                held.get_or_init(|| opened)
            }
        }))
    }

    fn held(&self) -> Result<Option<&Held>, Error> {
        let Kind::Process(Process { inode, held }) = &self.kind else {
            return Ok(None);
        };
        Ok(Some(match held.get() {
            Some(held) => held,
            None => {
                let opened = Held::new(&self.path, *inode)?;
                // Another thread may have been faster.
                held.get_or_init(|| opened)
            }
        }))
    }

    /// The namespace for netlink to enter; `None` for that of the calling thread.
    ///
    /// # Errors
    /// [`Error::Namespace`] if it may not be opened, or is one of a saved sample.
    pub(crate) fn namespace(&self) -> Result<Option<&Handle>, Error> {
        if let Some(file) = self.file()? {
            return Ok(Some(file));
        }
        self.held()?.map(Held::namespace).transpose()
    }

    /// Whether this is a network namespace in which there are no sockets, as its counters say: then
    /// no table has to be walked. `false` if it is that of the caller, or the counters cannot be
    /// read.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Process(_) | Kind::File(..))
            && sockstat::is_empty(|name| self.open_net(name))
    }

    /// Opens the file `name` of the network namespace. Where there is none, the error names
    /// `net/NAME`.
    pub(crate) fn open_net(&self, name: &str) -> Result<(PathBuf, File), Error> {
        if let Some(file) = self.file()? {
            return inside(Some(file), || open(Path::new(THREAD_NET).join(name)));
        }
        match (&self.kind, self.held()?) {
            (_, Some(held)) => held.open(name),
            (Kind::Own, None) => self.open_own(name, self.net(name)),
            (_, None) => open(self.net(name)),
        }
    }

    /// Opens `tcpstat` of the network namespace. In a procfs that is also a link to the file in
    /// `net`, and a saved sample may have one without the other.
    pub(crate) fn open_tcpstat(&self) -> Result<(PathBuf, File), Error> {
        const NAME: &str = "tcpstat";
        match self.kind {
            Kind::Own => self.open_own(NAME, self.path.join(NAME)),
            Kind::Process(_) | Kind::File(..) => self.open_net(NAME),
            Kind::Saved => match open(self.net(NAME)) {
                Err(Error::Open { error, .. }) if error.kind() == ErrorKind::NotFound => {
                    open(self.path.join(NAME))
                }
                opened => opened,
            },
        }
    }

    /// Opens the file `name` below `sys`, as the network namespace has it. That of another one is
    /// seen from inside alone, so that the namespace is entered.
    pub(crate) fn open_sysctl(&self, name: &str) -> Result<(PathBuf, File), Error> {
        match self.kind {
            Kind::Own | Kind::Saved => open(self.path.join("sys").join(name)),
            Kind::Process(_) | Kind::File(..) => {
                let own = Path::new(Options::PROC_ROOT).join("sys");
                inside(self.namespace()?, || open(own.join(name)))
            }
        }
    }

    /// `net` is a link to `self/net`, the namespace of the process's first thread, and is missing
    /// where a procfs is mounted with `subset=pid`. The calling thread's, which a netlink socket
    /// would belong to, is in `thread-self`. `known` is the usual name, for the error.
    fn open_own(&self, name: &str, known: PathBuf) -> Result<(PathBuf, File), Error> {
        match open(self.path.join("thread-self/net").join(name)) {
            Err(Error::Open { error, .. }) => Err(Error::open(&known, error)),
            opened => opened,
        }
    }

    fn net(&self, name: &str) -> PathBuf {
        self.path.join("net").join(name)
    }

    /// Whose connections are counted.
    pub(crate) fn origin(&self) -> Result<Origin, Error> {
        if let Some(file) = self.file()? {
            return Ok(Origin::Namespace {
                inode: file.inode(),
                path: self.path.clone(),
            });
        }
        let held = self.held()?;
        let path = match (&self.kind, held) {
            (_, Some(held)) => held.through(),
            (Kind::Own, None) => self.path.join("thread-self"),
            (_, None) => self.path.clone(),
        };
        let link = path.join(NAMESPACE);
        let inode = match (&self.kind, held) {
            (_, Some(held)) => held.inode,
            (Kind::Own, None) => inode_at(&link)?,
            (_, None) => None,
        };
        Ok(match inode {
            Some(inode) => Origin::Namespace { inode, path: link },
            None if held.is_none() && !self.is_elsewhere() => Origin::Own,
            None => Origin::Files {
                path: path.join("net"),
            },
        })
    }
}

/// A saved sample.
impl From<&Path> for Root {
    fn from(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            kind: Kind::Saved,
        }
    }
}

/// The network namespace of a process at the first reading. It lasts as long as this.
#[derive(Debug)]
struct Held {
    /// It is opened by whoever may look at the process (`ptrace(2)`); a saved sample has none.
    namespace: Result<Handle, Errno>,
    inode: Option<u64>,
    /// For everyone else: an open file of the namespace. While it is open, its inode number is of
    /// this namespace only.
    sockstat: Option<(File, Id)>,
    /// The directory of a process or thread in the namespace. Another takes its place if it ends
    /// or moves to another namespace.
    through: Mutex<PathBuf>,
    /// Whether nothing may take its place: another process is then asked for by the caller.
    stays: bool,
}

impl Held {
    fn new(process: &Path, inode: Option<u64>) -> Result<Self, Error> {
        let open = |process: &Path| Handle::open(process.join(NAMESPACE), inode);
        let is_missing = |opened: &Result<Handle, Error>| match opened {
            Err(Error::Namespace { error, .. }) => {
                matches!(errno(error), Errno::ENOENT | Errno::ESRCH)
            }
            _ => false,
        };
        let mut through = process.to_owned();
        let mut opened = open(&through);
        if is_missing(&opened) {
            if !process.exists() {
                let path = process.to_owned();
                return Err(Error::NoProcess { path });
            }
            // The first thread has ended, and others may go on.
            let others = threads(process).map(|thread| (open(&thread), thread));
            if let Some(other) = { others }.find(|(opened, _)| !is_missing(opened)) {
                (opened, through) = other;
            }
        }
        let may_go_on = opened
            .as_ref()
            .map_or_else(Error::is_absence_or_refusal, |_| true);
        let namespace = match opened {
            Ok(handle) => Ok(handle),
            Err(Error::Namespace { error, .. }) if may_go_on => Err(errno(&error)),
            Err(error) => return Err(error),
        };
        let sockstat = match namespace {
            Err(_) => identified(through.join(SOCKSTAT)),
            Ok(_) => None,
        };
        // A process without either has ended, and its number may soon be another's.
        let is_gone = matches!(namespace, Err(Errno::ENOENT | Errno::ESRCH)) && sockstat.is_none();
        if is_gone && is_procfs(process) {
            let path = process.to_owned();
            return Err(Error::NoProcess { path });
        }
        Ok(Self {
            inode: inode.or(namespace.as_ref().ok().map(Handle::inode)),
            namespace,
            sockstat,
            through: Mutex::new(through),
            stays: inode.is_some(),
        })
    }

    fn namespace(&self) -> Result<&Handle, Error> {
        self.namespace.as_ref().map_err(|errno| Error::Namespace {
            path: self.through().join(NAMESPACE),
            error: io::Error::from(*errno),
        })
    }

    fn through(&self) -> PathBuf {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, PathBuf> {
        self.through.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the file `net/NAME` of the namespace.
    fn open(&self, name: &str) -> Result<(PathBuf, File), Error> {
        let through = self.through();
        if let Some(opened) = self.open_through(&through, name) {
            return opened;
        }
        if let (true, Some(inode)) = (self.stays, self.inode) {
            let path = through.join(NAMESPACE);
            return Err(Error::OtherNamespace { path, inode });
        }
        let enter = |handle| inside(Some(handle), || open(Path::new(THREAD_NET).join(name)));
        let refused = match self.namespace().and_then(enter) {
            Err(Error::Namespace { error, .. } | Error::Thread { error, .. }) => error,
            opened => return opened,
        };
        let procfs = through.parent().unwrap_or(&through);
        let others = processes(procfs).unwrap_or_default().into_iter();
        let others = others.map(|pid| procfs.join(pid.to_string()));
        for other in threads(&through).chain(others) {
            if let Some(opened) = self.open_through(&other, name) {
                *self.lock() = other;
                return opened;
            }
        }
        Err(Error::Left {
            path: through,
            error: refused,
        })
    }

    /// The same below this process's directory; `None` if it is not in the namespace.
    fn open_through(&self, process: &Path, name: &str) -> Option<Result<(PathBuf, File), Error>> {
        // A file belongs to the namespace that the process is in when it is opened; the file does
        // not say which that is.
        let is_in = || match (self.inode, &self.sockstat) {
            (Some(inode), _) => {
                inode_at(&process.join(NAMESPACE)).is_ok_and(|at| at == Some(inode))
            }
            (None, Some((_, expected))) => fs::metadata(process.join(SOCKSTAT))
                .is_ok_and(|metadata| id(&metadata) == *expected),
            (None, None) => true,
        };
        if !is_in() {
            return None;
        }
        let opened = open(process.join("net").join(name));
        // None of its files could be opened: one that can be is another process's.
        let is_unknown = self.inode.is_none() && self.sockstat.is_none();
        if is_unknown && opened.is_ok() && is_procfs(process) {
            return None;
        }
        is_in().then_some(opened)
    }
}

/// Whether `path` is in a live procfs, and not in a saved sample.
fn is_procfs(path: &Path) -> bool {
    statfs(path).is_ok_and(|is| is.filesystem_type() == PROC_SUPER_MAGIC)
}

fn identified(path: PathBuf) -> Option<(File, Id)> {
    let (_, file) = open(path).ok()?;
    let id = id(&file.metadata().ok()?);
    Some((file, id))
}

/// Opens a file of a procfs, or of a saved sample: neither is a FIFO or a device, on which `open`
/// and `read` could wait.
pub(crate) fn open(path: PathBuf) -> Result<(PathBuf, File), Error> {
    let irregular = || io::Error::other("not a regular file");
    let open = || {
        let mut options = File::options();
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let opened = options.read(true).custom_flags(flags.bits()).open(&path);
        let file = opened.map_err(|error| match errno(&error) {
            Errno::ENXIO => irregular(),
            _ => error,
        })?;
        let kind = file.metadata()?.file_type();
        // A directory is refused when it is read (EISDIR).
        if kind.is_file() || kind.is_dir() {
            Ok(file)
        } else {
            Err(irregular())
        }
    };
    match open() {
        Ok(file) => Ok((path, file)),
        Err(error) => Err(Error::open(&path, error)),
    }
}
