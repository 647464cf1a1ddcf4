// SPDX-License-Identifier: GPL-2.0-only

//! The measurement of the module, in a virtual machine: inside, as its init; outside, starting it.
//!
//! The time of an emulated processor says little: finding a page costs it more than an instruction. So QEMU counts
//! instructions (`-icount`), and the machine's clocks go by these, 1 ns each: the same whatever else the host does, and
//! blind to the latency of memory. What is measured is the kernel's part: reading and throwing away, without starting
//! a process.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios::{self, SetArg};
use nix::time::{ClockId, clock_gettime};
use nix::unistd;
use tcpstat_census::counts::Counts;
use tcpstat_tests::vm::module;
use tcpstat_tests::{launch, naive, netns};

use crate::Outcome;
use crate::contenders;
use crate::crowd::{Crowd, Role};
use crate::drain::Source;
use crate::measure::measure;
use crate::results::{LeftOut, Machine, Row, Run, Size};

/// How many sockets the machine makes.
const SOCKETS: u64 = 100_000;

/// How many rounds it measures, unless the kernel's command line says `TCPSTAT_ROUNDS=…`: what the kernel does not
/// know is in the environment of its init.
const ROUNDS: usize = 5;

/// Where the machine has the command.
const TCPSTAT: &str = "/bin/tcpstat";

/// The module built with the obvious walk, in the machine.
const OBVIOUS: &str = "/modules/tcpstat-obvious.ko";

/// What stands before the results, and before the reason why there are none.
const RESULTS: &str = "results: ";
const FAILED: &str = "failed: ";

/// The port for the results.
const PORT: &str = "/dev/ttyS1";

/// The init of the machine: measures, says what came out, and ends the machine.
pub(crate) fn init() -> ! {
    let line = match start().and_then(|()| benchmark()) {
        Ok(results) => match serde_json::to_string(&results) {
            Ok(text) => format!("{RESULTS}{text}"),
            Err(e) => format!("{FAILED}{e}"),
        },
        Err(e) => format!("{FAILED}{e}"),
    };
    if let Err(e) = tell(&line) {
        println!("{line}\n{e}");
    }
    unistd::sync();
    let Err(e) = reboot(RebootMode::RB_AUTOBOOT);
    println!("ending the machine: {e}");
    // The kernel panics when init exits, and panic=-1 ends the machine.
    std::process::exit(1)
}

fn start() -> Outcome {
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
    ] {
        fs::create_dir_all(at)?;
        mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)
            .map_err(|e| format!("mounting {at}: {e}"))?;
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

fn tell(line: &str) -> Outcome {
    let mut port = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(PORT)?;
    let mut settings = termios::tcgetattr(&port)?;
    termios::cfmakeraw(&mut settings);
    termios::tcsetattr(&port, SetArg::TCSANOW, &settings)?;
    port.write_all(format!("{line}\n").as_bytes())?;
    Ok(termios::tcdrain(&port)?)
}

fn benchmark() -> Outcome<Machine> {
    let rounds = match std::env::var("TCPSTAT_ROUNDS") {
        Ok(rounds) => rounds
            .parse()
            .map_err(|_| format!("TCPSTAT_ROUNDS={rounds} is no number"))?,
        Err(_) => ROUNDS,
    };
    module::load_all()?;
    let mut crowd = Crowd::new(Role::Server)?;
    crowd.grow_to(SOCKETS)?;
    let expected = crowd.expected();

    let drains = [
        ("module-drain", Source::Module),
        ("services-drain", Source::Services),
        ("netlink-drain", Source::Netlink),
        ("procfs-drain", Source::Procfs),
    ];
    let commands = [
        ("tcpstat-module", "module"),
        ("tcpstat-netlink", "netlink"),
        ("tcpstat-netlink-full", "netlink-full"),
        ("tcpstat-procfs", "procfs"),
    ];
    let mut rows: Vec<Row> = Vec::new();
    for round in 0..rounds {
        for (who, source) in drains {
            keep(&mut rows, who, timed(|| source.drain())?);
        }
        for (who, source) in commands {
            let words = [TCPSTAT, "--source", source].map(str::to_owned);
            let (run, text) = measure(&words)?;
            agrees(who, &expected, &contenders::counts(&text)?)?;
            keep(&mut rows, who, run);
        }
        println!("round {} of {rounds}", round + 1);
    }
    let mut left_out = Vec::new();
    if let Err(e) = obvious(&mut rows, &expected, rounds) {
        left_out.push(LeftOut {
            who: contenders::label("module-obvious").to_owned(),
            why: e.to_string(),
        });
    }
    Ok(Machine {
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
            .trim()
            .to_owned(),
        size: Size {
            sockets: expected.total(),
            counts: expected.to_string(),
            rows,
        },
        left_out,
    })
}

/// The same module with the obvious walk, in place of the other.
fn obvious(rows: &mut Vec<Row>, expected: &Counts, rounds: usize) -> Outcome {
    let file = File::open(OBVIOUS).map_err(|e| format!("{OBVIOUS}: {e}"))?;
    module::unload()?;
    finit_module(&file, c"", ModuleInitFlags::empty())
        .map_err(|e| format!("loading {OBVIOUS}: {e}"))?;
    let text = fs::read_to_string("/proc/tcpstat")?;
    agrees("module-obvious", expected, &naive::module_text(&text)?)?;
    for _ in 0..rounds {
        // What comes before the other module's reading in a round: caches that know nothing of the table.
        Source::Procfs.drain()?;
        let run = timed(|| Source::Module.drain())?;
        keep(rows, "module-obvious", run);
    }
    Ok(())
}

fn agrees(who: &str, expected: &Counts, counts: &Counts) -> Outcome {
    match naive::difference(expected, counts) {
        None => Ok(()),
        Some(difference) => Err(format!("counts differ: {who}: {difference}").into()),
    }
}

fn keep(rows: &mut Vec<Row>, who: &str, run: Run) {
    match rows.iter_mut().find(|row| row.who == who) {
        Some(row) => row.runs.push(run),
        None => rows.push(Row {
            who: who.to_owned(),
            runs: vec![run],
        }),
    }
}

/// What `work` takes of this process.
fn timed(work: impl FnOnce() -> Outcome) -> Outcome<Run> {
    let clock = || clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
    let (start, before) = (Instant::now(), clock()?);
    work()?;
    Ok(Run {
        cpu: (clock()? - before).as_secs_f64(),
        wall: start.elapsed().as_secs_f64(),
        peak_kib: None,
    })
}

/// Starts the machine by `command`, and keeps its results.
pub(crate) fn run(
    port: &Path,
    timeout: u64,
    console: &Path,
    out: &Path,
    command: &[String],
) -> Outcome {
    let stop = launch::stop_on_signals()?;
    for old in [port, out] {
        match fs::remove_file(old) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(format!("{}: {e}", old.display()).into());
            }
            _ => {}
        }
    }
    let mut words = Command::new(&command[0]);
    words.args(&command[1..]);
    let timeout = Duration::from_secs(timeout);
    let (end, _) = launch::run(words, timeout, console, false, &stop)?;
    let text = fs::read_to_string(port).unwrap_or_default();
    let said = |what: &str| text.lines().find_map(|line| line.strip_prefix(what));
    let why: Box<dyn Error> = match (said(RESULTS), said(FAILED)) {
        (Some(results), _) => {
            let machine: Machine = serde_json::from_str(results)?;
            return Ok(fs::write(out, serde_json::to_string_pretty(&machine)?)?);
        }
        (None, Some(why)) => why.into(),
        (None, None) => format!("it ended without results: {end:?}").into(),
    };
    Err(format!(
        "the virtual machine: {why}; its console is {}",
        console.display()
    )
    .into())
}
