// SPDX-License-Identifier: GPL-2.0-only

//! Runs the scenarios, each in a process of its own with a time limit, and reports them as KTAP.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::module;
use super::need::Need;
use super::parameters::on_debug_kernel;
use super::scenario::{Outcome, Scenario};
use super::scenarios;
use crate::ktap::{self, Outcome::*};
use crate::netns;

/// How often a running scenario is checked.
const TICK: Duration = Duration::from_millis(20);

/// How many times as long everything may take on the debug kernel.
const DEBUG_PATIENCE: u64 = 4;

/// How a line begins that a scenario prints for people to read even if it passes.
pub const MEASURED: &str = "measured: ";

/// The first result: whether the modules could be loaded.
const LOAD: &str = "the modules load";

/// The result in place of a scenario's where none has the wanted name.
const SELECT: &str = "the scenario exists";

/// Runs all scenarios, or those that have `name`. `loaded` is how loading the modules went;
/// `report` takes pieces of KTAP as they come.
pub fn run_all(
    loaded: io::Result<()>,
    name: Option<&str>,
    mut report: impl FnMut(&str) -> io::Result<()>,
) -> Outcome {
    let selected = match name {
        Some(name) => scenarios::named(name),
        None => scenarios::all().collect(),
    };
    report(&ktap::header(1 + selected.len().max(1)))?;
    let (outcome, reason) = match loaded {
        Ok(()) => (Passed, String::new()),
        Err(e) => (Failed, e.to_string()),
    };
    report(&ktap::result(1, LOAD, &outcome, &reason))?;
    if selected.is_empty() {
        let reason = format!(
            "no scenario for this kernel has {:?} in its name; tcpstat-vm-init list prints the names",
            name.unwrap_or_default()
        );
        report(&ktap::result(2, SELECT, &Failed, &reason))?;
    }
    for (index, scenario) in selected.into_iter().enumerate() {
        let start = Instant::now();
        let (outcome, mut notes) = match Need::missing(scenario.needs) {
            Ok(None) => run_apart(scenario),
            Ok(Some(missing)) => Ok((Skipped(missing), String::new())),
            Err(e) => Err(e.into()),
        }
        .unwrap_or_else(|e| (Failed, format!("running the scenario: {e}")));
        if !notes.is_empty() {
            notes.push('\n');
        }
        notes += &format!("took {:.1} s", start.elapsed().as_secs_f64());
        report(&ktap::result(index + 2, scenario.name, &outcome, &notes))?;
        reap_orphans();
    }
    Ok(())
}

/// Runs one scenario in a process of its own. Gives its result and notes on it.
fn run_apart(scenario: &Scenario) -> Result<(ktap::Outcome, String), Box<dyn Error>> {
    let patience = if on_debug_kernel() { DEBUG_PATIENCE } else { 1 };
    let limit = Duration::from_secs(scenario.seconds * patience);
    // A file, not a pipe: it never fills, and no process that is left behind can keep its reader
    // waiting.
    let mut output = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open("/tmp/scenario-output")?;
    let mut child = Command::new(env::current_exe()?)
        .args(["scenario", scenario.name])
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0)
        .spawn()?;
    let group = Pid::from_raw(child.id() as i32);
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if start.elapsed() > limit {
            break None;
        }
        sleep(TICK);
    };
    // The scenario itself if its time is up, and every process that it has left in its group.
    let _ = killpg(group, Signal::SIGKILL);
    output.rewind()?;
    let mut printed = Vec::new();
    output.read_to_end(&mut printed)?;
    Ok(judge(status, limit, &String::from_utf8_lossy(&printed)))
}

/// The result of a scenario that ended with `status`, or not within `limit`, and what to note of
/// what it `printed`: what it measured ([`MEASURED`]) if it passed, everything if it failed.
fn judge(status: Option<ExitStatus>, limit: Duration, printed: &str) -> (ktap::Outcome, String) {
    let how = match status {
        Some(status) if status.success() => {
            let measured: Vec<&str> = printed
                .lines()
                .filter(|line| line.starts_with(MEASURED))
                .collect();
            return (Passed, measured.join("\n"));
        }
        Some(status) => status.to_string(),
        // A process that hangs in the kernel is not ended by SIGKILL. The other scenarios run all
        // the same.
        None => format!("not done within {} s, and killed", limit.as_secs()),
    };
    let printed = printed.trim();
    let separator = if printed.is_empty() { "" } else { "\n" };
    (Failed, format!("{printed}{separator}{how}"))
}

/// Init inherits every process whose parent has ended without waiting for it.
fn reap_orphans() {
    while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

/// What [`run_all`] starts for each scenario: runs the one called `name`, in a new network
/// namespace and with the module loaded.
pub fn run_one(name: &str) -> Outcome {
    let scenario = scenarios::all()
        .find(|scenario| scenario.name == name)
        .ok_or_else(|| format!("no scenario {name:?}"))?;
    module::ensure_loaded()?;
    netns::enter_new()?;
    (scenario.run)()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::verdict::{End, Verdict};

    #[test]
    fn a_scenario_that_does_not_exist_fails_the_run() {
        let mut text = String::new();
        let report = |piece: &str| {
            text += piece;
            Ok(())
        };
        run_all(Ok(()), Some("no such name"), report).unwrap();
        let verdict = Verdict::new(&End::Success, Some(&text), "");
        assert_eq!((verdict.passed(), verdict.failed()), (1, 1), "{verdict}");
        assert!(
            verdict.to_string().contains("\"no such name\""),
            "{verdict}"
        );
    }

    #[test]
    fn what_a_scenario_prints_and_how_it_ends_decide() {
        let judged = |code: Option<i32>, printed: &str| {
            judge(
                code.map(|code| ExitStatus::from_raw(code << 8)),
                Duration::from_secs(9),
                printed,
            )
        };
        let measured = "some text\nmeasured: 3 us\n";
        assert_eq!(
            judged(Some(0), measured),
            (Passed, "measured: 3 us".to_owned())
        );
        let (outcome, notes) = judged(Some(1), "some text\nand then failed\n");
        assert_eq!(outcome, Failed);
        assert!(notes.contains("and then failed\nexit status: 1"), "{notes}");
        let (outcome, notes) = judged(None, "");
        assert_eq!(
            (outcome, &notes[..]),
            (Failed, "not done within 9 s, and killed")
        );
    }
}
