// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: the command says where its counts come from, and they are the same from everywhere.

use super::module;
use super::reading::{command, command_counts, report, same, steady};
use super::{Outcome, Scenario, ensure};
use crate::naive;
use crate::sockets::{Family, Mix};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "the command takes the module, and netlink without it",
        seconds: 60,
        run: module_then_netlink,
    },
    Scenario {
        name: "the command refuses the module's file where it is not",
        seconds: 30,
        run: no_module,
    },
    Scenario {
        name: "the command at intervals",
        seconds: 60,
        run: intervals,
    },
];

fn module_then_netlink() -> Outcome {
    let fixture = Mix::of_each(Family::V4, 2).make()?;
    let want = fixture.expected();
    let with = steady(report)?.1;
    ensure!(
        with.source == "module",
        "with the module, the source is {}",
        with.source
    );
    same("the module", &want, &with.counts)?;
    module::unload()?;
    let without = steady(report)?.1;
    ensure!(
        without.source == "netlink",
        "without the module, the source is {}",
        without.source
    );
    same("netlink", &want, &without.counts)?;
    for source in ["auto", "netlink", "netlink-full", "procfs"] {
        same(source, &want, &steady(|| command_counts(source, false))?.1)?;
    }
    module::load()?;
    let again = steady(report)?.1;
    ensure!(
        again.source == "module",
        "with the module again, the source is {}",
        again.source
    );
    same("the module, loaded again", &want, &again.counts)
}

fn no_module() -> Outcome {
    module::unload()?;
    let output = std::process::Command::new(super::reading::COMMAND)
        .args(["--source", "module"])
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1),
        "it ends with {}: {errors}",
        output.status
    );
    ensure!(
        output.stdout.is_empty(),
        "it prints {:?}",
        String::from_utf8_lossy(&output.stdout)
    );
    ensure!(
        errors.contains("tcpstat"),
        "it does not say what is missing: {errors:?}"
    );
    Ok(())
}

fn intervals() -> Outcome {
    let fixture = Mix {
        established: 2,
        listen: 1,
        ..Mix::default()
    }
    .make()?;
    let (_, text) = steady(|| command(&["--interval", "1s", "--count", "3"], false))?;
    let want = naive::json(&fixture.expected()).repeat(3);
    ensure!(text == want, "it prints {text:?}, not {want:?}");
    Ok(())
}
