// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command on the kernel that runs the tests, with sockets in every state, in a network namespace of its own.
//!
//! Needs `CAP_SYS_ADMIN` for the namespace.

use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;
use tcpstat::{Counts, Options, Sampler, Snapshot, Source, State};
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Family, Mix};

fn report(arguments: &[&str]) -> Value {
    let output = Command::new(cargo_bin!("tcpstat"))
        .args(["--format", "report"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
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
    for family in Family::ALL {
        netns::in_new(|| {
            let fixture = Mix::of_each(family, 3).make().unwrap();
            for source in ["netlink", "netlink-full", "procfs"] {
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
        })
        .unwrap();
    }
}

#[test]
fn another_process_can_be_asked_about() {
    netns::in_new(|| {
        let fixture = Mix::of_each(Family::V6, 1).make().unwrap();
        let mut inside = Command::new("sleep").arg("1000").spawn().unwrap();
        let root = format!("/proc/{}", inside.id());
        // Another thread, still in the namespace of the tests.
        let report = std::thread::scope(|scope| {
            scope
                .spawn(|| netns::in_new(|| report(&["--proc-root", &root])).unwrap())
                .join()
                .unwrap()
        });
        inside.kill().unwrap();
        inside.wait().unwrap();
        assert_eq!(counts(&report), fixture.expected());
    })
    .unwrap();
}

#[test]
fn the_library_takes_the_same_snapshot() {
    netns::in_new(|| {
        let fixture = Mix::of_each(Family::V4, 2).make().unwrap();
        let mut sampler = Sampler::new(Options {
            source: Some(Source::Netlink),
            ..Options::default()
        })
        .unwrap();
        let expected = Snapshot {
            counts: fixture.expected(),
            source: Source::Netlink,
        };
        assert_eq!(sampler.sample().unwrap(), expected);
        assert_eq!(sampler.sample().unwrap(), expected);
    })
    .unwrap();
}

#[test]
fn samplers_of_another_procfs_refuse_netlink() {
    let elsewhere = |source| {
        Sampler::new(Options {
            source,
            proc_root: "/proc/1".into(),
        })
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
    assert!(
        Sampler::new(Options {
            source: Some(Source::Netlink),
            proc_root: "/proc/".into()
        })
        .is_ok()
    );
}
