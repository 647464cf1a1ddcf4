// SPDX-License-Identifier: MIT OR Apache-2.0

//! Netlink on the kernel that runs the tests, in full and by difference: it agrees with procfs on
//! sockets in every state, and the kernel leaves out what is not asked for.

use tcpstat::internals::{self, Dumps};
use tcpstat::{
    Connection, Counts, Filter, Method, Options, Ports, Sampler, Services, Source, State,
};
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Family, Mix, repaired};

fn sampler(source: Source) -> Sampler {
    let mut options = Options::default();
    options.source = Some(source);
    Sampler::new(options).unwrap()
}

fn counts(source: Source) -> Counts {
    sampler(source).sample().unwrap().counts
}

fn connections(filter: &Filter) -> Vec<Connection> {
    let connections = sampler(Source::Netlink).connections(filter.clone());
    connections.unwrap().map(Result::unwrap).collect()
}

fn services() -> Services {
    sampler(Source::Netlink).services(None).unwrap()
}

#[test]
fn one_dump_and_two_agree_with_procfs_on_every_state() {
    if netns::must_skip() {
        return;
    }
    for family in Family::ALL {
        netns::in_new(|| {
            let fixture = Mix::of_each(family, 2).make().unwrap();
            let expected = fixture.expected();
            let full = counts(Source::NetlinkFull);
            assert_eq!(full, expected, "{family:?}, one dump");
            for dumps in [Dumps::One, Dumps::ByFamily, Dumps::AfterRefusal] {
                let counted = internals::netlink_dumps(dumps).unwrap();
                assert_eq!(counted, (expected, 2, 2), "{family:?}, {dumps:?}");
            }
            let procfs = counts(Source::Procfs);
            assert_eq!(procfs, expected, "{family:?}, procfs");
        })
        .unwrap();
    }
}

/// How many sockets the kernel lists, and how many of these are asked for.
fn listed(filter: &Filter) -> (u64, usize) {
    let listed = internals::netlink_listed(filter).unwrap();
    (listed, connections(filter).len())
}

#[test]
fn the_kernel_leaves_out_what_is_not_asked_for() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let _fixture = Mix::of_each(Family::V6, 2).make().unwrap();
        let _repaired = repaired(1000).unwrap();
        let all = connections(&Filter::default());
        let filters = all.iter().step_by(100).flat_map(|connection| {
            let ports = |port: u16| -> Option<Ports> {
                Some(format!("{port},1-2,{}", port.max(3) - 1).parse().unwrap())
            };
            let mut states = Filter::default();
            states.states = Some(vec![connection.state]);
            let mut local = states.clone();
            local.local_ports = ports(connection.local.port());
            let mut remote = local.clone();
            remote.remote_ports = ports(connection.remote.port());
            let mut only_remote = Filter::default();
            only_remote.remote_ports = ports(connection.remote.port());
            [states, local, remote, only_remote]
        });
        for filter in filters {
            let expected = all.iter().filter(|&one| filter.accepts(one)).count();
            assert!(expected > 0);
            assert_eq!(listed(&filter), (expected as u64, expected), "{filter:?}");
        }
        // Too many ranges for the kernel to compare: it lists all, and the reader picks.
        let ports: Vec<String> = (0..100).map(|port| (2 * port + 1).to_string()).collect();
        let mut filter = Filter::default();
        filter.local_ports = Some(ports.join(",").parse().unwrap());
        assert_eq!(listed(&filter), (all.len() as u64, 0));
        let mut no_state = Filter::default();
        no_state.states = Some(Vec::new());
        assert_eq!(listed(&no_state), (0, 0));

        // Both queries that services are made from.
        let listed = |ports: Option<&Ports>| internals::netlink_listed_by_port(ports).unwrap();
        let at = |ports: Option<&Ports>| {
            let (listeners, others): (Vec<&Connection>, _) = (all.iter())
                .filter(|one| ports.is_none_or(|ports| ports.contains(one.local.port())))
                .partition(|one| one.state == State::Listen);
            [listeners, others].map(|sockets| sockets.len() as u64)
        };
        assert_eq!(listed(None), at(None));
        let services = services().services;
        assert!(services.len() > 1);
        for service in services {
            let ports: Ports = service.port.to_string().parse().unwrap();
            assert_eq!(listed(Some(&ports)), at(Some(&ports)), "{ports:?}");
            assert_eq!(at(Some(&ports)).iter().sum::<u64>(), service.counts.total());
        }
    })
    .unwrap();
}

#[test]
fn says_what_waits_at_a_listener_that_is_full_and_what_it_drops() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let mix = Mix {
            syn_sent: 3,
            ..Mix::default()
        };
        let _fixture = mix.make().unwrap();
        let services = services().services;
        let [service] = services[..] else {
            panic!("{services:?}")
        };
        assert_eq!((service.listeners, service.accept_queue), (1, 1));
        assert_eq!(service.backlog, Some(0));
        assert_eq!(service.accept_queue_ratio(), Some(1.0));
        // Each of the three, and again where it is sent again.
        assert!(service.drops >= Some(3), "{service:?}");
    })
    .unwrap();
}

#[test]
fn many_datagrams_go_through_one_buffer() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let _sockets = repaired(2000).unwrap();
        let mut buffer = Vec::new();
        let mut until = |states: &[State], go_on: fn(&Counts) -> bool| {
            let counted = internals::netlink_list(states, &mut buffer, go_on).unwrap();
            assert_eq!(buffer.capacity(), 32 * 1024);
            counted
        };
        for _ in 0..3 {
            let (counts, ..) = until(&State::ALL, |_| true);
            assert_eq!(counts.get(State::Established), 2000);
        }
        let error = internals::netlink_list(&State::ALL, &mut vec![0; 1000], |_| true);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("bytes was truncated"), "{error}");

        let (ended, ..) = until(&State::ALL, |counts| counts.total() < 500);
        assert!((500..1000).contains(&ended.total()), "{ended:?}");
        let none = until(&State::ALL[1..], |_| false);
        assert_eq!(none, (Counts::ZERO, 0, 0));
    })
    .unwrap();
}

/// By difference, by the full dump, and by procfs, in the namespace of this thread.
fn three_ways(expected: Counts, what: &str) -> Method {
    let (counted, method) = internals::by_difference(0).unwrap();
    assert_eq!(counts(Source::Procfs), expected, "procfs, {what}");
    assert_eq!(counts(Source::NetlinkFull), expected, "full, {what}");
    assert_eq!(counted, expected, "{method}, {what}");
    method
}

#[test]
fn agrees_with_the_full_dump_and_procfs_in_every_mix() {
    if netns::must_skip() {
        return;
    }
    for family in Family::ALL {
        for mix in [
            Mix::of_each(family, 3),
            Mix {
                syn_recv_request: 20,
                ..Mix::of_each(family, 1)
            },
            Mix {
                syn_recv_fastopen: 20,
                ..Mix::of_each(family, 1)
            },
            Mix {
                fin_wait2_full: 20,
                ..Mix::of_each(family, 1)
            },
            Mix {
                fin_wait2_timewait: 20,
                ..Mix::of_each(family, 1)
            },
            Mix {
                family,
                ..Mix::random(u64::from(family as u8), 6)
            },
        ] {
            // Enough of the two that most are not elsewhere.
            let mix = Mix {
                established: 100,
                time_wait: 20,
                ..mix
            };
            netns::in_new(|| {
                let fixture = mix.make().unwrap();
                let method = three_ways(fixture.expected(), &mix.to_string());
                let Method::Difference {
                    derived,
                    moved: 0,
                    declined,
                    ..
                } = &method
                else {
                    panic!("{method}, {mix}")
                };
                assert!(derived.contains(&State::Established), "{method}, {mix}");
                assert!(declined.is_empty(), "{method}, {mix}");
            })
            .unwrap();
        }
    }
}

#[test]
fn agrees_where_other_states_are_the_many() {
    if netns::must_skip() {
        return;
    }
    for family in Family::ALL {
        let close_wait = Mix {
            family,
            established: 20,
            fin_wait2_timewait: 400,
            listen: 3,
            ..Mix::default()
        };
        let listen = Mix {
            family,
            established: 5,
            listen: 200,
            ..Mix::default()
        };
        let time_wait = Mix {
            family,
            time_wait: 200,
            ..Mix::default()
        };
        for (mix, by) in [
            (
                close_wait,
                "CLOSE_WAIT and TIME_WAIT are from the kernel's counters",
            ),
            (listen, "in states that the counters do not distinguish"),
            (time_wait, ": TIME_WAIT is from the kernel's counters"),
            (Mix::default(), "too few sockets: 0 by the counters"),
        ] {
            netns::in_new(|| {
                let fixture = mix.make().unwrap();
                let method = three_ways(fixture.expected(), &mix.to_string()).to_string();
                assert!(method.contains(by), "{method}, {mix}");
            })
            .unwrap();
        }
    }
}
