// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: network namespaces that end while their files are read.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::helper::Held;
use super::lifetime::{Seen, Work, alongside};
use super::reading::{self, counts_in, module_at, same, services_at, steady};
use super::{Outcome, Scenario, ensure, repeat};
use crate::naive;
use crate::netns::{self, Table};
use crate::sockets::Mix;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a namespace that ends while it is read",
        seconds: 90,
        run: ends_while_read,
    },
    Scenario {
        name: "namespaces that come and go on several threads",
        seconds: 60,
        run: come_and_go,
    },
];

/// How far the end of a process is: it lives,
const ALIVE: u8 = 0;
/// it is told to end,
const ENDING: u8 = 1;
/// it is gone.
const ENDED: u8 = 2;

/// How long a reader waits between two readings once the process is gone. The namespace ends when nobody has a file of
/// it open, which those who never wait would put off.
const PACE: Duration = Duration::from_millis(2);

/// What the readers have met.
#[derive(Debug, Default)]
struct Met {
    /// Answers while the process lived.
    alive: AtomicU64,
    /// Answers after it, through a file that was open before.
    after: AtomicU64,
    /// `/proc/PID/net/…` could not be opened: no process.
    no_process: AtomicU64,
    /// The file itself could not be opened: its namespace was ending. This may be too short to be met.
    ending: AtomicU64,
    /// The same: it was removed from its namespace.
    removed: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn ends_while_read() -> Outcome {
    for table in Table::ALL {
        table.for_children()?;
        ensure!(
            netns::in_new(Table::of_this_thread)?? == table,
            "a new namespace has not its {table:?} table"
        );
        let met = Met::default();
        for _ in 0..repeat(8) {
            one_ends(&met)?;
        }
        println!("with its {table:?} table: {met:?}");
        for counter in [&met.alive, &met.after, &met.no_process, &met.removed] {
            ensure!(
                counter.load(Ordering::Relaxed) > 0,
                "there was not every kind of reading: {met:?}"
            );
        }
    }
    steady(reading::module)?;
    Ok(())
}

/// Four threads read the two files of a namespace in every way there is, while it ends and until its files are gone.
fn one_ends(met: &Met) -> Outcome {
    let held = Held::start(&Mix {
        listen: 2,
        established: 2,
        time_wait: 3,
        ..Mix::default()
    })?;
    let mut readers = Vec::new();
    for path in held.files().into_iter().chain(held.files()) {
        readers.push(Mutex::new(Reader::new(path, held.expected)?));
    }
    let (seen, phase) = (Seen::default(), AtomicU8::new(ALIVE));
    let read = |reader: &Mutex<Reader>| {
        let mut reader = reader.lock().map_err(|e| e.to_string())?;
        seen.until_stopped(|| reader.read(&phase, &seen, met))
    };
    let threads: Vec<_> = readers.iter().map(|reader| || read(reader)).collect();
    let threads: Vec<&Work> = threads.iter().map(|thread| thread as &Work).collect();
    alongside(&seen, &threads, || {
        seen.wait("the namespace alive", &seen.answered, 12)?;
        phase.store(ENDING, Ordering::SeqCst);
        held.end()?;
        phase.store(ENDED, Ordering::SeqCst);
        seen.wait("the namespace gone", &seen.absent, 12)
    })
}

/// One who reads a file of a namespace in every way there is.
struct Reader {
    /// `/proc/PID/net/…`: found for as long as the process is there.
    name: PathBuf,
    /// The file, open until the process is gone: the namespace lives for as long.
    open: Option<File>,
    /// The file, found but not opened, which keeps nothing alive.
    found: File,
    /// What was made in the namespace.
    made: Counts,
}

impl Reader {
    fn new(name: PathBuf, made: Counts) -> io::Result<Reader> {
        Ok(Reader {
            open: Some(File::open(&name)?),
            found: File::options()
                .read(true)
                .custom_flags(libc::O_PATH)
                .open(&name)?,
            name,
            made,
        })
    }

    /// Reads in each way once.
    fn read(&mut self, phase: &AtomicU8, seen: &Seen, met: &Met) -> Result<(), String> {
        let before = phase.load(Ordering::SeqCst);
        if let Some(file) = &self.open {
            let text = text(file).map_err(|e| self.wrong("through the open file", &e))?;
            self.possible(&text, before, phase.load(Ordering::SeqCst))?;
            match before {
                ALIVE => {
                    count(&met.alive);
                    count(&seen.answered);
                }
                ENDING => {}
                _ => {
                    count(&met.after);
                    self.open = None;
                }
            }
        }

        let before = phase.load(Ordering::SeqCst);
        let opened = File::open(&self.name);
        let text_of = |file| text(&file).map_err(|e| self.wrong("by its name", &e));
        match (opened, phase.load(Ordering::SeqCst)) {
            (Ok(file), _) => {
                self.possible(&text_of(file)?, before, phase.load(Ordering::SeqCst))?;
                if before == ENDED {
                    return Err(format!("{} outlives its process", self.name.display()));
                }
            }
            // No such process, or one without namespaces any more (`proc_pid_lookup`, `proc_tgid_net_lookup`); one that
            // ends between the two (`proc_pid_permission`); a namespace that ends between finding the file and opening
            // it (`single_open_net`).
            (Err(e), ENDING | ENDED) if is(&e, &[libc::ENOENT, libc::ESRCH, libc::ENXIO]) => {
                count(&met.no_process);
            }
            (Err(e), _) => return Err(self.wrong("by its name", &e)),
        }

        let before = phase.load(Ordering::SeqCst);
        let opened = File::open(format!("/proc/self/fd/{}", self.found.as_raw_fd()));
        match (opened, phase.load(Ordering::SeqCst)) {
            (Ok(file), _) => {
                self.possible(&text_of(file)?, before, phase.load(Ordering::SeqCst))?;
            }
            // `single_open_net`: nobody holds the namespace any more.
            (Err(e), ENDING | ENDED) if is(&e, &[libc::ENXIO]) => count(&met.ending),
            // `proc_reg_open`: the module has removed the file, or does so.
            (Err(e), ENDING | ENDED) if is(&e, &[libc::ENOENT]) => {
                count(&met.removed);
                count(&seen.absent);
            }
            (Err(e), _) => return Err(self.wrong("once more", &e)),
        }
        if before == ENDED {
            sleep(PACE);
        }
        Ok(())
    }

    fn wrong(&self, how: &str, error: &io::Error) -> String {
        format!("reading {} {how}: {error}", self.name.display())
    }

    /// Fails unless a reading may have given `text` that began in the phase `before` and ended in `after`.
    fn possible(&self, text: &str, before: u8, after: u8) -> Result<(), String> {
        let path = self.name.display().to_string();
        let counts = counts_in(&path, text).map_err(|e| format!("{path}: {e}"))?;
        if after == ALIVE {
            return same(&path, &self.made, &counts).map_err(|e| e.to_string());
        }
        let (listen, made) = (counts.get(State::Listen), self.made.get(State::Listen));
        // Time-wait sockets stay when their process goes, for as long as there is the namespace.
        let possible = listen <= made
            && counts.total() <= self.made.total()
            && counts.get(State::TimeWait) >= self.made.get(State::TimeWait)
            && (before != ENDED || listen + counts.get(State::Established) == 0);
        if possible {
            Ok(())
        } else {
            Err(format!(
                "{path}: {counts:?}, of {:?}, in phase {before} to {after}",
                self.made
            ))
        }
    }
}

/// What `file` says now.
fn text(file: &File) -> io::Result<String> {
    let mut buffer = [0; 4096];
    let n = file.read_at(&mut buffer, 0)?;
    Ok(String::from_utf8_lossy(&buffer[..n]).into_owned())
}

fn is(error: &io::Error, errnos: &[i32]) -> bool {
    error
        .raw_os_error()
        .is_some_and(|errno| errnos.contains(&errno))
}

fn come_and_go() -> Outcome {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| go_on().map_err(|e| e.to_string())))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })?;
    steady(reading::module)?;
    Ok(())
}

/// From one new namespace to the next, on the shared table and with a table of its own in turns.
fn go_on() -> Outcome {
    let net = Path::new(netns::THREAD_NET);
    netns::enter_new()?;
    for _ in 0..repeat(5) {
        for table in Table::ALL {
            table.for_children()?;
            netns::enter_new()?;
            let mine = Table::of_this_thread()?;
            ensure!(mine == table, "it has its {mine:?} table, not {table:?}");
            let fixture = Mix {
                listen: 1,
                time_wait: 1,
                ..Mix::default()
            }
            .make()?;
            let counts = module_at(&net.join("tcpstat"))?;
            same("a short-lived namespace", &fixture.expected(), &counts)?;
            let services = services_at(&net.join("tcpstat_services"))?;
            same("its services", &fixture.expected(), &naive::sum(&services))?;
        }
    }
    Ok(())
}
