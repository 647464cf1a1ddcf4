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

use super::reading::UNPRIVILEGED;
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

/// What [`cat_unprivileged`] starts.
pub fn cat(path: &str) -> Outcome {
    print!("{}", fs::read_to_string(path)?);
    io::stdout().flush()?;
    Ok(())
}

/// Processes without privileges that repeat their work until this is dropped, each with the file
/// that is its standard output.
pub(super) struct Loops(Vec<(Child, File)>);

impl Loops {
    /// Starts this program once with each of the lists of `arguments`.
    pub(super) fn start(arguments: &[&[&str]]) -> io::Result<Loops> {
        let mut loops = Loops(Vec::new());
        for arguments in arguments {
            let output = File::options()
                .write(true)
                .custom_flags(libc::O_TMPFILE)
                .open("/tmp")?;
            let child = Command::new(env::current_exe()?)
                .args(*arguments)
                .uid(UNPRIVILEGED)
                .gid(UNPRIVILEGED)
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .spawn()?;
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
