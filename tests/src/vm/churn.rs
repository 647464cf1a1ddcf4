// SPDX-License-Identifier: GPL-2.0-only

//! Scenario: connections, namespaces and the module itself come and go, and every reading is a
//! possible one.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::lifetime::{Seen, Work, alongside, is_removed};
use super::need::Need;
use super::parameters::on_debug_kernel;
use super::reading::{self, LINK, NAMESPACES, SERVICES, counts_in, same, steady};
use super::scenario::{Outcome, Scenario, ensure};
use super::{helper, module};
use crate::churn::{Events, Pair, add, close, open, possible, reset};
use crate::naive;
use crate::netns;
use crate::sockets::Mix;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "loading and unloading while connections and namespaces churn",
    seconds: 200,
    needs: &[Need::Ipv6],
    run: all_at_once,
}];

/// How often the module is unloaded and loaded again.
fn rounds() -> u32 {
    if on_debug_kernel() { 200 } else { 30 }
}

/// The pause of the threads that churn after each step, so that loading and unloading get a share
/// of the processors: these must happen often, at every moment of what the other threads do.
const PACE: Duration = Duration::from_millis(10);

/// The niceness of the thread that loads the module: the other threads would leave it a fifth of
/// two processors.
const HIGH_PRIORITY: i32 = -19;

/// Connections that stay open.
const KEPT: u64 = 20;

/// The most connections that each churning thread leaves in `TIME_WAIT`; it resets the others.
/// Fewer than the kernel keeps (`tcp_max_tw_buckets`).
const ORDERLY: u64 = 1000;

fn all_at_once() -> Outcome {
    // No port in TIME_WAIT is used again, so that the number of time-wait sockets only grows.
    netns::set_sysctl("net/ipv4/tcp_tw_reuse", "0")?;
    let listeners: Vec<TcpListener> = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        .into_iter()
        .map(|ip: IpAddr| TcpListener::bind((ip, 0)))
        .collect::<Result<_, _>>()?;
    let events = Events::default();
    let mut kept = Vec::new();
    for listener in listeners.iter().cycle().take(KEPT as usize) {
        kept.push(open(listener, &events)?);
    }

    let seen = Seen::default();
    let processors = processors()?;
    // Each thread that churns adds one now and then.
    let listening = listeners.len() as u64..=2 * listeners.len() as u64;
    let read = |path, processor| pinned_reader(path, processor, &seen, &events, &listening);
    // Declared here, so that no connection is closed before the last reading has ended.
    let pairs: Vec<_> = listeners.iter().map(|_| Mutex::default()).collect();
    let churn = |listener, pairs| churn_connections(listener, pairs, &seen, &events);
    let loads = AtomicU64::new(0);
    let namespaces = || churn_namespaces(&seen, &loads);
    let files = [LINK, SERVICES, NAMESPACES];
    let readers: Vec<_> = (0..processors.len().max(files.len()))
        .map(|nth| {
            let path = files[nth % files.len()];
            let processor = processors[nth % processors.len()];
            move || read(path, processor)
        })
        .collect();
    let churners: Vec<_> = listeners
        .iter()
        .zip(&pairs)
        .map(|(listener, pairs)| move || churn(listener, pairs))
        .collect();
    let mut threads: Vec<&Work> = vec![&namespaces];
    threads.extend(readers.iter().map(|thread| thread as &Work));
    threads.extend(churners.iter().map(|thread| thread as &Work));

    alongside(&seen, &threads, || {
        helper::set_nice(HIGH_PRIORITY)?;
        for round in 1..=rounds() {
            seen.wait("the module loaded", &seen.answered, 1)?;
            module::unload().map_err(|e| format!("round {round}: {e}"))?;
            module::ensure_gone().map_err(|e| format!("round {round}: {e}"))?;
            module::load().map_err(|e| format!("round {round}: {e}"))?;
            add(&loads);
        }
        Ok(())
    })?;
    println!(
        "measured: {} times loaded and unloaded, {} readings, {} without the module, {} connections, on {} processors",
        rounds(),
        seen.answered.load(Ordering::Relaxed),
        seen.absent.load(Ordering::Relaxed),
        events.begun.load(Ordering::Relaxed),
        processors.len()
    );
    ensure!(
        events.gone.load(Ordering::Relaxed) > 0 && seen.absent.load(Ordering::Relaxed) > 0,
        "nothing happened: {:?}",
        events.snapshot()
    );
    let (procfs, module) = steady(reading::module)?;
    same("/proc/tcpstat in the end", &procfs, &module)
}

/// The processors that this process may run on.
fn processors() -> Result<Vec<usize>, Box<dyn std::error::Error>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    let processors: Vec<usize> = (0..CpuSet::count())
        .filter(|processor| set.is_set(*processor).unwrap_or(false))
        .collect();
    ensure!(
        processors.len() > 1,
        "with a single processor nothing happens at the same time"
    );
    Ok(processors)
}

/// Reads `path` on one processor until stopped.
fn pinned_reader(
    path: &str,
    processor: usize,
    seen: &Seen,
    events: &Events,
    listening: &RangeInclusive<u64>,
) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(processor).map_err(|e| e.to_string())?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|e| e.to_string())?;
    seen.until_stopped(|| {
        let before = events.snapshot();
        let text = match fs::read_to_string(path) {
            Err(e) if is_removed(path, &e) => {
                add(&seen.absent);
                // Leaves the processor to the thread that loads the module again.
                sleep(PACE);
                return Ok(());
            }
            other => other.map_err(|e| format!("a reader got {e}"))?,
        };
        let after = events.snapshot();
        let counts = counts_in(path, &text)?;
        possible(&counts, &before, &after, listening, 0)?;
        add(&seen.answered);
        Ok(())
    })
}

/// Opens and closes connections until stopped. Those that are still open stay in `pairs`.
fn churn_connections(
    listener: &TcpListener,
    pairs: &Mutex<Vec<Pair>>,
    seen: &Seen,
    events: &Events,
) -> Result<(), String> {
    let mut closed = 0;
    let mut pairs = pairs.lock().unwrap_or_else(PoisonError::into_inner);
    seen.until_stopped(|| {
        // A port that gets a listener and loses it while readers count by port.
        let passing =
            TcpListener::bind((listener.local_addr().map_err(|e| e.to_string())?.ip(), 0))
                .map_err(|e| format!("listening: {e}"))?;
        // A few at a time, closed in the order in which they were opened.
        while pairs.len() < 8 {
            pairs.push(open(listener, events).map_err(|e| format!("opening: {e}"))?);
        }
        for _ in 0..5 {
            let (client, server) = pairs.remove(0);
            closed += 1;
            if closed % 3 == 0 && closed / 3 <= ORDERLY {
                close(client, server, events).map_err(|e| format!("closing: {e}"))?;
            } else {
                reset(client, server, events).map_err(|e| format!("resetting: {e}"))?;
            }
        }
        sleep(PACE);
        drop(passing);
        Ok(())
    })
}

/// Makes one new namespace after the other, each with a listener and a connection: one for four
/// `loads` of the module, since unloading waits for each namespace that is being destroyed, a
/// second on the debug kernel.
fn churn_namespaces(seen: &Seen, loads: &AtomicU64) -> Result<(), String> {
    let path = Path::new(netns::THREAD_NET).join("tcpstat");
    let mix = Mix {
        listen: 1,
        established: 1,
        ..Mix::default()
    };
    let mut made = 0;
    seen.until_stopped(|| {
        if made > loads.load(Ordering::SeqCst) / 4 {
            sleep(Duration::from_millis(1));
            return Ok(());
        }
        made += 1;
        netns::enter_new().map_err(|e| e.to_string())?;
        let fixture = mix.make().map_err(|e| e.to_string())?;
        match fs::read_to_string(&path) {
            Ok(text) => same(
                "a short-lived namespace",
                &fixture.expected(),
                &naive::module_text(&text)?,
            )
            .map_err(|e| e.to_string()),
            Err(e) if is_removed(netns::THREAD_NET, &e) => Ok(()),
            Err(e) => Err(format!("reading {}: {e}", path.display())),
        }
    })
}
