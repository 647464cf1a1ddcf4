// SPDX-License-Identifier: MIT OR Apache-2.0

//! Other network namespaces, entered on the kernel that runs the tests.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::unistd::gettid;
use tcpstat::internals::Namespace;
use tcpstat_tests::netns;

use common::can_make_namespaces;

/// The calling thread's own network namespace.
const OWN: &str = "/proc/thread-self/ns/net";

fn path(pid: impl ToString) -> PathBuf {
    format!("/proc/{}/ns/net", pid.to_string()).into()
}

#[test]
fn enters_another_namespace_and_comes_back() {
    if !can_make_namespaces() {
        return;
    }
    let own = || fs::read_link(OWN).unwrap();
    let here = own();
    let there = netns::in_new(|| {
        let there = own();
        assert_ne!(there, here);
        let this = Namespace::open(&path(gettid()), None).unwrap();
        let first = Namespace::open(&path(std::process::id()), None).unwrap();
        // This very namespace, and from it the one of the process.
        assert_eq!(Namespace::inside(Some(&this), own).unwrap(), there);
        assert_eq!(Namespace::inside(Some(&first), own).unwrap(), here);
        assert_eq!(Namespace::inside(None, own).unwrap(), there);
        assert_eq!(own(), there);
        there
    });
    assert_ne!(there.unwrap(), own());
}

#[test]
fn stays_the_same_when_the_path_leads_to_another() {
    if !can_make_namespaces() {
        return;
    }
    let own = || fs::metadata(OWN).unwrap().ino();
    netns::in_new(|| {
        let (first, path) = (own(), path(gettid()));
        let namespace = Namespace::open(&path, Some(first)).unwrap();
        netns::enter_new().unwrap();
        assert_ne!(own(), first);
        assert_eq!(Namespace::inside(Some(&namespace), own).unwrap(), first);
        let error = Namespace::open(&path, Some(first)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}: no longer the network namespace {first}",
                path.display()
            )
        );
        assert!(!error.is_absence_or_refusal());
    })
    .unwrap();
}
