// SPDX-License-Identifier: GPL-2.0-only

//! The fixture, in a network namespace of its own on whatever kernel runs the tests, against `/proc/net/tcp`
//! and `ss`. Whoever is not root becomes root of a user namespace first.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;
use tcpstat_tests::naive;
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Family, Mix, repaired};
use tcpstat_tests::ss;

/// Runs `test`, which is called `name`, with the right to make network namespaces.
fn as_root(name: &str, test: impl FnOnce()) {
    if nix::unistd::geteuid().is_root() {
        return test();
    }
    // A process with threads, as this one, cannot enter a user namespace; its child begins in one.
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "as root of a user namespace: {said}"
    );
}

/// Makes the mix in a new namespace, and compares after `hold`.
fn check(mix: Mix, hold: Duration) {
    netns::in_new(|| {
        let fixture = mix.make().unwrap_or_else(|e| panic!("{mix}: {e}"));
        let want = fixture.expected();
        for (when, wait) in [("at once", Duration::ZERO), ("after a while", hold)] {
            sleep(wait);
            let procfs = naive::procfs(Path::new(netns::THREAD_NET)).unwrap();
            assert_eq!(
                naive::difference(&want, &procfs),
                None,
                "{mix}: /proc/net/tcp, {when}"
            );
            if let Some(ss) = ss::counts() {
                assert_eq!(naive::difference(&want, &ss), None, "{mix}: ss, {when}");
            }
            fixture.check().unwrap();
        }
    })
    .unwrap();
}

#[test]
fn one_of_each() {
    as_root("one_of_each", || {
        for family in Family::ALL {
            let mix = Mix::of_each(family, 1);
            netns::in_new(|| {
                let expected = mix.make().unwrap().expected();
                let absent: Vec<State> = State::ALL
                    .into_iter()
                    .filter(|state| expected.get(*state) == 0)
                    .collect();
                assert_eq!(absent, [State::Close], "every state but this is there");
            })
            .unwrap();
            check(mix, Duration::ZERO);
        }
    });
}

#[test]
fn held_for_ten_seconds() {
    as_root("held_for_ten_seconds", || {
        std::thread::scope(|scope| {
            for family in Family::ALL {
                scope.spawn(move || check(Mix::of_each(family, 3), Duration::from_secs(10)));
            }
        });
    });
}

#[test]
fn each_state_alone() {
    as_root("each_state_alone", || {
        for state in [
            "listen",
            "syn_sent",
            "syn_recv_request",
            "syn_recv_fastopen",
            "established",
            "fin_wait1",
            "fin_wait2_full",
            "fin_wait2_timewait",
            "time_wait",
            "close_wait",
            "last_ack",
            "closing",
            "bound_unused",
            "unconnected",
        ] {
            for family in Family::ALL {
                check(
                    format!("{family:?} {state}=5").parse().unwrap(),
                    Duration::ZERO,
                );
            }
        }
    });
}

#[test]
fn random_mixes() {
    as_root("random_mixes", || {
        for seed in 0..12 {
            check(Mix::random(seed, 12), Duration::ZERO);
        }
    });
}

#[test]
fn more_than_a_listener_takes() {
    as_root("more_than_a_listener_takes", || {
        let mix = Mix {
            syn_recv_request: 600,
            syn_recv_fastopen: 300,
            syn_sent: 300,
            ..Mix::default()
        };
        check(mix, Duration::from_secs(3));
    });
}

#[test]
fn repaired_are_established_and_leave_nothing() {
    as_root("repaired_are_established_and_leave_nothing", || {
        netns::in_new(|| {
            let sockets = repaired(1000).unwrap();
            let mut want = Counts::ZERO;
            want.set(State::Established, 1000);
            let net = Path::new(netns::THREAD_NET);
            assert_eq!(naive::difference(&want, &naive::procfs(net).unwrap()), None);
            drop(sockets);
            assert_eq!(naive::procfs(net).unwrap(), Counts::ZERO);
        })
        .unwrap();
    });
}
