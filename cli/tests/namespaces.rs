// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command in one network namespace about another: `--pid` and `--all-namespaces`.
//!
//! Needs `CAP_SYS_ADMIN` for the namespaces.

mod alone;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};

use alone::alone;
use assert_cmd::cargo::cargo_bin;
use serde_json::Value;
use tcpstat::{Namespaces, Options, Sampler, State};
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Family, Mix};

/// A process that does nothing, in the network namespace of the thread that started it.
struct Idle(Child);

impl Idle {
    fn start() -> Self {
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn namespace(&self) -> u64 {
        let link = fs::read_link(format!("/proc/{}/ns/net", self.pid())).unwrap();
        let digits = link
            .to_str()
            .unwrap()
            .replace(|c: char| !c.is_ascii_digit(), "");
        digits.parse().unwrap()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn tcpstat(arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin!("tcpstat"));
    command.args(arguments);
    command
}

/// Runs the command without any privilege, from where everybody may read it.
fn as_nobody(arguments: &[&str]) -> Output {
    const NOBODY: u32 = 65534;
    let dir = tempfile::TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("tcpstat");
    fs::copy(cargo_bin!("tcpstat"), &path).unwrap();
    let mut command = Command::new(path);
    command.args(arguments).current_dir("/");
    command.uid(NOBODY).gid(NOBODY).output().unwrap()
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
        let idle = Idle::start();
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
        let idle = Idle::start();
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
    assert_eq!(stderr, "tcpstat: /proc/4194305: there is no such process\n");
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
    let listen = |listeners: usize| -> Vec<TcpListener> {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        std::iter::repeat_with(listen).take(listeners).collect()
    };
    netns::in_new(|| {
        let _first = listen(3);
        let first = Idle::start();
        netns::in_new(|| {
            let _second = listen(5);
            let second = Idle::start();
            let output = tcpstat(&["--all-namespaces"]).output().unwrap();
            let (stdout, stderr) = text(&output);
            // There are machines on which root may not look at every process either.
            assert_eq!(output.status.success(), stderr.is_empty(), "{stderr}");
            let lines: Vec<Value> = stdout.lines().map(json).collect();
            for (idle, listeners) in [(&first, 3), (&second, 5)] {
                let of: Vec<&Value> = lines
                    .iter()
                    .filter(|line| line["namespace"] == idle.namespace())
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
fn namespaces_that_cannot_be_seen_are_told() {
    let _alone = alone();
    let output = as_nobody(&["--all-namespaces"]);
    let (stdout, stderr) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    // Its own it sees.
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(stderr.contains("cannot be seen"), "{stderr}");
    assert!(stderr.contains("CAP_SYS_PTRACE"), "{stderr}");
}
