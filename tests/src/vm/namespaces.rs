// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: the counts of a network namespace are those of its own sockets.

use std::fs::File;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::helper::start_holder;
use super::module;
use super::need::Need;
use super::reading::{every_source_gives, module_at, same, same_services, services_at};
use super::scenario::{Outcome, Scenario, ensure};
use crate::holder::Holder;
use crate::naive;
use crate::netns::{self, Table};
use crate::sockets::{Family, Mix, repaired};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a namespace sees its own sockets only",
        seconds: 90,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: own_sockets_only,
    },
    Scenario {
        name: "the initial namespace counts right",
        seconds: 60,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: initial,
    },
    Scenario {
        name: "namespaces older and younger than the module",
        seconds: 90,
        needs: &[Need::Ipv6],
        run: older_and_younger,
    },
    Scenario {
        name: "a namespace with a hash table of its own",
        seconds: 90,
        needs: &[Need::OwnTable, Need::Ipv6, Need::TcpDiag],
        run: own_table,
    },
];

/// Fails unless the naive count of the holder's namespace, and the module's files there, give the
/// holder's sockets.
pub(super) fn check_holder(holder: &Holder) -> Outcome {
    let net = holder.net("");
    let procfs = naive::procfs(&net)?;
    same(&format!("{}tcp", net.display()), &holder.expected, &procfs)?;
    let path = holder.net("tcpstat");
    same(
        &path.display().to_string(),
        &holder.expected,
        &module_at(&path)?,
    )?;
    let path = holder.net("tcpstat_services");
    let name = path.display().to_string();
    let services = same_services(&name, &net, || services_at(&path))?;
    same(&name, &holder.expected, &naive::sum(&services))
}

fn own_sockets_only() -> Outcome {
    let mine = Mix {
        established: 2,
        listen: 3,
        ..Mix::default()
    }
    .make()?;
    let first = start_holder(&Mix::of_each(Family::V4, 1))?;
    let second = start_holder(&Mix::of_each(Family::V6, 2))?;
    let empty = start_holder(&Mix::default())?;
    for holder in [&first, &second, &empty] {
        check_holder(holder)?;
    }
    every_source_gives(&mine.expected())?;
    for holder in [first, second, empty] {
        holder.end()?;
    }
    every_source_gives(&mine.expected())
}

fn initial() -> Outcome {
    // Init is in it and has no sockets. The earlier scenarios were in other namespaces.
    setns(File::open("/proc/1/ns/net")?, CloneFlags::CLONE_NEWNET)?;
    every_source_gives(&Counts::ZERO)?;
    let sockets = repaired(20)?;
    let mine = Mix {
        listen: 4,
        established: 3,
        family: Family::V6,
        ..Mix::default()
    }
    .make()?;
    let mut want = mine.expected();
    for _ in &sockets {
        want.add_one(State::Established);
    }
    every_source_gives(&want)?;
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
    let older = start_holder(&Mix::of_each(Family::V4, 1))?;
    ensure!(
        older.module_files().iter().all(|path| !path.exists()),
        "there is a file without the module"
    );
    module::load()?;
    let younger = start_holder(&Mix::of_each(Family::V6, 1))?;
    check_holder(&older)?;
    check_holder(&younger)?;
    module::unload()?;
    for holder in [&older, &younger] {
        for path in holder.module_files() {
            ensure!(!path.exists(), "{} is still there", path.display());
        }
    }
    module::load()?;
    check_holder(&older)?;
    check_holder(&younger)
}

fn own_table() -> Outcome {
    let mine = Mix {
        listen: 2,
        established: 1,
        ..Mix::default()
    }
    .make()?;
    let shared = start_holder(&Mix {
        listen: 1,
        established: 2,
        ..Mix::default()
    })?;
    Table::Own.for_children()?;
    let own = start_holder(&Mix::of_each(Family::V4, 3))?;
    check_holder(&own)?;
    check_holder(&shared)?;
    every_source_gives(&mine.expected())?;

    // From inside. So small a table has chains of a dozen sockets and more.
    netns::enter_new()?;
    let table = Table::of_this_thread()?;
    ensure!(table == Table::Own, "it has its {table:?} table");
    let sockets = repaired(800)?;
    let each = Mix::of_each(Family::V6, 2).make()?;
    let mut want = each.expected();
    for _ in &sockets {
        want.add_one(State::Established);
    }
    every_source_gives(&want)
}
