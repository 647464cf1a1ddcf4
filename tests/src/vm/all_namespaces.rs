// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: `/proc/tcpstat_namespaces`, a row for each network namespace.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;

use serde_json::Value;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::helper::{cat_as, start_holder};
use super::lifetime::{Seen, Work, alongside};
use super::need::Need;
use super::parameters::repeat;
use super::reading::{NAMESPACES, UNPRIVILEGED, command_reports, same, steady};
use super::scenario::{Outcome, Scenario, ensure, fail};
use crate::holder::Holder;
use crate::naive;
use crate::netns::{self, Table};
use crate::sockets::{Family, Mix};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "all namespaces: each has a row with its own sockets",
        seconds: 90,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: a_row_each,
    },
    Scenario {
        name: "all namespaces: tables of their own are counted once",
        seconds: 90,
        needs: &[Need::OwnTable, Need::Ipv6],
        run: own_tables,
    },
    Scenario {
        name: "all namespaces: for an administrator of the machine alone",
        seconds: 60,
        needs: &[],
        run: permissions,
    },
    Scenario {
        name: "all namespaces: two hundred, in pieces of every size",
        seconds: 120,
        needs: &[],
        run: two_hundred,
    },
    Scenario {
        name: "all namespaces: while they come and go",
        seconds: 120,
        needs: &[],
        run: come_and_go,
    },
];

/// The rows of the file, by inode number.
fn rows() -> Result<BTreeMap<u64, Counts>, Box<dyn Error>> {
    let text = fs::read_to_string(NAMESPACES)?;
    Ok(naive::namespaces_text(&text)?)
}

/// The inode number of a holder's network namespace.
fn inode(holder: &Holder) -> Result<u64, Box<dyn Error>> {
    Ok(netns::of_process(holder.pid())?)
}

/// Fails unless the row of each holder has its sockets.
fn check_rows(holders: &[&Holder]) -> Outcome {
    let rows = rows()?;
    for holder in holders {
        let inode = inode(holder)?;
        let row = rows.get(&inode).ok_or(format!("no row of {inode}"))?;
        same(&format!("the row of {inode}"), &holder.expected, row)?;
        same("procfs", &naive::procfs(&holder.net(""))?, row)?;
    }
    Ok(())
}

fn a_row_each() -> Outcome {
    let mine = Mix::of_each(Family::V4Mapped, 1).make()?;
    let first = start_holder(&Mix::of_each(Family::V4, 1))?;
    let second = start_holder(&Mix::of_each(Family::V6, 2))?;
    let empty = start_holder(&Mix::default())?;
    check_rows(&[&first, &second, &empty])?;
    let own = fs::metadata("/proc/thread-self/ns/net")?.ino();
    let (procfs, row) = steady(|| Ok(rows()?[&own]))?;
    same("the row of this namespace", &procfs, &row)?;
    same("the row of this namespace", &mine.expected(), &row)?;

    // A namespace that only an open file holds: no process is in it, and it has no name.
    let alone = start_holder(&Mix::default())?;
    let (held, inode) = (
        File::open(format!("/proc/{}/ns/net", alone.pid()))?,
        inode(&alone)?,
    );
    alone.end()?;
    let rows = rows()?;
    ensure!(
        rows.get(&inode) == Some(&Counts::ZERO),
        "a namespace that a file holds has {:?}",
        rows.get(&inode)
    );

    // The command gives the same, from the module.
    let reports = command_reports(&["--all-namespaces", "--format", "report"])?;
    let mut said = BTreeMap::new();
    for report in reports {
        ensure!(report["source"] == "module", "another source: {report}");
        let mut counts = Counts::ZERO;
        for (state, name) in State::ALL.into_iter().zip(naive::NAMES) {
            let count = report["states"][name]["count"].as_u64();
            counts.set(state, count.ok_or(format!("no {name}: {report}"))?);
        }
        let inode = report["namespace"].as_u64();
        let inode = inode.ok_or(format!("no namespace: {report}"))?;
        ensure!(said.insert(inode, counts).is_none(), "{inode} twice");
    }
    ensure!(said == rows, "the command says {said:?}, the file {rows:?}");
    let top = command_reports(&["top", "--by", "netns"])?;
    let [Value::Object(top)] = &top[..] else {
        fail!("top --by netns: {} lines", top.len());
    };
    let total: u64 = rows.values().map(Counts::total).sum();
    let groups = top["groups"].as_array().into_iter().flatten();
    let sum: u64 = groups.filter_map(|group| group["total"].as_u64()).sum();
    ensure!(
        sum == total,
        "top --by netns has {sum}, not {total}: {top:?}"
    );
    drop(held);
    Ok(())
}

fn own_tables() -> Outcome {
    let shared = start_holder(&Mix::of_each(Family::V4, 2))?;
    Table::Own.for_children()?;
    let own = [1, 3]
        .map(|each| start_holder(&Mix::of_each(Family::V6, each)))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    check_rows(&[&shared, &own[0], &own[1]])?;
    // From inside of one.
    netns::enter_new()?;
    let table = Table::of_this_thread()?;
    ensure!(table == Table::Own, "it has its {table:?} table");
    check_rows(&[&shared, &own[0], &own[1]])
}

fn permissions() -> Outcome {
    ensure!(rows()?.len() > 1, "there is no row of the first namespace");
    for (who, error) in [
        ("an unprivileged user", "os error 13"),
        ("root of a container", "os error 1"),
        ("root of a user namespace", "os error 1"),
    ] {
        match cat_as(who, NAMESPACES)? {
            Err(said) if said.contains(&format!("({error})")) => {}
            other => fail!("{who}: {other:?}, not {error}"),
        }
    }
    // The same root reads a file that is open to all.
    for who in ["root of a container", "root of a user namespace"] {
        let read = cat_as(who, "/proc/net/tcpstat")?;
        ensure!(read.is_ok(), "{who}: {read:?}");
    }
    // Who opened the file counts, not who reads it.
    let output = Command::new("/bin/busybox")
        .arg("cat")
        .stdin(Stdio::from(File::open(NAMESPACES)?))
        .uid(UNPRIVILEGED)
        .gid(UNPRIVILEGED)
        .output()?;
    naive::namespaces_text(&String::from_utf8(output.stdout)?)?;
    let file = File::options().write(true).open(NAMESPACES);
    let written = file.and_then(|mut file| file.write(b"x"));
    ensure!(written.is_err(), "root can write it: {written:?}");
    Ok(())
}

/// Makes network namespaces, each of which a file holds.
fn make(count: u32) -> Result<Vec<File>, Box<dyn Error>> {
    let held = thread::spawn(move || {
        (0..count)
            .map(|_| {
                netns::enter_new()?;
                File::open("/proc/thread-self/ns/net")
            })
            .collect::<Result<Vec<_>, _>>()
    });
    Ok(held.join().map_err(|_| "a thread panicked")??)
}

fn two_hundred() -> Outcome {
    let before = rows()?.len();
    let held = make(200)?;
    let text = fs::read(NAMESPACES)?;
    let all = naive::namespaces_text(std::str::from_utf8(&text)?)?;
    ensure!(
        all.len() == before + 200,
        "{before} rows before, {} after",
        all.len()
    );
    ensure!(text.len() > 4096, "it is {} bytes", text.len());
    for size in [1, 7, 100, 4096, 5000, text.len(), text.len() + 1] {
        let mut file = File::open(NAMESPACES)?;
        let (mut read, mut piece) = (Vec::<u8>::new(), vec![0; size]);
        loop {
            match file.read(&mut piece)? {
                0 => break,
                n => read.extend(&piece[..n]),
            }
        }
        ensure!(read == text, "in pieces of {size} bytes it is another text");
    }
    let mut end = [0; 40];
    let offset = text.len() as u64 - 40;
    File::open(NAMESPACES)?.read_exact_at(&mut end, offset)?;
    ensure!(text.ends_with(&end), "from the end it is another text");
    drop(held);
    Ok(())
}

fn come_and_go() -> Outcome {
    let holder = start_holder(&Mix::of_each(Family::V4, 1))?;
    let inode = inode(&holder)?;
    let seen = Seen::default();
    let churn = || {
        seen.until_stopped(|| {
            netns::enter_new().map_err(|e| e.to_string())?;
            seen.absent.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    };
    let read = || {
        seen.until_stopped(|| {
            let text = fs::read_to_string(NAMESPACES).map_err(|e| e.to_string())?;
            let rows = naive::namespaces_text(&text)?;
            match rows.get(&inode) {
                Some(row) if *row == holder.expected => {}
                other => return Err(format!("the row of the holder is {other:?}")),
            }
            seen.answered.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    };
    let threads: [&Work; 4] = [&churn, &churn, &read, &read];
    alongside(&seen, &threads, || {
        let rounds = u64::from(repeat(30));
        seen.wait("the file", &seen.answered, rounds)?;
        // A new namespace waits for the end of others.
        seen.wait("a namespace made", &seen.absent, rounds)
    })?;
    println!(
        "measured: {} readings, {} namespaces",
        seen.answered.load(Ordering::Relaxed),
        seen.absent.load(Ordering::Relaxed)
    );
    check_rows(&[&holder])
}
