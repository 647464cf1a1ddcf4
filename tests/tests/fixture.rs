// SPDX-License-Identifier: GPL-2.0-only

//! Compares the fixture with `/proc/net/tcp` and `ss`, in a new network namespace on the kernel
//! that runs the tests. For a user who is not root, the tests run as root of a new user namespace.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;
use tcpstat_tests::naive;
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Family, Mix, repaired};
use tcpstat_tests::ss;

/// Runs `test`, which is called `name`, with the right to make network namespaces, or skips it.
fn as_root(name: &str, test: impl FnOnce()) {
    let in_user_namespace = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user"]);
        unshare
    };
    let can_become_root = || in_user_namespace().arg("true").output();
    if nix::unistd::geteuid().is_root()
        || !can_become_root().is_ok_and(|output| output.status.success())
    {
        if !netns::must_skip() {
            test();
        }
        return;
    }
    // A process with threads, like this one, cannot enter a user namespace. Its child is started in
    // one.
    let output = in_user_namespace()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "as root of a user namespace: {printed}"
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
                assert_eq!(absent, [State::Close], "the only state without a socket");
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
fn one_state_at_a_time() {
    as_root("one_state_at_a_time", || {
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
