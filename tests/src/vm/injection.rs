// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios for the debug kernel: the allocations of loading the module and of reading its files
//! fail.
//!
//! By two means of Documentation/fault-injection/fault-injection.rst. `/proc/thread-self/fail-nth`:
//! only the n-th allocation that the thread makes from now on fails; n grows until no allocation
//! fails any more. If the kernel then tries another way (`kvrealloc`), the caller sees no failure.
//! So for reading there is `failslab/space` too: the thread may allocate a number of bytes, and
//! every allocation beyond that fails; the number grows until it suffices.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::helper::start_holder;
use super::module;
use super::need::Need;
use super::reading::{
    LINK, NAMESPACES, SERVICES, counts_in, every_source_gives, module_at, same, services_at,
};
use super::scenario::{Outcome, Scenario, ensure, fail};
use crate::holder::Holder;
use crate::naive;
use crate::sockets::{Family, Mix};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "each allocation of loading fails once",
        seconds: 120,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: while_loading,
    },
    Scenario {
        name: "each allocation of opening and reading fails once",
        seconds: 60,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: while_reading,
    },
    Scenario {
        name: "reading runs out of memory at every point",
        seconds: 60,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: exhausted,
    },
];

/// More allocations than anything here makes.
const ENDLESS: u32 = 20_000;

/// Which allocations fail. `N`: also those that could wait for memory. The probability, in per
/// cent, is for allocations beyond `failslab/space` by threads that are marked by `make-it-fail`.
const SETTINGS: [(&str, &str); 8] = [
    ("failslab/ignore-gfp-wait", "N"),
    ("fail_page_alloc/ignore-gfp-wait", "N"),
    ("fail_page_alloc/min-order", "0"),
    // A line on the console for each failure, before the kernel's report of it.
    ("failslab/verbose", "1"),
    ("fail_page_alloc/verbose", "1"),
    ("failslab/task-filter", "Y"),
    ("failslab/probability", "100"),
    ("failslab/times", "-1"),
];

const FAULTS: &str = "/sys/kernel/debug";

/// The failing of this thread's allocations.
struct Injection {
    nth: File,
    marked: File,
}

impl Injection {
    fn new() -> io::Result<Injection> {
        for (name, value) in SETTINGS {
            let path = format!("{FAULTS}/{name}");
            fs::write(&path, value)
                .map_err(|e| io::Error::new(e.kind(), format!("writing {value} to {path}: {e}")))?;
        }
        let open = |path| File::options().read(true).write(true).open(path);
        Ok(Injection {
            nth: open("/proc/thread-self/fail-nth")?,
            marked: open("/proc/thread-self/make-it-fail")?,
        })
    }

    /// Does `work` with its `nth` allocation failing. Gives its result, and whether there was an
    /// n-th allocation.
    fn during<T>(&self, nth: u32, work: impl FnOnce() -> T) -> io::Result<(T, bool)> {
        let digits = nth.to_string();
        self.nth.write_all_at(digits.as_bytes(), 0)?;
        let result = work();
        let mut left = [0; 16];
        let n = self.nth.read_at(&mut left, 0);
        self.nth.write_all_at(b"0", 0)?;
        // The kernel counts down to 0, which it reaches at the n-th allocation.
        Ok((result, left[..n?].trim_ascii_end() == b"0"))
    }

    /// Does `work` with the first allocation failing, then with the second, and so on, until no
    /// allocation fails. Calls `prepare` before it each time, and `judge` after it, which gives the
    /// error, if there was one, and undoes the work.
    fn each<P, T>(
        &self,
        mut prepare: impl FnMut() -> Result<P, Box<dyn Error>>,
        mut work: impl FnMut(&mut P) -> T,
        mut judge: impl FnMut(P, T) -> Result<Option<Errno>, Box<dyn Error>>,
    ) -> Result<Tally, Box<dyn Error>> {
        let mut tally = Tally::default();
        for nth in 1..ENDLESS {
            let mut prepared = prepare()?;
            let (result, failed) = self.during(nth, || work(&mut prepared))?;
            let errno = judge(prepared, result)
                .map_err(|e| format!("after allocation {nth} has failed: {e}"))?;
            match (failed, errno) {
                (true, None | Some(Errno::ENOMEM)) => tally.count(errno),
                (true, Some(errno)) => fail!("allocation {nth} fails with {errno:?}, not ENOMEM"),
                (false, None) => return Ok(tally),
                (false, Some(errno)) => fail!("no allocation fails, and there is {errno:?}"),
            }
        }
        fail!("allocations still fail after {ENDLESS}")
    }

    /// Does `work` with this many bytes for all its allocations.
    fn within<T>(&self, bytes: usize, work: impl FnOnce() -> T) -> io::Result<T> {
        fs::write(format!("{FAULTS}/failslab/space"), bytes.to_string())?;
        self.marked.write_all_at(b"1", 0)?;
        let result = work();
        self.marked.write_all_at(b"0", 0)?;
        Ok(result)
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        let _ = self.nth.write_all_at(b"0", 0);
        let _ = self.marked.write_all_at(b"0", 0);
    }
}

/// How often each error, or none, followed a failed allocation.
#[derive(Default)]
struct Tally(BTreeMap<String, u32>);

impl Tally {
    fn count(&mut self, errno: Option<Errno>) {
        let what = errno.map_or("no error".to_owned(), |errno| format!("{errno:?}"));
        *self.0.entry(what).or_default() += 1;
    }

    fn failures(&self) -> u32 {
        self.0.values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failures", self.failures())?;
        for (what, count) in &self.0 {
            write!(f, ", {what} {count}")?;
        }
        Ok(())
    }
}

fn while_loading() -> Outcome {
    // No sockets that a timer ends: this takes longer than a time-wait socket lives.
    let lasting = Mix {
        family: Family::V6,
        listen: 2,
        established: 2,
        close_wait: 1,
        ..Mix::default()
    };
    let others = [start_holder(&Mix::default())?, start_holder(&lasting)?];
    module::unload()?;
    let injection = Injection::new()?;
    // Opened before the injection, so that only the allocations of loading fail.
    let file = File::open("/modules/tcpstat.ko")?;
    let tally = injection.each(
        || Ok(()),
        |()| finit_module(&file, c"", ModuleInitFlags::empty()),
        |(), result| {
            if result.is_ok() {
                for holder in &others {
                    let counts = module_at(&holder.net("tcpstat"))?;
                    same("another namespace", &holder.expected, &counts)?;
                    let services = services_at(&holder.net("tcpstat_services"))?;
                    same("its services", &holder.expected, &naive::sum(&services))?;
                }
                module::unload()?;
            }
            module::ensure_gone()?;
            for path in others.iter().flat_map(Holder::module_files) {
                ensure!(
                    fs::symlink_metadata(&path).is_err(),
                    "{} is still there",
                    path.display()
                );
            }
            Ok(result.err())
        },
    )?;
    println!("measured: loading: {tally}");
    ensure!(tally.failures() > 20, "hardly anything was allocated");
    module::load()?;
    let fixture = Mix::of_each(Family::V4, 1).make()?;
    every_source_gives(&fixture.expected())
}

fn while_reading() -> Outcome {
    let mix = Mix {
        listen: 2,
        established: 2,
        close_wait: 1,
        ..Mix::default()
    };
    let fixture = mix.make()?;
    let injection = Injection::new()?;
    failing(&injection, LINK, &fixture.expected())?;
    failing(&injection, SERVICES, &fixture.expected())?;
    // More than a page of text, and more than a page of rows, whose ports are in different blocks.
    let mut want = fixture.expected();
    let listeners: Vec<TcpListener> = (0..60)
        .map(|i| TcpListener::bind((Ipv4Addr::LOCALHOST, 20_000 + 100 * i)))
        .collect::<Result<_, _>>()?;
    want.set(
        State::Listen,
        want.get(State::Listen) + listeners.len() as u64,
    );
    failing(&injection, SERVICES, &want)?;
    failing(&injection, NAMESPACES, &want)?;
    every_source_gives(&want)
}

/// The offset at which a reading of the middle begins.
const SKIPPED: u64 = 10;

/// Opens and reads `path` with each allocation failing. Every answer must be `want`.
fn failing(injection: &Injection, path: &str, want: &Counts) -> Outcome {
    let check = |what: &str, text: &str| same(what, want, &counts_in(path, text)?);
    let opening = injection.each(
        || Ok(()),
        |()| File::open(path),
        |(), result| match result {
            Ok(file) => {
                check(path, &io::read_to_string(file)?)?;
                Ok(None)
            }
            Err(e) => errno(&e),
        },
    )?;
    println!("measured: opening {path}: {opening}");

    let reading = injection.each(
        || Ok((File::open(path)?, [0; 4096])),
        |(file, buffer)| file.read(buffer),
        |(mut file, buffer), result| match result {
            Ok(n) => {
                check(path, std::str::from_utf8(&buffer[..n])?)?;
                Ok(None)
            }
            Err(e) => {
                // The failure leaves nothing half done: the same descriptor then gives the whole
                // text.
                check("read again", &io::read_to_string(&mut file)?)?;
                errno(&e)
            }
        },
    )?;
    println!("measured: reading {path}: {reading}");

    // A snapshot is made whole, wherever the first read of it begins.
    let whole = fs::read_to_string(path)?;
    let middle = injection.each(
        || Ok((File::open(path)?, [0; 4096])),
        |(file, buffer)| file.read_at(buffer, SKIPPED),
        |(_, buffer), result| match result {
            Ok(n) => {
                let rest = std::str::from_utf8(&buffer[..n])?;
                check(path, &format!("{}{rest}", &whole[..SKIPPED as usize]))?;
                Ok(None)
            }
            Err(e) => errno(&e),
        },
    )?;
    println!("measured: reading {path} from its middle: {middle}");

    ensure!(
        [opening, reading, middle]
            .iter()
            .all(|tally| tally.failures() > 0),
        "nothing was allocated"
    );
    Ok(())
}

/// The step, in bytes, in which the memory grows. Most of the allocations are larger.
const STEP: usize = 64;

/// The memory suffices after this many readings in a row without an error. One is not enough: what
/// is left may be too little for one object and enough for the next.
const ENOUGH: usize = 16;

fn exhausted() -> Outcome {
    let mix = Mix {
        listen: 2,
        established: 2,
        close_wait: 1,
        ..Mix::default()
    };
    let fixture = mix.make()?;
    let want = fixture.expected();
    let injection = Injection::new()?;
    // The text alone, which has 186 bytes or more.
    running_out(&injection, LINK, &want, 2 * STEP)?;
    // The bitmap of all ports is two pages. The rows and their index come on top.
    running_out(&injection, SERVICES, &want, 3 * 4096 + 512)?;
    // The list has room for 64 namespaces; a row has 96 bytes and more.
    running_out(&injection, NAMESPACES, &want, 64 * 8 + 2 * 96)?;
    every_source_gives(&want)
}

/// Reads `path` with more and more memory. Every answer must be `want`, and at least as many
/// readings must fail as there are steps in `least` bytes.
fn running_out(injection: &Injection, path: &str, want: &Counts, least: usize) -> Outcome {
    let (mut failures, mut in_a_row) = (0, 0);
    for bytes in (0..).step_by(STEP) {
        let mut file = File::open(path)?;
        let mut buffer = [0; 4096];
        match injection.within(bytes, || file.read(&mut buffer))? {
            Ok(n) => {
                let counts = counts_in(path, std::str::from_utf8(&buffer[..n])?)?;
                same(&format!("with {bytes} bytes"), want, &counts)?;
                in_a_row += 1;
            }
            Err(e) if errno(&e)? == Some(Errno::ENOMEM) => {
                let text = io::read_to_string(&mut file)?;
                same("read again", want, &counts_in(path, &text)?)?;
                (failures, in_a_row) = (failures + 1, 0);
            }
            Err(e) => fail!("with {bytes} bytes {path} fails with {e}, not ENOMEM"),
        }
        if in_a_row == ENOUGH {
            println!("measured: reading {path}: {failures} times ENOMEM, with up to {bytes} bytes");
            ensure!(
                failures * STEP >= least,
                "{path} failed only {failures} times: a reading needs {least} bytes"
            );
            return Ok(());
        }
        ensure!(bytes < 1 << 20, "{path} still fails with {bytes} bytes");
    }
    Ok(())
}

/// The errno of `error`, which must have one.
fn errno(error: &io::Error) -> Result<Option<Errno>, Box<dyn Error>> {
    match error.raw_os_error() {
        Some(number) => Ok(Some(Errno::from_raw(number))),
        None => fail!("{error}, which has no errno"),
    }
}
