// SPDX-License-Identifier: GPL-2.0-only

//! What helps a scenario: processes that are this same program, started again with other words; and room for
//! many descriptors.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tcpstat_census::counts::Counts;

use super::reading::NOBODY;
use super::{Outcome, ensure, fail};
use crate::naive;
use crate::netns;
use crate::sockets::Mix;

/// A process in a new network namespace that holds sockets there, until this is dropped.
pub struct Held {
    child: Child,
    stdin: Option<ChildStdin>,
    /// What there is to count in its namespace.
    pub expected: Counts,
}

impl Held {
    /// Starts it, and waits until its sockets are there. Its namespace is a child of the caller's.
    pub fn start(mix: &Mix) -> Result<Held, Box<dyn Error>> {
        let mut child = Command::new(env::current_exe()?)
            .arg("hold")
            .arg(mix.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let mut text = String::new();
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines().take(naive::NAMES.len()) {
                text += &(line? + "\n");
            }
        }
        let mut held = Held {
            child,
            stdin,
            expected: Counts::ZERO,
        };
        held.expected = naive::module_text(&text).map_err(|e| format!("holding {mix}: {e}"))?;
        Ok(held)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A file of its `/proc/PID/net`.
    pub fn net(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/net/{file}", self.pid()))
    }

    /// The files that the module publishes there.
    pub fn files(&self) -> [PathBuf; 2] {
        ["tcpstat", "tcpstat_services"].map(|file| self.net(file))
    }

    /// Ends it, and waits until it is gone; its namespace goes soon after.
    pub fn end(mut self) -> Outcome {
        drop(self.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "a process that held sockets: {status}");
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What [`Held`] starts: makes the sockets, prints their counts, and waits for the end of its input.
pub fn hold(mix: &str) -> Outcome {
    let mix: Mix = mix.parse()?;
    netns::enter_new()?;
    let fixture = mix.make()?;
    print!("{}", fixture.expected());
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    fixture.check()?;
    Ok(())
}

/// The text of the file at `path`, as a process without privileges reads it.
pub fn cat_as_nobody(path: &str) -> Result<String, Box<dyn Error>> {
    let output = Command::new(env::current_exe()?)
        .args(["cat", path])
        .uid(NOBODY)
        .gid(NOBODY)
        .output()?;
    if !output.status.success() {
        fail!(
            "reading {path} as nobody: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What [`cat_as_nobody`] starts.
pub fn cat(path: &str) -> Outcome {
    print!("{}", fs::read_to_string(path)?);
    io::stdout().flush()?;
    Ok(())
}

/// Processes without privileges that go on until this is dropped, each with the file that is its standard output.
pub struct Strays(Vec<(Child, File)>);

impl Strays {
    /// Starts one of this program with each of the `words`.
    pub fn start(words: &[&[&str]]) -> io::Result<Strays> {
        let mut strays = Strays(Vec::new());
        for words in words {
            let output = File::options()
                .write(true)
                .custom_flags(libc::O_TMPFILE)
                .open("/tmp")?;
            let child = Command::new(env::current_exe()?)
                .args(*words)
                .uid(NOBODY)
                .gid(NOBODY)
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .spawn()?;
            strays.0.push((child, output));
        }
        Ok(strays)
    }

    /// How often each has done what it does so far. Fails if one has ended, or has done nothing.
    pub fn done(&mut self) -> Result<Vec<u64>, Box<dyn Error>> {
        let mut done = Vec::new();
        for (child, output) in &mut self.0 {
            if let Some(status) = child.try_wait()? {
                fail!("a process that should go on has ended: {status}");
            }
            done.push(output.metadata()?.len());
        }
        ensure!(
            !done.contains(&0),
            "a process that should go on does nothing: {done:?}"
        );
        Ok(done)
    }
}

impl Drop for Strays {
    fn drop(&mut self) {
        for (child, _) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Does `work` without end, and says so with a byte each time.
fn go_on(mut work: impl FnMut() -> io::Result<()>) -> Outcome {
    // Not by way of `io::stdout`, which would keep some.
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    loop {
        work()?;
        output.write_all(b".")?;
    }
}

/// Reads the file at `path` without end.
pub fn read_on(path: &str) -> Outcome {
    go_on(|| match fs::read(path)?.len() {
        0 => Err(io::Error::other(format!("{path} is empty"))),
        _ => Ok(()),
    })
}

/// Computes without end, a million steps at a time.
pub fn spin() -> Outcome {
    go_on(|| {
        (0..1_000_000).for_each(|_| std::hint::spin_loop());
        Ok(())
    })
}

/// Sets how much this thread gives way to others, from 19 (to everyone) to -20 (to nobody): setpriority(2), which on
/// Linux is for a thread.
pub fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: It takes and gives numbers only.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets this process have `count` descriptors, and some.
pub fn allow_descriptors(count: u32) -> Outcome {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let enough = u64::from(count) + 100;
    Ok(setrlimit(
        Resource::RLIMIT_NOFILE,
        enough,
        hard.max(enough),
    )?)
}
