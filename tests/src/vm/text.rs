// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: the file `/proc/tcpstat`: its place, mode and form, and unusual ways to read it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tcpstat_census::counts::Counts;

use super::helper::cat_unprivileged;
use super::module::FILES;
use super::need::Need;
use super::reading::{self, same};
use super::scenario::{Outcome, Scenario, ensure, fail};
use crate::naive;
use crate::sockets::{Family, Mix};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "/proc/tcpstat is a link to net/tcpstat; the modes of all files",
        seconds: 20,
        needs: &[],
        run: place_and_mode,
    },
    Scenario {
        name: "an empty namespace has eleven lines of zeros",
        seconds: 20,
        needs: &[Need::TcpDiag],
        run: empty,
    },
    Scenario {
        name: "odd reads give the same text",
        seconds: 60,
        needs: &[],
        run: odd_reads,
    },
    Scenario {
        name: "everyone can read it, and not even root can write",
        seconds: 30,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: permissions,
    },
];

fn place_and_mode() -> Outcome {
    let link = fs::read_link("/proc/tcpstat")?;
    ensure!(
        link == Path::new("net/tcpstat"),
        "/proc/tcpstat is a link to {}",
        link.display()
    );
    for path in FILES {
        let meta = fs::metadata(path)?;
        ensure!(meta.is_file(), "{path} is {:?}", meta.file_type());
        let mode = meta.permissions().mode() & 0o7777;
        let want = if path == reading::NAMESPACES {
            0o400
        } else {
            0o444
        };
        ensure!(mode == want, "{path} has mode {mode:04o}");
        ensure!(
            (meta.uid(), meta.gid()) == (0, 0),
            "{path} belongs to {}:{}",
            meta.uid(),
            meta.gid()
        );
    }
    Ok(())
}

fn empty() -> Outcome {
    let text = fs::read_to_string("/proc/tcpstat")?;
    let want = naive::NAMES.map(|name| format!("{name:<12}: 0\n")).concat();
    ensure!(text == want, "it reads {text:?}");
    reading::every_source_gives(&Counts::ZERO)
}

fn odd_reads() -> Outcome {
    let fixture = Mix::of_each(Family::V4, 2).make()?;
    // Repeated if a timer changes the state of a socket meanwhile.
    let (_, ()) = reading::steady(|| {
        let text = fs::read("/proc/tcpstat")?;
        let end = text.len() as u64;
        let mut file = File::open("/proc/tcpstat")?;

        let mut byte = [0];
        let mut bytes = Vec::new();
        while file.read(&mut byte)? == 1 {
            bytes.push(byte[0]);
        }
        ensure!(
            bytes == text,
            "one byte at a time it reads {:?}",
            String::from_utf8_lossy(&bytes)
        );
        ensure!(file.read(&mut byte)? == 0, "there is more after the end");

        // Forwards and backwards, within lines and at their ends, and beyond the end.
        for offset in [
            1,
            0,
            16,
            17,
            15,
            101,
            13,
            50,
            end - 1,
            3,
            end,
            7,
            end + 1,
            end + 5000,
            99,
            0,
        ] {
            for size in [1, 2, 13, 17, 64, 4096] {
                let mut piece = vec![0; size];
                let n = file.read_at(&mut piece, offset)?;
                let rest = &text[offset.min(end) as usize..];
                ensure!(
                    n > 0 || rest.is_empty(),
                    "pread({size}, {offset}) finds the end, which is at {end}"
                );
                ensure!(
                    rest.starts_with(&piece[..n]),
                    "pread({size}, {offset}) gives {:?}, not the start of {:?}",
                    String::from_utf8_lossy(&piece[..n]),
                    String::from_utf8_lossy(rest)
                );
            }
        }

        for offset in [5, 0, 40] {
            file.seek(SeekFrom::Start(offset))?;
            let mut rest = Vec::new();
            file.read_to_end(&mut rest)?;
            ensure!(
                rest == text[offset as usize..],
                "after seeking to {offset} it reads something else"
            );
        }

        // Two descriptors of one opening share the offset.
        let mut again = File::open("/proc/tcpstat")?;
        let mut twin = again.try_clone()?;
        let mut start = [0; 20];
        again.read_exact(&mut start)?;
        let mut rest = Vec::new();
        twin.read_to_end(&mut rest)?;
        ensure!(
            [&start[..], &rest].concat() == text,
            "a descriptor and its twin do not add up"
        );
        Ok(())
    })?;
    let want = fixture.expected();
    same("/proc/tcpstat", &want, &reading::steady(reading::module)?.1)
}

fn permissions() -> Outcome {
    let fixture = Mix::of_each(Family::V6, 1).make()?;
    for path in ["/proc/tcpstat", "/proc/net/tcpstat"] {
        let (_, text) = reading::steady(|| cat_unprivileged(path))?;
        same(
            &format!("{path} without privileges"),
            &fixture.expected(),
            &naive::module_text(&text)?,
        )?;
        if File::options()
            .write(true)
            .open(path)
            .is_ok_and(|mut file| {
                // Root can open it for writing in spite of its mode 0444. Then the write must fail.
                std::io::Write::write(&mut file, b"0").is_ok()
            })
        {
            fail!("{path} can be written to");
        }
    }
    for source in reading::SOURCES.iter().chain(&["auto"]) {
        let (_, counts) = reading::steady(|| reading::command_counts(source, true))?;
        same(
            &format!("tcpstat --source {source} without privileges"),
            &fixture.expected(),
            &counts,
        )?;
    }
    Ok(())
}
