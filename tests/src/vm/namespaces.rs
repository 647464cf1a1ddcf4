// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: each network namespace sees its own sockets and no others.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use tcpstat_census::counts::Counts;

use super::helper::Held;
use super::module;
use super::reading::{everyone_says, module_at, same, same_services, services_at, steady};
use super::{Outcome, Scenario, ensure, repeat};
use crate::naive;
use crate::netns;
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
    Scenario {
        name: "a namespace that ends while it is read",
        seconds: 60,
        run: ends_while_read,
    },
];

/// The file of the process says what was made there, and so does the naive count.
fn says_its_own(held: &Held) -> Outcome {
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
    const BUCKETS: &str = "64";
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
    netns::set_sysctl("net/ipv4/tcp_child_ehash_entries", BUCKETS)?;
    let own = Held::start(&Mix::of_each(Family::V4, 3))?;
    says_its_own(&own)?;
    says_its_own(&shared)?;
    everyone_says(&mine.expected())?;

    // From inside, and with chains of a dozen and more in so small a table.
    netns::enter_new()?;
    let buckets = netns::sysctl("net/ipv4/tcp_ehash_entries")?;
    ensure!(
        buckets == BUCKETS,
        "the table should have {BUCKETS} buckets of its own, and has {buckets}"
    );
    let crowd = repaired(800)?;
    let each = Mix::of_each(Family::V6, 2).make()?;
    let mut want = each.expected();
    for _ in &crowd {
        want.add_one(tcpstat_census::state::State::Established);
    }
    everyone_says(&want)
}

fn ends_while_read() -> Outcome {
    for round in 0..repeat(20) as usize {
        let held = Held::start(&Mix {
            listen: 2,
            established: 2,
            ..Mix::default()
        })?;
        let path = held.net("tcpstat");
        let mut file = File::open(&path)?;
        let mut text = vec![0; round * 9];
        file.read_exact(&mut text)?;
        held.end()?;
        // The open file keeps the namespace; the kernel drops the process's own name for it.
        let mut rest = Vec::new();
        file.read_to_end(&mut rest)?;
        text.extend(rest);
        naive::module_text(&String::from_utf8(text)?)?;
        ensure!(!path.exists(), "{} outlives its process", path.display());
    }
    // Namespaces that come and go on several threads, each reading its own.
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(come_and_go)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })?;
    steady(super::reading::module)?;
    Ok(())
}

fn come_and_go() -> Result<(), String> {
    for _ in 0..repeat(10) {
        netns::enter_new().map_err(|e| e.to_string())?;
        let fixture = Mix {
            listen: 1,
            ..Mix::default()
        }
        .make()
        .map_err(|e| e.to_string())?;
        let path = Path::new(netns::THREAD_NET).join("tcpstat");
        let counts = module_at(&path).map_err(|e| e.to_string())?;
        same("a short-lived namespace", &fixture.expected(), &counts).map_err(|e| e.to_string())?;
    }
    Ok(())
}
