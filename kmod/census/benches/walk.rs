// SPDX-License-Identifier: GPL-2.0-only

//! The speed of the walk, compared with the obvious walk and with the limit set by memory.
//!
//! Each table is counted in five ways: by the obvious walk; by the walk; as the limit, which reads
//! the same cache lines in random order, prefetched, without lists or locks; by the walk, for each
//! port that has a listener; and by the walk, for each network namespace. Milliseconds depend on
//! the machine, so the table at the end has ratios: the speedup over the obvious walk, the slowdown
//! against the limit, and the costs of the services and of all namespaces against that of the
//! totals of one namespace. The run fails if a ratio misses its bound.
//!
//! `cargo bench -p tcpstat-census`, and `-- 'load 4'` for a part of it. The largest table takes 2.5
//! GB of memory.

use std::cell::OnceCell;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use tcpstat_census::counts::Counts;
use tcpstat_census::namespaces;
use tcpstat_census::obvious;
use tcpstat_census::services::{self, Marks, Row, BLOCKS};
use tcpstat_census::state::State;
use tcpstat_census::table::Socket;
use tcpstat_census::totals::Tally;

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Cpu, Hashinfo};

/// No slower, within the noise of the measurement.
const NOT_SLOWER: Option<f64> = Some(0.95);

/// A table to be counted, and the bounds that the walk has to keep there.
struct Case {
    sockets: usize,
    /// The number of buckets is 2 to this power.
    buckets: u32,
    locks: usize,
    /// The share of time-wait sockets, in per cent; each costs a third cache line.
    time_wait: usize,
    /// The number of ports that have a listener. Half of the sockets are connections to these; the
    /// other half have local ports from the kernel's range for outgoing connections.
    listening: usize,
    /// Whether each listener is at one address, and half of the connections to its port at another;
    /// else it is at the unspecified address.
    specified: bool,
    /// The number of network namespaces that the sockets are in, at random.
    namespaces: usize,
    /// The least speed of the walk, as a multiple of that of the obvious walk.
    speedup: Option<f64>,
    /// The greatest time of the walk, as a multiple of that of the limit.
    of_limit: Option<f64>,
    /// The greatest time of the services, as a multiple of that of the totals.
    of_totals: Option<f64>,
    /// The greatest time of all namespaces, as a multiple of that of the totals of one of them.
    of_one: Option<f64>,
}

const fn case(sockets: usize, buckets: u32, locks: usize, speedup: Option<f64>) -> Case {
    Case {
        sockets,
        buckets,
        locks,
        time_wait: 0,
        listening: 10,
        specified: false,
        namespaces: 1,
        speedup,
        of_limit: None,
        of_totals: None,
        of_one: None,
    }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { of_limit: Some(1.5), of_totals: Some(1.3), ..case(1_000_000, 18, 4096, Some(4.0)) },
    Case { listening: 1, of_totals: Some(1.3), ..case(1_000_000, 18, 16384, Some(4.0)) },
    Case { listening: 100, of_totals: Some(1.3), ..case(1_000_000, 18, 16384, Some(4.0)) },
    Case { specified: true, of_totals: Some(1.8), ..case(1_000_000, 18, 16384, Some(4.0)) },
    Case { time_wait: 50, ..case(1_000_000, 18, 4096, None) },
    Case { namespaces: 200, of_one: Some(1.3), ..case(1_000_000, 18, 4096, None) },
    Case { namespaces: 10_000, ..case(1_000_000, 18, 4096, None) },
    case(1_048_576, 16,  1024, None),
    case(1_048_576, 20,  8192, Some(1.3)),
    case(  524_288, 20,  8192, Some(1.3)),
    case(  104_858, 20,  8192, NOT_SLOWER),
    case(   10_486, 20,  8192, NOT_SLOWER),
    case(  262_144, 18,  4096, Some(1.3)),
    case(  131_072, 18,  4096, Some(1.3)),
    case(   26_214, 18,  4096, NOT_SLOWER),
    case(   65_536, 16,  1024, Some(1.3)),
    case(   32_768, 16,  1024, Some(1.3)),
    case(    6_554, 16,  1024, NOT_SLOWER),
    case(      655, 16,  1024, NOT_SLOWER),
];

impl Case {
    fn load(&self) -> f64 {
        self.sockets as f64 / f64::from(1u32 << self.buckets)
    }

    fn name(&self) -> String {
        let Self {
            sockets,
            buckets,
            locks,
            time_wait,
            listening,
            specified,
            namespaces,
            ..
        } = self;
        let specified = match specified {
            true => " at an address each",
            false => "",
        };
        let namespaces = match namespaces {
            1 => String::new(),
            many => format!(", {many} namespaces"),
        };
        let time_wait = match time_wait {
            0 => String::new(),
            percent => format!(", {percent} % TIME_WAIT"),
        };
        format!(
            "load {:.2}, {listening} listening ports{specified}, {sockets} sockets, 2^{buckets} buckets, \
             {locks} locks{time_wait}{namespaces}",
            self.load()
        )
    }
}

/// The namespaces of a table: the first, which is the one that the other ways count, and others
/// that are as far from each other as the kernel's `struct net`.
fn nets(number: usize) -> impl Iterator<Item = u64> {
    (0..number as u64).map(|nth| 1 + nth * 0x1400)
}

/// How many sockets ahead the limit prefetches; 8 to 64 measure the same.
const AHEAD: usize = 16;

/// Reads the same cache lines as a walk, in random order, prefetched, without lists or locks.
fn limit(table: &Hashinfo, order: &[u32]) -> Counts {
    let sockets = table.sockets();
    let mut counts = Counts::ZERO;
    for (nth, &socket) in order.iter().enumerate() {
        if let Some(&ahead) = order.get(nth + AHEAD) {
            sockets[ahead as usize].prefetch();
        }
        let socket = &sockets[socket as usize];
        socket.read_link();
        if socket.net() == black_box(1) {
            counts.add_one(State::of_entry(socket.state(), || socket.tw_substate()).unwrap());
        }
    }
    counts
}

/// Does all the work of a reading of `/proc/net/tcpstat_services`, including the text; returns the
/// sums of the columns of states.
fn count_services(listening: &Hashinfo, table: &Hashinfo) -> Counts {
    let mut bits = Box::new([0; BLOCKS]);
    let mut marks = Marks::new(&mut bits);
    marks.mark(&Cpu::new(listening), black_box(1)).unwrap();
    let (mut numbers, mut rows) = (vec![0; marks.numbers()], vec![Row::ZERO; marks.rows()]);
    let mut tally = services::Tally::new(&marks, &mut numbers, &mut rows).unwrap();
    tally
        .count_listeners(&Cpu::new(listening), black_box(1))
        .unwrap();
    tally.count(&Cpu::new(table), black_box(1)).unwrap();
    let services = tally.finish().unwrap();
    black_box(services.to_string());
    services.totals()
}

/// Does all the work of a reading of `/proc/tcpstat_namespaces`, including the text, which it
/// returns.
fn count_namespaces(listening: &Hashinfo, table: &Hashinfo, number: usize) -> String {
    let mut rows: Vec<_> = (1..)
        .zip(nets(black_box(number)))
        .map(|(inode, net)| namespaces::Row::new(net, inode))
        .collect();
    let mut chains = Box::new([0; namespaces::CHAINS]);
    let mut tally = namespaces::Tally::new(&mut rows, &mut chains);
    tally.count(&Cpu::new(listening)).unwrap();
    tally.count(&Cpu::new(table)).unwrap();
    tally.finish().unwrap().to_string()
}

/// The counts in a line of that text.
fn counts_of(line: &str) -> Counts {
    let mut counts = Counts::ZERO;
    for (state, count) in State::ALL.into_iter().zip(line.split(' ').skip(1)) {
        counts.set(state, count.parse().unwrap());
    }
    counts
}

/// The five ways, in the order in which they are measured.
const OBVIOUS: usize = 0;
const WALK: usize = 1;
const LIMIT: usize = 2;
const SERVICES: usize = 3;
const NAMESPACES: usize = 4;
const WAYS: [(usize, &str); 5] = [
    (OBVIOUS, "obvious walk"),
    (WALK, "walk"),
    (LIMIT, "limit"),
    (SERVICES, "services"),
    (NAMESPACES, "namespaces"),
];

/// The processor time of this thread; other threads on the same processor do not add to it.
fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writing.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The processor time of each way in each turn, in seconds. The ways take turns, since the load of
/// the machine may change: only times of the same turn are compared.
type Turns = Vec<[f64; WAYS.len()]>;

/// The least number of turns.
const TURNS: usize = 15;

/// The least duration of all turns together.
const TURNS_TIME: Duration = Duration::from_millis(500);

fn median(turns: &Turns, of: impl Fn(&[f64; WAYS.len()]) -> f64) -> f64 {
    let mut values: Vec<f64> = turns.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures a table by criterion, one way after the other, and then in turns. Empty if the command
/// line leaves this table out.
fn measure(criterion: &mut Criterion, case: &Case) -> Turns {
    // Made only if it is measured.
    let made = OnceCell::new();
    let count = |way: usize| -> Counts {
        let (listening, (table, order)) = made.get_or_init(|| {
            let (buckets, listening) = (1 << case.buckets, case.listening);
            let filled = Hashinfo::filled(buckets, case.locks, case.sockets, case.time_wait);
            filled.0.set_ports(listening);
            filled
                .0
                .set_nets(&nets(case.namespaces).collect::<Vec<_>>());
            let listening = Hashinfo::listening(listening);
            if case.specified {
                listening.set_addresses(1);
                filled.0.set_addresses(2);
            }
            (listening, filled)
        });
        let mut tally = Tally::default();
        match way {
            SERVICES => return count_services(listening, table),
            NAMESPACES => {
                let text = count_namespaces(listening, table, case.namespaces);
                return counts_of(text.lines().nth(1).unwrap());
            }
            LIMIT => {
                let mut counts = limit(table, order);
                counts.set(State::Listen, case.listening as u64);
                return counts;
            }
            _ => tally.count(&Cpu::new(listening), black_box(1)).unwrap(),
        }
        match way {
            OBVIOUS => obvious::walk(&Cpu::new(table), |socket| tally.add(socket, &black_box(1))),
            _ => tally.count(&Cpu::new(table), black_box(1)),
        }
        .unwrap();
        tally.finish().unwrap()
    };

    let mut group = criterion.benchmark_group(case.name());
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    for (way, name) in WAYS {
        group.bench_function(name, |bencher| {
            assert_eq!(count(way), count(OBVIOUS), "counts differ");
            let (listening, (table, _)) = made.get().unwrap();
            let text = count_namespaces(listening, table, case.namespaces);
            let rows = text.lines().skip(1).map(counts_of);
            let all: u64 = rows.map(|counts| counts.total()).sum();
            assert_eq!(all, (case.sockets + case.listening) as u64);
            bencher.iter(|| count(way));
        });
    }
    group.finish();

    let mut turns = Turns::new();
    let start = Instant::now();
    while made.get().is_some()
        && !runs_once()
        && (turns.len() < TURNS || start.elapsed() < TURNS_TIME)
    {
        turns.push(WAYS.map(|(way, _)| {
            let start = thread_time();
            black_box(count(way));
            (thread_time() - start).as_secs_f64()
        }));
    }
    turns
}

/// Whether nothing is to be measured, as in `cargo test --benches`: criterion measures if `--bench`
/// is given.
fn runs_once() -> bool {
    let given = |option: &str| std::env::args().any(|argument| argument == option);
    !given("--bench") || given("--test") || given("--list")
}

/// A ratio with its bound, as text; and whether it keeps the bound.
fn judge(
    ratio: f64,
    wanted: Option<f64>,
    good: impl Fn(&f64, &f64) -> bool,
    sign: &str,
) -> (String, bool) {
    match wanted {
        None => (format!("{ratio:.2}"), true),
        Some(wanted) if good(&ratio, &wanted) => (format!("{ratio:.2} ({sign} {wanted})"), true),
        Some(wanted) => (format!("{ratio:.2} (MISSED: {sign} {wanted})"), false),
    }
}

fn main() -> ExitCode {
    let mut criterion = Criterion::default().configure_from_args();
    let measured: Vec<_> = CASES
        .iter()
        .map(|case| (case, measure(&mut criterion, case)))
        .collect();
    criterion.final_summary();

    let mut all_good = true;
    println!("Medians over all turns:\n");
    println!("| load | buckets | locks | sockets | TIME_WAIT | listening | namespaces | speedup | of limit | services of totals | all namespaces of one | obvious, ms | walk, ms | limit, ms | services, ms | all namespaces, ms |");
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (case, turns) in measured.iter().filter(|(_, turns)| !turns.is_empty()) {
        let (speedup, fast) = judge(
            median(turns, |turn| turn[OBVIOUS] / turn[WALK]),
            case.speedup,
            f64::ge,
            "≥",
        );
        let (of_limit, near) = judge(
            median(turns, |turn| turn[WALK] / turn[LIMIT]),
            case.of_limit,
            f64::le,
            "≤",
        );
        let (of_totals, cheap) = judge(
            median(turns, |turn| turn[SERVICES] / turn[WALK]),
            case.of_totals,
            f64::le,
            "≤",
        );
        let (of_one, one_walk) = judge(
            median(turns, |turn| turn[NAMESPACES] / turn[WALK]),
            case.of_one,
            f64::le,
            "≤",
        );
        all_good &= fast && near && cheap && one_walk;
        let [obvious, walk, limit, services, namespaces] =
            WAYS.map(|(way, _)| median(turns, |turn| turn[way] * 1e3));
        let listening = match case.specified {
            true => format!("{} at an address each", case.listening),
            false => case.listening.to_string(),
        };
        println!(
            "| {:.2} | 2^{} | {} | {} | {} % | {} | {} | {speedup} | {of_limit} | {of_totals} | {of_one} | {obvious:.3} | {walk:.3} | {limit:.3} | {services:.3} | {namespaces:.3} |",
            case.load(), case.buckets, case.locks, case.sockets, case.time_wait, listening, case.namespaces,
        );
    }
    ExitCode::from(u8::from(!all_good))
}
