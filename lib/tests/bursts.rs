// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rare states beside common ones, while other sockets come and go in bursts: what does not change is
//! counted right in every reading.

mod common;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, connect, listen, socket,
};
use tcpstat::{Method, Options, Sampler, Source, State};
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Mix, repaired};

use common::can_make_namespaces;

/// The sockets of a burst, and the readings during the bursts.
const BURST: usize = 190;
const READINGS: usize = 300;

/// The two ends of the connection that fills the queue of a listener, so that it drops every SYN.
const FILLING: u64 = 2;

/// Opens and closes sockets in `SYN_SENT` to `to`, until `stop` is set.
fn bursts(to: SockaddrIn, stop: &AtomicBool) {
    let connecting = |_| -> OwnedFd {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        assert_eq!(connect(socket.as_raw_fd(), &to), Err(Errno::EINPROGRESS));
        socket
    };
    while !stop.load(SeqCst) {
        let burst: Vec<OwnedFd> = (0..BURST).map(connecting).collect();
        thread::sleep(Duration::from_millis(5));
        drop(burst);
        thread::sleep(Duration::from_millis(5));
    }
}

/// Counts by difference during bursts beside `mix` and `established` connections. Gives the counts of
/// the readings, and how each was made.
fn during_bursts(
    mix: Mix,
    established: u32,
    check: impl Fn(&tcpstat::Counts, &Method) + Send + Sync,
) {
    netns::in_new(|| {
        netns::set_sysctl("net/ipv4/tcp_tw_reuse", "0").unwrap();
        let _fixture = mix.make().unwrap();
        let _established = repaired(established).unwrap();
        let full = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listen(&full, Backlog::new(0).unwrap()).unwrap();
        let SocketAddr::V4(address) = full.local_addr().unwrap() else {
            unreachable!("it is bound to an IPv4 address")
        };
        let _filling = TcpStream::connect(address).unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let bursts = scope.spawn(|| bursts(address.into(), &stop));
            let mut options = Options::default();
            options.source = Some(Source::Netlink);
            let mut sampler = Sampler::new(options).unwrap();
            for _ in 0..READINGS {
                let snapshot = sampler.sample().unwrap();
                check(&snapshot.counts, &snapshot.method);
                assert!(!bursts.is_finished());
            }
            stop.store(true, SeqCst);
        });
    })
    .unwrap();
}

#[test]
fn few_established_beside_many_time_wait_are_exact() {
    if !can_make_namespaces() {
        return;
    }
    let mix = Mix {
        time_wait: 20_000,
        ..Mix::default()
    };
    during_bursts(mix, 100, |counts, method| {
        assert_eq!(counts.get(State::Established), 100 + FILLING, "{method}");
        assert_eq!(counts.get(State::TimeWait), 20_000, "{method}");
        assert_eq!(counts.get(State::CloseWait), 0, "{method}");
    });
}

#[test]
fn few_time_wait_beside_many_established_are_exact() {
    if !can_make_namespaces() {
        return;
    }
    let mix = Mix {
        time_wait: 100,
        ..Mix::default()
    };
    during_bursts(mix, 10_000, |counts, method| {
        assert_eq!(counts.get(State::Established), 10_000 + FILLING, "{method}");
        assert_eq!(counts.get(State::TimeWait), 100, "{method}");
        assert!(matches!(method, Method::Difference { .. }), "{method}");
    });
}

#[test]
fn a_listener_that_comes_and_goes_changes_no_other_number() {
    if !can_make_namespaces() {
        return;
    }
    netns::in_new(|| {
        let mix = Mix {
            close_wait: 200,
            ..Mix::default()
        };
        let fixture = mix.make().unwrap();
        let close_wait = fixture.expected().get(State::CloseWait);
        let _established = repaired(3000).unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    let listener = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                    let listeners: Vec<TcpListener> = (0..200).map(listener).collect();
                    thread::sleep(Duration::from_millis(1));
                    drop(listeners);
                }
            });
            let mut options = Options::default();
            options.source = Some(Source::Netlink);
            let mut sampler = Sampler::new(options).unwrap();
            for _ in 0..READINGS {
                let snapshot = sampler.sample().unwrap();
                let (counts, method) = (snapshot.counts, snapshot.method);
                assert_eq!(counts.get(State::CloseWait), close_wait, "{method}");
                assert_eq!(counts.get(State::Established), 3000, "{method}");
            }
            stop.store(true, SeqCst);
        });
    })
    .unwrap();
}
