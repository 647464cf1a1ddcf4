// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the files of a network namespace are: a procfs, or a process's directory in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::namespace::Handle;
use crate::error::{Error, errno};
use crate::namespaces::inode_at;
use crate::options::Options;

#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    /// The inode number of the network namespace that the files must be of; if `None`, of any.
    inode: Option<u64>,
    /// Whether it is a process's directory.
    pub(crate) is_process: bool,
}

impl Root {
    /// The root that `options` name.
    pub(crate) fn of(options: &Options) -> Self {
        match options.target.pid() {
            None => Self::from(&*options.proc_root),
            Some(pid) => Self {
                path: options.proc_root.join(pid.to_string()),
                inode: options.target.inode(),
                is_process: true,
            },
        }
    }

    /// The process's network namespace, for netlink to enter; `None` if it is not a process's
    /// directory.
    pub(crate) fn namespace(&self) -> Result<Option<Handle>, Error> {
        let open = || Handle::open(self.namespace_path(), self.inode);
        self.is_process.then(open).transpose()
    }

    /// Fails if the process is not there.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_process && !self.path.exists() {
            return Err(Error::NoProcess {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    /// Opens the file `name` of the network namespace; if there is none, the error names
    /// `net/NAME`.
    ///
    /// In `/proc`, this is the namespace of the calling thread, as it is for a netlink socket:
    /// `/proc/net` is a link to `self/net`, which is that of the process's first thread. A procfs
    /// mounted with `subset=pid` has no `net`.
    pub(crate) fn open_net(&self, name: &str) -> Result<(PathBuf, File), Error> {
        // A file belongs to the namespace that the process is in when it is opened, and does not
        // say which one.
        self.check_namespace()?;
        let opened = self.open_first(name);
        self.check_namespace()?;
        opened
    }

    fn open_first(&self, name: &str) -> Result<(PathBuf, File), Error> {
        let here = self.path == Path::new(Options::PROC_ROOT);
        let directories = [
            here.then_some("thread-self/net"),
            Some("net"),
            Some("self/net"),
        ];
        for directory in directories.into_iter().flatten() {
            match open(self.path.join(directory).join(name)) {
                Err(Error::Open { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
        }
        open(self.path.join("net").join(name))
    }

    /// Fails if the process is in another namespace than it should be.
    fn check_namespace(&self) -> Result<(), Error> {
        let Some(inode) = self.inode else {
            return Ok(());
        };
        let path = self.namespace_path();
        if inode_at(&path)? == Some(inode) {
            Ok(())
        } else {
            Err(Error::OtherNamespace { path, inode })
        }
    }

    fn namespace_path(&self) -> PathBuf {
        self.path.join("ns/net")
    }
}

/// A procfs, or a directory like one.
impl From<&Path> for Root {
    fn from(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            inode: None,
            is_process: false,
        }
    }
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
