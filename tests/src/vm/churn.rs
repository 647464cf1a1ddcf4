// SPDX-License-Identifier: GPL-2.0-only

//! Scenario: connections, namespaces and the module itself come and go, and every reading stays possible.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use socket2::SockRef;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::lifetime::{Seen, Work, alongside, is_going};
use super::reading::{self, LINK, SERVICES, counts_in, same, steady};
use super::{Outcome, Scenario, ensure, helper, module, on_debug_kernel};
use crate::naive;
use crate::netns;
use crate::sockets::Mix;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "loading and unloading while connections and namespaces churn",
    seconds: 200,
    run: all_at_once,
}];

/// How often the module is loaded and unloaded: on the debug kernel often, elsewhere a few times.
fn rounds() -> u32 {
    if on_debug_kernel() { 200 } else { 30 }
}

/// How long those that churn wait between one thing and the next, so that loading and unloading get a share of the
/// processors: they are what is to happen often, at every moment of the others.
const PACE: Duration = Duration::from_millis(10);

/// How the thread that loads comes before the others, who would leave it a fifth of two processors.
const FIRST_IN_LINE: i32 = -19;

/// Connections that are open all the while.
const KEPT: u64 = 20;

/// How many connections end in `TIME_WAIT` at most, for each thread that opens them; the others are reset. Fewer than
/// the kernel keeps (`tcp_max_tw_buckets`).
const ORDERLY: u64 = 1000;

/// A time-wait socket lives for 60 s (`TCP_TIMEWAIT_LEN`), and surely for so long.
const TIME_WAIT_LEAST: Duration = Duration::from_secs(50);

/// What has happened to the connections so far. Each counter only grows, and is counted before an operation or
/// after it, so that the true number of connections at any moment has bounds.
#[derive(Default)]
struct Events {
    /// Connections whose opening has begun.
    begun: AtomicU64,
    /// Connections known to be open: both ends are `ESTABLISHED`.
    open: AtomicU64,
    /// Connections whose closing has begun.
    ending: AtomicU64,
    /// Of those, the ones that are to leave a time-wait socket.
    ending_orderly: AtomicU64,
    /// Connections known to have no end in the table, but for a time-wait socket, and one in `LAST_ACK` that
    /// waits for the last segment.
    gone: AtomicU64,
    /// Of those, the ones that have left a time-wait socket.
    gone_orderly: AtomicU64,
    /// When the closing of each one that was to leave a time-wait socket began.
    orderly_began: Mutex<Vec<Instant>>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug)]
struct Snapshot {
    begun: u64,
    open: u64,
    ending: u64,
    ending_orderly: u64,
    gone: u64,
    gone_orderly: u64,
    /// Time-wait sockets that are so old that their time may be up.
    old: u64,
}

impl Events {
    fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let now = Instant::now();
        let began = self
            .orderly_began
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Snapshot {
            old: began
                .iter()
                .filter(|began| now - **began > TIME_WAIT_LEAST)
                .count() as u64,
            begun: get(&self.begun),
            open: get(&self.open),
            ending: get(&self.ending),
            ending_orderly: get(&self.ending_orderly),
            gone: get(&self.gone),
            gone_orderly: get(&self.gone_orderly),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

/// Fails unless a reading between the snapshots may have given `counts`. As many sockets as the least of `listening`
/// are there always.
///
/// A socket stays in its bucket for as long as it lives, and the walk sees a bucket at one moment: each socket that
/// is there all the while is counted once, each that comes or goes at most once.
fn possible(
    counts: &Counts,
    before: &Snapshot,
    after: &Snapshot,
    listening: &RangeInclusive<u64>,
) -> Result<(), String> {
    let between = |what: &str, value: u64, least: u64, most: u64| {
        if (least..=most).contains(&value) {
            Ok(())
        } else {
            Err(format!(
                "{what} is {value}, and can only be {least} to {most}: {counts:?}, {before:?}, {after:?}"
            ))
        }
    };
    let most = 2 * (after.begun - before.gone);
    let least = (2 * before.open).saturating_sub(2 * after.ending);
    let waiting = before.gone_orderly.saturating_sub(after.old);
    let listen = counts.get(State::Listen);
    between("LISTEN", listen, *listening.start(), *listening.end())?;
    between("ESTABLISHED", counts.get(State::Established), least, most)?;
    between(
        "TIME_WAIT",
        counts.get(State::TimeWait),
        waiting,
        after.ending_orderly,
    )?;
    let last_ack = counts.get(State::LastAck);
    between("LAST_ACK", last_ack, 0, after.ending_orderly)?;
    between(
        "everything but LISTEN and LAST_ACK",
        counts.total() - listen - last_ack,
        least + waiting,
        most + before.gone_orderly,
    )
}

fn all_at_once() -> Outcome {
    // A port in TIME_WAIT is not used again, so that time-wait sockets only become more.
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
    // Each thread that churns has one more for a while.
    let listening = listeners.len() as u64..=2 * listeners.len() as u64;
    let read = |path, processor| pinned_reader(path, processor, &seen, &events, &listening);
    // Kept here, so that none is closed before the last reading has ended.
    let pairs: Vec<_> = listeners.iter().map(|_| Mutex::default()).collect();
    let churn = |listener, pairs| churn_connections(listener, pairs, &seen, &events);
    let loads = AtomicU64::new(0);
    let namespaces = || churn_namespaces(&seen, &loads);
    let readers: Vec<_> = processors
        .iter()
        .zip([LINK, SERVICES].iter().cycle())
        .map(|(processor, path)| move || read(path, *processor))
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
        helper::set_nice(FIRST_IN_LINE)?;
        for round in 1..=rounds() {
            seen.wait("loaded", &seen.answered, 1)?;
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
        "nothing has happened: {:?}",
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
        "there is one processor only, and nothing can happen at the same time"
    );
    Ok(processors)
}

/// Reads `path` on one processor until told to stop.
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
            Err(e) if is_going(path, &e) => {
                add(&seen.absent);
                // The processor is for those who load it again.
                sleep(PACE);
                return Ok(());
            }
            other => other.map_err(|e| format!("a reader got {e}"))?,
        };
        let after = events.snapshot();
        let counts = counts_in(path, &text)?;
        possible(&counts, &before, &after, listening)?;
        add(&seen.answered);
        Ok(())
    })
}

/// Both ends of a connection.
type Pair = (TcpStream, TcpStream);

/// A connection of which both ends are `ESTABLISHED`.
fn open(listener: &TcpListener, events: &Events) -> io::Result<Pair> {
    add(&events.begun);
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    // accept() gives a socket that may be on its way still. It is there once data has come through it.
    client.write_all(b"?")?;
    server.read_exact(&mut [0])?;
    add(&events.open);
    Ok((client, server))
}

/// Opens and closes connections until told to stop. Those that are open then stay in `pairs`.
fn churn_connections(
    listener: &TcpListener,
    pairs: &Mutex<Vec<Pair>>,
    seen: &Seen,
    events: &Events,
) -> Result<(), String> {
    let mut closed = 0;
    let mut pairs = pairs.lock().unwrap_or_else(PoisonError::into_inner);
    seen.until_stopped(|| {
        // A port that gets a listener, and loses it, while others count by port.
        let passing =
            TcpListener::bind((listener.local_addr().map_err(|e| e.to_string())?.ip(), 0))
                .map_err(|e| format!("listening: {e}"))?;
        // A handful at a time, closed in the order in which they were opened.
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

/// Closes from the client's end, which goes to `TIME_WAIT`.
fn close(mut client: TcpStream, mut server: TcpStream, events: &Events) -> io::Result<()> {
    events
        .orderly_began
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Instant::now());
    add(&events.ending_orderly);
    add(&events.ending);
    client.shutdown(std::net::Shutdown::Write)?;
    expect_end(server.read(&mut [0])?)?;
    server.shutdown(std::net::Shutdown::Write)?;
    // Reading the server's FIN and becoming a time-wait socket is one for the client.
    expect_end(client.read(&mut [0])?)?;
    drop((client, server));
    add(&events.gone);
    add(&events.gone_orderly);
    Ok(())
}

fn expect_end(bytes: usize) -> io::Result<()> {
    match bytes {
        0 => Ok(()),
        _ => Err(io::Error::other("data where the end should be")),
    }
}

/// Ends with a reset, which leaves nothing.
fn reset(client: TcpStream, mut server: TcpStream, events: &Events) -> io::Result<()> {
    add(&events.ending);
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    match server.read(&mut [0]) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
        other => return Err(io::Error::other(format!("{other:?} after a reset"))),
    }
    drop(server);
    add(&events.gone);
    Ok(())
}

/// Goes from one new namespace to the next, each with a listener and a connection: one for each four of the module's
/// `loads`, since unloading waits for those that are on their way out, a second each on the debug kernel.
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
            Err(e) if is_going(netns::THREAD_NET, &e) => Ok(()),
            Err(e) => Err(format!("reading {}: {e}", path.display())),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(of: [u64; 6]) -> Snapshot {
        let [begun, open, ending, ending_orderly, gone, gone_orderly] = of;
        Snapshot {
            begun,
            open,
            ending,
            ending_orderly,
            gone,
            gone_orderly,
            old: 0,
        }
    }

    #[test]
    fn what_is_possible_and_what_is_not() {
        // Ten open; meanwhile one more is opened, and one of the ten closed.
        let before = snapshot([12, 12, 2, 2, 2, 2]);
        let after = snapshot([13, 13, 3, 3, 3, 3]);
        let check = |established, time_wait, listen| {
            let mut counts = Counts::ZERO;
            counts.set(State::Established, established);
            counts.set(State::TimeWait, time_wait);
            counts.set(State::Listen, listen);
            possible(&counts, &before, &after, &(1..=2))
        };
        for established in 18..=22 {
            assert_eq!(check(established, 2, 1), Ok(()));
        }
        assert_eq!(check(19, 3, 1), Ok(()));
        assert!(check(17, 3, 1).is_err(), "one too few");
        assert!(check(23, 2, 1).is_err(), "one too many");
        assert!(check(20, 1, 1).is_err(), "a time-wait socket is lost");
        assert!(check(20, 4, 1).is_err(), "a time-wait socket too many");
        assert_eq!(check(20, 2, 2), Ok(()));
        assert!(check(20, 2, 0).is_err(), "the listener is lost");
        assert!(check(20, 2, 3).is_err(), "a listener too many");
        let old = Snapshot { old: 1, ..after };
        let mut counts = Counts::ZERO;
        counts.set(State::Established, 20);
        counts.set(State::TimeWait, 1);
        counts.set(State::Listen, 1);
        assert_eq!(
            possible(&counts, &before, &old, &(1..=1)),
            Ok(()),
            "it may have expired"
        );
        assert!(check(u64::MAX, 2, 1).is_err(), "a negative count");
    }
}
