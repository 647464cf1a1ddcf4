// SPDX-License-Identifier: GPL-2.0-only

//! The virtual machine's init. Started again with arguments, it is a scenario or a helper of one.

use std::process::ExitCode;

use tcpstat_tests::vm::scenario::Outcome;
use tcpstat_tests::vm::{boot, descriptors, helper, runner, scenarios};

fn main() -> ExitCode {
    if std::process::id() == 1 {
        boot::main();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["scenario", name] => runner::run_one(name),
        ["hold", mix] => helper::hold(mix),
        ["cat", path] => helper::cat(path),
        ["cat-in-container", path] => helper::cat_in_container(path),
        ["cat-in-user-namespace", path] => helper::cat_in_user_namespace(path),
        ["read-inherited"] => descriptors::read_inherited(),
        ["busy-loop"] => helper::busy_loop(),
        ["read-loop", path] => helper::read_loop(path),
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

/// Prints the names of the scenarios and their time limits.
fn list() -> Outcome {
    for scenario in scenarios::all() {
        println!("{} ({} s)", scenario.name, scenario.seconds);
    }
    Ok(())
}
