// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command in one network namespace about another: `--pid` and `--all-namespaces`.
//!
//! Needs `CAP_SYS_ADMIN` for the namespaces.

mod alone;
mod container;
mod nobody;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

use alone::alone;
use assert_cmd::cargo::cargo_bin;
use container::{Container, in_container};
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::unistd::gettid;
use nobody::{for_everybody, without_privilege};
use serde_json::Value;
use tcpstat::{Error, Namespace, Namespaces, Options, Sampler, Source, State, Target};
use tcpstat_tests::idle::Idle;
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Family, Mix};
use tempfile::TempDir;

fn tcpstat(arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin!("tcpstat"));
    command.args(arguments);
    command
}

/// Runs the command without any privilege.
fn as_nobody(arguments: &[&str]) -> Output {
    let (_dir, path) = for_everybody();
    let words = without_privilege();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(path).args(arguments);
    command.current_dir("/").output().unwrap()
}

/// Runs the command with mounts of its own, which `script` makes before `"$@"`, the command.
fn with_mounts(script: &str, command: &Path, arguments: &[&str]) -> Output {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork", "sh", "-c", script, "sh"]);
    unshare.arg(command).args(arguments).output().unwrap()
}

/// A process of a procfs that is made up: an entry `pid` in `root` that is this one.
fn show(root: &TempDir, pid: u32, process: impl AsRef<Path>) {
    symlink(process, root.path().join(pid.to_string())).unwrap();
}

fn listen(listeners: usize) -> Vec<TcpListener> {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    std::iter::repeat_with(listen).take(listeners).collect()
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn every_source_answers_for_another_process() {
    let _alone = alone();
    let here = netns::in_new(|| {
        let fixture = Mix::of_each(Family::V4, 2).make().unwrap();
        let idle = Idle::start().unwrap();
        // From a namespace that has no sockets.
        netns::in_new(|| {
            for source in ["auto", "netlink", "netlink-full", "procfs"] {
                let pid = idle.pid().to_string();
                let output = tcpstat(&["--pid", &pid, "--source", source])
                    .output()
                    .unwrap();
                let (stdout, stderr) = text(&output);
                assert!(output.status.success(), "{source}: {stderr}");
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
    });
    here.unwrap();
}

#[test]
fn without_the_right_to_enter_procfs_answers() {
    let _alone = alone();
    netns::in_new(|| {
        let fixture = Mix::of_each(Family::V6, 1).make().unwrap();
        let idle = Idle::start().unwrap();
        netns::in_new(|| {
            let pid = idle.pid().to_string();
            let ask = |source| {
                let output = as_nobody(&["-v", "--pid", &pid, "--source", source]);
                (output.status.code(), text(&output))
            };
            let (code, (stdout, stderr)) = ask("auto");
            assert_eq!(code, Some(0), "{stderr}");
            assert_eq!(
                json(&stdout)["LISTEN"],
                fixture.expected().get(State::Listen)
            );
            let entering = format!("cannot enter the network namespace /proc/{pid}/ns/net: EACCES");
            assert!(stderr.contains(&entering), "{stderr}");
            let (code, (_, stderr)) = ask("netlink");
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
fn a_process_that_is_not_there_is_named() {
    let output = tcpstat(&["--pid", "4194305"]).output().unwrap();
    let (stdout, stderr) = text(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout, "");
    assert_eq!(
        stderr,
        "tcpstat: /proc/4194305: there is no such process, or it is hidden (hidepid=)\n"
    );
    for wrong in [["--pid", "0"], ["--pid", "-1"], ["--pid", "init"]] {
        assert_eq!(
            tcpstat(&wrong).output().unwrap().status.code(),
            Some(2),
            "{wrong:?}"
        );
    }
    let both = tcpstat(&["--pid", "1", "--all-namespaces"])
        .output()
        .unwrap();
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn all_namespaces_are_counted_each_by_itself() {
    let _alone = alone();
    netns::in_new(|| {
        let _first = listen(3);
        let first = Idle::start().unwrap();
        netns::in_new(|| {
            let _second = listen(5);
            let second = Idle::start().unwrap();
            let output = tcpstat(&["--all-namespaces"]).output().unwrap();
            let (stdout, stderr) = text(&output);
            // There are machines on which root may not look at every process either.
            assert_eq!(output.status.success(), stderr.is_empty(), "{stderr}");
            let lines: Vec<Value> = stdout.lines().map(json).collect();
            for (idle, listeners) in [(&first, 3), (&second, 5)] {
                let of: Vec<&Value> = lines
                    .iter()
                    .filter(|line| line["namespace"] == idle.namespace().unwrap())
                    .collect();
                assert_eq!(of.len(), 1, "{stdout}");
                assert_eq!(of[0]["LISTEN"], listeners);
                // Of the processes of this namespace, that of the command itself comes later.
                assert_eq!(of[0]["pid"], idle.pid());
            }
            let seen = Namespaces::list("/proc".as_ref()).unwrap().seen;
            assert!(lines.len() + 1 >= seen.len(), "{stdout}");
        })
        .unwrap();
    })
    .unwrap();
}

#[test]
fn the_connections_of_all_namespaces_are_listed_each_with_its_own() {
    let _alone = alone();
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
                let mut command = tcpstat(&["connections", "--all-namespaces"]);
                command
                    .args(["--source", source, "--proc-root"])
                    .arg(root.path());
                let output = command.output().unwrap();
                let (stdout, stderr) = text(&output);
                assert!(output.status.success(), "{stderr}");
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

/// And the file that is named is the one that would answer for the namespace.
#[test]
fn verbose_says_which_namespace_is_meant() {
    let root = TempDir::new().unwrap();
    for (pid, inode) in [(7, 70), (8, 80)] {
        let process = root.path().join(pid.to_string());
        fs::create_dir_all(process.join("ns")).unwrap();
        fs::create_dir(process.join("net")).unwrap();
        symlink(format!("net:[{inode}]"), process.join("ns/net")).unwrap();
        fs::write(process.join("net/tcp"), TCP).unwrap();
    }
    for (command, file, procfs) in [
        (&[][..], Some("tcpstat"), "counted everything"),
        (&["services"], Some("tcpstat_services"), "1 services"),
        (&["connections"], None, "lists every connection"),
    ] {
        let mut command = tcpstat(command);
        command.args(["-v", "--all-namespaces", "--proc-root"]);
        let (stdout, stderr) = text(&command.arg(root.path()).output().unwrap());
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
fn a_namespace_that_fails_is_told_and_the_others_are_asked() {
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
        let mut command = tcpstat(arguments);
        command.args(["--all-namespaces", "--proc-root"]);
        let output = command.arg(root.path()).output().unwrap();
        let (stdout, stderr) = text(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(stdout.lines().count(), expected_lines, "{stdout}");
        assert!(
            stderr.starts_with("tcpstat: namespace 70, process 7: "),
            "{stderr}"
        );
        assert!(stderr.contains("7/net/tcp, line 3: "), "{stderr}");
    };
    ask(&[], 1);
    ask(&["services"], 1);
    // What came before the error was there.
    ask(&["connections"], 2);
    fs::remove_dir_all(root.path().join("8")).unwrap();
    ask(&[], 0);
    // No reading is left.
    ask(&["--interval", "1ms"], 0);
    ask(&["connections"], 1);
}

#[test]
fn namespaces_that_cannot_be_seen_are_told() {
    let _alone = alone();
    for command in [&[][..], &["connections"]] {
        let output = as_nobody(&[command, &["--all-namespaces"]].concat());
        let (stdout, stderr) = text(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        // Its own it sees.
        let of = |line| json(line)["namespace"].clone();
        let mut seen: Vec<Value> = stdout.lines().map(of).collect();
        seen.dedup();
        assert!(seen.len() <= 1, "{stdout}");
        assert!(!seen.is_empty() || command == ["connections"], "{stdout}");
        assert!(stderr.contains("cannot be seen"), "{stderr}");
        assert!(stderr.contains("CAP_SYS_PTRACE"), "{stderr}");
    }
}

/// A saved link to a namespace says the same as one's own where both are the first of their machine.
#[test]
fn a_saved_namespace_is_none_that_can_be_asked() {
    let root = TempDir::new().unwrap();
    let process = root.path().join("77");
    fs::create_dir_all(process.join("ns")).unwrap();
    fs::create_dir(process.join("net")).unwrap();
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    symlink(own, process.join("ns/net")).unwrap();
    fs::write(process.join("net/tcp"), TCP).unwrap();
    let ask = |arguments: &[&str]| {
        let mut command = tcpstat(arguments);
        let output = command.arg("--proc-root").arg(root.path()).output();
        let output = output.unwrap();
        (output.status.code(), text(&output))
    };

    let (code, (stdout, stderr)) = ask(&["-v", "--pid", "77"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(json(&stdout)["LISTEN"], 1, "{stdout}");
    assert!(stderr.contains("77/ns/net: ENOENT"), "{stderr}");
    assert!(stderr.contains("procfs: counted everything"), "{stderr}");
    for source in ["netlink", "netlink-full"] {
        let (code, (stdout, stderr)) = ask(&["--pid", "77", "--source", source]);
        assert_eq!((code, &stdout[..]), (Some(1), ""), "{stderr}");
        assert!(stderr.contains("77/ns/net: ENOENT"), "{stderr}");
        assert!(stderr.contains("to a saved sample"), "{stderr}");
        let (code, (_, stderr)) = ask(&["services", "--pid", "77", "--source", source]);
        assert_eq!(code, Some(1), "{stderr}");
    }
    let (code, (stdout, stderr)) = ask(&["--all-namespaces"]);
    assert_eq!((code, &stderr[..]), (Some(0), ""));
    assert_eq!(json(&stdout)["pid"], 77);
    assert_eq!(json(&stdout)["LISTEN"], 1);
}

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1574 1 0000000000000000 100 0 0 10 0
";

/// The counters are those of the namespace that netlink is asked in, whatever the procfs says that led to it.
#[test]
fn saved_counters_are_not_mixed_with_a_live_dump() {
    let _alone = alone();
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
            let mut command = tcpstat(&["-v", "--source", "netlink", "--pid", "77"]);
            let output = command.arg("--proc-root").arg(root.path()).output();
            let output = output.unwrap();
            let (stdout, stderr) = text(&output);
            assert!(output.status.success(), "{stderr}");
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
fn without_a_proc_of_its_own_a_namespace_is_entered() {
    let _alone = alone();
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
        let output = ask("1");
        let (stdout, stderr) = text(&output);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(json(&stdout)["LISTEN"], 2, "{stdout}");
        let (_, stderr) = text(&ask("77"));
        assert!(stderr.contains(&format!("{root}/77: there is no such process")));
    })
    .unwrap();
}

/// A thread that is in the one network namespace and in the other, in quick succession.
fn change_between(namespaces: [&str; 2], is_over: &AtomicBool) {
    let files = namespaces.map(|path| File::open(path).unwrap());
    while !is_over.load(SeqCst) {
        for file in &files {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        }
    }
}

#[test]
fn a_process_that_changes_its_namespace_gives_no_counts_to_another() {
    let _alone = alone();
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
                let (tell, told) = mpsc::channel();
                let paths = [&first, &second].map(|idle| format!("/proc/{}/ns/net", idle.pid()));
                let is_over = &is_over;
                scope.spawn(move || {
                    tell.send(gettid()).unwrap();
                    change_between([&paths[0], &paths[1]], is_over);
                });
                show(&root, 5, format!("/proc/{}", told.recv().unwrap()));
                let ask = || {
                    let mut command = tcpstat(&["--all-namespaces", "--source", "netlink-full"]);
                    text(
                        &command
                            .arg("--proc-root")
                            .arg(root.path())
                            .output()
                            .unwrap(),
                    )
                };
                let answers: Vec<_> = std::iter::repeat_with(ask).take(20).collect();
                is_over.store(true, SeqCst);
                for (stdout, stderr) in answers {
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
fn every_source_answers_for_the_namespace_that_is_meant_or_not_at_all() {
    let _alone = alone();
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
        for source in [Source::Netlink, Source::NetlinkFull, Source::Procfs] {
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
        assert_eq!((of.pid, of.inode), (idle.pid(), idle.namespace().unwrap()));
    })
    .unwrap();
}

#[test]
fn where_there_is_no_namespace_there_is_no_answer() {
    let nothing = TempDir::new().unwrap();
    let gone = TempDir::new().unwrap();
    show(&gone, 77, "/proc/4194305");
    let process = Path::new("/proc/self");
    for root in [nothing.path(), gone.path(), process] {
        for command in [&[][..], &["services"], &["--format", "prometheus"]] {
            let output = tcpstat(command)
                .args(["--all-namespaces", "--proc-root"])
                .arg(root)
                .output()
                .unwrap();
            let expected = format!(
                "tcpstat: no process in {}: is a procfs mounted there?\n",
                root.display()
            );
            assert_eq!(text(&output), (String::new(), expected));
            assert_eq!(output.status.code(), Some(1));
        }
    }
}

#[test]
fn processes_that_are_not_even_shown_are_told() {
    let _alone = alone();
    // Its init is root's.
    let drop = without_privilege().join(" ");
    let script = format!("mount -t proc -o hidepid=2 proc /proc && {drop} \"$@\"; exit $?");
    let (_dir, path) = for_everybody();
    let ask = |arguments: &[&str]| with_mounts(&script, &path, arguments);
    let output = ask(&["--all-namespaces"]);
    let (stdout, stderr) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    // Its own it sees.
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(stderr.contains("hidden (hidepid=)"), "{stderr}");
    assert!(stderr.contains("CAP_SYS_PTRACE"), "{stderr}");
    let (_, stderr) = text(&ask(&["--pid", "1"]));
    assert!(
        stderr.contains("/proc/1: there is no such process, or it is hidden (hidepid=)"),
        "{stderr}"
    );
}

#[test]
fn a_procfs_of_the_host_is_about_the_host() {
    let _alone = alone();
    netns::in_new(|| {
        let _listeners = listen(2);
        let inode = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        for container in [Container::Alone, Container::WithProcessesOfTheHost] {
            let ask = |arguments: &[&str]| {
                let program = cargo_bin!("tcpstat").to_str().unwrap();
                let whole = [&[program], arguments, &["-v"]].concat();
                let output = in_container(container, "hidepid=0", &whole).output();
                let output = output.unwrap();
                let (stdout, stderr) = text(&output);
                assert!(output.status.success(), "{arguments:?}: {stderr}");
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
    let _alone = alone();
    let (_dir, path) = for_everybody();
    let program = path.to_str().unwrap();
    netns::in_new(|| {
        let _listeners = listen(2);
        for container in [Container::Alone, Container::WithProcessesOfTheHost] {
            let ask = |options, source| {
                let arguments = ["-v", "--source", source, "--proc-root", "HOST"];
                let whole = [without_privilege(), &[program], &arguments].concat();
                let output = in_container(container, options, &whole).output().unwrap();
                (output.status.code(), text(&output))
            };
            for source in ["auto", "procfs"] {
                let (code, (stdout, stderr)) = ask("hidepid=0", source);
                assert_eq!(code, Some(0), "{stderr}");
                assert_eq!(json(&stdout)["LISTEN"], 2, "{source}: {stderr}");
                assert!(stderr.contains("procfs: counted everything"), "{stderr}");
            }
            let (code, (stdout, stderr)) = ask("hidepid=0", "netlink");
            assert_eq!((code, &stdout[..]), (Some(1), ""), "{stderr}");
            assert!(stderr.contains("/1/ns/net: EACCES"), "{stderr}");
            // Process 1 is hidden: no counts, and never the container's own.
            for source in ["auto", "netlink", "procfs"] {
                let (code, (stdout, stderr)) = ask("hidepid=2", source);
                assert_eq!((code, &stdout[..]), (Some(1), ""), "{stderr}");
                assert!(stderr.contains("/1: there is no such process"), "{stderr}");
            }
        }
    })
    .unwrap();
}

#[test]
fn the_procfs_of_the_caller_at_another_place_is_the_same() {
    let _alone = alone();
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
            let output = unshare.arg(cargo_bin!("tcpstat")).args(arguments).output();
            let (stdout, stderr) = text(&output.unwrap());
            assert_eq!(json(&stdout)["LISTEN"], 0, "{source}: {stderr}");
        }
    })
    .unwrap();
}

/// Without the right to enter it, through other processes.
#[test]
fn a_reading_at_an_interval_stays_with_the_namespace_or_ends() {
    let _alone = alone();
    let (_dir, path) = for_everybody();
    netns::in_new(|| {
        let _listeners = listen(2);
        let [first, second] = [(); 2].map(|()| Idle::start().unwrap());
        netns::in_new(|| {
            let words = without_privilege();
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
            let (_, stderr) = text(&output);
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
    let _alone = alone();
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
                let (stdout, stderr) = text(&tcpstat(&of).output().unwrap());
                assert!(!stdout.is_empty(), "{source}: {stderr}");
                assert_eq!(json(&stdout)["LISTEN"], 2, "{source}");
            }
            // Nothing else is in the namespace but this test's thread.
            let output = tcpstat(&["--all-namespaces"]).output().unwrap();
            let (stdout, _) = text(&output);
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
