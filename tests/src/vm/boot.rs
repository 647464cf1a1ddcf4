// SPDX-License-Identifier: GPL-2.0-only

//! The start and the end of the machine, for the process that is its init.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios::{self, SetArg};
use nix::unistd;

use super::parameters::{self, DEBUG, SCENARIO, SEED, on_debug_kernel};
use super::scenario::Outcome;
use super::{leaks, module, runner};
use crate::ktap;
use crate::netns;

/// The port that carries the results and nothing else.
const VERDICT_PORT: &str = if cfg!(target_arch = "aarch64") {
    "/dev/ttyAMA1"
} else {
    "/dev/ttyS1"
};

/// What the kernel's command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// Run the scenarios.
    Test,
    /// `tcpstat.shell`: a shell for people.
    Shell,
    /// `tcpstat.fault=…`: misbehave, for the tests of the host's side.
    Fault(Fault),
}

/// Ways of misbehaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The kernel panics.
    Panic,
    /// Init does nothing any more.
    Hang,
    /// The machine ends without results.
    Silent,
    /// The results are good, but the kernel's log has a warning.
    Warn,
    /// The debug kernel is given a module with every fault of [`FAULTY`]. It must complain of each
    /// in its log, and kmemleak must find the leak.
    Faulty,
    /// The debug kernel is given a `tcpstat` whose walk does not take the RCU read lock.
    Unlocked,
    /// The machine is given a `tcpstat` in which a reading panics. With our own `kernel` crate the
    /// log must have the panic's text, and then a BUG.
    Panics,
}

/// The faults of the faulty module, one after the other. Lockdep turns itself off after its own
/// complaint and after KASAN's, so these come last.
const FAULTY: [&CStr; 6] = [
    c"kind=leak",
    c"kind=lockup",
    c"kind=hang",
    c"kind=sleep",
    c"kind=inversion",
    c"kind=free",
];

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
                "tcpstat.fault=unlocked" => Task::Fault(Fault::Unlocked),
                "tcpstat.fault=panics" => Task::Fault(Fault::Panics),
                DEBUG => task,
                other if other.starts_with(SEED) || other.starts_with(SCENARIO) => task,
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
    if let Err(e) = start().and_then(|()| perform()) {
        say(&format!("init: {e}"));
    }
    end()
}

/// Mounts the file systems that programs expect, opens the console and brings the loopback up. What
/// init does first.
pub fn start() -> Outcome {
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
    ] {
        mount_at(kind, at)?;
    }
    // Without a /dev/console in the initramfs, the kernel starts init without descriptors.
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/console")?;
    unistd::dup2_stdin(&console)?;
    unistd::dup2_stdout(&console)?;
    unistd::dup2_stderr(&console)?;
    Ok(netns::loopback_up()?)
}

fn mount_at(kind: &str, at: &str) -> Outcome {
    fs::create_dir_all(at)?;
    mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)
        .map_err(|e| format!("mounting {at}: {e}"))?;
    Ok(())
}

fn perform() -> Outcome {
    let task = Task::from_cmdline(&fs::read_to_string("/proc/cmdline")?)?;
    if on_debug_kernel() {
        mount_at("debugfs", "/sys/kernel/debug")?;
        // It slows every lock down. The scenario that needs it turns it on.
        fs::write("/proc/sys/kernel/lock_stat", "0")?;
    }
    // Every message goes to the console, whatever `quiet` says: splats must be seen. People who
    // type in the shell see warnings and worse only.
    let level = if task == Task::Shell { "5" } else { "8" };
    fs::write("/proc/sys/kernel/printk", level)?;
    match task {
        Task::Test => {
            let loaded = module::load_all();
            let scenario = parameters::value(SCENARIO)?;
            let mut verdict = verdict_port()?;
            runner::run_all(loaded, scenario.as_deref(), |text| {
                report(&mut verdict, text)
            })?;
            termios::tcdrain(&verdict)?;
        }
        Task::Shell => {
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
    // scripts/vm-test looks for this line, which shows that the machine came so far. By the
    // terminal, and by the kernel's log, which a panic writes out: what the terminal has not sent
    // is lost then.
    let line = format!("init: misbehaves as it was told: {fault:?}");
    say(&line);
    fs::write("/dev/kmsg", format!("<5>{line}\n"))?;
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
            one_result("a warning was planted", &ktap::Outcome::Passed, "")?;
        }
        Fault::Faulty => {
            // The kernel complains after twice this time, in seconds.
            for setting in ["watchdog_thresh", "hung_task_timeout_secs"] {
                fs::write(Path::new("/proc/sys/kernel").join(setting), "1")?;
            }
            for kind in FAULTY {
                module::load_faulty(kind)?;
            }
            let (outcome, notes) = match leaks::nothing_leaked() {
                Ok(()) => (ktap::Outcome::Passed, String::new()),
                Err(e) => (ktap::Outcome::Failed, e.to_string()),
            };
            one_result("nothing is leaked", &outcome, &notes)?;
        }
        Fault::Unlocked => read_with("unlocked.ko")?,
        Fault::Panics => read_with("panics.ko")?,
    }
    Ok(())
}

/// One reading of the module in the file `name`.
fn read_with(name: &str) -> Outcome {
    let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    module::load_file(name, c"")?;
    fs::read(module::FILES[0])?;
    one_result("the module reads", &ktap::Outcome::Passed, "")
}

/// The verdict of a run with one test.
fn one_result(name: &str, outcome: &ktap::Outcome, notes: &str) -> Outcome {
    let mut verdict = verdict_port()?;
    let text = ktap::header(1) + &ktap::result(1, name, outcome, notes);
    report(&mut verdict, &text)?;
    Ok(termios::tcdrain(&verdict)?)
}

/// The verdict port, in raw mode, in which it passes every byte on unchanged.
pub fn verdict_port() -> io::Result<File> {
    let wrong =
        |e: io::Error| io::Error::new(e.kind(), format!("the verdict port {VERDICT_PORT}: {e}"));
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
    // Without links to it, `ls` would have to be typed as `busybox ls`.
    Command::new(BUSYBOX)
        .args(["--install", "-s", "/bin"])
        .status()
        .map_err(|e| format!("{BUSYBOX}: {e}"))?;
    // /dev/console cannot be a controlling terminal; the device behind it can.
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
    Ok(())
}

/// Ends the machine.
pub fn end() -> ! {
    unistd::sync();
    let Err(e) = reboot(RebootMode::RB_AUTOBOOT);
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
        assert_eq!(task("tcpstat.scenario=\"two words\""), Ok(Task::Test));
        assert!(task("tcpstat.fault=hung").is_err());
    }
}
