// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command for other network namespaces: `--pid` and `--all-namespaces`.
//!
//! Needs `CAP_SYS_ADMIN` for the namespaces.

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

use assert_cmd::cargo::cargo_bin;
use common::container::{Container, in_container};
use common::run::{run, tcpstat, tcpstat_on, texts};
use common::saved::EMPTY_TCP6;
use common::serial::serial;
use common::{sources, unprivileged};
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::unistd::gettid;
use serde_json::Value;
use tcpstat::{Error, Namespace, Namespaces, Options, Sampler, State, Target};
use tcpstat_tests::idle::Idle;
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Family, Mix};
use tempfile::TempDir;

/// Runs the command without privileges.
fn run_unprivileged(arguments: &[&str]) -> (Option<i32>, String, String) {
    let (_dir, path) = unprivileged::readable_copy();
    let words = unprivileged::wrapper();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(path).args(arguments);
    run(command.current_dir("/"))
}

/// Runs the command in a new mount namespace by `script`, which makes mounts and then runs `"$@"`,
/// the command.
fn with_mounts(script: &str, command: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork", "sh", "-c", script, "sh"]);
    run(unshare.arg(command).args(arguments))
}

/// Adds `process` to the artificial procfs `root`, as the process `pid`.
fn show(root: &TempDir, pid: u32, process: impl AsRef<Path>) {
    symlink(process, root.path().join(pid.to_string())).unwrap();
}

fn listen(listeners: usize) -> Vec<TcpListener> {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    std::iter::repeat_with(listen).take(listeners).collect()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn every_source_answers_for_another_process() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let fixture = Mix::of_each(Family::V4, 2).make().unwrap();
        let idle = Idle::start().unwrap();
        // From a namespace that has no sockets.
        netns::in_new(|| {
            for source in sources::names_and_auto() {
                let pid = idle.pid().to_string();
                let (code, stdout, stderr) =
                    run(&mut tcpstat(&["--pid", &pid, "--source", source]));
                assert_eq!(code, Some(0), "{source}: {stderr}");
                for (state, count) in fixture.expected().iter() {
                    assert_eq!(
                        json(&stdout)[state.name()],
                        count,
                        "{source}, {}",
                        state.name()
                    );
                }
            }
            let own = Sampler::new(Options::default()).unwrap().sample().unwrap();
            assert_eq!(own.counts.total(), 0, "the caller stays where it is");
        })
        .unwrap();
    })
    .unwrap();
}

#[test]
fn without_the_right_to_enter_procfs_answers() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let fixture = Mix::of_each(Family::V6, 1).make().unwrap();
        let idle = Idle::start().unwrap();
        netns::in_new(|| {
            let pid = idle.pid().to_string();
            let ask = |source| run_unprivileged(&["-v", "--pid", &pid, "--source", source]);
            let (code, stdout, stderr) = ask("auto");
            assert_eq!(code, Some(0), "{stderr}");
            assert_eq!(
                json(&stdout)["LISTEN"],
                fixture.expected().get(State::Listen)
            );
            let entering = format!("cannot enter the network namespace /proc/{pid}/ns/net: EACCES");
            assert!(stderr.contains(&entering), "{stderr}");
            let (code, _, stderr) = ask("netlink");
            assert_eq!(code, Some(1), "{stderr}");
            assert!(stderr.contains(&entering), "{stderr}");
            assert!(stderr.contains("requires root (CAP_SYS_ADMIN"), "{stderr}");
            assert!(stderr.contains("try --source procfs"), "{stderr}");
            assert!(!stderr.contains("seccomp"), "{stderr}");
        })
        .unwrap();
    })
    .unwrap();
}

#[test]
fn a_process_that_does_not_exist_is_named() {
    let (code, stdout, stderr) = run(&mut tcpstat(&["--pid", "4194305"]));
    assert_eq!(code, Some(1));
    assert_eq!(stdout, "");
    assert_eq!(
        stderr,
        "tcpstat: /proc/4194305: there is no such process, or it is hidden (hidepid=)\n"
    );
    for wrong in [["--pid", "0"], ["--pid", "-1"], ["--pid", "init"]] {
        assert_eq!(run(&mut tcpstat(&wrong)).0, Some(2), "{wrong:?}");
    }
    let mut both = tcpstat(&["--pid", "1", "--all-namespaces"]);
    assert_eq!(run(&mut both).0, Some(2));
}

#[test]
fn all_namespaces_are_counted_separately() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _first = listen(3);
        let first = Idle::start().unwrap();
        netns::in_new(|| {
            let _second = listen(5);
            let second = Idle::start().unwrap();
            let (code, stdout, stderr) = run(&mut tcpstat(&["--all-namespaces"]));
            // On some machines not even root may see every process.
            assert_eq!(code == Some(0), stderr.is_empty(), "{stderr}");
            let lines: Vec<Value> = stdout.lines().map(json).collect();
            for (idle, listeners) in [(&first, 3), (&second, 5)] {
                let of: Vec<&Value> = lines
                    .iter()
                    .filter(|line| line["namespace"] == idle.namespace().unwrap())
                    .collect();
                assert_eq!(of.len(), 1, "{stdout}");
                assert_eq!(of[0]["LISTEN"], listeners);
                // The command's own process, which is in the same namespace, has a higher PID.
                assert_eq!(of[0]["pid"], idle.pid());
            }
            let seen = Namespaces::list("/proc".as_ref()).unwrap().seen;
            assert!(lines.len() + 1 >= seen.len(), "{stdout}");
        })
        .unwrap();
    })
    .unwrap();
}

/// The network namespaces of the machine, as lsns lists them.
fn lsns() -> BTreeSet<u64> {
    let arguments = ["--type", "net", "--noheadings", "--output", "NS"];
    let (code, stdout, stderr) = run(Command::new("lsns").args(arguments));
    assert_eq!(code, Some(0), "{stderr}");
    let inodes = stdout.split_whitespace().map(str::parse);
    inodes.collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_namespaces_are_those_of_lsns() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    let _idle = [1, 2].map(|_| netns::in_new(|| Idle::start().unwrap()).unwrap());
    // Those of other tests may come and go.
    let said = (0..50).find_map(|_| {
        let before = lsns();
        let totals = texts(
            &tcpstat(&["--all-namespaces", "--format", "report"])
                .output()
                .unwrap(),
        )
        .0;
        let top = texts(&tcpstat(&["top", "--by", "netns"]).output().unwrap()).0;
        (lsns() == before).then_some((before, totals, top))
    });
    let (listed, totals, top) = said.expect("fifty times, namespaces came or went meanwhile");
    assert!(listed.len() > 2, "{listed:?}");
    let inode = |line: &str| json(line)["namespace"].as_u64().unwrap();
    assert_eq!(totals.lines().map(inode).collect::<BTreeSet<_>>(), listed);
    // Those without sockets are no groups.
    let groups = json(&top)["groups"].clone();
    for group in groups.as_array().unwrap() {
        let key: u64 = group["key"].as_str().unwrap().parse().unwrap();
        assert!(listed.contains(&key), "{group}");
    }
}

/// The module's file for all namespaces, in a saved procfs: one of a process, and one of none.
#[test]
fn the_module_counts_all_namespaces_at_once() {
    const STATES: &str = "ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT \
        LAST_ACK LISTEN CLOSING";
    let rows = "4026531840 5 0 0 0 0 1 0 0 0 14 0\n4026532177 0 0 0 0 0 0 0 3 0 0 0\n";
    let root = TempDir::new().unwrap();
    fs::create_dir_all(root.path().join("1/ns")).unwrap();
    symlink("net:[4026531840]", root.path().join("1/ns/net")).unwrap();
    let file = root.path().join("tcpstat_namespaces");
    let answer = |arguments: &[&str]| run(&mut tcpstat_on(root.path(), arguments));
    let report = ["--all-namespaces", "--format", "report"];

    fs::write(&file, format!("NETNS {STATES}\n{rows}")).unwrap();
    let (code, stdout, stderr) = answer(&report);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let lines: Vec<Value> = stdout.lines().map(json).collect();
    let of = |line: &Value| (line["namespace"].clone(), line["pid"].clone());
    let [first, second] = &lines[..] else {
        panic!("not two lines: {stdout}");
    };
    assert_eq!(of(first), (4_026_531_840u64.into(), 1.into()));
    assert_eq!(of(second), (4_026_532_177u64.into(), Value::Null));
    assert_eq!([&first["total"], &second["total"]], [20, 3]);
    assert_eq!([&first["source"], &second["source"]], ["module"; 2]);

    let (code, stdout, _) = answer(&["top", "--by", "netns"]);
    assert_eq!(code, Some(0));
    let groups = json(&stdout)["groups"].clone();
    let keys: Vec<_> = groups.as_array().unwrap().iter().collect();
    assert_eq!(keys[0]["total"], 20, "{groups}");
    assert_eq!(keys[1]["states"]["CLOSE_WAIT"]["count"], 3, "{groups}");
    let (code, stdout, _) = answer(&["check", "--all-namespaces", "--crit", "CLOSE_WAIT>2"]);
    assert_eq!(code, Some(2), "{stdout}");
    assert!(stdout.contains("4026532177"), "{stdout}");

    // A malformed answer is an error, not a reason to take another source.
    for (text, problem) in [
        (format!("NETNS {STATES}\n{rows}x\n"), "line 4"),
        (format!("{STATES}\n"), "NETNS is missing"),
    ] {
        fs::write(&file, text).unwrap();
        let (code, stdout, stderr) = answer(&report);
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert!(
            stderr.contains("tcpstat_namespaces") && stderr.contains(problem),
            "{stderr}"
        );
    }
}

#[test]
fn the_connections_of_all_namespaces_are_listed_with_their_namespaces() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let fixture = Mix::of_each(Family::V4, 2).make().unwrap();
        let first = Idle::start().unwrap();
        netns::in_new(|| {
            let _second = listen(5);
            let second = Idle::start().unwrap();
            let root = TempDir::new().unwrap();
            show(&root, 7, format!("/proc/{}", first.pid()));
            show(&root, 8, format!("/proc/{}", second.pid()));
            for source in ["auto", "netlink", "procfs"] {
                let arguments = ["connections", "--all-namespaces", "--source", source];
                let (code, stdout, stderr) = run(&mut tcpstat_on(root.path(), &arguments));
                assert_eq!(code, Some(0), "{stderr}");
                let lines: Vec<Value> = stdout.lines().map(json).collect();
                for (idle, pid, expected) in
                    [(&first, 7, fixture.expected().total()), (&second, 8, 5)]
                {
                    let of = lines.iter().filter(|line| line["pid"] == pid);
                    let own = of
                        .clone()
                        .filter(|line| line["namespace"] == idle.namespace().unwrap());
                    let counts = [of.count(), own.count()].map(|count| count as u64);
                    assert_eq!(counts, [expected; 2], "{source}");
                }
                let start = format!(
                    "{{\"namespace\":{},\"pid\":7,\"state\":",
                    first.namespace().unwrap()
                );
                assert!(stdout.starts_with(&start), "{stdout}");
            }
        })
        .unwrap();
    })
    .unwrap();
}

/// It also names the file that would answer for the namespace.
#[test]
fn verbose_names_the_namespace() {
    let root = TempDir::new().unwrap();
    for (pid, inode) in [(7, 70), (8, 80)] {
        let process = root.path().join(pid.to_string());
        fs::create_dir_all(process.join("ns")).unwrap();
        fs::create_dir(process.join("net")).unwrap();
        symlink(format!("net:[{inode}]"), process.join("ns/net")).unwrap();
        fs::write(process.join("net/tcp"), TCP).unwrap();
        fs::write(process.join("net/tcp6"), EMPTY_TCP6).unwrap();
    }
    for (command, file, procfs) in [
        (&[][..], Some("tcpstat"), "counted everything"),
        (&["services"], Some("tcpstat_services"), "1 services"),
        (&["connections"], None, "lists every connection"),
    ] {
        let arguments = [command, &["-v", "--all-namespaces"]].concat();
        let (_, stdout, stderr) = run(&mut tcpstat_on(root.path(), &arguments));
        assert_eq!(stdout.lines().count(), 2, "{stderr}");
        for (pid, inode) in [(7, 70), (8, 80)] {
            let start = format!("tcpstat: namespace {inode}, process {pid}: ");
            let own: Vec<&str> = stderr
                .lines()
                .filter_map(|line| line.strip_prefix(&start))
                .collect();
            let procfs = format!("procfs: {procfs}");
            assert!(own.contains(&&*procfs), "{stderr}");
            if let Some(file) = file {
                let process = root.path().join(pid.to_string());
                let missing = format!("module: {}/net/{file}: cannot open", process.display());
                let named = own.iter().any(|line| line.starts_with(&missing));
                assert!(named, "{stderr}");
            }
        }
        let start = "tcpstat: namespace ";
        assert!(
            stderr.lines().all(|line| line.starts_with(start)),
            "{stderr}"
        );
    }
}

#[test]
fn a_namespace_that_fails_is_reported_and_the_others_are_counted() {
    let root = TempDir::new().unwrap();
    let wrong = format!("{TCP}nonsense\n");
    for (pid, inode, tcp) in [(7, 70, &wrong), (8, 80, &TCP.to_owned())] {
        let process = root.path().join(pid.to_string());
        fs::create_dir_all(process.join("ns")).unwrap();
        fs::create_dir(process.join("net")).unwrap();
        symlink(format!("net:[{inode}]"), process.join("ns/net")).unwrap();
        fs::write(process.join("net/tcp"), tcp).unwrap();
    }
    let ask = |arguments: &[&str], expected_lines| {
        let arguments = [arguments, &["--all-namespaces"]].concat();
        let (code, stdout, stderr) = run(&mut tcpstat_on(root.path(), &arguments));
        assert_eq!(code, Some(1), "{stderr}");
        assert_eq!(stdout.lines().count(), expected_lines, "{stdout}");
        assert!(
            stderr.starts_with("tcpstat: namespace 70, process 7: "),
            "{stderr}"
        );
        assert!(stderr.contains("7/net/tcp, line 3: "), "{stderr}");
    };
    ask(&[], 1);
    ask(&["services"], 1);
    // The connection before the error is listed.
    ask(&["connections"], 2);
    fs::remove_dir_all(root.path().join("8")).unwrap();
    ask(&[], 0);
    // Ends with the reading that fails.
    ask(&["--interval", "1ms"], 0);
    ask(&["connections"], 1);
}

#[test]
fn namespaces_that_cannot_be_seen_are_reported() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    for command in [&[][..], &["connections"]] {
        let (code, stdout, stderr) = run_unprivileged(&[command, &["--all-namespaces"]].concat());
        assert_eq!(code, Some(1), "{stderr}");
        // It sees its own namespace.
        let of = |line| json(line)["namespace"].clone();
        let mut seen: Vec<Value> = stdout.lines().map(of).collect();
        seen.dedup();
        assert!(seen.len() <= 1, "{stdout}");
        assert!(!seen.is_empty() || command == ["connections"], "{stdout}");
        assert!(stderr.contains("cannot be seen"), "{stderr}");
        assert!(stderr.contains("CAP_SYS_PTRACE"), "{stderr}");
    }
}

/// The saved link of a namespace may be equal to the link of the own one, for example if both are
/// the initial namespaces of their machines.
#[test]
fn a_saved_namespace_cannot_be_entered() {
    let root = TempDir::new().unwrap();
    let process = root.path().join("77");
    fs::create_dir_all(process.join("ns")).unwrap();
    fs::create_dir(process.join("net")).unwrap();
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    symlink(own, process.join("ns/net")).unwrap();
    fs::write(process.join("net/tcp"), TCP).unwrap();
    fs::write(process.join("net/tcp6"), EMPTY_TCP6).unwrap();
    let ask = |arguments: &[&str]| run(&mut tcpstat_on(root.path(), arguments));

    let (code, stdout, stderr) = ask(&["-v", "--pid", "77"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(json(&stdout)["LISTEN"], 1, "{stdout}");
    assert!(stderr.contains("77/ns/net: ENOENT"), "{stderr}");
    assert!(stderr.contains("procfs: counted everything"), "{stderr}");
    for source in ["netlink", "netlink-full"] {
        let (code, stdout, stderr) = ask(&["--pid", "77", "--source", source]);
        assert_eq!((code, &stdout[..]), (Some(1), ""), "{stderr}");
        assert!(stderr.contains("77/ns/net: ENOENT"), "{stderr}");
        assert!(stderr.contains("to a saved sample"), "{stderr}");
        let (code, _, stderr) = ask(&["services", "--pid", "77", "--source", source]);
        assert_eq!(code, Some(1), "{stderr}");
    }
    let (code, stdout, stderr) = ask(&["--all-namespaces"]);
    assert_eq!((code, &stderr[..]), (Some(0), ""));
    assert_eq!(json(&stdout)["pid"], 77);
    assert_eq!(json(&stdout)["LISTEN"], 1);
}

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1574 1 0000000000000000 100 0 0 10 0
";

/// The counters must be those of the namespace in which netlink is asked, not those of the procfs
/// through which it was found.
#[test]
fn saved_counters_are_not_mixed_with_a_live_dump() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _listeners = listen(2);
        let idle = Idle::start().unwrap();
        let root = TempDir::new().unwrap();
        let process = root.path().join("77");
        fs::create_dir_all(process.join("ns")).unwrap();
        fs::create_dir(process.join("net")).unwrap();
        let namespace = format!("/proc/{}/ns/net", idle.pid());
        symlink(namespace, process.join("ns/net")).unwrap();
        fs::write(
            process.join("net/sockstat"),
            "TCP: inuse 5000 orphan 0 tw 0\n",
        )
        .unwrap();
        let snmp = "Tcp: CurrEstab ActiveOpens PassiveOpens\nTcp: 4998 0 0\n";
        fs::write(process.join("net/snmp"), snmp).unwrap();
        let ask = || {
            let arguments = ["-v", "--source", "netlink", "--pid", "77"];
            let (code, stdout, stderr) = run(&mut tcpstat_on(root.path(), &arguments));
            assert_eq!(code, Some(0), "{stderr}");
            let counts = ["LISTEN", "ESTABLISHED"].map(|state| json(&stdout)[state].clone());
            assert_eq!(counts, [2, 0], "{stderr}");
            assert!(
                stderr.contains("too few sockets: 2 by the counters"),
                "{stderr}"
            );
        };
        ask();
        // The same from another namespace.
        netns::in_new(ask).unwrap();
    })
    .unwrap();
}

#[test]
fn without_its_own_proc_the_command_enters_a_namespace() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _listeners = listen(2);
        let dir = TempDir::new().unwrap();
        let root = dir.path().to_str().unwrap();
        let script = format!("mount -t proc proc {root} && mount -t tmpfs none /proc && \"$@\"");
        let ask = |pid| {
            with_mounts(
                &script,
                cargo_bin!("tcpstat"),
                &["--source", "netlink", "--proc-root", root, "--pid", pid],
            )
        };
        let (code, stdout, stderr) = ask("1");
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(json(&stdout)["LISTEN"], 2, "{stdout}");
        let (_, _, stderr) = ask("77");
        assert!(stderr.contains(&format!("{root}/77: there is no such process")));
    })
    .unwrap();
}

/// Moves this thread between two network namespaces in quick succession.
fn change_between(namespaces: [&str; 2], is_over: &AtomicBool) {
    let files = namespaces.map(|path| File::open(path).unwrap());
    while !is_over.load(SeqCst) {
        for file in &files {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        }
    }
}

#[test]
fn a_process_that_changes_its_namespace_does_not_mix_up_counts() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _first = listen(1);
        let first = Idle::start().unwrap();
        netns::in_new(|| {
            let _second = listen(3);
            let second = Idle::start().unwrap();
            let root = TempDir::new().unwrap();
            show(&root, 7, format!("/proc/{}", first.pid()));
            show(&root, 8, format!("/proc/{}", second.pid()));
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                let (send, received) = mpsc::channel();
                let paths = [&first, &second].map(|idle| format!("/proc/{}/ns/net", idle.pid()));
                let is_over = &is_over;
                scope.spawn(move || {
                    send.send(gettid()).unwrap();
                    change_between([&paths[0], &paths[1]], is_over);
                });
                show(&root, 5, format!("/proc/{}", received.recv().unwrap()));
                let arguments = ["--all-namespaces", "--source", "netlink-full"];
                let ask = || run(&mut tcpstat_on(root.path(), &arguments));
                let answers: Vec<_> = std::iter::repeat_with(ask).take(20).collect();
                is_over.store(true, SeqCst);
                for (_, stdout, stderr) in answers {
                    assert_eq!(stderr, "");
                    let mut counts: Vec<_> = stdout
                        .lines()
                        .map(json)
                        .map(|line| (line["namespace"].clone(), line["LISTEN"].clone()))
                        .collect();
                    counts.sort_by_key(|(_, listeners)| listeners.as_u64());
                    let expected = [(&first, 1), (&second, 3)].map(|(idle, listeners)| {
                        (idle.namespace().unwrap().into(), listeners.into())
                    });
                    assert_eq!(counts, expected);
                }
            });
        })
        .unwrap();
    })
    .unwrap();
}

#[test]
fn no_source_answers_for_another_namespace_than_the_wanted_one() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _listeners = listen(2);
        let idle = Idle::start().unwrap();
        let ask = |source, inode| {
            let mut options = Options::default();
            options.source = Some(source);
            options.target = Target::Namespace(Namespace::new(inode, idle.pid()));
            let mut sampler = Sampler::new(options).unwrap();
            let listeners = sampler.sample()?.counts.get(State::Listen);
            let services = sampler.services(None)?.services.len() as u64;
            let listed = sampler.connections(Default::default())?.count() as u64;
            assert_eq!([services, listed], [listeners; 2], "{source}");
            Ok(listeners)
        };
        for source in sources::without_module() {
            assert_eq!(
                ask(source, idle.namespace().unwrap()).unwrap(),
                2,
                "{source}"
            );
            let error: Error = ask(source, idle.namespace().unwrap() + 1).unwrap_err();
            assert!(matches!(error, Error::OtherNamespace { .. }), "{error}");
        }
        let of = Namespace::of("/proc".as_ref(), idle.pid())
            .unwrap()
            .unwrap();
        assert_eq!(
            (of.pid, of.inode),
            (Some(idle.pid()), idle.namespace().unwrap())
        );
    })
    .unwrap();
}

#[test]
fn without_a_namespace_there_is_no_answer() {
    let nothing = TempDir::new().unwrap();
    let gone = TempDir::new().unwrap();
    show(&gone, 77, "/proc/4194305");
    let process = Path::new("/proc/self");
    for root in [nothing.path(), gone.path(), process] {
        for command in [&[][..], &["services"], &["--format", "prometheus"]] {
            let arguments = [command, &["--all-namespaces"]].concat();
            let expected = format!(
                "tcpstat: no process in {}: is a procfs mounted there?\n",
                root.display()
            );
            let answer = run(&mut tcpstat_on(root, &arguments));
            assert_eq!(answer, (Some(1), String::new(), expected));
        }
    }
}

#[test]
fn hidden_processes_are_reported() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    // Process 1 is root's.
    let wrapper = unprivileged::wrapper().join(" ");
    let script = format!("mount -t proc -o hidepid=2 proc /proc && {wrapper} \"$@\"; exit $?");
    let (_dir, path) = unprivileged::readable_copy();
    let ask = |arguments: &[&str]| with_mounts(&script, &path, arguments);
    let (code, stdout, stderr) = ask(&["--all-namespaces"]);
    assert_eq!(code, Some(1), "{stderr}");
    // It sees its own namespace.
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(stderr.contains("hidden (hidepid=)"), "{stderr}");
    assert!(stderr.contains("CAP_SYS_PTRACE"), "{stderr}");
    let (_, _, stderr) = ask(&["--pid", "1"]);
    assert!(
        stderr.contains("/proc/1: there is no such process, or it is hidden (hidepid=)"),
        "{stderr}"
    );
}

#[test]
fn a_procfs_of_the_host_is_about_the_host() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _listeners = listen(2);
        let inode = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        for container in [Container::Alone, Container::WithProcessesOfTheHost] {
            let ask = |arguments: &[&str]| {
                let program = cargo_bin!("tcpstat").to_str().unwrap();
                let whole = [&[program], arguments, &["-v"]].concat();
                let (code, stdout, stderr) = run(&mut in_container(container, "hidepid=0", &whole));
                assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
                (stdout, stderr)
            };
            for source in ["auto", "netlink", "netlink-full", "procfs"] {
                for root in [&["HOST"][..], &["HOST/1"], &["HOST", "--pid", "1"]] {
                    let of = [&["--source", source, "--proc-root"], root].concat();
                    let (stdout, stderr) = ask(&of);
                    assert_eq!(json(&stdout)["LISTEN"], 2, "{of:?}");
                    let whose = format!("tcpstat: network namespace {inode}, through /");
                    assert!(stderr.starts_with(&whose), "{stderr}");
                    assert!(stderr.contains("/1/ns/net\n"), "{stderr}");
                    let (stdout, _) = ask(&[&["services"], &of[..]].concat());
                    let services = json(&stdout)["services"].as_array().unwrap().len();
                    assert_eq!(services, 2, "{of:?}");
                    let (stdout, _) = ask(&[&["connections"], &of[..]].concat());
                    assert_eq!(stdout.lines().count(), 2, "{of:?}");
                }
            }
            let (stdout, _) = ask(&["--all-namespaces", "--proc-root", "HOST"]);
            let lines: Vec<Value> = stdout.lines().map(json).collect();
            let of = |line: &&Value| line["namespace"] == inode;
            assert_eq!(lines.iter().find(of).unwrap()["LISTEN"], 2, "{stdout}");
            // The container's own.
            let (stdout, _) = ask(&[]);
            assert_eq!(json(&stdout)["LISTEN"], 0);
        }
    })
    .unwrap();
}

#[test]
fn without_the_right_to_enter_the_host_procfs_answers_or_none() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    let (_dir, path) = unprivileged::readable_copy();
    let program = path.to_str().unwrap();
    netns::in_new(|| {
        let _listeners = listen(2);
        for container in [Container::Alone, Container::WithProcessesOfTheHost] {
            let ask = |options, source| {
                let arguments = ["-v", "--source", source, "--proc-root", "HOST"];
                let whole = [unprivileged::wrapper(), &[program], &arguments].concat();
                run(&mut in_container(container, options, &whole))
            };
            for source in ["auto", "procfs"] {
                let (code, stdout, stderr) = ask("hidepid=0", source);
                assert_eq!(code, Some(0), "{stderr}");
                assert_eq!(json(&stdout)["LISTEN"], 2, "{source}: {stderr}");
                assert!(stderr.contains("procfs: counted everything"), "{stderr}");
            }
            let (code, stdout, stderr) = ask("hidepid=0", "netlink");
            assert_eq!((code, &stdout[..]), (Some(1), ""), "{stderr}");
            assert!(stderr.contains("/1/ns/net: EACCES"), "{stderr}");
            // Process 1 is hidden: no counts, and never the container's own.
            for source in ["auto", "netlink", "procfs"] {
                let (code, stdout, stderr) = ask("hidepid=2", source);
                assert_eq!((code, &stdout[..]), (Some(1), ""), "{stderr}");
                assert!(stderr.contains("/1: there is no such process"), "{stderr}");
            }
        }
    })
    .unwrap();
}

#[test]
fn the_procfs_of_the_caller_at_another_place_is_the_same() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _listeners = listen(2);
        let dir = TempDir::new().unwrap();
        let root = dir.path().to_str().unwrap();
        // Process 1 is in another namespace.
        let script = format!("mount --bind /proc {root} && unshare --net \"$@\"; exit $?");
        for source in ["auto", "netlink", "procfs"] {
            let arguments = ["--source", source, "--proc-root", root];
            let mut unshare = Command::new("unshare");
            unshare.args(["--mount", "sh", "-c", &script, "sh"]);
            let (_, stdout, stderr) = run(unshare.arg(cargo_bin!("tcpstat")).args(arguments));
            assert_eq!(json(&stdout)["LISTEN"], 0, "{source}: {stderr}");
        }
    })
    .unwrap();
}

/// Without the right to enter it, through other processes.
#[test]
fn a_reading_at_an_interval_stays_with_the_namespace_or_ends() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    let (_dir, path) = unprivileged::readable_copy();
    netns::in_new(|| {
        let _listeners = listen(2);
        let [first, second] = [(); 2].map(|()| Idle::start().unwrap());
        netns::in_new(|| {
            let words = unprivileged::wrapper();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).arg(&path).current_dir("/");
            command.args(["--interval", "5ms", "--pid", &first.pid().to_string()]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let answers = |lines: &mut dyn Iterator<Item = std::io::Result<String>>, most| {
                let counted: Vec<_> = lines.take(most).map(|line| json(&line.unwrap())).collect();
                assert!(
                    counted.iter().all(|line| line["LISTEN"] == 2),
                    "{counted:?}"
                );
                counted.len()
            };
            assert_eq!(answers(&mut lines, 5), 5);
            drop(first);
            assert_eq!(answers(&mut lines, 100), 100);
            drop(second);
            answers(&mut lines, usize::MAX);
            let output = child.wait_with_output().unwrap();
            let (_, stderr) = texts(&output);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            let why = "the process has ended or left the network namespace that is counted, \
                       no other process is found in it, and it cannot be entered: EACCES: ";
            assert!(stderr.contains(why), "{stderr}");
        })
        .unwrap();
    })
    .unwrap();
}

/// In Python, where a thread can end alone: the first one does.
const WITHOUT_FIRST_THREAD: &str = "
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
print(flush=True)
ctypes.CDLL(None).syscall(int(sys.argv[1]), 0)
";

#[test]
fn a_process_whose_first_thread_has_ended_is_read_through_another() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _listeners = listen(2);
        let mut python = Command::new("python3");
        python.args(["-c", WITHOUT_FIRST_THREAD, &libc::SYS_exit.to_string()]);
        python.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let pid = child.id().to_string();
        let link = format!("/proc/{pid}/ns/net");
        while fs::read_link(&link).is_ok() {
            thread::yield_now();
        }
        netns::in_new(|| {
            for source in ["auto", "netlink", "procfs"] {
                let of = ["--source", source, "--pid", &pid];
                let (_, stdout, stderr) = run(&mut tcpstat(&of));
                assert!(!stdout.is_empty(), "{source}: {stderr}");
                assert_eq!(json(&stdout)["LISTEN"], 2, "{source}");
            }
            // Nothing else is in the namespace but this test's thread.
            let (_, stdout, _) = run(&mut tcpstat(&["--all-namespaces"]));
            let line = stdout
                .lines()
                .map(json)
                .find(|line| line["pid"] == child.id());
            assert_eq!(line.unwrap()["LISTEN"], 2, "{stdout}");
        })
        .unwrap();
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    })
    .unwrap();
}
