// SPDX-License-Identifier: GPL-2.0-only

//! The virtual machine's init, which is also each of its scenarios and their helpers, started again with words.

use std::process::ExitCode;

use tcpstat_tests::vm::{Outcome, boot, descriptors, helper, runner, scenarios};

fn main() -> ExitCode {
    if std::process::id() == 1 {
        boot::main();
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["scenario", name] => runner::run_one(name),
        ["hold", mix] => helper::hold(mix),
        ["cat", path] => helper::cat(path),
        ["read-inherited"] => descriptors::read_inherited(),
        ["spin"] => helper::spin(),
        ["read-on", path] => helper::read_on(path),
        ["list"] => list(),
        _ => Err(
            "usage: tcpstat-vm-init list; anything else only as the init of a virtual machine"
                .into(),
        ),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// The names of the scenarios, and the seconds that each may take.
fn list() -> Outcome {
    for scenario in scenarios() {
        println!("{} ({} s)", scenario.name, scenario.seconds);
    }
    Ok(())
}
