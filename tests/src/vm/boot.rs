// SPDX-License-Identifier: GPL-2.0-only

//! The start and the end of the machine, for the process that is its init.

use std::error::Error;
use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios::{self, SetArg};
use nix::unistd;

use super::{Outcome, leaks, module, on_debug_kernel, runner};
use crate::ktap;
use crate::netns;

/// The port that carries the results and nothing else.
const VERDICT_PORT: &str = "/dev/ttyS1";

/// What the kernel's command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// Run the scenarios.
    Test,
    /// `tcpstat.shell`: a shell for people.
    Shell,
    /// `tcpstat.fault=…`: misbehave, for the harness's own tests.
    Fault(Fault),
}

/// Ways of misbehaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The kernel panics.
    Panic,
    /// Nothing happens any more.
    Hang,
    /// The machine ends without results.
    Silent,
    /// The results are good, but the kernel's log has a warning.
    Warn,
    /// The debug kernel is given a module that does wrong in every way of [`FAULTY`]. It must complain of each in its
    /// log, and kmemleak must find the leak.
    Faulty,
}

/// What the faulty module does, one after the other. Lockdep turns itself off after its own complaint and after KASAN's,
/// so that these come last.
const FAULTY: [&CStr; 6] = [
    c"kind=leak",
    c"kind=lockup",
    c"kind=hang",
    c"kind=sleep",
    c"kind=inversion",
    c"kind=free",
];

/// The word that says that this is the debug kernel.
pub const DEBUG: &str = "tcpstat.debug";

/// How the word begins that says what random mixes are made from.
pub const SEED: &str = "tcpstat.seed=";

impl Task {
    fn from_cmdline(cmdline: &str) -> Result<Task, String> {
        let mut task = Task::Test;
        for word in cmdline.split_whitespace() {
            task = match word {
                "tcpstat.shell" => Task::Shell,
                "tcpstat.fault=panic" => Task::Fault(Fault::Panic),
                "tcpstat.fault=hang" => Task::Fault(Fault::Hang),
                "tcpstat.fault=silent" => Task::Fault(Fault::Silent),
                "tcpstat.fault=warn" => Task::Fault(Fault::Warn),
                "tcpstat.fault=faulty" => Task::Fault(Fault::Faulty),
                DEBUG => task,
                other if other.starts_with(SEED) => task,
                other if other.starts_with("tcpstat.") => {
                    return Err(format!(
                        "the kernel's command line has {other:?}, which means nothing here"
                    ));
                }
                _ => task,
            };
        }
        Ok(task)
    }
}

/// What init does, from the first instruction to the end of the machine.
pub fn main() -> ! {
    if let Err(e) = start().and_then(perform) {
        say(&format!("init: {e}"));
    }
    end(RebootMode::RB_AUTOBOOT)
}

/// Mounts what every program expects, and finds out what to do.
fn start() -> Result<Task, Box<dyn Error>> {
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
    ] {
        mount_at(kind, at)?;
    }
    if on_debug_kernel() {
        mount_at("debugfs", "/sys/kernel/debug")?;
        // Only the scenario that asks for the times of locks is to pay for them.
        fs::write("/proc/sys/kernel/lock_stat", "0")?;
    }
    // Without a /dev/console in the initramfs, the kernel starts init without descriptors.
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/console")?;
    unistd::dup2_stdin(&console)?;
    unistd::dup2_stdout(&console)?;
    unistd::dup2_stderr(&console)?;
    // Every message goes to the console, whatever `quiet` says there: a splat is to be seen.
    fs::write("/proc/sys/kernel/printk", "8")?;
    netns::loopback_up()?;
    Ok(Task::from_cmdline(&fs::read_to_string("/proc/cmdline")?)?)
}

fn mount_at(kind: &str, at: &str) -> Outcome {
    fs::create_dir_all(at)?;
    mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)
        .map_err(|e| format!("mounting {at}: {e}"))?;
    Ok(())
}

fn perform(task: Task) -> Outcome {
    match task {
        Task::Test => {
            let loaded = module::load_all();
            let mut verdict = verdict_port()?;
            runner::run_all(loaded, |text| report(&mut verdict, text))?;
            termios::tcdrain(&verdict)?;
        }
        Task::Shell => {
            // People type here: warnings and worse only.
            fs::write("/proc/sys/kernel/printk", "5")?;
            if let Err(e) = module::load_all() {
                say(&e.to_string());
            }
            shell()?;
        }
        Task::Fault(fault) => misbehave(fault)?,
    }
    Ok(())
}

fn misbehave(fault: Fault) -> Outcome {
    // For who must know that the machine came as far as this: scripts/vm-test looks for it.
    say(&format!("init: misbehaves as it was told: {fault:?}"));
    match fault {
        Fault::Panic => fs::write("/proc/sysrq-trigger", "c")?,
        Fault::Hang => loop {
            sleep(Duration::from_secs(3600));
        },
        Fault::Silent => {}
        Fault::Warn => {
            fs::write(
                "/dev/kmsg",
                "<4>WARNING: planted.c:1 at planted+0x1/0x2, CPU#0: init/1\n",
            )?;
            good_result("a warning was planted")?;
        }
        Fault::Faulty => {
            // A second each, to be seen after two.
            for setting in ["watchdog_thresh", "hung_task_timeout_secs"] {
                fs::write(Path::new("/proc/sys/kernel").join(setting), "1")?;
            }
            for kind in FAULTY {
                module::load_faulty(kind)?;
            }
            let leaked = leaks::nothing_leaked();
            let notes = leaked
                .as_ref()
                .err()
                .map(ToString::to_string)
                .unwrap_or_default();
            one_result("nothing is leaked", leaked.is_ok(), &notes)?;
        }
    }
    Ok(())
}

fn good_result(name: &str) -> Outcome {
    one_result(name, true, "")
}

/// The verdict of a run with one test.
fn one_result(name: &str, passed: bool, notes: &str) -> Outcome {
    let mut verdict = verdict_port()?;
    let text = ktap::header(1) + &ktap::result(1, name, passed, notes);
    report(&mut verdict, &text)?;
    Ok(termios::tcdrain(&verdict)?)
}

/// The verdict port, set to change nothing that is written to it.
fn verdict_port() -> Result<File, Box<dyn Error>> {
    let wrong = |e: io::Error| format!("the verdict port {VERDICT_PORT}: {e}");
    let port = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(VERDICT_PORT)
        .map_err(wrong)?;
    let mut settings = termios::tcgetattr(&port).map_err(|e| wrong(e.into()))?;
    termios::cfmakeraw(&mut settings);
    termios::tcsetattr(&port, SetArg::TCSANOW, &settings).map_err(|e| wrong(e.into()))?;
    Ok(port)
}

/// Writes results to the verdict port, and to the console for people.
fn report(verdict: &mut File, text: &str) -> io::Result<()> {
    say(text.trim_end());
    verdict.write_all(text.as_bytes())
}

/// A line on the console, if there is one.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A shell on the console, with job control, until it ends.
fn shell() -> Outcome {
    const BUSYBOX: &str = "/bin/busybox";
    // Without links to it, busybox's own commands are only reached by their long form.
    Command::new(BUSYBOX)
        .args(["--install", "-s", "/bin"])
        .status()
        .map_err(|e| format!("{BUSYBOX}: {e}"))?;
    // /dev/console cannot control a session; what stands behind it can.
    let active = fs::read_to_string("/sys/class/tty/console/active")?;
    let name = active
        .split_whitespace()
        .last()
        .ok_or("no console is active")?;
    let tty = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(Path::new("/dev").join(name))?;
    say(
        "\nThe module is loaded if /proc/tcpstat exists. Try: cat /proc/tcpstat; tcpstat --format table; rmmod tcpstat",
    );
    say("exit or Ctrl-D ends the machine.\n");
    Command::new(BUSYBOX)
        .args(["setsid", "-c", BUSYBOX, "sh"])
        .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
        .env("HOME", "/")
        .env("PS1", "tcpstat-vm# ")
        .stdin(Stdio::from(tty.try_clone()?))
        .stdout(Stdio::from(tty.try_clone()?))
        .stderr(Stdio::from(tty))
        .status()?;
    end(RebootMode::RB_AUTOBOOT)
}

/// Ends the machine; where that is refused, at least init must not return.
fn end(how: RebootMode) -> ! {
    unistd::sync();
    let Err(e) = reboot(how);
    say(&format!("init: ending the machine: {e}"));
    // The kernel panics when init exits, and panic=-1 ends the machine.
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_what_to_do() {
        let task = |words: &str| Task::from_cmdline(&format!("console=ttyS0 {words} panic=-1\n"));
        assert_eq!(task(""), Ok(Task::Test));
        assert_eq!(task("tcpstat.shell"), Ok(Task::Shell));
        assert_eq!(task("tcpstat.fault=hang"), Ok(Task::Fault(Fault::Hang)));
        assert_eq!(
            task("tcpstat.debug tcpstat.fault=faulty"),
            Ok(Task::Fault(Fault::Faulty))
        );
        assert_eq!(task("tcpstat.debug tcpstat.seed=7"), Ok(Task::Test));
        assert!(task("tcpstat.fault=hung").is_err());
    }
}
