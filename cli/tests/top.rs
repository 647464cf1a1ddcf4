// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat top` as its users meet it: each key compared with `ss` over sockets in every state, in
//! cgroups and network namespaces of the tests, on saved samples, and with very many groups.
//!
//! Needs `CAP_SYS_ADMIN` for the namespaces.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use common::run::{run, tcpstat, tcpstat_on};
use common::saved::proc_root;
use common::serial::serial;
use common::{sources, unprivileged};
use serde_json::Value;
use tcpstat::State;
use tcpstat_tests::cgroup::Cgroup;
use tcpstat_tests::idle::Idle;
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Family, Fixture, Mix, repaired_between};
use tcpstat_tests::ss;

/// The numbers of sockets by state, without zeros.
type States = BTreeMap<String, u64>;

/// The states of each group, and of the rest as `other`.
type Groups = BTreeMap<String, States>;

fn states(value: &Value) -> States {
    let states = value["states"].as_object().unwrap().iter();
    let states = states.map(|(name, state)| (name.clone(), state["count"].as_u64().unwrap()));
    states.filter(|(_, count)| *count > 0).collect()
}

/// Asserts that an answer adds up. Returns its groups.
fn groups(answer: &Value) -> Groups {
    let mut groups = Groups::new();
    let mut last = u64::MAX;
    for group in answer["groups"].as_array().unwrap() {
        let (total, error) = (&group["total"], &group["error"]);
        let (total, error) = (total.as_u64().unwrap(), error.as_u64().unwrap());
        let states = states(group);
        assert_eq!(states.values().sum::<u64>(), total - error, "{group}");
        assert!(total <= last, "{answer}");
        last = total;
        let key = group["key"].as_str().unwrap().to_owned();
        assert!(groups.insert(key, states).is_none(), "{answer}");
    }
    let other = states(&answer["other"]);
    assert_eq!(other.values().sum::<u64>(), answer["other"]["total"]);
    if !other.is_empty() {
        groups.insert("other".to_owned(), other);
    }
    groups
}

/// What `top` prints with these arguments.
fn top(arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = run(&mut tcpstat(&[&["top"], arguments].concat()));
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    assert_eq!(stdout.matches('\n').count(), 1);
    serde_json::from_str(&stdout).unwrap()
}

/// What is expected, by these keys of sockets.
fn expected(sockets: &[ss::Socket], key: impl Fn(&ss::Socket) -> String) -> Groups {
    let mut groups = Groups::new();
    for socket in sockets {
        let states = groups.entry(key(socket)).or_default();
        *states.entry(socket.state.name().to_owned()).or_default() += 1;
    }
    groups
}

/// An address that `ss` prints, as this project does.
fn address(text: &str) -> String {
    let text = text.split('%').next().unwrap();
    text.strip_prefix("::ffff:").unwrap_or(text).to_owned()
}

fn is_ipv4(text: &str) -> bool {
    !address(text).contains(':') && text != "*"
}

/// Everything that belongs to `socket` by a key, as `ss` prints it.
fn by(key: &str, socket: &ss::Socket) -> String {
    let none = || "(none)".to_owned();
    let local = match &*socket.local.0 {
        // `ss` prints this of IPv6 sockets that take IPv4, too.
        "*" => "::".to_owned(),
        other => address(other),
    };
    let has_peer = socket.remote.1 != 0;
    match key {
        "process" if socket.uid.is_none() => none(),
        "process" => {
            let [(name, _), ..] = &socket.processes[..] else {
                panic!("ss finds no process: {socket:?}");
            };
            let pids = socket.processes.iter().map(|(_, pid)| pid.to_string());
            format!("{name}[{}]", pids.collect::<Vec<_>>().join(","))
        }
        "user" => match socket.uid {
            None => none(),
            Some(0) => "root".to_owned(),
            Some(uid) => uid.to_string(),
        },
        "cgroup" => socket.cgroup.clone().unwrap_or_else(none),
        "peer" if has_peer => address(&socket.remote.0),
        "peer-port" if has_peer => socket.remote.1.to_string(),
        "peer" | "peer-port" => none(),
        "local-port" => socket.local.1.to_string(),
        "local-address" => local,
        "state" => socket.state.name().to_owned(),
        "family" if is_ipv4(&socket.local.0) => "ipv4".to_owned(),
        "family" => "ipv6".to_owned(),
        _ => panic!("{key}"),
    }
}

/// Sockets in every state, of each family.
fn all_states() -> Vec<Fixture> {
    let mixes = Family::ALL.map(|family| Mix::of_each(family, 2));
    mixes.iter().map(|mix| mix.make().unwrap()).collect()
}

#[test]
fn each_key_agrees_with_ss() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let fixtures = all_states();
        let Some(sockets) = ss::sockets() else {
            return;
        };
        for key in [
            "process",
            "user",
            "peer",
            "peer-port",
            "local-port",
            "local-address",
            "state",
            "family",
        ] {
            let expected = expected(&sockets, |socket| by(key, socket));
            for source in sources::names_and_auto() {
                let answer = top(&["--by", key, "--limit", "0", "--source", source]);
                assert_eq!(groups(&answer), expected, "{key}, {source}");
                assert_eq!(
                    (&answer["by"], &answer["exact"]),
                    (&key.into(), &true.into())
                );
            }
        }
        fixtures.iter().for_each(|fixture| fixture.check().unwrap());
    })
    .unwrap();
}

#[test]
fn filters_agree_with_ss() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _fixtures = all_states();
        let outgoing = [
            ("192.0.2.1:40000", "198.51.100.1:5432"),
            ("192.0.2.1:40001", "198.51.100.1:5432"),
            ("192.0.2.1:40002", "198.51.100.9:6379"),
            ("[2001:db8::1]:40003", "[2001:db8:1::2]:443"),
            ("[::ffff:192.0.2.1]:40004", "[::ffff:203.0.113.7]:443"),
        ];
        let addresses = ["192.0.2.1/24", "198.51.100.1/24", "203.0.113.7/24"];
        let addresses = [&addresses[..], &["2001:db8::1/128", "2001:db8:1::2/128"]].concat();
        if ss::lines().is_none() {
            return;
        }
        for address in addresses {
            // Whoever has `ss` has it, too.
            let mut ip = Command::new("ip");
            ip.args(["address", "add", address, "dev", "lo"]);
            if address.contains("::") {
                // Else it can be used a moment later.
                ip.arg("nodad");
            }
            assert!(ip.status().unwrap().success(), "{address}");
        }
        let outgoing = outgoing.map(|(from, to)| {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            repaired_between(Some(from), to).unwrap()
        });
        let sockets = ss::sockets().unwrap();
        let established = |socket: &&ss::Socket| {
            socket.state == State::Established && address(&socket.remote.0) == "127.0.0.1"
        };
        let port = sockets
            .iter()
            .find(established)
            .unwrap()
            .remote
            .1
            .to_string();
        type Accepts<'a> = Box<dyn Fn(&ss::Socket) -> bool + 'a>;
        let is_loopback = |socket: &ss::Socket| {
            [&socket.local.0, &socket.remote.0]
                .iter()
                .any(|one| address(one).starts_with("127.") || *one == "::1")
        };
        let of_state =
            |socket: &ss::Socket| matches!(socket.state, State::CloseWait | State::SynRecv);
        let cases: [(&[&str], Accepts<'_>); 11] = [
            (&[], Box::new(|_| true)),
            (&["--state", "close-wait,syn-recv"], Box::new(of_state)),
            (
                &["--port", &port],
                Box::new(|socket| socket.local.1.to_string() == port),
            ),
            (
                &["--remote-port", &port, "--state", "established"],
                Box::new(|socket| {
                    socket.remote.1.to_string() == port && socket.state == State::Established
                }),
            ),
            (&["--no-loopback"], Box::new(|socket| !is_loopback(socket))),
            (
                &["--address", "127.0.0.0/8"],
                Box::new(|socket| address(&socket.local.0).starts_with("127.")),
            ),
            (
                &["--address", "::/0"],
                Box::new(|socket| !is_ipv4(&socket.local.0)),
            ),
            (
                &["--peer", "198.51.100.0/29,2001:db8:1::/48"],
                Box::new(|socket| ["198.51.100.1", "2001:db8:1::2"].contains(&&*socket.remote.0)),
            ),
            (
                &["--peer", "203.0.113.7"],
                Box::new(|socket| address(&socket.remote.0) == "203.0.113.7"),
            ),
            (
                &["--peer", "0.0.0.0/0", "--no-loopback"],
                Box::new(|socket| {
                    !is_loopback(socket) && is_ipv4(&socket.remote.0) && socket.remote.1 > 0
                }),
            ),
            (
                &["--address", "192.0.2.1", "--remote-port", "5432-6379"],
                Box::new(|socket| {
                    socket.local.0 == "192.0.2.1" && [5432, 6379].contains(&socket.remote.1)
                }),
            ),
        ];
        for (arguments, accepts) in cases {
            let few: Vec<_> = { sockets.iter() }
                .filter(|one| accepts(one))
                .cloned()
                .collect();
            assert!(!few.is_empty() && outgoing.len() == 5, "{arguments:?}");
            for source in sources::names_and_auto() {
                for key in ["peer", "state"] {
                    let expected = expected(&few, |socket| by(key, socket));
                    let by_key = ["--by", key, "--limit", "0", "--source", source];
                    let answer = top(&[&by_key, arguments].concat());
                    assert_eq!(groups(&answer), expected, "{arguments:?}, {source}");
                }
                // The same filters list the same connections.
                let list = [&["connections", "--source", source], arguments].concat();
                let (code, stdout, stderr) = run(&mut tcpstat(&list));
                assert_eq!(
                    (code, stdout.lines().count()),
                    (Some(0), few.len()),
                    "{stderr}"
                );
            }
        }
    })
    .unwrap();
}

#[test]
fn units_are_those_of_the_cgroups_that_made_the_sockets() {
    if netns::must_skip() {
        return;
    }
    let id = "4f0c3a9be1d2".repeat(6);
    let parent = format!("/tcpstat-test-{}.slice", std::process::id());
    let container = format!("{parent}/docker-{}.scope", &id[..64]);
    let [service, container] =
        [format!("{parent}/web.service/workers"), container].map(|path| Cgroup::new(&path));
    let (Some(service), Some(container)) = (service, container) else {
        return;
    };
    let _serial = serial();
    netns::in_new(|| {
        let nested: Vec<Fixture> = service.while_inside(all_states).unwrap();
        let listeners = Mix {
            listen: 3,
            ..Mix::default()
        };
        let contained = container
            .while_inside(|| listeners.make().unwrap())
            .unwrap();
        if let Some(sockets) = ss::sockets() {
            // `ss` before 5.10 knows no cgroups.
            if sockets.iter().any(|socket| socket.cgroup.is_some()) {
                let expected = expected(&sockets, |socket| by("cgroup", socket));
                assert_eq!(groups(&top(&["--by", "cgroup"])), expected);
            }
        }
        let by_unit = groups(&top(&["--by", "unit"]));
        let listening = States::from([("LISTEN".to_owned(), 3)]);
        assert_eq!(by_unit["docker/4f0c3a9be1d2"], listening);
        let keys: Vec<&str> = by_unit.keys().map(String::as_str).collect();
        assert_eq!(keys, ["(none)", "docker/4f0c3a9be1d2", "web.service"]);
        // Time-wait and request sockets are nobody's; all others have their cgroup.
        let none = &by_unit["(none)"];
        let kept: Vec<&str> = none.keys().map(String::as_str).collect();
        assert_eq!(kept, ["FIN_WAIT2", "SYN_RECV", "TIME_WAIT"]);
        let all = by_unit.values().flat_map(States::values).sum::<u64>();
        let expected = nested.iter().map(|fixture| fixture.expected().total());
        assert_eq!(all, expected.sum::<u64>() + contained.expected().total());
        assert!(!by_unit["web.service"].contains_key("TIME_WAIT"));
        assert!(by_unit["web.service"]["ESTABLISHED"] > 0);

        let path = service.path().to_owned();
        let by_cgroup = groups(&top(&["--by", "cgroup"]));
        assert_eq!(by_cgroup[&path], by_unit["web.service"]);
        let table = run(&mut tcpstat(&["top", "--by", "unit", "--format", "table"])).1;
        assert!(table.contains("\nweb.service "), "{table}");
        let metrics = ["top", "--by", "unit", "--format", "prometheus"];
        let metrics = run(&mut tcpstat(&metrics)).1;
        let line =
            "tcpstat_group_connection_states{unit=\"docker/4f0c3a9be1d2\",state=\"listen\"} 3\n";
        assert!(metrics.contains(line), "{metrics}");

        // A cgroup that has been removed.
        drop(container);
        let by_unit = groups(&top(&["--by", "unit"]));
        assert_eq!(by_unit["(gone)"], listening);
    })
    .unwrap();
}

#[test]
fn namespaces_are_added_up_and_others_are_mentioned() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let address = "127.0.0.1:5432".parse().unwrap();
        let connect = |count: u16| {
            let from = |port: u16| format!("127.0.0.1:{}", 40_000 + port).parse().unwrap();
            let sockets = (0..count).map(|port| repaired_between(Some(from(port)), address));
            sockets.collect::<Result<Vec<_>, _>>().unwrap()
        };
        let _own = connect(3);
        let idle = Idle::start().unwrap();
        netns::in_new(|| {
            let other = Idle::start().unwrap();
            let _others = connect(4);
            let established = |count| States::from([("ESTABLISHED".to_owned(), count)]);
            let pid = idle.pid().to_string();
            let remote = ["--by", "peer-port", "--remote-port", "5432"];
            let one = groups(&top(&[&remote[..], &["--pid", &pid]].concat()));
            assert_eq!(one, Groups::from([("5432".to_owned(), established(3))]));

            let run = |arguments: &[&str]| {
                let (code, stdout, stderr) = run(&mut tcpstat(arguments));
                let answer: Value = serde_json::from_str(&stdout).unwrap();
                // Root of a user namespace cannot look at other users' processes.
                assert!(matches!(code, Some(0 | 1)), "{stderr}");
                (answer, stderr)
            };
            let all = [&["top"], &remote[..], &["--all-namespaces"]].concat();
            let (answer, stderr) = run(&all);
            assert_eq!(groups(&answer)["5432"], established(7));
            assert!(!stderr.contains("not counted"), "{stderr}");

            let netns = ["top", "--by", "netns"];
            for filter in [&[][..], &["--remote-port", "5432"]] {
                let (answer, _) = run(&[&netns, filter].concat());
                let groups = groups(&answer);
                let inode = |idle: &Idle| idle.namespace().unwrap().to_string();
                assert_eq!(groups[&inode(&idle)], established(3), "{answer}");
                assert_eq!(groups[&inode(&other)], established(4), "{answer}");
            }
            let metrics = [&netns[..], &["--format", "prometheus"]].concat();
            let (_, metrics, _) = common::run::run(&mut tcpstat(&metrics));
            let line = format!(
                "{{netns=\"{}\",netns_name=\"\",state=\"established\"}} 4\n",
                other.namespace().unwrap()
            );
            assert!(metrics.contains(&line), "{metrics}");

            // Once, however many answers there are.
            let twice = ["top", "--by", "peer", "--interval", "1ms", "--count", "2"];
            let (code, stdout, stderr) = common::run::run(&mut tcpstat(&twice));
            assert_eq!((code, stdout.lines().count()), (Some(0), 2));
            let mentions = stderr.matches("not counted: see --all-namespaces").count();
            assert_eq!(mentions, 1, "{stderr}");
        })
        .unwrap();
    })
    .unwrap();
}

#[test]
fn processes_that_may_not_be_looked_at_are_mentioned() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let mix = Mix {
            listen: 2,
            ..Mix::default()
        };
        let _fixture = mix.make().unwrap();
        let (_directory, program) = unprivileged::readable_copy();
        let wrapper = unprivileged::wrapper();
        let mut command = Command::new(wrapper[0]);
        command
            .args(&wrapper[1..])
            .arg(program)
            .args(["top", "--by", "process"]);
        let (code, stdout, stderr) = run(&mut command);
        assert_eq!(code, Some(0), "{stderr}");
        let answer: Value = serde_json::from_str(&stdout).unwrap();
        let hidden = groups(&answer);
        assert_eq!(
            hidden["(hidden)"],
            States::from([("LISTEN".to_owned(), 2)]),
            "{stderr}"
        );
        assert!(
            stderr.contains("cannot be read: the processes of some sockets are not known"),
            "{stderr}"
        );
    })
    .unwrap();
}

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 1574 1 0000000000000000 100 0 0 10 0
   1: 0100007F:C350 0100007F:07E8 01 00000000:00000000 00:00000000 00000000     0        0 8412 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:C351 0100007F:07E8 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000
";

#[test]
fn every_format_over_a_saved_sample() {
    let root = proc_root(&[
        ("net/tcp", TCP),
        ("net/tcp6", common::saved::EMPTY_TCP6),
        ("81/comm", "nginx\n"),
        ("82/comm", "ngi\u{1b}nx\n"),
    ]);
    for (pid, link) in [("81", "socket:[1574]"), ("82", "socket:[8412]")] {
        fs::create_dir(root.path().join(pid).join("fd")).unwrap();
        symlink(link, root.path().join(pid).join("fd/3")).unwrap();
    }
    let on = |arguments: &[&str]| {
        let arguments = [&["top", "--by"], arguments].concat();
        let (code, stdout, stderr) = run(&mut tcpstat_on(root.path(), &arguments));
        assert_eq!((code, &stderr[..]), (Some(0), ""), "{arguments:?}");
        stdout
    };
    assert_eq!(
        on(&["peer", "--format", "table"]),
        "PEER       TOTAL  ESTABLISHED  TIME_WAIT     LISTEN\n\
         127.0.0.1      2    1  50.0 %  1  50.0 %          0\n\
         (none)         1            0          0  1 100.0 %\n\
         \nsource: procfs\n"
    );
    assert_eq!(
        on(&[
            "peer", "--format", "table", "--limit", "1", "--sort", "listen"
        ]),
        "PEER    TOTAL  ESTABLISHED  TIME_WAIT     LISTEN\n\
         (none)      1            0          0  1 100.0 %\n\
         other       2    1  50.0 %  1  50.0 %          0\n\
         \nsource: procfs\n"
    );
    let json = on(&["peer-port", "--limit", "1"]);
    let (_, json) = json.split_once("\"source\"").unwrap();
    assert!(json.starts_with(
        ":\"procfs\",\"by\":\"peer-port\",\"groups\":[{\"key\":\"2024\",\"total\":2,\"error\":0,\
         \"states\":{\"ESTABLISHED\":{\"count\":1,\"ratio\":0.5},"
    ));
    assert!(
        json.contains("}],\"other\":{\"total\":1,\"states\":{"),
        "{json}"
    );
    assert!(json.ends_with("\"LISTEN\":{\"count\":1,\"ratio\":1.0},\"CLOSING\":{\"count\":0,\"ratio\":0.0}}},\"exact\":true}\n"));

    // A name reaches the terminal without its control characters.
    let table = on(&["process", "--format", "table"]);
    assert!(
        table.contains("ngi?nx[82]  ") && table.contains("nginx[81] "),
        "{table}"
    );
    let metrics = on(&["process", "--format", "prometheus"]);
    for line in [
        "# TYPE tcpstat_group_connection_states gauge",
        "tcpstat_group_connection_states{process=\"nginx\",state=\"listen\"} 1",
        "tcpstat_group_connection_states{process=\"(none)\",state=\"time_wait\"} 1",
        "tcpstat_group_connection_states{process=\"other\",state=\"time_wait\"} 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}: {metrics}"
        );
    }
    let metrics = on(&["state", "--format", "prometheus", "--limit", "1"]);
    assert_eq!(metrics.matches("{state=\"").count(), State::COUNT);
    let metrics = on(&["user", "--format", "prometheus"]);
    assert!(
        metrics.contains("{user=\"1000\",state=\"listen\"} 1\n"),
        "{metrics}"
    );
}

#[test]
fn wrong_usage_is_explained() {
    for (arguments, expected) in [
        (
            &[][..],
            "the following required arguments were not provided",
        ),
        (
            &["--by", "port"],
            "unknown key; the keys are: unit, cgroup,",
        ),
        (
            &["--by", "peer", "--sort", "drops"],
            "the columns are: total, or a state",
        ),
        (
            &["--by", "peer", "--limit", "-1"],
            "invalid value '-1' for '--limit <N>'",
        ),
        (
            &["--by", "peer", "--peer", "10.0.0.0/33"],
            "no number from 0 to 32",
        ),
        (
            &["--by", "peer", "--address", "eth0"],
            "\"eth0\" is not an address",
        ),
        (
            &["--by", "peer", "--source", "module"],
            "the module counts connections and does not list them: use --source netlink",
        ),
        (
            &["--by", "peer", "--interval", "1s", "--format", "table"],
            "--interval prints one line each time",
        ),
        (
            &["--by", "peer", "--all-namespaces", "--pid", "1"],
            "cannot be used with",
        ),
    ] {
        let (code, stdout, stderr) = run(&mut tcpstat(&[&["top"], arguments].concat()));
        assert_eq!((code, &stdout[..]), (Some(2), ""), "{arguments:?}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn what_a_source_does_not_know_is_an_error() {
    let root = proc_root(&[("net/tcp", TCP)]);
    for key in ["unit", "cgroup"] {
        let arguments = ["top", "--by", key, "--source", "procfs"];
        let (code, stdout, stderr) = run(&mut tcpstat_on(root.path(), &arguments));
        assert_eq!((code, &stdout[..]), (Some(1), ""));
        let expected = format!("procfs: it does not know the {key} of a socket");
        assert!(stderr.contains(&expected), "{stderr}");
        assert!(stderr.contains("\nOnly netlink knows it"), "{stderr}");
    }
    // A saved sample without processes is not one in which nobody has sockets.
    let (code, stdout, stderr) = run(&mut tcpstat_on(root.path(), &["top", "--by", "process"]));
    assert_eq!((code, &stdout[..]), (Some(1), ""));
    assert!(stderr.contains("no process in "), "{stderr}");
}

#[test]
fn nothing_of_a_namespace_that_fails_is_counted() {
    let wrong = format!("{TCP}nonsense\n");
    let root = proc_root(&[("7/net/tcp", &wrong), ("8/net/tcp", TCP)]);
    for (pid, inode) in [("7", 70), ("8", 80)] {
        let ns = root.path().join(pid).join("ns");
        fs::create_dir(&ns).unwrap();
        symlink(format!("net:[{inode}]"), ns.join("net")).unwrap();
    }
    for by in ["user", "process", "netns"] {
        let arguments = ["top", "--by", by, "--all-namespaces"];
        let (code, stdout, stderr) = run(&mut tcpstat_on(root.path(), &arguments));
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("namespace 70, process 7: "), "{stderr}");
        let answer: Value = serde_json::from_str(&stdout).unwrap();
        let all: u64 = groups(&answer).values().flat_map(States::values).sum();
        assert_eq!(all, 3, "{stdout}");
    }
}

/// A saved sample with a connection of each of `peers` peers, and 2,000 of one more.
fn many_peers(peers: u32) -> tempfile::TempDir {
    let root = proc_root(&[("net/tcp6", common::saved::EMPTY_TCP6)]);
    let file = File::create(root.path().join("net/tcp")).unwrap();
    let mut file = BufWriter::new(file);
    writeln!(file, "{}", TCP.lines().next().unwrap()).unwrap();
    let mut line = |number: u32, peer: u32, state: u8| {
        let peer = u32::from_ne_bytes(peer.to_be_bytes());
        writeln!(
            file,
            "{number:4}: 0100007F:01BB {peer:08X}:C350 {state:02X} 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4 30 10 -1"
        )
        .unwrap();
    };
    for peer in 0..peers {
        line(peer, 0x0a00_0000 + peer, 6);
        if peer % (peers / 2000) == 0 {
            line(peer, 0xffff_ffff, 1);
        }
    }
    drop(file);
    root
}

/// Runs `top` in at most this much address space, in KiB.
fn limited(root: &Path, kib: u32, arguments: &[&str]) -> String {
    let mut limited = Command::new("sh");
    let script = format!("ulimit -v {kib} && exec \"$@\"");
    limited
        .args(["-c", &script, "sh"])
        .arg(cargo_bin!("tcpstat"));
    limited
        .args(["top", "--proc-root"])
        .arg(root)
        .args(arguments);
    let (code, stdout, stderr) = run(&mut limited);
    assert_eq!((code, &stderr[..]), (Some(0), ""), "{arguments:?}");
    stdout
}

#[test]
fn memory_does_not_grow_with_the_number_of_groups() {
    const PEERS: u32 = 100_000;
    let root = many_peers(PEERS);
    // The program itself takes 24 MiB of address space in the other tests of this kind.
    let limited = |arguments: &[&str]| limited(root.path(), 24_576 + 12_288, arguments);
    let answer: Value = serde_json::from_str(&limited(&["--by", "peer"])).unwrap();
    assert_eq!(answer["exact"], false);
    let groups = groups(&answer);
    assert_eq!(groups.len(), 101);
    assert_eq!(groups["255.255.255.255"]["ESTABLISHED"], 2000);
    let all: u64 = groups.values().flat_map(States::values).sum();
    assert_eq!(all, u64::from(PEERS) + 2000);
    let first = &answer["groups"][0];
    assert_eq!(first["key"], "255.255.255.255");
    assert!(first["error"].as_u64().unwrap() <= u64::from(PEERS) / 65_536);

    for format in ["json", "table", "prometheus"] {
        let all = limited(&["--by", "peer", "--limit", "0", "--format", format]);
        assert!(all.matches("10.").count() >= 65_535, "{format}");
    }
    let table = limited(&["--by", "peer", "--limit", "1", "--format", "table"]);
    assert!(table.contains("more groups than can be kept"), "{table}");
    let metrics = limited(&["--by", "peer", "--limit", "1", "--format", "prometheus"]);
    assert!(metrics.contains("tcpstat_group_error{peer="), "{metrics}");
}

#[test]
fn the_help_fits_a_terminal() {
    for command in ["top", "connections"] {
        let (code, help, _) = run(&mut tcpstat(&[command, "--help"]));
        assert_eq!(code, Some(0));
        let longest = help.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(120), "{longest:?}: {help}");
    }
}
