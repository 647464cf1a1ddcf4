// SPDX-License-Identifier: MIT OR Apache-2.0

//! Other network namespaces, entered on the kernel that runs the tests.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use nix::unistd::gettid;
use tcpstat::internals::Namespace;
use tcpstat::{Namespaces, Options, Origin, Sampler, Source, State, Target};
use tcpstat_tests::idle::Idle;
use tcpstat_tests::netns;

/// The calling thread's own network namespace.
const OWN: &str = "/proc/thread-self/ns/net";

fn path(pid: impl ToString) -> PathBuf {
    format!("/proc/{}/ns/net", pid.to_string()).into()
}

#[test]
fn enters_another_namespace_and_comes_back() {
    if netns::must_skip() {
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
    if netns::must_skip() {
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

const SOURCES: [Source; 3] = [Source::Netlink, Source::NetlinkFull, Source::Procfs];

fn listen(listeners: usize) -> Vec<TcpListener> {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    std::iter::repeat_with(listen).take(listeners).collect()
}

fn samplers(pid: u32) -> [Sampler; 3] {
    SOURCES.map(|source| {
        let mut options = Options::default();
        options.source = Some(source);
        options.target = Target::Process(pid);
        Sampler::new(options).unwrap()
    })
}

/// Each way to read says that there are so many listeners.
fn all_say(samplers: &mut [Sampler], listeners: u64) {
    for sampler in samplers {
        let counts = sampler.sample().unwrap().counts;
        assert_eq!(counts.get(State::Listen), listeners);
        let services = sampler.services(None).unwrap().services;
        assert_eq!(services.len() as u64, listeners);
        let connections = sampler.connections(Default::default()).unwrap();
        assert_eq!(connections.count() as u64, listeners);
    }
}

#[test]
fn a_sampler_stays_with_the_namespace_of_a_process_that_ends() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let _listeners = listen(2);
        let [first, second] = [(); 2].map(|()| Idle::start().unwrap());
        let inode = first.namespace().unwrap();
        // From a namespace that has other sockets.
        netns::in_new(|| {
            let _other = listen(3);
            let mut samplers = samplers(first.pid());
            all_say(&mut samplers, 2);
            let path = path(first.pid());
            let origin = Origin::Namespace { inode, path };
            assert!(samplers.iter().all(|one| one.origin().unwrap() == origin));
            // Another process is in it; and then none.
            drop(first);
            all_say(&mut samplers, 2);
            drop(second);
            all_say(&mut samplers, 2);
        })
        .unwrap();
    })
    .unwrap();
}

#[test]
fn a_sampler_stays_with_the_namespace_that_a_thread_leaves() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let _listeners = listen(2);
        thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            let (leave, leaving) = mpsc::channel();
            scope.spawn(move || {
                tell.send(gettid()).unwrap();
                leaving.recv().unwrap();
                netns::enter_new().unwrap();
                let _other = listen(5);
                tell.send(gettid()).unwrap();
                leaving.recv().unwrap_err();
            });
            let thread = told.recv().unwrap().as_raw() as u32;
            let mut before = samplers(thread);
            all_say(&mut before, 2);
            leave.send(()).unwrap();
            told.recv().unwrap();
            all_say(&mut before, 2);
            all_say(&mut samplers(thread), 5);
            drop(leave);
        });
    })
    .unwrap();
}

#[test]
fn a_namespace_that_only_a_thread_is_in_is_found() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let _listeners = listen(4);
        let inode = fs::metadata(OWN).unwrap().ino();
        let seen = |inode| {
            let namespaces = Namespaces::list(Path::new("/proc")).unwrap().seen;
            let mut found = namespaces.into_iter().filter(|one| one.inode == inode);
            let pid = found.next().map(|one| one.pid);
            assert_eq!(found.next(), None);
            pid
        };
        let thread = gettid().as_raw() as u32;
        assert_eq!(seen(inode), Some(Some(thread)));
        all_say(&mut samplers(thread), 4);
        // A process goes before a thread, whichever has the lower number.
        let idle = Idle::start().unwrap();
        assert_eq!(seen(inode), Some(Some(idle.pid())));
    })
    .unwrap();
}
