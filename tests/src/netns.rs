// SPDX-License-Identifier: GPL-2.0-only

//! New network namespaces, with the loopback up, for threads of the tests.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Moves this thread into a new network namespace and brings its loopback up.
///
/// Only this thread: `/proc/net` still shows the namespace of the process's first thread, so other
/// threads read [`THREAD_NET`]. Needs `CAP_SYS_ADMIN`.
pub fn enter_new() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| failed("unshare(CLONE_NEWNET)", e))?;
    loopback_up()
}

/// Whether the calling test must be skipped because this process cannot make network namespaces. If
/// so, prints why, on standard error even where the output of tests is captured.
///
/// # Panics
/// If the test would have to be skipped and the environment variable `CI` is set, or if something
/// else than a missing right is the reason.
pub fn must_skip() -> bool {
    static PROBLEM: OnceLock<Option<io::Error>> = OnceLock::new();
    let Some(problem) = PROBLEM.get_or_init(|| in_new(|| ()).err()) else {
        return false;
    };
    let thread = thread::current();
    let why = format!(
        "{}: cannot make a network namespace: {problem}; run the tests as root, or with `scripts/cargo test`",
        thread.name().unwrap_or("a test")
    );
    let is_refused = problem.kind() == io::ErrorKind::PermissionDenied;
    assert!(is_refused && env::var_os("CI").is_none(), "{why}");
    // `eprintln!` would be captured, and not shown for a test that passes.
    let _ = io::stderr().write_all(format!("skipped: {why}\n").as_bytes());
    true
}

/// The inode number of the network namespace of the process `pid`.
pub fn of_process(pid: u32) -> io::Result<u64> {
    Ok(fs::metadata(format!("/proc/{pid}/ns/net"))?.ino())
}

/// Which hash table holds the connections of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The table that namespaces share by default.
    Shared,
    /// A table of its own, with [`Table::BUCKETS`] buckets.
    Own,
}

/// The sysctl that sets the size of the tables of new child namespaces, since Linux 6.1.
const CHILD_BUCKETS: &str = "net/ipv4/tcp_child_ehash_entries";

impl Table {
    /// Both.
    pub const ALL: [Table; 2] = [Table::Shared, Table::Own];

    /// Few buckets, so that there are chains of several sockets.
    pub const BUCKETS: i32 = 64;

    /// Makes the new child namespaces of this thread's namespace use this table.
    pub fn for_children(self) -> io::Result<()> {
        match self {
            Table::Shared => Table::set_child_buckets(0),
            Table::Own => Table::set_child_buckets(Table::BUCKETS),
        }
    }

    /// Makes the new child namespaces of this thread's namespace have a table of `buckets` buckets,
    /// or share the table if that is 0.
    pub fn set_child_buckets(buckets: i32) -> io::Result<()> {
        set_sysctl(CHILD_BUCKETS, &buckets.to_string())
    }

    /// The file that makes new namespaces have a table of their own; older kernels lack it.
    pub fn own_is_set_by() -> PathBuf {
        sysctl_path(CHILD_BUCKETS)
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

/// The `net` directory of the calling thread, which shows the thread's namespace.
pub const THREAD_NET: &str = "/proc/thread-self/net";

/// Runs `work` on a new thread in a new network namespace, and gives its result.
///
/// # Panics
/// If `work` panics.
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

/// Writes `value` to the sysctl `name`, such as `net/ipv4/tcp_fastopen`, in this thread's
/// namespace.
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
