// SPDX-License-Identifier: GPL-2.0-only

//! A pseudo terminal for commands that draw on one: what it shows, its keys, its size and its
//! settings.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::termios::{Termios, tcgetattr};
pub use vt100;

/// A pseudo terminal, and the screen that a person would see.
pub struct Terminal {
    /// The terminal emulator's side.
    ours: File,
    /// The commands' side.
    theirs: OwnedFd,
    parser: vt100::Parser,
}

/// How long to wait before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

impl Terminal {
    /// A terminal of this size.
    pub fn new(columns: u16, rows: u16) -> io::Result<Self> {
        // O_CLOEXEC: the commands are only told that our side is closed if no process has it any
        // more.
        let ours = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let theirs = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(ptsname_r(&ours)?)?;
        let ours = OwnedFd::from(ours);
        let mut terminal = Self {
            ours: ours.into(),
            theirs: theirs.into(),
            parser: vt100::Parser::new(rows, columns, 0),
        };
        terminal.resize(columns, rows)?;
        Ok(terminal)
    }

    /// Another handle of the commands' side: for their input, output or errors.
    pub fn handle(&self) -> io::Result<OwnedFd> {
        self.theirs.try_clone()
    }

    /// Starts `command` with this as its controlling terminal, and as its input, output and errors.
    pub fn start(&self, command: &mut Command) -> io::Result<Child> {
        command
            .stdin(self.handle()?)
            .stdout(self.handle()?)
            .stderr(self.handle()?);
        let take = || {
            nix::unistd::setsid()?;
            // A shell without job control makes background processes ignore these.
            for key in [Signal::SIGINT, Signal::SIGQUIT] {
                // SAFETY: no function is installed as a handler.
                unsafe { signal(key, SigHandler::SigDfl) }?;
            }
            // SAFETY: TIOCSCTTY takes a number.
            match unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: the calls of `take` are safe after a fork; it allocates nothing.
        unsafe { command.pre_exec(take) }.spawn()
    }

    /// Reads until the screen satisfies `is_so`.
    ///
    /// # Panics
    /// If it does not within a minute, with the contents of the screen.
    pub fn wait_for(&mut self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) {
        let start = Instant::now();
        while !is_so(self.parser.screen()) {
            let contents = self.parser.screen().contents();
            assert!(
                start.elapsed() < PATIENCE,
                "{what}: not on this screen:\n{contents}"
            );
            self.read(100u8.into()).unwrap();
        }
    }

    /// Reads until nothing has arrived for a tenth of a second: what is drawn is drawn to its end.
    pub fn settle(&mut self) -> io::Result<()> {
        while self.read(100u8.into())? {}
        Ok(())
    }

    /// Reads until `child` ends.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if it has not ended within a minute.
    pub fn wait(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        let start = Instant::now();
        loop {
            let ended = child.try_wait()?;
            // What it wrote before it ended can be read without waiting.
            while self.read(10u8.into())? {}
            if let Some(status) = ended {
                return Ok(status);
            }
            if start.elapsed() > PATIENCE {
                child.kill()?;
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Reads what has arrived. Gives whether something has, within `timeout`.
    fn read(&mut self, timeout: PollTimeout) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.ours.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, timeout)? == 0 {
            return Ok(false);
        }
        let mut bytes = [0; 4096];
        let read = self.ours.read(&mut bytes)?;
        self.parser.process(&bytes[..read]);
        Ok(read > 0)
    }

    /// The screen as last read.
    pub fn screen(&self) -> &vt100::Screen {
        self.parser.screen()
    }

    /// Presses keys, as the bytes that they send.
    pub fn press(&mut self, keys: &str) -> io::Result<()> {
        self.ours.write_all(keys.as_bytes())
    }

    /// Gives the terminal another size, of which the kernel informs the foreground processes
    /// (`SIGWINCH`).
    pub fn resize(&mut self, columns: u16, rows: u16) -> io::Result<()> {
        self.parser.set_size(rows, columns);
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: TIOCSWINSZ reads one `winsize`, which lives until the call returns.
        match unsafe { libc::ioctl(self.ours.as_raw_fd(), libc::TIOCSWINSZ, &size) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Fills its buffer, so that commands cannot write, as if the connection to the terminal hung.
    pub fn fill(&self) -> io::Result<()> {
        let mut theirs = File::options()
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
            .open(format!("/proc/self/fd/{}", self.theirs.as_raw_fd()))?;
        loop {
            match theirs.write(b" ") {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Its settings, as `stty -a` shows them.
    pub fn settings(&self) -> io::Result<Termios> {
        Ok(tcgetattr(&self.theirs)?)
    }
}
