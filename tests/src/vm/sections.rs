// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: a reading goes in sections, each of which is short, and ends after one of them if
//! nobody waits for it any more.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::unistd::Pid;

use super::helper::Loops;
use super::module;
use super::need::{Need, PACKET_STEERING, wait_for_grace_period};
use super::parameters::{on_debug_kernel, repeat};
use super::reading::{LINK, NAMESPACES, module as totals};
use super::scenario::{Outcome, Scenario, ensure};
use crate::netns::{self, Table};
use crate::sockets::repaired;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a killed reader ends after a section, not after a walk",
        seconds: 120,
        needs: &[Need::OwnTable],
        run: killed,
    },
    Scenario {
        name: "unloading waits for a section, not for a walk",
        seconds: 120,
        needs: &[Need::OwnTable],
        run: unloaded,
    },
    Scenario {
        name: "a grace period ends soon beside a reader in a flood of packets",
        seconds: 120,
        needs: &[Need::Ipv6, Need::PacketSteering, Need::Membarrier],
        run: grace_period,
    },
];

/// The buckets of a table whose walk takes a long time although hardly any is filled: 128 MiB.
const BUCKETS: i32 = 1 << 24;

/// Enters a namespace with a table of [`BUCKETS`], and gives the time of one walk.
pub(super) fn enter_long_table() -> Result<Duration, Box<dyn Error>> {
    Table::set_child_buckets(BUCKETS)?;
    netns::enter_new()?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        totals()?;
        times.push(start.elapsed());
    }
    Ok(median(times))
}

pub(super) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn killed() -> Outcome {
    let walk = enter_long_table()?;
    [LINK, NAMESPACES]
        .into_iter()
        .try_for_each(|path| killed_while_reading(path, walk))
}

fn killed_while_reading(path: &str, walk: Duration) -> Outcome {
    let mut times = Vec::new();
    for round in 0..repeat(21) {
        let mut loops = Loops::start(&[&["read-loop", path]])?;
        until_it_works(&mut loops)?;
        // At another place of the walk in each round.
        thread::sleep(walk * (round % 7) / 7);
        let start = Instant::now();
        drop(loops);
        times.push(start.elapsed());
    }
    let ended = median(times);
    println!(
        "measured: a walk takes {} us; a killed reader of {path} ends after {} us (median)",
        walk.as_micros(),
        ended.as_micros()
    );
    // Otherwise half a walk would be left on average.
    ensure!(
        ended < walk / 4,
        "a killed reader of {path} ends after {ended:?}, a walk takes {walk:?}"
    );
    Ok(())
}

fn unloaded() -> Outcome {
    let walk = enter_long_table()?;
    [LINK, NAMESPACES]
        .into_iter()
        .try_for_each(|path| unloaded_while_reading(path, walk))
}

fn unloaded_while_reading(path: &'static str, walk: Duration) -> Outcome {
    // Unloading has grace periods to wait for, with readers or without.
    let mut alone = Vec::new();
    let mut beside = Vec::new();
    let mut ended_early = 0;
    for _ in 0..repeat(9) {
        let start = Instant::now();
        module::unload()?;
        alone.push(start.elapsed());
        module::load()?;

        let reader = thread::spawn(move || {
            loop {
                if let Err(e) = fs::read(path) {
                    return e.raw_os_error();
                }
            }
        });
        thread::sleep(walk * 3 / 2);
        let start = Instant::now();
        module::unload()?;
        beside.push(start.elapsed());
        let error = reader.join().map_err(|_| "a reader panicked")?;
        ended_early += u32::from(error == Some(libc::ENODEV));
        module::load()?;
    }
    let (alone, beside) = (median(alone), median(beside));
    println!(
        "measured: a walk takes {} us; unloading takes {} us, and beside a reader of {path} {} us (medians); {ended_early} of {} \
         readings in progress ended with ENODEV",
        walk.as_micros(),
        alone.as_micros(),
        beside.as_micros(),
        repeat(9)
    );
    ensure!(ended_early > 0, "no reading in progress ended with ENODEV");
    ensure!(
        beside < alone + walk / 2,
        "unloading takes {beside:?} beside a reader and {alone:?} without, a walk {walk:?}"
    );
    Ok(())
}

/// Connections that each reading counts, nearly each of them under a lock of its own.
const COUNTED: u32 = 5_000;

/// The greatest factor by which a reader may lengthen a grace period that a busy loop on the same
/// processor has beside the same flood.
const LONGEST: u32 = 4;

/// Packets for processor 0 from processor 1, whose softirqs run wherever processor 0 lets them. A
/// grace period waits for every RCU section, so for the longest of the reader on processor 0.
fn grace_period() -> Outcome {
    // The namespace that this sysfs shows.
    setns(File::open("/proc/1/ns/net")?, CloneFlags::CLONE_NEWNET)?;
    let _counted = repaired(COUNTED)?;
    let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    fs::write(PACKET_STEERING, "1")?;
    let quiet = Periods::measure()?;
    let stop = AtomicBool::new(false);
    let (busy, reader) = thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&sink, &stop));
        let measured =
            beside(&["busy-loop"]).and_then(|busy| Ok((busy, beside(&["read-loop", LINK])?)));
        stop.store(true, Ordering::Relaxed);
        flood.join().map_err(|_| "the flood panicked")??;
        measured
    })?;
    fs::write(PACKET_STEERING, "0")?;
    println!(
        "measured: a grace period takes {quiet}; beside a flood and a busy loop {busy}; beside a flood and a reader \
         {reader}"
    );
    ensure!(
        on_debug_kernel() || reader.median < busy.median * LONGEST,
        "a grace period takes {reader} beside a reader, {busy} beside a busy loop"
    );
    Ok(())
}

/// How long grace periods take.
struct Periods {
    median: Duration,
    longest: Duration,
}

impl fmt::Display for Periods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, longest) = (self.median.as_micros(), self.longest.as_micros());
        write!(f, "{median} us (median; {longest} us the longest)")
    }
}

impl Periods {
    fn measure() -> Result<Self, Box<dyn Error>> {
        let mut times = Vec::new();
        for _ in 0..31 {
            let start = Instant::now();
            wait_for_grace_period()?;
            times.push(start.elapsed());
        }
        Ok(Self {
            longest: times.iter().copied().max().unwrap_or_default(),
            median: median(times),
        })
    }
}

/// The grace periods while a process with these arguments runs on processor 0.
fn beside(arguments: &[&str]) -> Result<Periods, Box<dyn Error>> {
    // The process inherits the processors of this thread.
    run_on(&[0])?;
    let started = Loops::start(&[arguments]);
    run_on(&[0, 1])?;
    let mut started = started?;
    until_it_works(&mut started)?;
    Periods::measure()
}

/// Waits until the process has done its work once.
pub(super) fn until_it_works(started: &mut Loops) -> Outcome {
    let start = Instant::now();
    while let Err(e) = started.done() {
        ensure!(start.elapsed() < Duration::from_secs(20), "{e}");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Sends packets to `sink` from processor 1 until told to stop.
fn flood(sink: &UdpSocket, stop: &AtomicBool) -> Result<(), String> {
    let to = sink.local_addr().map_err(|e| e.to_string())?;
    let from = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
    run_on(&[1]).map_err(|e| e.to_string())?;
    while !stop.load(Ordering::Relaxed) {
        // A full backlog drops the packet, which is an error to nobody.
        let _ = from.send_to(&[0; 64], to);
    }
    Ok(())
}

/// Makes the calling thread run on these processors only.
pub(super) fn run_on(processors: &[usize]) -> nix::Result<()> {
    let mut set = CpuSet::new();
    for processor in processors {
        set.set(*processor)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}
