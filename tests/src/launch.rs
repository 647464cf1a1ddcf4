// SPDX-License-Identifier: GPL-2.0-only

//! Runs the machine's command in a process group of its own, keeps its output, and ends the whole
//! group, at the latest when its time is up.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, pipe2};

use crate::verdict::End;

/// How often the command is checked.
const TICK: Duration = Duration::from_millis(20);

/// How long the output may stay open after the end of the process group. Only a process that has
/// left the group can keep it open.
const DRAIN: Duration = Duration::from_secs(2);

/// Makes SIGINT, SIGTERM and SIGHUP set the flag that it returns, instead of ending this program
/// and leaving the machine behind. Interrupted system calls are restarted.
pub fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signal_hook::flag::register(signal as i32, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Runs `command` for at most `timeout`. Gives how it ended and what it wrote to standard output
/// and standard error. This also goes to the file `save` while it runs, and to standard output if
/// `echo` is set.
///
/// # Errors
/// If the command cannot be started or `save` cannot be written.
pub fn run(
    mut command: Command,
    timeout: Duration,
    save: &Path,
    echo: bool,
    stop: &AtomicBool,
) -> io::Result<(End, String)> {
    let wrong = |what: String, e: io::Error| io::Error::new(e.kind(), format!("{what}: {e}"));
    let mut file =
        File::create(save).map_err(|e| wrong(format!("cannot write {}", save.display()), e))?;
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let mut reader = File::from(reader);
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    let program = command.get_program().to_owned();
    let child = command
        .spawn()
        .map_err(|e| wrong(format!("cannot start {}", program.to_string_lossy()), e))?;
    // It holds the pipe's other end, and the reader waits until all of these are closed.
    drop(command);

    let (sender, output) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        let result = loop {
            match reader.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(n) => {
                    if echo {
                        // A closed standard output is no reason to stop.
                        let mut stdout = io::stdout();
                        let _ = stdout.write_all(&buffer[..n]).and_then(|()| stdout.flush());
                    }
                    if let Err(e) = file.write_all(&buffer[..n]) {
                        break Err(e);
                    }
                    let _ = sender.send(Ok(buffer[..n].to_vec()));
                }
                Err(e) => break Err(e),
            }
        };
        if let Err(e) = result {
            let _ = sender.send(Err(e));
        }
    });

    let end = wait(child, timeout, stop)?;
    let mut console = Vec::new();
    let deadline = Instant::now() + DRAIN;
    while let Ok(piece) = output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        console.extend(
            piece.map_err(|e| wrong(format!("keeping the console in {}", save.display()), e))?,
        );
    }
    Ok((end, String::from_utf8_lossy(&console).into_owned()))
}

/// Waits for the end of `child`, then kills what is left of its process group.
fn wait(mut child: Child, timeout: Duration, stop: &AtomicBool) -> io::Result<End> {
    let start = Instant::now();
    let group = Pid::from_raw(child.id() as i32);
    let early = loop {
        if has_ended(group)? {
            break None;
        }
        if stop.load(Ordering::Relaxed) {
            break Some(End::Interrupted);
        }
        if start.elapsed() >= timeout {
            break Some(End::Timeout(timeout.as_secs()));
        }
        thread::sleep(TICK);
    };
    // The child is not reaped yet, so no other process group can have its number.
    match killpg(group, Signal::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(e) => return Err(e.into()),
    }
    let status = child.wait()?;
    Ok(early.unwrap_or_else(|| end_of(status)))
}

/// Whether the process has ended. Does not reap it.
fn has_ended(pid: Pid) -> io::Result<bool> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(pid), flags) {
        Ok(WaitStatus::StillAlive) => Ok(false),
        Ok(_) => Ok(true),
        Err(e) => Err(e.into()),
    }
}

fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(0), _) => End::Success,
        (Some(code), _) => End::Failure(format!("exit code {code}")),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal).map_or("unknown", Signal::as_str);
            End::Failure(format!("killed by signal {signal} ({name})"))
        }
        (None, None) => End::Failure(status.to_string()),
    }
}
