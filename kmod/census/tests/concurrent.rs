// SPDX-License-Identifier: GPL-2.0-only

//! The walk over a table that other threads change meanwhile, with the chains and locks of the
//! kernel.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tcpstat_census::obvious;
use tcpstat_census::state::State;
use tcpstat_census::totals::Tally;

mod common;

use common::{Cpu, Hashinfo, Numbers};

const STAY: u64 = 1;
const MOVE: u64 = 2;

/// Threads move sockets from chain to chain, as fast as they can, while the walk reads ahead: it
/// ends each time, and counts exactly the sockets that do not move.
#[test]
fn sockets_that_stay_are_counted_while_others_move() {
    const STAYING: usize = 3000;
    const MOVING: usize = 400;
    const THREADS: usize = 2;
    for (buckets, locks) in [(1, 1), (64, 8), (4096, 256)] {
        let table = Hashinfo::new(buckets, locks, STAYING + THREADS * MOVING);
        let mut numbers = Numbers(buckets as u64);
        // In turns, so that sockets that stay are next to sockets that move in their chains.
        for socket in 0..STAYING {
            let state = State::ALL[socket % State::COUNT];
            table.set(socket, STAY, state.code(), State::FinWait2.code());
            table.insert(socket, numbers.below(buckets));
            if socket < THREADS * MOVING {
                let moving = STAYING + socket;
                table.set(moving, MOVE, State::Established.code(), 0);
                table.insert(moving, numbers.below(buckets));
            }
        }
        let count = |net| {
            let mut tally = Tally::default();
            tally.count(&Cpu::new(&table), net).unwrap();
            tally.finish().unwrap()
        };
        let expected = count(STAY);
        assert_eq!(expected.total(), STAYING as u64);
        assert_eq!(count(MOVE).total(), (THREADS * MOVING) as u64);

        let (done, moves) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for mover in 0..THREADS {
                let mut numbers = Numbers(mover as u64);
                let (table, done, moves) = (&table, &done, &moves);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let socket = STAYING + mover * MOVING + numbers.below(MOVING);
                        table.remove(socket);
                        table.insert(socket, numbers.below(buckets));
                        moves.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // Until the movers have made enough moves.
            let mut walks = 0;
            while walks < 100 || moves.load(Ordering::Relaxed) < 100 {
                let counts = count(STAY);
                if counts != expected {
                    done.store(true, Ordering::Relaxed);
                    assert_eq!(counts, expected, "{buckets} buckets, {locks} locks");
                }
                walks += 1;
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(count(STAY), expected);
        assert_eq!(count(MOVE).total(), (THREADS * MOVING) as u64);
    }
}

#[test]
fn the_walk_and_the_obvious_walk_agree_on_tables_thin_and_full() {
    for (buckets, sockets) in [
        (4096, 40),
        (4096, 4000),
        (4096, 20_000),
        (256, 20_000),
        (16, 20_000),
    ] {
        let (table, order) = Hashinfo::filled(buckets, 16, sockets, 30);
        let (mut tally, mut naive) = (Tally::default(), Tally::default());
        tally.count(&Cpu::new(&table), 1).unwrap();
        obvious::walk(&Cpu::new(&table), |socket| naive.add(socket, &1)).unwrap();
        assert_eq!(tally, naive);
        assert_eq!(tally.finish().unwrap().total(), order.len() as u64);
    }
}
