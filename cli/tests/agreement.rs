// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every source agrees with every other and with `ss`, state by state: over random mixes of states
//! and families, in several kinds of network namespace side by side, and, within bounds, while
//! connections come and go.
//!
//! The virtual machine's tests do this with the module. Needs `CAP_SYS_ADMIN` for the namespaces.

mod common;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use common::run::{run, tcpstat};
use common::serial::serial;
use common::sources;
use serde_json::Value;
use tcpstat::{
    Connection, Counts, Filter, Listener, Method, Options, Ports, Sampler, Service, Services,
    Snapshot, Source, State,
};
use tcpstat_tests::churn::{self, Events, possible};
use tcpstat_tests::idle::Idle;
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Fixture, Mix, repaired};
use tcpstat_tests::ss;

/// More sockets than the netlink source lists without reading the counters.
const MANY: u32 = 1200;

/// The counts that the command prints in the namespace of this thread.
fn counts(arguments: &[&str]) -> Counts {
    let (code, stdout, stderr) = run(&mut tcpstat(arguments));
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let mut counts = Counts::ZERO;
    for state in State::ALL {
        counts.set(state, answer[state.name()].as_u64().unwrap());
    }
    counts
}

/// Asserts that every source and `ss` give `expected` for the namespace of this thread.
fn agree(expected: Counts, what: &str) {
    for source in sources::names_and_auto() {
        assert_eq!(counts(&["--source", source]), expected, "{source}, {what}");
    }
    if let Some(counts) = ss::counts() {
        assert_eq!(counts, expected, "ss, {what}");
    }
}

/// A random mix in the namespace of this thread.
fn random(seed: u64) -> (Fixture, String) {
    let mix = Mix::random(seed, 8);
    (mix.make().unwrap(), format!("seed {seed}: {mix}"))
}

#[test]
fn over_random_mixes() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    for seed in 0..12 {
        netns::in_new(|| {
            let (fixture, mix) = random(seed);
            agree(fixture.expected(), &mix);
            // Enough sockets for netlink to count by difference.
            let _many = repaired(MANY).unwrap();
            let mut expected = fixture.expected();
            let established = expected.get(State::Established) + u64::from(MANY);
            expected.set(State::Established, established);
            agree(expected, &mix);
            fixture.check().unwrap();
        })
        .unwrap();
    }
}

/// The services in the namespace of this thread from one source.
fn services(source: Source, ports: Option<&str>) -> Services {
    let mut options = Options::default();
    options.source = Some(source);
    let ports: Option<Ports> = ports.map(|ports| ports.parse().unwrap());
    Sampler::new(options)
        .unwrap()
        .services(ports.as_ref())
        .unwrap()
}

/// The services without their drops, which grow with each repeated request of a `SYN_SENT` socket
/// of the fixture.
fn without_drops(services: &[Service]) -> Vec<Service> {
    let mut services = services.to_vec();
    services.iter_mut().for_each(|row| row.drops = None);
    services
}

/// Asserts that the services and the rest add up to `expected`, and that all sources give the same.
/// Returns the services from netlink.
fn services_agree(expected: Counts, ports: Option<&str>, what: &str) -> Vec<Service> {
    let netlink = services(Source::Netlink, ports);
    if let Some(other) = netlink.other {
        for (state, expected) in expected.iter() {
            let rows = netlink.services.iter();
            let counted: u64 = rows.map(|row| row.counts.get(state)).sum();
            assert_eq!(counted + other.get(state), expected, "{what}");
        }
    }
    for row in &netlink.services {
        assert_eq!(row.listeners, row.counts.get(State::Listen), "{what}");
        assert!(row.backlog.is_some() && row.drops.is_some(), "{what}");
    }
    let full = services(Source::NetlinkFull, ports);
    let expected = without_drops(&netlink.services);
    assert_eq!(without_drops(&full.services), expected, "{what}");
    for (before, after) in netlink.services.iter().zip(&full.services) {
        assert!(before.drops <= after.drops, "{what}");
    }
    assert_eq!(full.other, netlink.other, "{what}");
    let procfs = services(Source::Procfs, ports);
    let mut expected = expected;
    for row in &mut expected {
        (row.backlog, row.fullest) = (None, None);
    }
    assert_eq!(procfs.services, expected, "{what}");
    assert_eq!(procfs.other, netlink.other, "{what}");
    listeners_agree(&netlink.services, ports, what);
    netlink.services
}

/// The listeners in the namespace of this thread, without their drops.
fn listeners(source: Source, ports: Option<&str>) -> Vec<Listener> {
    let mut options = Options::default();
    options.source = Some(source);
    let ports: Option<Ports> = ports.map(|ports| ports.parse().unwrap());
    let mut sampler = Sampler::new(options).unwrap();
    let mut listeners = sampler.listeners(ports.as_ref()).unwrap().listeners;
    for one in &mut listeners {
        assert_eq!(one.drops.is_some(), source != Source::Procfs);
        assert_eq!(one.cgroup.is_some(), source != Source::Procfs);
        (one.drops, one.cgroup) = (None, None);
    }
    listeners
}

/// Each source lists the same listeners, and they are those of the services.
fn listeners_agree(services: &[Service], ports: Option<&str>, what: &str) {
    let netlink = listeners(Source::Netlink, ports);
    assert_eq!(listeners(Source::NetlinkFull, ports), netlink, "{what}");
    let mut expected = netlink.clone();
    expected.iter_mut().for_each(|one| one.backlog = None);
    assert_eq!(listeners(Source::Procfs, ports), expected, "{what}");
    for row in services {
        let all = netlink.iter();
        let all: Vec<_> = all.filter(|one| one.local.port() == row.port).collect();
        assert_eq!(all.len() as u64, row.listeners, "{what}");
        let queues = all.iter().map(|one| u64::from(one.accept_queue));
        assert_eq!(queues.sum::<u64>(), row.accept_queue, "{what}");
        let backlogs = all.iter().map(|one| u64::from(one.backlog.unwrap()));
        assert_eq!(Some(backlogs.sum::<u64>()), row.backlog, "{what}");
        assert_eq!(
            all.iter().map(|one| one.queue()).max(),
            Some(row.fullest),
            "{what}"
        );
    }
    let at_services: u64 = services.iter().map(|row| row.listeners).sum();
    assert_eq!(netlink.len() as u64, at_services, "{what}");
}

#[test]
fn on_the_services_of_random_mixes() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    for seed in 200..212 {
        netns::in_new(|| {
            let (fixture, mix) = random(seed);
            let all = services_agree(fixture.expected(), None, &mix);
            // One port, a range from one service to the last, and all ports but one: tests the
            // kernel's filter and the reader's.
            for (index, row) in all.iter().enumerate() {
                let last = all[all.len() - 1].port;
                for (ports, expected) in [
                    (row.port.to_string(), &all[index..=index]),
                    (format!("{}-{last}", row.port), &all[index..]),
                    (format!("0-{},65535", row.port - 1), &all[..index]),
                ] {
                    let some = services_agree(fixture.expected(), Some(&ports), &mix);
                    assert_eq!(
                        without_drops(&some),
                        without_drops(expected),
                        "{ports}, {mix}"
                    );
                }
            }
        })
        .unwrap();
    }
}

/// The connections in the namespace of this thread that a filter accepts, sorted; without their
/// queues if these are not steady.
fn connections(source: Source, filter: &Filter, steady: bool) -> Vec<Connection> {
    let mut options = Options::default();
    options.source = Some(source);
    let connections = Sampler::new(options).unwrap().connections(filter.clone());
    let mut connections: Vec<Connection> = connections.unwrap().map(Result::unwrap).collect();
    for one in &mut connections {
        if !steady {
            (one.receive_queue, one.send_queue) = (0, None);
        }
        let is_nobodys = source == Source::Procfs || one.inode.is_none();
        assert!(one.cgroup.is_some() || is_nobodys, "{one:?}");
        one.cgroup = None;
    }
    connections.sort_unstable_by_key(|one| (one.local, one.remote, one.inode, one.state.code()));
    connections
}

/// Asserts that all sources list the same. Returns the connections from netlink.
fn connections_agree(filter: &Filter, steady: bool, what: &str) -> Vec<Connection> {
    let list = |source| connections(source, filter, steady);
    let netlink = list(Source::Netlink);
    assert_eq!(list(Source::NetlinkFull), netlink, "{what}");
    let mut expected = netlink.clone();
    for one in &mut expected {
        one.send_queue = one.send_queue.filter(|_| one.state != State::Listen);
    }
    assert_eq!(list(Source::Procfs), expected, "{what}");
    netlink
}

#[test]
fn on_each_connection_of_random_mixes() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    for seed in 300..312 {
        netns::in_new(|| {
            let mut mix = Mix::random(seed, 8);
            // Data behind a closed window advances a little at each window probe.
            let steady = seed % 2 == 0;
            if steady {
                (mix.fin_wait1, mix.last_ack, mix.closing) = (0, 0, 0);
            }
            let fixture = mix.make().unwrap();
            let mix = mix.to_string();
            let all = connections_agree(&Filter::default(), steady, &mix);
            let mut counts = Counts::ZERO;
            all.iter().for_each(|one| counts.add_one(one.state));
            assert_eq!(counts, fixture.expected(), "{mix}");
            if let (Some(mut expected), true) = (ss::lines(), steady) {
                let line = |one: &Connection| ss::Line {
                    state: one.state,
                    receive_queue: one.receive_queue,
                    send_queue: one.send_queue.unwrap(),
                    local_port: one.local.port(),
                    remote_port: one.remote.port(),
                };
                let mut lines: Vec<ss::Line> = all.iter().map(line).collect();
                lines.sort_unstable_by_key(ss::Line::key);
                expected.sort_unstable_by_key(ss::Line::key);
                assert_eq!(lines, expected, "ss, {mix}");
            }
            // All were made by this process's user.
            let own = |one: &Connection| one.uid == Some(nix::unistd::getuid().as_raw());
            let ownerless = |one: &Connection| one.uid.is_none() && one.inode.is_none();
            assert!(all.iter().all(|one| own(one) || ownerless(one)), "{mix}");
            assert!(
                all.iter()
                    .filter(|one| one.state == State::TimeWait)
                    .all(ownerless)
            );

            for one in all.iter().step_by(5) {
                let port = |port: u16| -> Option<Ports> { Some(port.to_string().parse().unwrap()) };
                let mut filter = Filter::default();
                filter.local_ports = port(one.local.port());
                let mut both_ends = filter.clone();
                filter.states = Some(vec![one.state, State::SynRecv]);
                both_ends.remote_ports = port(one.remote.port());
                for filter in [filter, both_ends] {
                    let some = connections_agree(&filter, steady, &mix);
                    let expected = all.iter().filter(|one| filter.accepts(one)).copied();
                    assert_eq!(some, expected.collect::<Vec<_>>(), "{filter:?}, {mix}");
                    assert!(!some.is_empty());
                }
            }
        })
        .unwrap();
    }
}

/// A namespace, a child of it that shares its table, one with its own table, and one that is made
/// later. Each gives its own counts while all exist, also to the command in another namespace.
#[test]
fn in_namespaces_of_every_kind() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    const ENTRIES: &str = "net/ipv4/tcp_ehash_entries";
    let within = |seed: u64, inner: &(dyn Fn(Counts) + Sync)| {
        netns::in_new(|| {
            let (fixture, mix) = random(seed);
            agree(fixture.expected(), &mix);
            inner(fixture.expected());
            agree(fixture.expected(), &mix);
        })
        .unwrap();
    };
    let is_shared = || netns::sysctl(ENTRIES).unwrap().starts_with('-');
    within(100, &|outer| {
        let root = Idle::start().unwrap();
        within(101, &|_| {
            assert!(is_shared());
            netns::set_sysctl("net/ipv4/tcp_child_ehash_entries", "256").unwrap();
            within(102, &|own_table| {
                assert_eq!(netns::sysctl(ENTRIES).unwrap(), "256");
                let own = Idle::start().unwrap();
                within(103, &|_| {
                    assert!(is_shared());
                    for (process, expected) in [(&root, outer), (&own, own_table)] {
                        let root = format!("/proc/{}", process.pid());
                        assert_eq!(counts(&["--proc-root", &root]), expected, "{root}");
                    }
                });
            });
        });
    });
}

/// Connections open and close during each reading, and some stay: the test's own counters give
/// bounds for every reading.
///
/// While a reader is in the middle of a chain, or counts by difference, each change to the table
/// may make it miss a socket or count one twice.
#[test]
fn within_what_churn_allows() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    const STAY: u32 = 5000;
    const LISTENERS: u64 = 3;
    const AT_ONCE: usize = 4;
    /// Changes to the table when a connection opens: both ends, and a request socket that is added
    /// and removed. When one closes there are fewer.
    const CHANGES: u64 = 4;
    netns::in_new(|| {
        // The number of time-wait sockets only grows.
        netns::set_sysctl("net/ipv4/tcp_tw_reuse", "0").unwrap();
        netns::set_sysctl("net/ipv4/tcp_max_tw_buckets", "100000").unwrap();
        let _kept = repaired(STAY).unwrap();
        let events = Events::with_open(u64::from(STAY) / 2);
        let listeners = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let listeners: Vec<TcpListener> = (listeners.iter().cycle())
            .take(LISTENERS as usize)
            .map(|&ip: &IpAddr| TcpListener::bind((ip, 0)).unwrap())
            .collect();
        let stop = AtomicBool::new(false);
        // How many more connections may be opened or closed.
        let permits = AtomicU64::new(0);
        let churn = |listener: &TcpListener| {
            let mut open = VecDeque::new();
            for turn in 0.. {
                let take = |left: u64| left.checked_sub(1);
                while permits.fetch_update(SeqCst, SeqCst, take).is_err() {
                    if stop.load(SeqCst) {
                        return;
                    }
                    thread::sleep(Duration::from_micros(100));
                }
                if open.len() < AT_ONCE {
                    open.push_back(churn::open(listener, &events).unwrap());
                    continue;
                }
                let (client, server) = open.pop_front().unwrap();
                match turn % 3 {
                    0 => churn::reset(client, server, &events).unwrap(),
                    _ => churn::close(client, server, &events).unwrap(),
                }
            }
        };
        thread::scope(|scope| {
            let (churn, stop, permits, events) = (&churn, &stop, &permits, &events);
            let start = |listener| scope.spawn(move || churn(listener));
            let churners: Vec<_> = listeners.iter().map(start).collect();
            // Reads while this many connections are opened or closed.
            let read = |sampler: &mut Sampler, changes| {
                let before = events.snapshot();
                permits.store(changes, SeqCst);
                let Snapshot {
                    counts,
                    method,
                    source,
                    ..
                } = sampler.sample().unwrap();
                let after = events.snapshot();
                // In each thread, a closed connection may still have a last segment under way.
                let moving = after.moving_since(&before) + LISTENERS;
                let listening = LISTENERS..=LISTENERS;
                possible(&counts, &before, &after, &listening, CHANGES * moving)
                    .unwrap_or_else(|error| panic!("{source}, {method}: {error}"));
                while permits.load(SeqCst) > 0 {
                    assert!(churners.iter().all(|churner| !churner.is_finished()));
                    thread::sleep(Duration::from_micros(100));
                }
                method
            };
            let result = catch_unwind(AssertUnwindSafe(|| {
                for source in sources::without_module() {
                    let mut options = Options::default();
                    options.source = Some(source);
                    let mut sampler = Sampler::new(options).unwrap();
                    for changes in [10, 100] {
                        for _ in 0..20 {
                            read(&mut sampler, changes);
                        }
                    }
                    if source == Source::Netlink {
                        // So few changes that it need not list all sockets.
                        let moved = |method: &Method| {
                            matches!(method, Method::Difference { moved: 1.., .. })
                        };
                        let methods = (0..2000).map(|_| read(&mut sampler, 4));
                        assert_eq!(methods.filter(moved).take(20).count(), 20);
                    }
                }
            }));
            stop.store(true, SeqCst);
            result.unwrap_or_else(|panic| resume_unwind(panic));
        });
    })
    .unwrap();
}
