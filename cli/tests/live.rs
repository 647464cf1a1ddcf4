// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command on the kernel that runs the tests, with sockets in every state, in a new network
//! namespace.
//!
//! Needs `CAP_SYS_ADMIN` for the namespace.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use common::run::{run, tcpstat};
use common::serial::serial;
use common::sources;
use serde_json::Value;
use tcpstat::{Counts, Method, Options, Reason, Sampler, Source, State};
use tcpstat_tests::idle::Idle;
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Family, Mix, repaired};
use tempfile::TempDir;

fn report(arguments: &[&str]) -> Value {
    let mut command = tcpstat(&[&["--format", "report"], arguments].concat());
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

fn counts(report: &Value) -> Counts {
    let mut counts = Counts::ZERO;
    for state in State::ALL {
        counts.set(
            state,
            report["states"][state.name()]["count"].as_u64().unwrap(),
        );
    }
    assert_eq!(report["total"], counts.total());
    counts
}

#[test]
fn every_source_sees_every_state() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    for family in Family::ALL {
        netns::in_new(|| {
            let fixture = Mix::of_each(family, 3).make().unwrap();
            for source in sources::names() {
                let report = report(&["--source", source]);
                assert_eq!(report["source"], source);
                assert_eq!(counts(&report), fixture.expected(), "{family:?}, {source}");
            }
            let first = if Path::new("/proc/tcpstat").exists() {
                "module"
            } else {
                "netlink"
            };
            let report = report(&[]);
            assert_eq!(report["source"], first);
            assert_eq!(counts(&report), fixture.expected(), "{family:?}, {first}");
            // In a new namespace, only this fixture has sent segments again.
            let kernel = &report["kernel"];
            assert!(kernel["counters"]["RetransSegs"]["count"].as_u64() < Some(10_000));
            assert!(kernel["sockets"]["alloc"].as_u64() > Some(10), "{kernel}");
            assert!(
                kernel["limits"]["somaxconn"].as_u64() >= Some(128),
                "{kernel}"
            );
        })
        .unwrap();
    }
}

/// Runs the command with `--verbose` as the child of `wrapper`. Gives its counts and its standard
/// error.
fn verbose(wrapper: &[&str], source: &str) -> (Counts, String) {
    let words = [
        wrapper,
        &[
            cargo_bin!("tcpstat").to_str().unwrap(),
            "--verbose",
            "--format",
            "report",
            "--source",
            source,
        ],
    ]
    .concat();
    let (code, stdout, stderr) = run(Command::new(words[0]).args(&words[1..]));
    assert_eq!(code, Some(0), "{stderr}");
    let report = serde_json::from_str(&stdout).unwrap();
    (counts(&report), stderr)
}

/// A command line that runs the command that follows in a mount namespace in which `script` has
/// changed /proc.
fn with_proc(script: &str) -> Vec<String> {
    let script = format!("set -e; {script}; exec \"$@\"");
    ["unshare", "--mount", "sh", "-c", &script, "sh"]
        .map(String::from)
        .into()
}

#[test]
fn verbose_says_how_the_sockets_were_counted() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        // More sockets than the command lists without reading the counters, and some in other
        // states.
        let _sockets = repaired(1200).unwrap();
        let fixture = Mix::of_each(Family::V6, 2).make().unwrap();
        let mut expected = fixture.expected();
        expected.set(
            State::Established,
            expected.get(State::Established) + 1200,
        );
        let explained = |wrapper: &[String], source: &str| {
            let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
            let (counts, stderr) = verbose(&wrapper, source);
            assert_eq!(counts, expected, "{wrapper:?} {source}: {stderr}");
            stderr
        };
        let check = |stderr: String, text: &str| assert!(stderr.contains(text), "{stderr}");

        check(
            explained(&[], "netlink"),
            "tcpstat: netlink: counted by difference: ESTABLISHED is from the kernel's counters, ",
        );
        let inode = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        for source in ["netlink-full", "procfs"] {
            assert_eq!(
                explained(&[], source),
                format!(
                    "tcpstat: network namespace {inode}, through /proc/thread-self/ns/net\n\
                     tcpstat: {source}: counted everything\n"
                )
            );
        }
        let auto = explained(&[], "auto");
        if !Path::new("/proc/tcpstat").exists() {
            check(auto, "tcpstat: module: /proc/tcpstat: cannot open: ENOENT");
        }

        check(
            explained(&with_proc("mount -t tmpfs none /proc"), "netlink"),
            "tcpstat: netlink: listed every socket: no counters: \
             /proc/thread-self/net/sockstat: cannot open: ENOENT",
        );
        let fake = |sockstat: &str, snmp: &str| {
            with_proc(&format!(
                "mount -t tmpfs none /proc; mkdir -p /proc/thread-self/net; cd /proc/thread-self/net; \
                 printf 'TCP: inuse {sockstat}\\n' >sockstat; printf 'Tcp: ActiveOpens PassiveOpens CurrEstab\\n\
                 Tcp: 1 2 {snmp}\\n' >snmp"
            ))
        };
        check(
            explained(&fake("4000 tw 4", "3500"), "netlink"),
            "listed every socket: the counters contradict each other: sockstat leaves ",
        );
        check(
            explained(&fake("4000 tw 4", "400"), "netlink"),
            "listed every socket: 3600 of 4004 are in states that the counters do not distinguish",
        );
        check(
            explained(&fake("4 tw 4", "4"), "netlink"),
            "listed every socket: too few sockets: 8 by the counters",
        );
        check(
            explained(&fake("-4 tw 4", "4"), "netlink"),
            "no counters: /proc/thread-self/net/sockstat, line 1: inuse is not a count",
        );
        check(
            explained(&fake("4000 tw 4", ""), "netlink"),
            "no counters: /proc/thread-self/net/snmp, line 2: CurrEstab is missing",
        );
    })
    .unwrap();
}

#[test]
fn the_command_counts_for_another_process() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let fixture = Mix::of_each(Family::V6, 1).make().unwrap();
        let inside = Idle::start().unwrap();
        let root = format!("/proc/{}", inside.pid());
        // In another namespace.
        let report = netns::in_new(|| report(&["--proc-root", &root])).unwrap();
        assert_eq!(counts(&report), fixture.expected());
    })
    .unwrap();
}

#[test]
fn the_library_takes_the_same_snapshot() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let fixture = Mix::of_each(Family::V4, 2).make().unwrap();
        let mut options = Options::default();
        options.source = Some(Source::Netlink);
        let mut sampler = Sampler::new(options).unwrap();
        for _ in 0..2 {
            let snapshot = sampler.sample().unwrap();
            assert_eq!(snapshot.counts, fixture.expected());
            assert_eq!(snapshot.source, Source::Netlink);
            assert!(matches!(
                snapshot.method,
                Method::Fallback(Reason::Few { .. })
            ));
        }
    })
    .unwrap();
}

/// The counters must be those of the thread that counts: netlink answers for the thread's
/// namespace, and `/proc/net` shows that of the process's first thread.
#[test]
fn a_thread_in_another_namespace_counts_there() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _sockets = repaired(1500).unwrap();
        for source in sources::without_module() {
            let mut options = Options::default();
            options.source = Some(source);
            let mut sampler = Sampler::new(options).unwrap();
            let snapshot = sampler.sample().unwrap();
            assert_eq!(snapshot.counts.get(State::Established), 1500, "{source}");
            assert_eq!(snapshot.counts.total(), 1500, "{source}");
            let by_difference = matches!(snapshot.method, Method::Difference { moved: 0, .. });
            assert_eq!(
                by_difference,
                source == Source::Netlink,
                "{}",
                snapshot.method
            );
        }
    })
    .unwrap();
}

#[test]
fn samplers_of_a_saved_sample_refuse_netlink() {
    let _serial = serial();
    let saved = TempDir::new().unwrap();
    let elsewhere = |source| {
        let mut options = Options::default();
        options.source = source;
        options.proc_root = saved.path().to_owned();
        Sampler::new(options)
    };
    assert!(matches!(
        elsewhere(Some(Source::Netlink)),
        Err(tcpstat::Error::Elsewhere { .. })
    ));
    assert!(matches!(
        elsewhere(Some(Source::NetlinkFull)),
        Err(tcpstat::Error::Elsewhere { .. })
    ));
    assert!(elsewhere(None).is_ok());
    for live in ["/proc/", "/proc/1", "/proc/self"] {
        let mut options = Options::default();
        options.source = Some(Source::Netlink);
        options.proc_root = live.into();
        assert!(Sampler::new(options).is_ok());
    }
}
