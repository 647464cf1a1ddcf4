// SPDX-License-Identifier: GPL-2.0-only

//! Processes that help a scenario: this same program, started again with other arguments.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use super::reading::{NAMESPACES, UNPRIVILEGED};
use super::scenario::{Outcome, ensure, fail};
use crate::holder::{self, Holder};
use crate::netns;
use crate::sockets::Mix;

/// Starts a process that holds sockets in a new network namespace, and waits until they exist. The
/// namespace is a child of the caller's.
pub(super) fn start_holder(mix: &Mix) -> Result<Holder, Box<dyn Error>> {
    let mut holder = Holder::start(&["hold", &mix.to_string()])?;
    holder
        .wait_until_ready()
        .map_err(|e| format!("holding {mix}: {e}"))?;
    Ok(holder)
}

/// What [`start_holder`] starts.
pub fn hold(mix: &str) -> Outcome {
    let mix: Mix = mix.parse()?;
    netns::enter_new()?;
    let fixture = mix.make()?;
    holder::hold(&fixture.expected())?;
    Ok(fixture.check()?)
}

/// The text of the file at `path`, as a process without privileges reads it.
pub(super) fn cat_unprivileged(path: &str) -> Result<String, Box<dyn Error>> {
    let output = Command::new(env::current_exe()?)
        .args(["cat", path])
        .uid(UNPRIVILEGED)
        .gid(UNPRIVILEGED)
        .output()?;
    if !output.status.success() {
        fail!(
            "reading {path} without privileges: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The text of the file at `path`, as `who` reads it, or what that process says on standard error.
pub(super) fn cat_as(who: &str, path: &str) -> Result<Result<String, String>, Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    match who {
        "an unprivileged user" => command
            .args(["cat", path])
            .uid(UNPRIVILEGED)
            .gid(UNPRIVILEGED),
        "root of a container" => command.args(["cat-in-container", path]),
        "root of a user namespace" => command.args(["cat-in-user-namespace", path]),
        _ => fail!("nobody is {who}"),
    };
    let output = command.output()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    })
}

/// The capabilities that Docker leaves to root of a container, by their numbers
/// (`include/uapi/linux/capability.h`): CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID,
/// SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
const OF_CONTAINER: [u32; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];

/// Reads as root of a container without a user namespace.
pub fn cat_in_container(path: &str) -> Outcome {
    // CAP_LAST_CAP is about 40.
    for capability in (0..64).filter(|capability| !OF_CONTAINER.contains(capability)) {
        // SAFETY: This takes no pointers.
        let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability) };
        match io::Error::last_os_error() {
            _ if dropped == 0 => {}
            // There is no such capability.
            e if e.raw_os_error() == Some(libc::EINVAL) => {}
            e => return Err(format!("dropping capability {capability}: {e}").into()),
        }
    }
    // A new program has what is left.
    Err(Command::new(env::current_exe()?)
        .args(["cat", path])
        .exec()
        .into())
}

/// Reads as root of a user namespace, whose root is that of the machine by its number.
pub fn cat_in_user_namespace(path: &str) -> Outcome {
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/self/{map}"), "0 0 1")?;
    }
    cat(path)
}

/// What [`cat_unprivileged`] starts.
pub fn cat(path: &str) -> Outcome {
    print!("{}", fs::read_to_string(path)?);
    io::stdout().flush()?;
    Ok(())
}

/// Processes that repeat their work until this is dropped, each with the file
/// that is its standard output.
pub(super) struct Loops(Vec<(Child, File)>);

impl Loops {
    /// Starts this program once with each of the lists of `arguments`; as root if it reads
    /// [`NAMESPACES`].
    pub(super) fn start(arguments: &[&[&str]]) -> io::Result<Loops> {
        let mut loops = Loops(Vec::new());
        for arguments in arguments {
            let output = File::options()
                .write(true)
                .custom_flags(libc::O_TMPFILE)
                .open("/tmp")?;
            let mut command = Command::new(env::current_exe()?);
            command
                .args(*arguments)
                .stdin(Stdio::null())
                .stdout(output.try_clone()?);
            if !arguments.contains(&NAMESPACES) {
                command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
            }
            let child = command.spawn()?;
            loops.0.push((child, output));
        }
        Ok(loops)
    }

    /// How often each process has done its work so far. Fails if one has ended, or has not done it
    /// once.
    pub(super) fn done(&mut self) -> Result<Vec<u64>, Box<dyn Error>> {
        let mut done = Vec::new();
        for (child, output) in &mut self.0 {
            if let Some(status) = child.try_wait()? {
                fail!("a process that should run on has ended: {status}");
            }
            done.push(output.metadata()?.len());
        }
        ensure!(
            !done.contains(&0),
            "a process that should work does nothing: {done:?}"
        );
        Ok(done)
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for (child, _) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Repeats `work` without end, and writes a byte to standard output each time.
fn run_loop(mut work: impl FnMut() -> io::Result<()>) -> Outcome {
    // Not through `io::stdout`, which buffers.
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    loop {
        work()?;
        output.write_all(b".")?;
    }
}

/// Reads the file at `path` without end.
pub fn read_loop(path: &str) -> Outcome {
    run_loop(|| match fs::read(path)?.len() {
        0 => Err(io::Error::other(format!("{path} is empty"))),
        _ => Ok(()),
    })
}

/// Computes without end, a million steps at a time.
pub fn busy_loop() -> Outcome {
    run_loop(|| {
        (0..1_000_000).for_each(|_| std::hint::spin_loop());
        Ok(())
    })
}

/// Sets the niceness of this thread, from -20, the highest priority, to 19: setpriority(2), which
/// on Linux is for a thread.
pub(super) fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: it takes and gives numbers only.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
