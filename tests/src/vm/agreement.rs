// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: the module, netlink and `/proc/net/tcp` give what is really there, state by state.

use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::time::SystemTime;

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::helper::{Held, allow_descriptors};
use super::namespaces::says_its_own;
use super::reading::everyone_says;
use super::{Outcome, Scenario, boot, repeat};
use crate::netns::{self, Table};
use crate::sockets::{Family, Mix, repaired};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "every state counts right, IPv4",
        seconds: 60,
        run: every_state_v4,
    },
    Scenario {
        name: "every state counts right, IPv6",
        seconds: 60,
        run: every_state_v6,
    },
    Scenario {
        name: "every state counts right, IPv4 on IPv6 sockets",
        seconds: 60,
        run: every_state_mapped,
    },
    Scenario {
        name: "every state counts right, all at once",
        seconds: 90,
        run: every_state_at_once,
    },
    Scenario {
        name: "random mixes count right",
        seconds: 180,
        run: random_mixes,
    },
    Scenario {
        name: "thousands of connections count right",
        seconds: 90,
        run: many_connections,
    },
    Scenario {
        name: "listeners in every bucket count right",
        seconds: 90,
        run: many_listeners,
    },
];

fn every_state_v4() -> Outcome {
    exactly(&[Mix::of_each(Family::V4, 1)])?;
    exactly(&[Mix::of_each(Family::V4, 3)])
}

fn every_state_v6() -> Outcome {
    exactly(&[Mix::of_each(Family::V6, 1)])?;
    exactly(&[Mix::of_each(Family::V6, 3)])
}

fn every_state_mapped() -> Outcome {
    exactly(&[Mix::of_each(Family::V4Mapped, 2)])
}

fn every_state_at_once() -> Outcome {
    exactly(&Family::ALL.map(|family| Mix::of_each(family, 5)))
}

/// How many of each a random mix has at most. Three of them must not have more time-wait sockets than a namespace may
/// whose table has [`Table::BUCKETS`]: half as many (`tcp_set_hashinfo`).
const MOST: u32 = 5;

/// Mixes of every family in one namespace, which has the shared table or its own, beside others of both kinds.
fn random_mixes() -> Outcome {
    let seed = seed()?;
    println!("to have the same mixes again: TCPSTAT_SEED={seed} scripts/vm-test");
    let mut seeds = (0..).map(|n| seed.wrapping_add(n));
    let mut mix = |family| Mix {
        family,
        ..Mix::random(seeds.next().unwrap_or(seed), MOST)
    };
    for round in 0..repeat(2) as usize {
        for table in Table::ALL {
            let mut beside = Vec::new();
            for (other, family) in Table::ALL.iter().zip(&Family::ALL[round..]) {
                other.for_children()?;
                beside.push(Held::start(&mix(*family))?);
            }
            table.for_children()?;
            exactly_beside(&beside, &Family::ALL.map(&mut mix))
                .map_err(|e| format!("in a namespace with its {table:?} table: {e}"))?;
        }
    }
    Ok(())
}

/// What the random mixes are made from: another number each time, or that of `tcpstat.seed=` on the kernel's command
/// line.
fn seed() -> Result<u64, Box<dyn Error>> {
    let words = fs::read_to_string("/proc/cmdline")?;
    let given = words
        .split_whitespace()
        .find_map(|word| word.strip_prefix(boot::SEED));
    Ok(match given {
        Some(seed) => seed
            .parse()
            .map_err(|e| format!("{}{seed}: {e}", boot::SEED))?,
        None => SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_micros() as u64,
    })
}

/// In a namespace with nothing but these, all give what is expected.
fn exactly(mixes: &[Mix]) -> Outcome {
    exactly_beside(&[], mixes)
}

/// The same, and in the namespaces of others that there are all the while.
fn exactly_beside(others: &[Held], mixes: &[Mix]) -> Outcome {
    netns::enter_new()?;
    let mut fixtures = Vec::new();
    let mut want = Counts::ZERO;
    for mix in mixes {
        let fixture = mix.make()?;
        for (state, count) in fixture.expected().iter() {
            want.set(state, want.get(state) + count);
        }
        fixtures.push(fixture);
    }
    let told: Vec<String> = mixes.iter().map(Mix::to_string).collect();
    everyone_says(&want).map_err(|e| format!("{}: {e}", told.join(", ")))?;
    others.iter().try_for_each(says_its_own)?;
    Ok(fixtures.iter().try_for_each(|fixture| fixture.check())?)
}

fn many_connections() -> Outcome {
    let many = repeat(5000);
    allow_descriptors(many)?;
    let sockets = repaired(many)?;
    let mut want = Counts::ZERO;
    want.set(State::Established, u64::from(many));
    everyone_says(&want)?;
    drop(sockets);
    everyone_says(&Counts::ZERO)
}

/// The listening table has 512 buckets in this machine; with so many ports (on the debug kernel there are
/// fewer), none of them stays empty, the last one included. (The scenario with a small table of its own does the same for the table of connections.)
fn many_listeners() -> Outcome {
    let many = repeat(5000);
    allow_descriptors(many)?;
    let listeners: Vec<TcpListener> = (0..many)
        .map(|i| {
            let ip: IpAddr = match i % 2 {
                0 => Ipv4Addr::LOCALHOST.into(),
                _ => Ipv6Addr::LOCALHOST.into(),
            };
            TcpListener::bind((ip, 0))
        })
        .collect::<Result<_, _>>()?;
    let mut want = Counts::ZERO;
    want.set(State::Listen, listeners.len() as u64);
    everyone_says(&want)
}
