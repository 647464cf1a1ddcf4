// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rare states beside common ones, while other sockets come and go in bursts: what does not change
//! is counted right in every reading.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, connect, listen, socket,
};
use tcpstat::{Options, Sampler, Source, State};
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Mix, repaired};

/// The sockets of a burst.
const BURST: usize = 190;

/// The readings during the bursts: at most this number, and no longer than sockets in `TIME_WAIT`
/// last, which is a minute.
const READINGS: usize = 200;
const LONGEST: Duration = Duration::from_secs(40);

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

/// Stops the other thread of a test, also if an assertion fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Leaves sockets in `TIME_WAIT`: connections that one end closed first.
fn time_wait(count: usize) {
    let listeners = [(); 4].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    for listener in listeners.iter().cycle().take(count) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(client);
        drop(server);
    }
}

/// Counts by difference during bursts beside lasting sockets: this many in `TIME_WAIT`, and
/// `established` connections.
fn during_bursts(time_waits: usize, established: u32) {
    netns::in_new(|| {
        netns::set_sysctl("net/ipv4/tcp_tw_reuse", "0").unwrap();
        netns::set_sysctl("net/ipv4/tcp_max_tw_buckets", "100000").unwrap();
        let start = Instant::now();
        time_wait(time_waits);
        let _established = repaired(established).unwrap();
        let full = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listen(&full, Backlog::new(0).unwrap()).unwrap();
        let SocketAddr::V4(address) = full.local_addr().unwrap() else {
            unreachable!("it is bound to an IPv4 address")
        };
        let _filling = TcpStream::connect(address).unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            let bursts = scope.spawn(|| bursts(address.into(), &stop));
            let mut options = Options::default();
            options.source = Some(Source::Netlink);
            let mut sampler = Sampler::new(options).unwrap();
            for _ in 0..READINGS {
                if start.elapsed() > LONGEST {
                    break;
                }
                let snapshot = sampler.sample().unwrap();
                let (counts, method) = (snapshot.counts, snapshot.method);
                let expected = u64::from(established) + FILLING;
                assert_eq!(counts.get(State::Established), expected, "{method}");
                assert_eq!(counts.get(State::TimeWait), time_waits as u64, "{method}");
                assert!(!bursts.is_finished());
            }
        });
    })
    .unwrap();
}

#[test]
fn few_established_beside_many_time_wait_are_exact() {
    if !netns::must_skip() {
        during_bursts(5000, 100);
    }
}

#[test]
fn few_time_wait_beside_many_established_are_exact() {
    if !netns::must_skip() {
        during_bursts(100, 10_000);
    }
}

#[test]
fn a_listener_that_comes_and_goes_changes_no_other_number() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        // As many in CLOSE_WAIT as there are listeners, which CurrEstab may or may not count.
        let mix = Mix {
            close_wait: 200,
            ..Mix::default()
        };
        let _close_wait = mix.make().unwrap();
        let _established = repaired(3000).unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
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
                assert_eq!(counts.get(State::CloseWait), 200, "{method}");
                assert_eq!(counts.get(State::Established), 3000, "{method}");
            }
        });
    })
    .unwrap();
}
