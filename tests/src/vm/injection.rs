// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios for the debug kernel: each allocation of loading the module and of reading its file fails once.
//!
//! By `/proc/thread-self/fail-nth` (Documentation/fault-injection/fault-injection.rst): the n-th allocation that the
//! thread makes from now on fails. n goes up until none is left to fail.

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

use super::helper::Held;
use super::reading::{LINK, SERVICES, counts_in, everyone_says, module_at, same, services_at};
use super::{Outcome, Scenario, ensure, fail, module};
use crate::naive;
use crate::sockets::{Family, Mix};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "each allocation of loading fails once",
        seconds: 120,
        run: while_loading,
    },
    Scenario {
        name: "each allocation of opening and reading fails once",
        seconds: 60,
        run: while_reading,
    },
];

/// More allocations than anything here makes.
const ENDLESS: u32 = 20_000;

/// What is to fail: `N` means even where the kernel could wait for memory.
const SETTINGS: [(&str, &str); 5] = [
    ("failslab/ignore-gfp-wait", "N"),
    ("fail_page_alloc/ignore-gfp-wait", "N"),
    ("fail_page_alloc/min-order", "0"),
    // A line for each on the console, before what the kernel says of it.
    ("failslab/verbose", "1"),
    ("fail_page_alloc/verbose", "1"),
];

/// The failing of this thread's allocations.
struct Injection(File);

impl Injection {
    fn new() -> io::Result<Injection> {
        for (name, value) in SETTINGS {
            let path = format!("/sys/kernel/debug/{name}");
            fs::write(&path, value)
                .map_err(|e| io::Error::new(e.kind(), format!("writing {value} to {path}: {e}")))?;
        }
        let file = File::options()
            .read(true)
            .write(true)
            .open("/proc/thread-self/fail-nth")?;
        Ok(Injection(file))
    }

    /// Does `work` with its `nth` allocation failing; gives what it gave, and whether there was an n-th.
    fn during<T>(&self, nth: u32, work: impl FnOnce() -> T) -> io::Result<(T, bool)> {
        let digits = nth.to_string();
        self.0.write_all_at(digits.as_bytes(), 0)?;
        let result = work();
        let mut left = [0; 16];
        let n = self.0.read_at(&mut left, 0);
        self.0.write_all_at(b"0", 0)?;
        // What is left of the count: nothing, if it came to the n-th.
        Ok((result, left[..n?].trim_ascii_end() == b"0"))
    }

    /// Does `work` with the first allocation failing, the second, and so on, until there is none left to fail. Each
    /// time `prepare` comes before, and `judge` after: it gives the error, if there was one, and sets all back.
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
            let told = |e| format!("after allocation {nth} has failed: {e}");
            let errno = judge(prepared, result).map_err(told)?;
            match (failed, errno) {
                (true, None | Some(Errno::ENOMEM)) => tally.count(errno),
                (true, Some(errno)) => fail!("allocation {nth} fails with {errno:?}, not ENOMEM"),
                (false, None) => return Ok(tally),
                (false, Some(errno)) => fail!("no allocation fails, and there is {errno:?}"),
            }
        }
        fail!("there is no end to it after {ENDLESS} allocations")
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        let _ = self.0.write_all_at(b"0", 0);
    }
}

/// What came of the failures.
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
    // None that a timer ends: this takes longer than a time-wait socket lives.
    let lasting = Mix {
        family: Family::V6,
        listen: 2,
        established: 2,
        close_wait: 1,
        ..Mix::default()
    };
    let others = [Held::start(&Mix::default())?, Held::start(&lasting)?];
    module::unload()?;
    let injection = Injection::new()?;
    // Everything that loading needs of this process is made before, so that only the kernel's allocations fail.
    let file = File::open("/modules/tcpstat.ko")?;
    let tally = injection.each(
        || Ok(()),
        |()| finit_module(&file, c"", ModuleInitFlags::empty()),
        |(), result| {
            if result.is_ok() {
                for held in &others {
                    let counts = module_at(&held.net("tcpstat"))?;
                    same("another namespace", &held.expected, &counts)?;
                    let services = services_at(&held.net("tcpstat_services"))?;
                    same("its services", &held.expected, &naive::sum(&services))?;
                }
                module::unload()?;
            }
            module::ensure_gone()?;
            for path in others.iter().flat_map(Held::files) {
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
    everyone_says(&fixture.expected())
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
    // More text than the first buffer holds (a page), from more than a page of rows, in blocks of ports of their own.
    let mut want = fixture.expected();
    let listeners: Vec<TcpListener> = (0..60)
        .map(|i| TcpListener::bind((Ipv4Addr::LOCALHOST, 20_000 + 100 * i)))
        .collect::<Result<_, _>>()?;
    want.set(
        State::Listen,
        want.get(State::Listen) + listeners.len() as u64,
    );
    failing(&injection, SERVICES, &want)?;
    everyone_says(&want)
}

/// Where a reading of the middle begins.
const SKIPPED: u64 = 10;

/// Opens and reads `path` with each allocation failing. Whatever it gives then must be `want`.
fn failing(injection: &Injection, path: &str, want: &Counts) -> Outcome {
    let right = |who: &str, text: &str| same(who, want, &counts_in(path, text)?);
    let opening = injection.each(
        || Ok(()),
        |()| File::open(path),
        |(), result| match result {
            Ok(file) => {
                right(path, &io::read_to_string(file)?)?;
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
                right(path, std::str::from_utf8(&buffer[..n])?)?;
                Ok(None)
            }
            Err(e) => {
                // Nothing is half done: the same descriptor then gives the whole.
                right("read again", &io::read_to_string(&mut file)?)?;
                errno(&e)
            }
        },
    )?;
    println!("measured: reading {path}: {reading}");

    // What comes before is made again, and thrown away (`traverse` in fs/seq_file.c).
    let whole = fs::read_to_string(path)?;
    let middle = injection.each(
        || Ok((File::open(path)?, [0; 4096])),
        |(file, buffer)| file.read_at(buffer, SKIPPED),
        |(_, buffer), result| match result {
            Ok(n) => {
                let rest = std::str::from_utf8(&buffer[..n])?;
                right(path, &format!("{}{rest}", &whole[..SKIPPED as usize]))?;
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

/// The number of `error`, which must have one.
fn errno(error: &io::Error) -> Result<Option<Errno>, Box<dyn Error>> {
    match error.raw_os_error() {
        Some(number) => Ok(Some(Errno::from_raw(number))),
        None => fail!("{error}, which is no errno"),
    }
}
