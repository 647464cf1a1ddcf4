// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: descriptors that are copied, inherited by other processes, or kept open for long.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::helper::start_holder;
use super::module;
use super::need::Need;
use super::parameters::repeat;
use super::reading::{self, every_source_gives, same, steady};
use super::scenario::{Outcome, Scenario, ensure, fail};
use crate::naive;
use crate::netns::{self, Table};
use crate::sockets::{Family, Mix, repaired};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "copied and inherited descriptors answer for the namespace they were opened in",
        seconds: 60,
        needs: &[Need::TcpDiag],
        run: copied_and_inherited,
    },
    Scenario {
        name: "a descriptor kept open gives the counts of the moment of each reading",
        seconds: 60,
        needs: &[Need::Ipv6],
        run: kept_open,
    },
    Scenario {
        name: "a file outlives the last process of its namespace",
        seconds: 60,
        needs: &[Need::OwnTable, Need::TcpDiag],
        run: outlives_namespace,
    },
    Scenario {
        name: "the last hold on a namespace is a file of an unloaded module",
        seconds: 60,
        needs: &[Need::OwnTable, Need::TcpDiag],
        run: last_hold,
    },
];

fn copied_and_inherited() -> Outcome {
    let fixture = Mix::of_each(Family::V4, 2).make()?;
    let want = fixture.expected();
    let (_, ()) = steady(|| {
        let first = File::open("/proc/tcpstat")?;
        let mut copy = first.try_clone()?;
        let mut copy_of_copy = copy.try_clone()?;
        drop(first);
        let mut text = String::new();
        // They share one offset: read in turns, a byte each, they give the whole text.
        let mut byte = [0];
        for turn in 0.. {
            let file = if turn % 2 == 0 {
                &mut copy
            } else {
                &mut copy_of_copy
            };
            if file.read(&mut byte)? == 0 {
                break;
            }
            text.push(byte[0].into());
        }
        same("two copies in turns", &want, &naive::module_text(&text)?)?;

        // Inherited by a process in another, empty namespace, with the offset at the start, in the
        // middle, at the end.
        for at in [0, 10, 17, text.len()] {
            let mut file = File::open("/proc/tcpstat")?;
            let mut start = vec![0; at];
            file.read_exact(&mut start)?;
            let rest = inherit(file.try_clone()?)?;
            let whole = String::from_utf8(start)? + &rest;
            same(
                &format!("a process that inherits it at {at}"),
                &want,
                &naive::module_text(&whole)?,
            )?;
            ensure!(
                file.read(&mut byte)? == 0,
                "the child's reading did not move the parent's offset"
            );
        }
        Ok(())
    })?;
    every_source_gives(&want)
}

/// What a child in a new namespace reads from `file`, its standard input.
fn inherit(file: File) -> Result<String, Box<dyn std::error::Error>> {
    let output = Command::new(env::current_exe()?)
        .arg("read-inherited")
        .stdin(Stdio::from(file))
        .output()?;
    ensure!(
        output.status.success(),
        "a process that inherits the file: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// What [`inherit`] starts.
pub fn read_inherited() -> Outcome {
    netns::enter_new()?;
    print!("{}", io::read_to_string(io::stdin())?);
    Ok(io::stdout().flush()?)
}

fn kept_open() -> Outcome {
    let mut want = Counts::ZERO;
    let kept = File::open("/proc/tcpstat")?;
    let mut sockets = Vec::new();
    for round in 0..20 {
        // Each reading from offset 0 counts again, whatever the size of the pieces, and backwards
        // too.
        let text = fs::read_to_string("/proc/tcpstat")?;
        same("a new opening", &want, &naive::module_text(&text)?)?;
        let mut bytes = vec![0; text.len()];
        for (offset, byte) in bytes.iter_mut().enumerate() {
            let n = kept.read_at(std::slice::from_mut(byte), offset as u64)?;
            ensure!(n == 1, "round {round}: the end is at {offset}");
        }
        ensure!(
            bytes == text.as_bytes(),
            "round {round}: the kept descriptor gives {:?}",
            String::from_utf8_lossy(&bytes)
        );
        for offset in (0..text.len()).rev().step_by(7) {
            let mut piece = [0; 7];
            let n = kept.read_at(&mut piece, offset as u64)?;
            ensure!(
                n > 0 && text.as_bytes()[offset..].starts_with(&piece[..n]),
                "round {round}: backwards, at {offset}: {:?}",
                String::from_utf8_lossy(&piece[..n])
            );
        }
        sockets.extend(repaired(3)?);
        for _ in 0..3 {
            want.add_one(State::Established);
        }
    }
    Ok(())
}

/// A file of a namespace whose only process has ended, and the namespace's counts before that. The
/// namespace has its own table, whose memory is freed with it.
fn orphaned_file() -> Result<(File, Counts), Box<dyn std::error::Error>> {
    Table::Own.for_children()?;
    let holder = start_holder(&Mix {
        listen: 2,
        established: 2,
        time_wait: 3,
        ..Mix::default()
    })?;
    let file = File::open(holder.net("tcpstat"))?;
    let counts = naive::module_text(&whole(&file)?)?;
    same("its file", &holder.expected, &counts)?;
    holder.end()?;
    Ok((file, counts))
}

/// All of `file`, from its start.
fn whole(file: &File) -> Result<String, Box<dyn std::error::Error>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 50];
    loop {
        match file.read_at(&mut piece, bytes.len() as u64)? {
            0 => return Ok(String::from_utf8(bytes)?),
            n => bytes.extend(&piece[..n]),
        }
    }
}

fn outlives_namespace() -> Outcome {
    for _ in 0..repeat(5) {
        let (file, before) = orphaned_file()?;
        let start = Instant::now();
        // The process's sockets are closed with it, except for those in TIME_WAIT. These are still
        // counted, in this namespace only.
        loop {
            let counts = naive::module_text(&whole(&file)?)?;
            if counts.get(State::Listen) == 0 && counts.get(State::Established) == 0 {
                ensure!(
                    counts.get(State::TimeWait) >= before.get(State::TimeWait),
                    "time-wait sockets were closed with the process: {counts:?}"
                );
                break;
            }
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "the sockets of a process that has ended stay: {counts:?}"
            );
            sleep(Duration::from_millis(10));
        }
        every_source_gives(&Counts::ZERO)?;
    }
    Ok(())
}

fn last_hold() -> Outcome {
    for _ in 0..repeat(5) {
        let (file, _) = orphaned_file()?;
        module::unload()?;
        module::ensure_gone()?;
        match file.read_at(&mut [0], 0) {
            Err(e) if e.raw_os_error() == Some(libc::EIO) => {}
            other => fail!("reading after unloading gives {other:?}, not EIO"),
        }
        module::load()?;
        same("/proc/tcpstat", &Counts::ZERO, &reading::module()?)?;
        // Unloading has closed the file for the namespace; this closes it for the process.
        drop(file);
        every_source_gives(&Counts::ZERO)?;
    }
    Ok(())
}
