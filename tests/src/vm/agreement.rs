// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: the module, netlink and `/proc/net/tcp` count every socket in its state.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::time::SystemTime;

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::helper::start_holder;
use super::namespaces::check_holder;
use super::need::Need;
use super::parameters::{SEED, repeat, value};
use super::reading::every_source_gives;
use super::scenario::{Outcome, Scenario};
use crate::holder::Holder;
use crate::limits::allow_many_files;
use crate::netns::{self, Table};
use crate::sockets::{Family, Mix, repaired};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "every state counts right, IPv4",
        seconds: 60,
        needs: &[Need::TcpDiag],
        run: every_state_v4,
    },
    Scenario {
        name: "every state counts right, IPv6",
        seconds: 60,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: every_state_v6,
    },
    Scenario {
        name: "every state counts right, IPv4 on IPv6 sockets",
        seconds: 60,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: every_state_mapped,
    },
    Scenario {
        name: "every state counts right, all at once",
        seconds: 90,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: every_state_at_once,
    },
    Scenario {
        name: "random mixes count right",
        seconds: 180,
        needs: &[Need::OwnTable, Need::Ipv6, Need::TcpDiag],
        run: random_mixes,
    },
    Scenario {
        name: "thousands of connections count right",
        seconds: 90,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: many_connections,
    },
    Scenario {
        name: "listeners in every bucket count right",
        seconds: 90,
        needs: &[Need::Ipv6, Need::TcpDiag],
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

/// The most sockets of a kind in a random mix. Three mixes must not have more time-wait sockets
/// than a namespace with [`Table::BUCKETS`] buckets may have, which is half as many as it has
/// buckets (`tcp_set_hashinfo`).
const MOST: u32 = 5;

/// Mixes of every family in one namespace, with the shared table or its own, while there are other
/// namespaces of both kinds.
fn random_mixes() -> Outcome {
    let seed = seed()?;
    println!("for the same mixes again: TCPSTAT_SEED={seed} scripts/vm-test");
    let mut seeds = (0..).map(|n| seed.wrapping_add(n));
    let mut mix = |family| Mix {
        family,
        ..Mix::random(seeds.next().unwrap_or(seed), MOST)
    };
    for round in 0..repeat(2) as usize {
        for table in Table::ALL {
            let mut others = Vec::new();
            for (other, family) in Table::ALL.iter().zip(&Family::ALL[round..]) {
                other.for_children()?;
                others.push(start_holder(&mix(*family))?);
            }
            table.for_children()?;
            exactly_beside(&others, &Family::ALL.map(&mut mix))
                .map_err(|e| format!("in a namespace with its {table:?} table: {e}"))?;
        }
    }
    Ok(())
}

/// The seed of the random mixes: the one on the kernel's command line, else the time.
fn seed() -> Result<u64, Box<dyn Error>> {
    Ok(match value(SEED)? {
        Some(seed) => seed.parse().map_err(|e| format!("{SEED}{seed}: {e}"))?,
        None => SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_micros() as u64,
    })
}

/// Fails unless every count of a new namespace with these mixes is right.
fn exactly(mixes: &[Mix]) -> Outcome {
    exactly_beside(&[], mixes)
}

/// The same, and also checks the counts of the namespaces of `others`.
fn exactly_beside(others: &[Holder], mixes: &[Mix]) -> Outcome {
    netns::enter_new()?;
    let mut fixtures = Vec::new();
    let mut want = Counts::ZERO;
    for mix in mixes {
        let fixture = mix.make()?;
        want = [want, fixture.expected()].into_iter().sum();
        fixtures.push(fixture);
    }
    let names: Vec<String> = mixes.iter().map(Mix::to_string).collect();
    every_source_gives(&want).map_err(|e| format!("{}: {e}", names.join(", ")))?;
    others.iter().try_for_each(check_holder)?;
    Ok(fixtures.iter().try_for_each(|fixture| fixture.check())?)
}

fn many_connections() -> Outcome {
    let many = repeat(5000);
    let sockets = repaired(many)?;
    let mut want = Counts::ZERO;
    want.set(State::Established, u64::from(many));
    every_source_gives(&want)?;
    drop(sockets);
    every_source_gives(&Counts::ZERO)
}

/// The listening table has 512 buckets in this machine. With 5,000 ports (a third on the debug
/// kernel), no bucket stays empty, not even the last one. (The scenario of a namespace with its own
/// small table does the same for the table of connections.)
fn many_listeners() -> Outcome {
    let many = repeat(5000);
    allow_many_files()?;
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
    every_source_gives(&want)
}
