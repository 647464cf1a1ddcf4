// SPDX-License-Identifier: GPL-2.0-only

//! Running the scenarios, each in a process of its own with a time limit, and reporting them as KTAP.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{Outcome, Scenario, module, on_debug_kernel, scenarios};
use crate::ktap;
use crate::netns;

/// How often a running scenario is looked at.
const TICK: Duration = Duration::from_millis(20);

/// How much longer everything may take on the debug kernel.
const DEBUG_PATIENCE: u64 = 4;

/// How a line begins that a scenario prints for people to read even if all is well.
pub const MEASURED: &str = "measured: ";

/// The first result: whether the modules came in.
const LOAD: &str = "the modules load";

/// Runs everything. `loaded` is how loading the modules went; `report` takes pieces of KTAP as they come.
pub fn run_all(loaded: io::Result<()>, mut report: impl FnMut(&str) -> io::Result<()>) -> Outcome {
    report(&ktap::header(1 + scenarios().count()))?;
    let reason = loaded
        .as_ref()
        .err()
        .map(ToString::to_string)
        .unwrap_or_default();
    report(&ktap::result(1, LOAD, loaded.is_ok(), &reason))?;
    for (index, scenario) in scenarios().enumerate() {
        let start = Instant::now();
        let result = run_apart(scenario);
        let took = format!("took {:.1} s", start.elapsed().as_secs_f64());
        let (Ok(said) | Err(said)) = &result;
        let notes = [said, &took]
            .into_iter()
            .filter(|note| !note.is_empty())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n");
        report(&ktap::result(
            index + 2,
            scenario.name,
            result.is_ok(),
            &notes,
        ))?;
        reap_strays();
    }
    Ok(())
}

/// Runs one scenario in a process of its own. Gives what it measured ([`MEASURED`]), or the reason of its
/// failure, which is all that it printed.
fn run_apart(scenario: &Scenario) -> Result<String, String> {
    try_run_apart(scenario).unwrap_or_else(|e| Err(format!("running the scenario: {e}")))
}

fn try_run_apart(scenario: &Scenario) -> Result<Result<String, String>, Box<dyn Error>> {
    let patience = if on_debug_kernel() { DEBUG_PATIENCE } else { 1 };
    let limit = Duration::from_secs(scenario.seconds * patience);
    // A file, not a pipe: nobody has to read it meanwhile, and no stray process can hold it open.
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
    // What it left behind in its group, or itself if its time is up.
    let _ = killpg(group, Signal::SIGKILL);
    output.rewind()?;
    let mut said = Vec::new();
    output.read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said);
    let how = match status {
        Some(status) if status.success() => {
            let measured: Vec<&str> = said
                .lines()
                .filter(|line| line.starts_with(MEASURED))
                .collect();
            return Ok(Ok(measured.join("\n")));
        }
        Some(status) => status.to_string(),
        None => {
            // A process that hangs in the kernel does not go when killed; the others are worth running still.
            format!("not done within {} s, and killed", limit.as_secs())
        }
    };
    let said = said.trim();
    Ok(Err(if said.is_empty() {
        how
    } else {
        format!("{said}\n{how}")
    }))
}

/// Init inherits every process that nobody waits for.
fn reap_strays() {
    while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

/// What [`run_apart`] starts: the scenario `name`, in a new network namespace and with the module loaded.
pub fn run_one(name: &str) -> Outcome {
    let scenario = scenarios()
        .find(|scenario| scenario.name == name)
        .ok_or_else(|| format!("no scenario {name:?}"))?;
    module::ensure_loaded()?;
    netns::enter_new()?;
    (scenario.run)()
}
