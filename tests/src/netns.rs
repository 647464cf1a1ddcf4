// SPDX-License-Identifier: GPL-2.0-only

//! Network namespaces of one's own, with a loopback that is up.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Moves this thread into a new network namespace and brings its loopback up.
///
/// Only this thread: `/proc/net` goes on showing the namespace of the process's first thread, so other
/// threads read [`THREAD_NET`]. Needs `CAP_SYS_ADMIN`.
pub fn enter_new() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| failed("unshare(CLONE_NEWNET)", e))?;
    loopback_up()
}

/// Where the kernel has the connections of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// In the hash table that namespaces share, unless they were made otherwise.
    Shared,
    /// In a table of its own, which has [`Table::BUCKETS`].
    Own,
}

impl Table {
    /// Both.
    pub const ALL: [Table; 2] = [Table::Shared, Table::Own];

    /// Few, so that they have chains.
    pub const BUCKETS: i32 = 64;

    /// Has namespaces that are made from this thread's one use this table.
    pub fn for_children(self) -> io::Result<()> {
        let buckets = match self {
            Table::Shared => 0,
            Table::Own => Table::BUCKETS,
        };
        set_sysctl("net/ipv4/tcp_child_ehash_entries", &buckets.to_string())
    }

    /// The table of this thread's namespace, which must not be the initial one.
    pub fn of_this_thread() -> io::Result<Table> {
        // Negative where it is shared (`proc_tcp_ehash_entries`).
        let buckets = sysctl("net/ipv4/tcp_ehash_entries")?;
        match buckets.parse() {
            Ok(Table::BUCKETS) => Ok(Table::Own),
            Ok(..0) => Ok(Table::Shared),
            _ => Err(io::Error::other(format!("a table of {buckets} buckets"))),
        }
    }
}

/// The `net` directory of the calling thread, which is that of its own namespace.
pub const THREAD_NET: &str = "/proc/thread-self/net";

/// Runs `work` on a thread of its own in a new network namespace, and gives its answer.
///
/// # Panics
/// If `work` does.
pub fn in_new<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(|| enter_new().map(|()| work()))
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Brings the loopback of this thread's namespace up, as `ip link set lo up` does.
pub fn loopback_up() -> io::Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(|e| failed("socket", e))?;
    // SAFETY: `ifreq` is plain data; all zeros is a valid value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives until the call returns.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) } {
        0 => Ok(()),
        _ => Err(failed("bringing lo up", io::Error::last_os_error())),
    }
}

/// Writes `value` to the sysctl `name`, such as `net/ipv4/tcp_fastopen`, in this thread's namespace.
pub fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    let path = sysctl_path(name);
    fs::write(&path, value)
        .map_err(|e| failed(&format!("writing {value} to {}", path.display()), e))
}

/// Reads the sysctl `name` in this thread's namespace, without the newline at its end.
pub fn sysctl(name: &str) -> io::Result<String> {
    let path = sysctl_path(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(e) => Err(failed(&format!("reading {}", path.display()), e)),
    }
}

fn sysctl_path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

fn failed(what: &str, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
