// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: each network namespace sees its own sockets and no others.

use std::fs::File;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use tcpstat_census::counts::Counts;

use super::helper::Held;
use super::module;
use super::reading::{everyone_says, module_at, same, same_services, services_at};
use super::{Outcome, Scenario, ensure};
use crate::naive;
use crate::netns::{self, Table};
use crate::sockets::{Family, Mix, repaired};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a namespace sees its own sockets only",
        seconds: 90,
        run: own_sockets_only,
    },
    Scenario {
        name: "the initial namespace counts right",
        seconds: 60,
        run: initial,
    },
    Scenario {
        name: "namespaces older and younger than the module",
        seconds: 90,
        run: older_and_younger,
    },
    Scenario {
        name: "a namespace with a hash table of its own",
        seconds: 90,
        run: own_table,
    },
];

/// The file of the process says what was made there, and so does the naive count.
pub(super) fn says_its_own(held: &Held) -> Outcome {
    let net = held.net("");
    let procfs = naive::procfs(&net)?;
    same(&format!("{}tcp", net.display()), &held.expected, &procfs)?;
    let path = held.net("tcpstat");
    same(
        &path.display().to_string(),
        &held.expected,
        &module_at(&path)?,
    )?;
    let path = held.net("tcpstat_services");
    let who = path.display().to_string();
    let services = same_services(&who, &net, || services_at(&path))?;
    same(&who, &held.expected, &naive::sum(&services))
}

fn own_sockets_only() -> Outcome {
    let mine = Mix {
        established: 2,
        listen: 3,
        ..Mix::default()
    }
    .make()?;
    let first = Held::start(&Mix::of_each(Family::V4, 1))?;
    let second = Held::start(&Mix::of_each(Family::V6, 2))?;
    let empty = Held::start(&Mix::default())?;
    for held in [&first, &second, &empty] {
        says_its_own(held)?;
    }
    everyone_says(&mine.expected())?;
    for held in [first, second, empty] {
        held.end()?;
    }
    everyone_says(&mine.expected())
}

fn initial() -> Outcome {
    // Init is in it, and has no sockets; earlier scenarios were all elsewhere.
    setns(File::open("/proc/1/ns/net")?, CloneFlags::CLONE_NEWNET)?;
    everyone_says(&Counts::ZERO)?;
    let sockets = repaired(20)?;
    let mine = Mix {
        listen: 4,
        established: 3,
        family: Family::V6,
        ..Mix::default()
    }
    .make()?;
    let mut want = mine.expected();
    for _ in 0..20 {
        want.add_one(tcpstat_census::state::State::Established);
    }
    everyone_says(&want)?;
    same(
        "/proc/1/net/tcpstat",
        &want,
        &module_at(Path::new("/proc/1/net/tcpstat"))?,
    )?;
    drop(sockets);
    Ok(())
}

fn older_and_younger() -> Outcome {
    module::unload()?;
    let older = Held::start(&Mix::of_each(Family::V4, 1))?;
    ensure!(
        older.files().iter().all(|path| !path.exists()),
        "it has a file without the module"
    );
    module::load()?;
    let younger = Held::start(&Mix::of_each(Family::V6, 1))?;
    says_its_own(&older)?;
    says_its_own(&younger)?;
    module::unload()?;
    for held in [&older, &younger] {
        for path in held.files() {
            ensure!(!path.exists(), "{} is still there", path.display());
        }
    }
    module::load()?;
    says_its_own(&older)?;
    says_its_own(&younger)
}

fn own_table() -> Outcome {
    let mine = Mix {
        listen: 2,
        established: 1,
        ..Mix::default()
    }
    .make()?;
    let shared = Held::start(&Mix {
        listen: 1,
        established: 2,
        ..Mix::default()
    })?;
    Table::Own.for_children()?;
    let own = Held::start(&Mix::of_each(Family::V4, 3))?;
    says_its_own(&own)?;
    says_its_own(&shared)?;
    everyone_says(&mine.expected())?;

    // From inside, and with chains of a dozen and more in so small a table.
    netns::enter_new()?;
    let table = Table::of_this_thread()?;
    ensure!(table == Table::Own, "it has its {table:?} table");
    let crowd = repaired(800)?;
    let each = Mix::of_each(Family::V6, 2).make()?;
    let mut want = each.expected();
    for _ in &crowd {
        want.add_one(tcpstat_census::state::State::Established);
    }
    everyone_says(&want)
}
