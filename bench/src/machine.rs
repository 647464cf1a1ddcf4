// SPDX-License-Identifier: GPL-2.0-only

//! The measurement of the module in a virtual machine: inside it as its init, and outside to start
//! it.
//!
//! Time on an emulated processor means little: the translation of an address costs it more than an
//! instruction. So QEMU counts instructions (`-icount`), and the machine's clocks advance by 1 ns
//! for each: the same on a busy and on an idle host, and without the latency of memory. Only the
//! kernel's part is measured where an answer is thrown away: no process is started.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::sys::termios;
use nix::time::{ClockId, clock_gettime};
use tcpstat_census::counts::Counts;
use tcpstat_tests::vm::{boot, module};
use tcpstat_tests::{launch, naive};

use crate::answers;
use crate::drain::Source;
use crate::measure::measure;
use crate::outcome::Outcome;
use crate::population::{Population, Role};
use crate::results::{LeftOut, Machine, Row, Run, Size};
use crate::ways::{Method, Programs, Way};

/// The number of sockets in the machine.
const SOCKETS: u64 = 100_000;

/// The number of sockets over which the two ways to build the module are compared, and how often.
/// Interrupts are in some readings, and not in the median.
const RUST_SOCKETS: u64 = 10_000;
const RUST_ROUNDS: usize = 101;

/// The network namespaces beside the first in which there are connections too, and how many are in
/// each.
const NAMESPACES: u64 = 200;
const IN_NAMESPACE: u64 = 100;

/// The default number of rounds. `TCPSTAT_ROUNDS=…` on the kernel's command line is another:
/// parameters that the kernel does not know are in the environment of its init.
const ROUNDS: usize = 5;

/// The path of the command in the machine.
const TCPSTAT: &str = "/bin/tcpstat";

/// The paths of further modules in the machine: built with the obvious walk, and with the module's
/// own Rust instead of the kernel's.
const OBVIOUS: &str = "/modules/tcpstat-obvious.ko";
const OWN: &str = "/modules/tcpstat-own.ko";

/// What is measured with the module, in the order in which it runs.
const WAYS: [Way; 8] = [
    Way::ModuleDrain,
    Way::ServicesDrain,
    Way::NetlinkDrain,
    Way::ProcfsDrain,
    Way::Module,
    Way::Netlink,
    Way::NetlinkFull,
    Way::Procfs,
];

/// Before the results, and before the reason why there are none.
const RESULTS: &str = "results: ";
const FAILED: &str = "failed: ";

/// The init of the machine: measures, sends the results, and ends the machine.
pub(crate) fn init() -> ! {
    let line = match boot::start().and_then(|()| benchmark()) {
        Ok(results) => match serde_json::to_string(&results) {
            Ok(text) => format!("{RESULTS}{text}"),
            Err(e) => format!("{FAILED}{e}"),
        },
        Err(e) => format!("{FAILED}{e}"),
    };
    if let Err(e) = send(&line) {
        println!("{line}\n{e}");
    }
    boot::end()
}

/// Sends a line to the host.
fn send(line: &str) -> Outcome {
    let mut port = boot::verdict_port()?;
    port.write_all(format!("{line}\n").as_bytes())?;
    Ok(termios::tcdrain(&port)?)
}

fn benchmark() -> Outcome<Machine> {
    let rounds = match std::env::var("TCPSTAT_ROUNDS") {
        Ok(rounds) => rounds
            .parse()
            .map_err(|_| format!("TCPSTAT_ROUNDS={rounds} is not a number"))?,
        Err(_) => ROUNDS,
    };
    module::load_all()?;
    let mut left_out = Vec::new();
    let mut population = Population::new(Role::Server)?;
    population.grow_to(RUST_SOCKETS)?;
    let rust = if Path::new(OWN).exists() {
        Some(compare_rust(&population.expected())?)
    } else {
        left_out.push(LeftOut {
            what: Way::OwnDrain.label().to_owned(),
            reason: format!("{OWN} was not built"),
        });
        None
    };
    population.grow_to(SOCKETS)?;
    let expected = population.expected();
    let programs = Programs {
        tcpstat: TCPSTAT.to_owned(),
        python_ways: String::new(),
        iterator: Err("not in the virtual machine".to_owned()),
    };

    let mut rows: Vec<Row> = Vec::new();
    for round in 0..rounds {
        for way in WAYS {
            let run = match (way.method(), way.command(&programs)) {
                (Method::Drain(source), _) => timed(|| source.drain())?,
                (_, Some(command)) => {
                    let (run, text) = measure(&command)?;
                    compare(way, &expected, &answers::counts(&text)?)?;
                    run
                }
                (_, None) => continue,
            };
            keep(&mut rows, way, run);
        }
        println!("round {} of {rounds}", round + 1);
    }
    let namespaces = compare_namespaces(&mut population)?;
    if let Err(e) = measure_obvious(&mut rows, &expected, rounds) {
        left_out.push(LeftOut {
            what: Way::ObviousDrain.label().to_owned(),
            reason: e.to_string(),
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
        rust,
        namespaces,
        left_out,
    })
}

/// Loads the module at `path` instead of the one that is loaded.
fn replace_module(path: &str) -> Outcome {
    let file = File::open(path).map_err(|e| format!("{path}: {e}"))?;
    module::unload()?;
    finit_module(&file, c"", ModuleInitFlags::empty())
        .map_err(|e| format!("loading {path}: {e}"))?;
    Ok(())
}

/// Measures the module with the kernel's Rust, and the one with its own in its place.
fn compare_rust(expected: &Counts) -> Outcome<Size> {
    let mut rows = Vec::new();
    measure_module(&mut rows, Way::ModuleDrain, Way::ServicesDrain, expected)?;
    replace_module(OWN)?;
    measure_module(&mut rows, Way::OwnDrain, Way::OwnServicesDrain, expected)?;
    module::unload()?;
    module::load()?;
    Ok(Size {
        sockets: expected.total(),
        counts: expected.to_string(),
        rows,
    })
}

/// Measures readings of one network namespace and of all, when there are many others.
fn compare_namespaces(population: &mut Population) -> Outcome<Size> {
    population.spread(NAMESPACES, IN_NAMESPACE)?;
    let expected = population.expected();
    let (mut rows, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    for (way, path) in [
        (Way::ModuleDrain, "/proc/tcpstat"),
        (Way::NamespacesDrain, "/proc/tcpstat_namespaces"),
    ] {
        let file = File::open(path)?;
        for _ in 0..RUST_ROUNDS {
            let mut length = 0;
            let run = timed(|| {
                length = file.read_at(&mut buffer, 0)?;
                Ok(())
            })?;
            keep(&mut rows, way, run);
        }
    }
    let text = fs::read_to_string("/proc/tcpstat")?;
    compare(Way::ModuleDrain, &expected, &naive::module_text(&text)?)?;
    let all = naive::namespaces_text(&fs::read_to_string("/proc/tcpstat_namespaces")?)?;
    let own = fs::metadata("/proc/self/ns/net")?.ino();
    compare(
        Way::NamespacesDrain,
        &expected,
        all.get(&own).unwrap_or(&Counts::ZERO),
    )?;
    let others = all.iter().filter(|(inode, _)| **inode != own);
    let full = others.filter(|(_, counts)| counts.total() == IN_NAMESPACE);
    let full = full.count() as u64;
    if full != NAMESPACES {
        return Err(format!(
            "{full} namespaces have {IN_NAMESPACE} sockets each, not {NAMESPACES}"
        )
        .into());
    }
    Ok(Size {
        sockets: expected.total() + NAMESPACES * IN_NAMESPACE,
        counts: expected.to_string(),
        rows,
    })
}

/// Measures readings of both files of the module that is loaded, which must give `expected`.
fn measure_module(rows: &mut Vec<Row>, totals: Way, services: Way, expected: &Counts) -> Outcome {
    for (way, path) in [
        (totals, "/proc/tcpstat"),
        (services, "/proc/net/tcpstat_services"),
    ] {
        // Only the system call is measured.
        let file = File::open(path)?;
        let mut buffer = vec![0; 1 << 16];
        for _ in 0..RUST_ROUNDS {
            let mut length = 0;
            let run = timed(|| {
                length = file.read_at(&mut buffer, 0)?;
                Ok(())
            })?;
            keep(rows, way, run);
            let text = std::str::from_utf8(&buffer[..length])?;
            let counts = if way == totals {
                naive::module_text(text)?
            } else {
                naive::sum(&naive::services_text(text)?)
            };
            compare(way, expected, &counts)?;
        }
    }
    Ok(())
}

/// Loads the module with the obvious walk instead of the other, and measures it.
fn measure_obvious(rows: &mut Vec<Row>, expected: &Counts, rounds: usize) -> Outcome {
    replace_module(OBVIOUS)?;
    let text = fs::read_to_string("/proc/tcpstat")?;
    compare(Way::ObviousDrain, expected, &naive::module_text(&text)?)?;
    for _ in 0..rounds {
        // Also runs before the other module's reading in each round: then the caches do not have
        // the table.
        Source::Procfs.drain()?;
        let run = timed(|| Source::Module.drain())?;
        keep(rows, Way::ObviousDrain, run);
    }
    Ok(())
}

fn compare(way: Way, expected: &Counts, counts: &Counts) -> Outcome {
    match naive::difference(expected, counts) {
        None => Ok(()),
        Some(difference) => Err(format!("counts differ: {}: {difference}", way.label()).into()),
    }
}

fn keep(rows: &mut Vec<Row>, way: Way, run: Run) {
    match rows.iter_mut().find(|row| row.way == way) {
        Some(row) => row.runs.push(run),
        None => rows.push(Row {
            way,
            runs: vec![run],
        }),
    }
}

/// The cost of `work` in this process.
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

/// Starts the machine with `command`, and saves its results.
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
    let mut qemu = Command::new(&command[0]);
    qemu.args(&command[1..]);
    let timeout = Duration::from_secs(timeout);
    let (end, _) = launch::run(qemu, timeout, console, false, &stop)?;
    let text = fs::read_to_string(port).unwrap_or_default();
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let reason: Box<dyn Error> = match (line(RESULTS), line(FAILED)) {
        (Some(results), _) => {
            let machine: Machine = serde_json::from_str(results)?;
            return Ok(fs::write(out, serde_json::to_string_pretty(&machine)?)?);
        }
        (None, Some(reason)) => reason.into(),
        (None, None) => format!("it ended without results: {end:?}").into(),
    };
    Err(format!(
        "the virtual machine: {reason}; its console is {}",
        console.display()
    )
    .into())
}
