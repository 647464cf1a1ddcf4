// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios for the debug kernel: its checks are on, and at the very end nothing has been leaked.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use super::module;
use super::scenario::{Outcome, Scenario, ensure};

/// Runs first.
pub(super) const FIRST: &[Scenario] = &[Scenario {
    name: "the kernel's checks are on",
    seconds: 20,
    needs: &[],
    run: checks_are_on,
}];

/// Run last.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "nothing is leaked",
        seconds: 120,
        needs: &[],
        run: nothing_leaked,
    },
    Scenario {
        name: "the kernel's checks are still on",
        seconds: 20,
        needs: &[],
        run: checks_are_on,
    },
];

/// kmemleak's file.
const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";

/// kmemleak reports no object that is younger (`MSECS_MIN_AGE`).
const MIN_AGE: Duration = Duration::from_secs(6);

/// Lockdep turns itself off after its first report, or when its tables are full. The other checks
/// can be off as well.
fn checks_are_on() -> Outcome {
    let read = |path: &str| fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
    let stats = read("/proc/lockdep_stats")?;
    let on = stats
        .lines()
        .find_map(|line| line.trim().strip_prefix("debug_locks:"))
        .map(str::trim);
    ensure!(on == Some("1"), "lockdep is off: {stats}");
    for path in [
        "/proc/sys/kernel/soft_watchdog",
        "/proc/sys/kernel/hung_task_timeout_secs",
        "/proc/sys/kernel/watchdog_thresh",
    ] {
        ensure!(read(path)?.trim() != "0", "{path} is 0");
    }
    read("/proc/self/fail-nth")?;
    read("/sys/kernel/debug/failslab/probability")?;
    read(KMEMLEAK)?;
    let symbols = read("/proc/kallsyms")?;
    // KASAN, or grace periods that are as short as they can be: see tests/strict-kernel.config.
    for either in [
        &[" __asan_load8", " rcu_strict_gp_boundary"][..],
        &[" __might_sleep"],
        &[" debug_lockdep_rcu_enabled"],
    ] {
        ensure!(
            symbols
                .lines()
                .any(|line| either.iter().any(|symbol| line.ends_with(symbol))),
            "the kernel has no{}",
            either.join(", and no")
        );
    }
    Ok(())
}

/// Unloads the module, and asks kmemleak for objects without a reference.
///
/// kmemleak does not see the last few objects of an allocator's cache, which keeps their addresses.
/// So it may miss a single leak, but not one in each loading or reading of a whole run.
pub(super) fn nothing_leaked() -> Outcome {
    if module::is_loaded()? {
        module::unload()?;
        module::ensure_gone()?;
    }
    // At the first scan a stale pointer may still be in a register or on a stack.
    for _ in 0..2 {
        sleep(MIN_AGE);
        fs::write(KMEMLEAK, "scan").map_err(|e| format!("{KMEMLEAK}: {e}"))?;
    }
    let leaks = fs::read_to_string(KMEMLEAK)?;
    let count = leaks.matches("unreferenced object").count();
    let first: Vec<&str> = leaks.lines().take(40).collect();
    ensure!(
        leaks.is_empty(),
        "kmemleak found {count} leaks, first\n{}",
        first.join("\n")
    );
    Ok(())
}
