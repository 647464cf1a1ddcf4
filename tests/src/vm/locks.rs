// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios that measure what readers cost other processes: how long a lock is held, and the
//! throughput of traffic.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::helper::{Loops, set_nice};
use super::need::Need;
use super::parameters::on_debug_kernel;
use super::reading::{LINK, SERVICES, counts_in, same};
use super::scenario::{Outcome, Scenario, ensure};
use super::sections::{enter_long_table, median, run_on, until_it_works};
use crate::limits::allow_many_files;
use crate::netns::{self, Table};
use crate::sockets::repaired;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "all connections in one chain",
        seconds: 60,
        needs: &[Need::OwnTable, Need::Ipv6],
        run: one_chain,
    },
    Scenario {
        name: "all listeners in one chain",
        seconds: 120,
        needs: &[],
        run: one_chain_of_listeners,
    },
    Scenario {
        name: "a reading does not wait for another reader",
        seconds: 120,
        needs: &[Need::OwnTable],
        run: beside_a_slow_reader,
    },
    Scenario {
        name: "traffic goes on while four processes read",
        seconds: 60,
        needs: &[Need::Ipv6],
        run: traffic,
    },
];

/// Connections in the one chain. Fewer on the debug kernel, since each new one walks the whole
/// chain.
fn chain() -> u32 {
    if on_debug_kernel() { 3_000 } else { 10_000 }
}

/// The lock of a bucket is held while its chain is walked. In a table of one bucket that is nearly
/// all of a reading, so that the time of a reading minus that of a reading of the empty table is
/// the time for which the lock was held.
fn one_chain() -> Outcome {
    let chain = chain();
    Table::set_child_buckets(1)?;
    netns::enter_new()?;
    let buckets = netns::sysctl("net/ipv4/tcp_ehash_entries")?;
    ensure!(buckets == "1", "the table has {buckets} buckets, not one");

    let mut want = Counts::ZERO;
    let empty = [
        shortest_reading(LINK, &want)?,
        shortest_reading(SERVICES, &want)?,
    ];
    let sockets = repaired(chain)?;
    want.set(State::Established, sockets.len() as u64);
    for (path, empty) in [LINK, SERVICES].into_iter().zip(empty) {
        if on_debug_kernel() {
            fs::write("/proc/lock_stat", "0")?;
        }
        let held = shortest_reading(path, &want)?.saturating_sub(empty);
        println!(
            "measured: {path}: {chain} connections in one bucket: {} us, {} ns each",
            held.as_micros(),
            held.as_nanos() / u128::from(chain)
        );
        if on_debug_kernel() {
            fs::write("/proc/sys/kernel/lock_stat", "1")?;
            shortest_reading(path, &want)?;
            fs::write("/proc/sys/kernel/lock_stat", "0")?;
            let longest = longest_hold("&ptr[i]:", &fs::read_to_string("/proc/lock_stat")?)?;
            println!("measured: {path}: by lock_stat, the lock was held for {longest} us at most");
        }
    }
    Ok(())
}

/// The time of the fastest of 20 readings of `path`, which must all give `want`.
fn shortest_reading(path: &str, want: &Counts) -> Result<Duration, Box<dyn Error>> {
    let file = File::open(path)?;
    let mut buffer = [0; 4096];
    let mut shortest = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        let n = file.read_at(&mut buffer, 0)?;
        shortest = shortest.min(start.elapsed());
        let text = std::str::from_utf8(&buffer[..n])?;
        same(path, want, &counts_in(path, text)?)?;
    }
    Ok(shortest)
}

/// `holdtime-max` of the locks that lockdep calls `name` in a reading of `/proc/lock_stat`, in
/// microseconds (Documentation/locking/lockstat.rst).
fn longest_hold(name: &str, stat: &str) -> Result<String, String> {
    stat.lines()
        .find_map(|line| line.trim_start().strip_prefix(name))
        .and_then(|numbers| numbers.split_whitespace().nth(9))
        .map(str::to_owned)
        .ok_or_else(|| format!("/proc/lock_stat does not have the lock {name}\n{stat}"))
}

/// Listeners at one port, as many as the kernel lets share it (`reuseport_grow`). Fewer on the
/// debug kernel.
fn listeners() -> usize {
    if on_debug_kernel() { 3_000 } else { 65_535 }
}

/// As many show the cost of one.
const ENOUGH: usize = 2_000;

/// Listeners that share a port hang in one chain of a table that all namespaces share. Nothing
/// bounds that chain, and so nothing is promised of the time for which its lock is held; it delays
/// `listen()` and the end of listeners in that bucket, and no packet, since looking up a listener
/// takes no lock.
fn one_chain_of_listeners() -> Outcome {
    let mut want = Counts::ZERO;
    let empty = [
        shortest_reading(LINK, &want)?,
        shortest_reading(SERVICES, &want)?,
    ];
    allow_many_files()?;
    let listen = |port| -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.listen(1)?;
        Ok(socket)
    };
    let mut sockets = vec![listen(0)?];
    let port = sockets[0]
        .local_addr()?
        .as_socket()
        .map_or(0, |address| address.port());
    while sockets.len() < listeners() {
        match listen(port) {
            Ok(socket) => sockets.push(socket),
            // The kernel keeps their addresses in one piece of memory, which it may not get.
            Err(e) if e.raw_os_error() == Some(libc::ENOMEM) && sockets.len() >= ENOUGH => break,
            Err(e) => return Err(format!("listener {}: {e}", sockets.len()).into()),
        }
    }
    want.set(State::Listen, sockets.len() as u64);
    for (path, empty) in [LINK, SERVICES].into_iter().zip(empty) {
        let held = shortest_reading(path, &want)?.saturating_sub(empty);
        println!(
            "measured: {path}: {} listeners in one bucket: {} us, {} ns each",
            sockets.len(),
            held.as_micros(),
            held.as_nanos() / sockets.len() as u128
        );
    }
    Ok(())
}

/// Readings do not wait for each other: a reader that hardly gets a processor, such as one in a
/// control group with a small quota, must not delay the others. This is why readers do not take
/// turns, which would bound what many of them cost.
fn beside_a_slow_reader() -> Outcome {
    const LOWEST_PRIORITY: i32 = 19;
    enter_long_table()?;
    run_on(&[0])?;
    set_nice(LOWEST_PRIORITY)?;
    let slow = Loops::start(&[&["read-loop", LINK]]);
    set_nice(0)?;
    let mut slow = slow?;
    until_it_works(&mut slow)?;
    let busy = Loops::start(&[&["busy-loop"][..]; 4])?;
    run_on(&[1])?;
    let beside = median_reading()?;
    drop((slow, busy));
    let alone = median_reading()?;
    println!(
        "measured: a reading takes {} us, and {} us beside a reader that hardly gets a processor (medians)",
        alone.as_micros(),
        beside.as_micros()
    );
    ensure!(
        beside < alone * 3,
        "a reading takes {beside:?} beside a slow reader, {alone:?} without"
    );
    Ok(())
}

/// The median time of a reading of the totals.
fn median_reading() -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..7 {
        let start = Instant::now();
        fs::read(LINK)?;
        times.push(start.elapsed());
    }
    Ok(median(times))
}

/// Throughput beside readers must stay above 1/LEAST of that beside busy loops.
const LEAST: u64 = 3;

/// Throughput beside readers must stay above 1/LEAST_OF_IDLE of that on an idle machine. Four busy
/// loops leave it about a seventh on two processors; the limit is lower since other machines on the
/// host disturb both measurements.
const LEAST_OF_IDLE: u64 = 20;

/// Connections that each reading counts, nearly each of them under a lock of its own.
const COUNTED: u32 = 5_000;

/// How often the throughput beside readers is measured at most. A busy host lowers it, never raises
/// it.
const ATTEMPTS: u32 = 3;

/// One connection over loopback on an idle machine, beside four busy loops, and beside four
/// readers.
fn traffic() -> Outcome {
    let _counted = repaired(COUNTED)?;
    let idle = throughput()?;
    let (busy, _) = throughput_beside(&[&["busy-loop"][..]; 4])?;
    // The debug kernel checks every access of the readers and next to nothing of the busy loops.
    let is_enough =
        |reading| on_debug_kernel() || (reading >= busy / LEAST && reading >= idle / LEAST_OF_IDLE);
    let (totals, services) = (["read-loop", LINK], ["read-loop", SERVICES]);
    let (mut reading, mut readings) = (0, Vec::new());
    for _ in 0..ATTEMPTS {
        (reading, readings) = throughput_beside(&[&totals, &totals, &services, &services])?;
        if is_enough(reading) {
            break;
        }
    }
    ensure!(
        is_enough(reading),
        "loopback has {reading} kB/s beside four readers, {busy} kB/s beside four busy loops, {idle} kB/s on an idle \
         machine"
    );
    println!(
        "measured: loopback {idle} kB/s on an idle machine, {busy} kB/s beside four busy loops, {reading} kB/s beside \
         four readers in a tight loop ({readings:?} readings)"
    );
    Ok(())
}

/// The throughput beside processes with these arguments, and how often each has done its work.
fn throughput_beside(arguments: &[&[&str]]) -> Result<(u64, Vec<u64>), Box<dyn Error>> {
    let mut loops = Loops::start(arguments)?;
    let throughput = throughput()?;
    Ok((throughput, loops.done()?))
}

/// Kilobytes a second through a connection over loopback.
fn throughput() -> Result<u64, Box<dyn Error>> {
    const TIME: Duration = Duration::from_secs(3);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let (stop, received) = (AtomicBool::new(false), AtomicU64::new(0));
    let rate = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let block = vec![0; 64 * 1024];
            while !stop.load(Ordering::Relaxed) {
                sender.write_all(&block)?;
            }
            sender.shutdown(std::net::Shutdown::Write)
        });
        let receiving = scope.spawn(|| {
            let mut block = vec![0; 64 * 1024];
            loop {
                match receiver.read(&mut block)? {
                    0 => return Ok::<_, std::io::Error>(()),
                    n => received.fetch_add(n as u64, Ordering::Relaxed),
                };
            }
        });
        // At first the window grows, which is not measured.
        sleep(TIME / 6);
        let from = received.load(Ordering::Relaxed);
        let start = Instant::now();
        sleep(TIME);
        let rate = (received.load(Ordering::Relaxed) - from) as f64 / start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        for thread in [sending, receiving] {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok::<_, Box<dyn Error>>(rate)
    })?;
    let kilobytes = (rate / 1e3) as u64;
    ensure!(kilobytes > 0, "nothing gets through: {rate} bytes a second");
    Ok(kilobytes)
}
