// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: loading and unloading the module, also while other threads read.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use tcpstat_census::counts::Counts;

use super::helper::start_holder;
use super::module;
use super::need::{Need, OTHER_MODULES};
use super::parameters::repeat;
use super::reading::{self, LINK, counts_in, every_source_gives, same};
use super::scenario::{Outcome, Scenario, ensure, fail};
use crate::naive;
use crate::netns;
use crate::sockets::{Family, Mix};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "loading twice is refused and harmless",
        seconds: 30,
        needs: &[Need::TcpDiag],
        run: load_twice,
    },
    Scenario {
        name: "a module of another configuration is refused",
        seconds: 30,
        needs: &[Need::OtherModules],
        run: other_configuration,
    },
    Scenario {
        name: "loading beside a file of the same name is refused",
        seconds: 30,
        needs: &[],
        run: beside_a_file,
    },
    Scenario {
        name: "load, read, unload, again and again",
        seconds: 120,
        needs: &[],
        run: again_and_again,
    },
    Scenario {
        name: "unloading while others read",
        seconds: 120,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: unload_under_readers,
    },
    Scenario {
        name: "loading while namespaces come and go",
        seconds: 120,
        needs: &[],
        run: load_under_namespaces,
    },
    Scenario {
        name: "unloading with the file held open",
        seconds: 30,
        needs: &[Need::TcpDiag],
        run: unload_held_open,
    },
    Scenario {
        name: "nothing is left after the last unload",
        seconds: 30,
        needs: &[],
        run: nothing_left,
    },
];

fn load_twice() -> Outcome {
    let fixture = Mix {
        established: 1,
        listen: 1,
        ..Mix::default()
    }
    .make()?;
    match module::load() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => fail!("loading it again: {e}, not EEXIST"),
        Ok(()) => fail!("it can be loaded twice"),
    }
    every_source_gives(&fixture.expected())?;
    module::unload()?;
    module::ensure_gone()?;
    match module::unload() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => fail!("unloading it again: {e}, not ENOENT"),
        Ok(()) => fail!("it can be unloaded twice"),
    }
}

/// Whether the kernel's log has a line of the module with `text` in it.
fn ensure_logged(text: &str) -> Outcome {
    let mut log = vec![0; 1 << 20];
    // SYSLOG_ACTION_READ_ALL, since /dev/kmsg waits at its end.
    // SAFETY: the buffer has this length, and outlives the call.
    let n = unsafe { libc::klogctl(3, log.as_mut_ptr().cast(), log.len() as i32) };
    ensure!(n >= 0, "the kernel's log: {}", io::Error::last_os_error());
    let log = String::from_utf8_lossy(&log[..n as usize]).into_owned();
    ensure!(
        log.lines()
            .any(|line| line.contains("tcpstat: ") && line.contains(text)),
        "the kernel's log does not say: {text}"
    );
    Ok(())
}

fn other_configuration() -> Outcome {
    module::unload()?;
    for (name, what) in OTHER_MODULES.into_iter().zip([
        "the table of established sockets",
        "a field of TCP's sockets",
    ]) {
        match module::load_file(name, c"") {
            Err(e) if e.to_string().contains("Exec format error") => {}
            other => fail!("loading {name} gives {other:?}, not ENOEXEC"),
        }
        ensure_logged(what)?;
        module::ensure_gone()?;
    }
    module::load()?;
    every_source_gives(&Counts::ZERO)
}

/// Something else has mounted a file over the name, or is another module.
fn beside_a_file() -> Outcome {
    module::unload()?;
    let module = File::open(Path::new(module::DIRECTORY).join("tcpstat.ko"))?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(
        Some("tmpfs"),
        "/proc",
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )?;
    fs::write("/proc/tcpstat", "")?;
    let result = finit_module(&module, c"", ModuleInitFlags::empty());
    umount("/proc")?;
    ensure!(
        result == Err(Errno::EBUSY),
        "loading gives {result:?}, not EBUSY"
    );
    ensure_logged("/proc/tcpstat exists already")?;
    module::ensure_gone()?;
    module::load()?;
    every_source_gives(&Counts::ZERO)
}

fn again_and_again() -> Outcome {
    let fixture = Mix {
        established: 3,
        listen: 2,
        fin_wait2_full: 1,
        ..Mix::default()
    }
    .make()?;
    module::unload()?;
    for round in 1..=repeat(50) {
        let in_round = |e: Box<dyn Error>| format!("round {round}: {e}");
        module::load().map_err(|e| in_round(e.into()))?;
        let counts = reading::module().map_err(in_round)?;
        same("/proc/tcpstat", &fixture.expected(), &counts).map_err(in_round)?;
        module::unload().map_err(|e| in_round(e.into()))?;
        module::ensure_gone().map_err(|e| in_round(e.into()))?;
    }
    Ok(())
}

/// What the readers of a scenario have seen, and whether they are to stop.
#[derive(Default)]
pub(super) struct Seen {
    /// Readings with a right answer.
    pub answered: AtomicU64,
    /// Readings that found no file, or one that was being removed.
    pub absent: AtomicU64,
    stop: AtomicBool,
}

impl Seen {
    /// Waits until `counter` has grown by `more`, so that readers have seen the present state.
    pub(super) fn wait(&self, what: &str, counter: &AtomicU64, more: u64) -> Outcome {
        let (start, from) = (Instant::now(), counter.load(Ordering::Relaxed));
        while counter.load(Ordering::Relaxed) < from + more {
            ensure!(
                !self.stop.load(Ordering::Relaxed),
                "another thread has failed"
            );
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "no reader has seen {what}"
            );
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Repeats `work` until stopped, or until it fails, which stops all the other threads.
    pub(super) fn until_stopped(
        &self,
        mut work: impl FnMut() -> Result<(), String>,
    ) -> Result<(), String> {
        let mut result = Ok(());
        while result.is_ok() && !self.stop.load(Ordering::Relaxed) {
            result = work();
        }
        self.stop.store(true, Ordering::Relaxed);
        result
    }

    /// Reads until stopped. Fails unless each answer is right, or the file has been or is being
    /// removed.
    fn read(&self, path: &str, one_byte: bool) -> Result<(), String> {
        self.until_stopped(|| {
            match read_whole(path, one_byte) {
                Ok(text) => {
                    counts_in(path, &text).map_err(|e| format!("a reader got {e}"))?;
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(e) if is_removed(path, &e) => {
                    self.absent.fetch_add(1, Ordering::Relaxed);
                }
                Err(e) => return Err(format!("a reader got {e}")),
            }
            Ok(())
        })
    }
}

/// Whether reading `path` fails because it has been removed (ENOENT) or is being removed: ENODEV
/// from a reading in progress, EIO from the file (`proc_reg_read`), EINVAL from the link to it
/// (`proc_get_link`).
pub(super) fn is_removed(path: &str, error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EIO | libc::ENODEV) => true,
        Some(libc::EINVAL) => path == LINK,
        _ => false,
    }
}

fn read_whole(path: &str, one_byte: bool) -> io::Result<String> {
    if !one_byte {
        return fs::read_to_string(path);
    }
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    let mut byte = [0];
    while file.read(&mut byte)? == 1 {
        bytes.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The work of a thread besides the scenario's main one.
pub(super) type Work<'a> = dyn Fn() -> Result<(), String> + Sync + 'a;

/// Does `work` while `threads` run, then stops these. Gives every failure, since any may have
/// caused the others.
pub(super) fn alongside(seen: &Seen, threads: &[&Work], work: impl FnOnce() -> Outcome) -> Outcome {
    thread::scope(|scope| {
        let threads: Vec<_> = threads.iter().map(|thread| scope.spawn(thread)).collect();
        let mut failures: Vec<String> = work().err().iter().map(ToString::to_string).collect();
        seen.stop.store(true, Ordering::Relaxed);
        for thread in threads {
            match thread.join() {
                Ok(result) => failures.extend(result.err()),
                Err(_) => failures.push("a thread panicked".to_owned()),
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        Ok(())
    })
}

fn unload_under_readers() -> Outcome {
    let fixture = Mix::of_each(Family::V4, 1).make()?;
    let other = start_holder(&Mix::of_each(Family::V6, 1))?;
    let [elsewhere, services_elsewhere] =
        other.module_files().map(|path| path.display().to_string());
    let seen = Seen::default();
    alongside(
        &seen,
        &[
            &|| seen.read(LINK, false),
            &|| seen.read("/proc/net/tcpstat", true),
            &|| seen.read(&elsewhere, false),
            &|| seen.read(reading::SERVICES, true),
            &|| seen.read(&services_elsewhere, false),
            &|| seen.read(LINK, true),
            &|| seen.read(reading::NAMESPACES, false),
            &|| seen.read(reading::NAMESPACES, true),
        ],
        || {
            for _ in 0..repeat(25) {
                seen.wait("the module loaded", &seen.answered, 8)?;
                module::unload()?;
                module::ensure_gone()?;
                seen.wait("the module unloaded", &seen.absent, 8)?;
                module::load()?;
            }
            Ok(())
        },
    )?;
    every_source_gives(&fixture.expected())
}

fn load_under_namespaces() -> Outcome {
    let seen = Seen::default();
    let come_and_go = || {
        let path = Path::new(netns::THREAD_NET).join("tcpstat");
        seen.until_stopped(|| {
            netns::enter_new().map_err(|e| e.to_string())?;
            match fs::read_to_string(&path) {
                Ok(text) => {
                    let counts = naive::module_text(&text)?;
                    if counts.total() != 0 {
                        return Err(format!("an empty namespace has {counts:?}"));
                    }
                    seen.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(e) if is_removed(netns::THREAD_NET, &e) => {
                    seen.absent.fetch_add(1, Ordering::Relaxed);
                }
                Err(e) => return Err(e.to_string()),
            }
            Ok(())
        })
    };
    alongside(&seen, &[&come_and_go, &come_and_go, &come_and_go], || {
        for _ in 0..repeat(10) {
            seen.wait("the module loaded", &seen.answered, 8)?;
            module::unload()?;
            seen.wait("the module unloaded", &seen.absent, 8)?;
            module::load()?;
        }
        Ok(())
    })
}

fn unload_held_open() -> Outcome {
    let fixture = Mix {
        established: 2,
        listen: 1,
        ..Mix::default()
    }
    .make()?;
    let mut fresh = File::open("/proc/tcpstat")?;
    let mut begun = File::open("/proc/net/tcpstat")?;
    begun.read_exact(&mut [0; 10])?;
    let mut services = File::open(reading::SERVICES)?;
    let mut namespaces = File::open(reading::NAMESPACES)?;
    module::unload()?;
    module::ensure_gone()?;
    let mut byte = [0];
    for (what, result) in [
        ("read", fresh.read(&mut byte)),
        ("read on", begun.read(&mut byte)),
        ("pread", begun.read_at(&mut byte, 0)),
        ("read of services", services.read(&mut byte)),
        ("read of all namespaces", namespaces.read(&mut byte)),
    ] {
        match result {
            Err(e) if e.raw_os_error() == Some(libc::EIO) => {}
            other => fail!("{what} after unloading gives {other:?}, not EIO"),
        }
    }
    module::load()?;
    ensure!(
        fresh.read(&mut byte).is_err(),
        "a descriptor of the unloaded module reads the new one's file"
    );
    every_source_gives(&fixture.expected())?;
    drop((fresh, begun, services));
    every_source_gives(&fixture.expected())
}

fn nothing_left() -> Outcome {
    let holder = start_holder(&Mix {
        listen: 1,
        ..Mix::default()
    })?;
    module::unload()?;
    module::ensure_gone()?;
    let initial = ["/proc/1/net/tcpstat", "/proc/1/net/tcpstat_services"];
    for path in holder
        .module_files()
        .into_iter()
        .chain(initial.map(Into::into))
    {
        ensure!(
            fs::symlink_metadata(&path).is_err(),
            "{} still exists",
            path.display()
        );
    }
    netns::enter_new()?;
    Ok(module::ensure_gone()?)
}
