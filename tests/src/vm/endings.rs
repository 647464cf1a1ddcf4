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

use super::helper::start_holder;
use super::lifetime::{Seen, Work, alongside};
use super::need::Need;
use super::parameters::repeat;
use super::reading::{self, counts_in, module_at, same, services_at, steady};
use super::scenario::{Outcome, Scenario, ensure};
use crate::naive;
use crate::netns::{self, Table};
use crate::sockets::Mix;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a namespace that ends while it is read",
        seconds: 90,
        needs: &[Need::OwnTable],
        run: ends_while_read,
    },
    Scenario {
        name: "namespaces that come and go on several threads",
        seconds: 60,
        needs: &[Need::OwnTable],
        run: come_and_go,
    },
];

/// The phases of a process's end: before it,
const ALIVE: u8 = 0;
/// from the request to end,
const ENDING: u8 = 1;
/// and after it.
const ENDED: u8 = 2;

/// The pause of a reader between two readings once the process has ended. The namespace ends when
/// no file of it is open, which readers without a pause would delay.
const PACE: Duration = Duration::from_millis(2);

/// How often the readers had each result.
#[derive(Debug, Default)]
struct Results {
    /// An answer while the process lived.
    alive: AtomicU64,
    /// An answer after its end, through a file that was open before.
    after: AtomicU64,
    /// `/proc/PID/net/…` could not be opened: no process.
    no_process: AtomicU64,
    /// The file itself could not be opened: its namespace was ending. That phase may be too short
    /// to be seen.
    ending: AtomicU64,
    /// The file itself could not be opened: it was removed.
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
            "a new namespace does not have its {table:?} table"
        );
        let results = Results::default();
        for _ in 0..repeat(8) {
            one_ends(&results)?;
        }
        println!("with its {table:?} table: {results:?}");
        for counter in [
            &results.alive,
            &results.after,
            &results.no_process,
            &results.removed,
        ] {
            ensure!(
                counter.load(Ordering::Relaxed) > 0,
                "one of the results never came: {results:?}"
            );
        }
    }
    steady(reading::module)?;
    Ok(())
}

/// Four threads read the two files of a namespace in every way, while it ends and until its files
/// are gone.
fn one_ends(results: &Results) -> Outcome {
    let holder = start_holder(&Mix {
        listen: 2,
        established: 2,
        time_wait: 3,
        ..Mix::default()
    })?;
    let mut readers = Vec::new();
    for path in [holder.module_files(), holder.module_files()].concat() {
        readers.push(Mutex::new(Reader::new(path, holder.expected)?));
    }
    let (seen, phase) = (Seen::default(), AtomicU8::new(ALIVE));
    let read = |reader: &Mutex<Reader>| {
        let mut reader = reader.lock().map_err(|e| e.to_string())?;
        seen.until_stopped(|| reader.read(&phase, &seen, results))
    };
    let threads: Vec<_> = readers.iter().map(|reader| || read(reader)).collect();
    let threads: Vec<&Work> = threads.iter().map(|thread| thread as &Work).collect();
    alongside(&seen, &threads, || {
        seen.wait("the namespace alive", &seen.answered, 12)?;
        phase.store(ENDING, Ordering::SeqCst);
        holder.end()?;
        phase.store(ENDED, Ordering::SeqCst);
        seen.wait("the namespace gone", &seen.absent, 12)
    })
}

/// Reads a file of a namespace in every way.
struct Reader {
    /// `/proc/PID/net/…`, which exists as long as the process.
    name: PathBuf,
    /// The file, open until the process has ended: it keeps the namespace alive until then.
    open: Option<File>,
    /// A descriptor of the file by `O_PATH`, which keeps nothing alive.
    found: File,
    /// The sockets that were made in the namespace.
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
    fn read(&mut self, phase: &AtomicU8, seen: &Seen, results: &Results) -> Result<(), String> {
        let before = phase.load(Ordering::SeqCst);
        if let Some(file) = &self.open {
            let text = text(file).map_err(|e| self.wrong("through the open file", &e))?;
            self.possible(&text, before, phase.load(Ordering::SeqCst))?;
            match before {
                ALIVE => {
                    count(&results.alive);
                    count(&seen.answered);
                }
                ENDING => {}
                _ => {
                    count(&results.after);
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
            // ENOENT: no such process, or it has no namespaces any more (`proc_pid_lookup`,
            // `proc_tgid_net_lookup`). ESRCH: it ends between the two (`proc_pid_permission`).
            // ENXIO: the namespace ends between the lookup of the file and its opening
            // (`single_open_net`).
            (Err(e), ENDING | ENDED) if is(&e, &[libc::ENOENT, libc::ESRCH, libc::ENXIO]) => {
                count(&results.no_process);
            }
            (Err(e), _) => return Err(self.wrong("by its name", &e)),
        }

        let before = phase.load(Ordering::SeqCst);
        let opened = File::open(format!("/proc/self/fd/{}", self.found.as_raw_fd()));
        match (opened, phase.load(Ordering::SeqCst)) {
            (Ok(file), _) => {
                self.possible(&text_of(file)?, before, phase.load(Ordering::SeqCst))?;
            }
            // `single_open_net`: the namespace has no reference any more.
            (Err(e), ENDING | ENDED) if is(&e, &[libc::ENXIO]) => count(&results.ending),
            // `proc_reg_open`: the module has removed the file, or is removing it.
            (Err(e), ENDING | ENDED) if is(&e, &[libc::ENOENT]) => {
                count(&results.removed);
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

    /// Fails unless a reading that began in the phase `before` and ended in `after` may have given
    /// `text`.
    fn possible(&self, text: &str, before: u8, after: u8) -> Result<(), String> {
        let path = self.name.display().to_string();
        let counts = counts_in(&path, text).map_err(|e| format!("{path}: {e}"))?;
        if after == ALIVE {
            return same(&path, &self.made, &counts).map_err(|e| e.to_string());
        }
        let (listen, made) = (counts.get(State::Listen), self.made.get(State::Listen));
        // Time-wait sockets stay after their process has ended, as long as the namespace exists.
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

/// What `file` has now.
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

/// Makes one new namespace after the other, in turns with the shared table and with its own.
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
