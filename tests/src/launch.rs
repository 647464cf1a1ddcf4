// SPDX-License-Identifier: GPL-2.0-only

//! Running the machine's command: in a process group of its own, with its output kept, and ended with all it
//! started, at the latest when its time is up.

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

/// How often the command is looked at.
const TICK: Duration = Duration::from_millis(20);

/// How long the output may stay open after the whole process group is gone. Only a process that has left the
/// group can hold it.
const DRAIN: Duration = Duration::from_secs(2);

/// Makes SIGINT, SIGTERM and SIGHUP set the answer, instead of ending this program and leaving the machine.
pub fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signal_hook::flag::register(signal as i32, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Runs `command` for at most `timeout`, and gives how it ended and what it wrote (output and errors, as they
/// came). The same goes to the file `save`, and if asked for to standard output, while it runs.
///
/// An error means that the command could not be started, or `save` not be written.
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
    // The command holds the pipe's other end; without this the reader would never see its end.
    drop(command);

    let (sender, output) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        let result = loop {
            match reader.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(n) => {
                    if echo {
                        // Nobody listening is no reason to stop.
                        let mut stdout = io::stdout();
                        let _ = stdout.write_all(&buffer[..n]).and_then(|()| stdout.flush());
                    }
                    if let Err(e) = file.write_all(&buffer[..n]) {
                        break Err(e);
                    }
                    let _ = sender.send(Ok(buffer[..n].to_vec()));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
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

/// Waits for the end of `child`, and sees to it that nothing of its process group outlives it.
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
    // The child is not reaped yet, so the number of the group is still its own.
    match killpg(group, Signal::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(e) => return Err(e.into()),
    }
    let status = child.wait()?;
    Ok(early.unwrap_or_else(|| end_of(status)))
}

/// Whether the process has ended; it stays to be reaped.
fn has_ended(pid: Pid) -> io::Result<bool> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(pid), flags) {
        Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::EINTR) => Ok(false),
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
