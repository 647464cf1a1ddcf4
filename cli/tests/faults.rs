// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command where its surroundings fail it: system calls refused, procfs mounted in part or not at all, no
//! descriptor left, signals. And what it does not need: capabilities, writing.
//!
//! Needs `CAP_SYS_ADMIN` for the namespaces.

mod alone;
mod container;
mod nobody;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use alone::alone;
use assert_cmd::cargo::cargo_bin;
use container::{Container, in_container};
use nix::libc;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use nobody::{for_everybody, without_privilege};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};
use serde_json::Value;
use tcpstat::{Options, Sampler, Source};
use tcpstat_tests::idle::Idle;
use tcpstat_tests::netns;
use tcpstat_tests::sockets::{Family, Mix};
use tcpstat_tests::terminal::Terminal;
use tempfile::TempDir;

const SOURCES: [&str; 3] = ["netlink", "netlink-full", "procfs"];

/// Verbose, with every count and who it is from; a source follows.
const ARGUMENTS: [&str; 4] = ["-v", "--format", "report", "--source"];

/// The command as the child of `wrapper`.
fn command(wrapper: &[&str], source: &str) -> Command {
    let program = cargo_bin!("tcpstat").to_str().unwrap();
    let whole = [wrapper, &[program], &ARGUMENTS, &[source]].concat();
    let mut command = Command::new(whole[0]);
    command.args(&whole[1..]);
    command
}

fn stderr(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// What the command says on standard error where it must answer `established` ESTABLISHED connections.
fn answered(output: &Output, established: u64) -> String {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = &report["states"]["ESTABLISHED"]["count"];
    assert_eq!(*count, established, "{stderr}");
    stderr
}

/// What the command says on standard error where it must fail, and answer nothing.
fn failed(output: &Output) -> String {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(output.stdout.is_empty(), "{stderr}");
    stderr
}

/// A seccomp filter that answers some system calls, under some conditions, as `answer` says.
fn filter(
    rules: impl IntoIterator<Item = (i64, Vec<SeccompRule>)>,
    answer: SeccompAction,
) -> BpfProgram {
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let rules: BTreeMap<_, _> = rules.into_iter().collect();
    SeccompFilter::new(rules, SeccompAction::Allow, answer, arch)
        .unwrap()
        .try_into()
        .unwrap()
}

/// A condition on the low half of an argument of a system call.
fn argument(index: u8, is: Is, value: i32) -> SeccompCondition {
    SeccompCondition::new(index, Length::Dword, is, value as u32 as u64).unwrap()
}

fn rule(conditions: impl Into<Vec<SeccompCondition>>) -> SeccompRule {
    SeccompRule::new(conditions.into()).unwrap()
}

/// Starts what runs below a filter; neither this thread nor the rest of the tests do.
fn start_below(filter: &BpfProgram, start: impl FnOnce() -> io::Result<Child> + Send) -> Child {
    thread::scope(|scope| {
        let below = scope.spawn(|| {
            apply_filter(filter).unwrap();
            start().unwrap()
        });
        below.join().unwrap()
    })
}

/// Runs a command below a filter.
fn below(filter: &BpfProgram, mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = start_below(filter, || command.spawn());
    child.wait_with_output().unwrap()
}

fn errno(errno: i32) -> SeccompAction {
    SeccompAction::Errno(errno as u32)
}

#[test]
fn netlink_refused() {
    let _alone = alone();
    netns::in_new(|| {
        let mix = Mix {
            established: 3,
            ..Mix::default()
        };
        let _fixture = mix.make().unwrap();
        // SELinux lets who may not ask have a socket, and refuses the request.
        for (call, said, number, name) in [
            (libc::SYS_socket, "open", libc::EPERM, "EPERM"),
            (libc::SYS_socket, "open", libc::EACCES, "EACCES"),
            (libc::SYS_socket, "open", libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
            (libc::SYS_socket, "open", libc::ENOSYS, "ENOSYS"),
            (libc::SYS_socket, "open", libc::EINVAL, "EINVAL"),
            (
                libc::SYS_socket,
                "open",
                libc::ESOCKTNOSUPPORT,
                "ESOCKTNOSUPPORT",
            ),
            (libc::SYS_socket, "open", libc::EOPNOTSUPP, "EOPNOTSUPP"),
            (libc::SYS_sendto, "write to", libc::EPERM, "EPERM"),
            (libc::SYS_sendto, "write to", libc::EACCES, "EACCES"),
        ] {
            let is_netlink = rule([argument(0, Is::Eq, libc::AF_NETLINK)]);
            let which = match call {
                libc::SYS_socket => vec![is_netlink],
                _ => Vec::new(),
            };
            let refused = filter([(call, which)], errno(number));
            let why = format!("cannot {said} a NETLINK_SOCK_DIAG socket: {name}: ");
            // The module, where it is loaded, is asked first and would answer.
            let module = std::path::Path::new("/proc/tcpstat").exists();
            let said = answered(&below(&refused, command(&[], "auto")), 6);
            if !module {
                assert!(said.contains(&format!("netlink: {why}")), "{said}");
                assert!(said.contains("procfs: counted everything"), "{said}");
            }
            for source in ["netlink", "netlink-full"] {
                let said = failed(&below(&refused, command(&[], source)));
                assert!(said.contains(&why), "{said}");
                assert!(said.contains("try --source procfs"), "{said}");
            }
        }
    })
    .unwrap();
}

#[test]
fn netlink_refused_in_a_container() {
    let _alone = alone();
    netns::in_new(|| {
        let mix = Mix {
            established: 3,
            ..Mix::default()
        };
        let _fixture = mix.make().unwrap();
        let is_netlink = rule([argument(0, Is::Eq, libc::AF_NETLINK)]);
        let refused = filter([(libc::SYS_socket, vec![is_netlink])], errno(libc::EPERM));
        let program = cargo_bin!("tcpstat").to_str().unwrap();
        for container in [Container::Alone, Container::WithProcessesOfTheHost] {
            let ask = |source| {
                let of = [source, "--proc-root", "HOST"];
                let whole = [&[program], &ARGUMENTS[..], &of].concat();
                below(&refused, in_container(container, "hidepid=0", &whole))
            };
            for source in ["auto", "procfs"] {
                answered(&ask(source), 6);
            }
            for source in ["netlink", "netlink-full"] {
                assert!(failed(&ask(source)).contains("socket: EPERM: "));
            }
        }
    })
    .unwrap();
}

/// Another network namespace cannot be entered: no `setns`, as in gVisor, or no thread for it.
#[test]
fn entering_refused() {
    let _alone = alone();
    netns::in_new(|| {
        let mix = Mix {
            established: 3,
            ..Mix::default()
        };
        let _fixture = mix.make().unwrap();
        let idle = Idle::start().unwrap();
        let pid = idle.pid().to_string();
        netns::in_new(|| {
            let thread = rule([argument(
                0,
                Is::MaskedEq(libc::CLONE_THREAD as u64),
                libc::CLONE_THREAD,
            )]);
            // Its flags are in memory, where a filter does not see them; `clone` takes its place.
            let older = filter([(libc::SYS_clone3, vec![])], errno(libc::ENOSYS));
            let enter = "cannot enter the network namespace";
            let start = "cannot start a thread to enter the network namespace";
            let limit = "EAGAIN: Try again (limit of processes: pids.max, ulimit -u)";
            for (call, rules, number, problem, reason) in [
                (
                    libc::SYS_setns,
                    vec![],
                    libc::EOPNOTSUPP,
                    enter,
                    "EOPNOTSUPP: ",
                ),
                (libc::SYS_setns, vec![], libc::ENOSYS, enter, "ENOSYS: "),
                (libc::SYS_clone, vec![thread], libc::EAGAIN, start, limit),
            ] {
                let refused = filter([(call, rules)], errno(number));
                let ask = |source| {
                    let mut command = command(&[], source);
                    command.args(["--pid", &pid]);
                    command.stdout(Stdio::piped()).stderr(Stdio::piped());
                    let child = start_below(&older, || {
                        apply_filter(&refused).unwrap();
                        command.spawn()
                    });
                    child.wait_with_output().unwrap()
                };
                let why = format!("{problem} /proc/{pid}/ns/net: {reason}");
                let said = answered(&ask("auto"), 6);
                if !std::path::Path::new("/proc/tcpstat").exists() {
                    assert!(said.contains(&format!("netlink: {why}")), "{said}");
                }
                answered(&ask("procfs"), 6);
                for source in ["netlink", "netlink-full"] {
                    let said = failed(&ask(source));
                    assert!(said.contains(&why), "{said}");
                    assert!(said.contains("try --source procfs"), "{said}");
                }
            }
        })
        .unwrap();
    })
    .unwrap();
}

/// An answer that was lost on its way is no answer, and no reason to guess.
#[test]
fn the_answer_of_netlink_is_lost() {
    let _alone = alone();
    netns::in_new(|| {
        for (call, number, expected) in [
            (
                libc::SYS_recvmsg,
                libc::ENOBUFS,
                "did not arrive: ENOBUFS: ",
            ),
            (libc::SYS_recvmsg, libc::ENOMEM, "did not arrive: ENOMEM: "),
            (libc::SYS_recvmsg, libc::EAGAIN, "did not arrive: EAGAIN: "),
            (libc::SYS_sendto, libc::ENOBUFS, "socket: ENOBUFS: "),
        ] {
            let lost = filter([(call, vec![])], errno(number));
            for source in ["netlink", "netlink-full"] {
                let said = failed(&below(&lost, command(&[], source)));
                assert!(said.contains(expected), "{said}");
                assert!(
                    said.contains("\nThe kernel may be short of memory: try again"),
                    "{said}"
                );
            }
            answered(&below(&lost, command(&[], "procfs")), 0);
        }
    })
    .unwrap();
}

/// In this process, which has a handler for the signal. What each source does when a call is interrupted is tested there
/// as well: most calls here never wait.
#[test]
fn signals_all_the_while() {
    let _alone = alone();
    let handled = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(libc::SIGUSR1, Arc::clone(&handled)).unwrap();
    netns::in_new(|| {
        let fixture = Mix::of_each(Family::V6, 5).make().unwrap();
        let target = pthread_self();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    pthread_kill(target, Signal::SIGUSR1).unwrap();
                }
            });
            let read = |source, proc_root: &str| {
                let mut options = Options::default();
                options.source = Some(source);
                options.proc_root = proc_root.into();
                let mut sampler = Sampler::new(options).unwrap();
                // A reading may be slow where other namespaces have many sockets, and the fixture does not last.
                let start = Instant::now();
                while start.elapsed() < Duration::from_secs(1) {
                    let counts = sampler.sample().unwrap().counts;
                    assert_eq!(counts, fixture.expected(), "{source}");
                }
            };
            let read = || {
                read(Source::Netlink, Options::PROC_ROOT);
                read(Source::NetlinkFull, Options::PROC_ROOT);
                read(Source::Procfs, "/proc/thread-self");
            };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
            stop.store(true, SeqCst);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    })
    .unwrap();
    assert!(handled.load(SeqCst), "no signal came");
}

/// Without any privilege, with a procfs of its own over /proc, in a PID namespace of its own as well: whoever is root of a user namespace
/// only may mount no other. The first process there is root's.
#[test]
fn procfs_in_part() {
    let _alone = alone();
    let (_dir, program) = for_everybody();
    netns::in_new(|| {
        let mix = Mix {
            established: 3,
            ..Mix::default()
        };
        let _fixture = mix.make().unwrap();
        let ask = |options: &str, source: &str, of: &[&str]| {
            let script = format!("mount -t proc -o {options} proc /proc && \"$@\"; exit $?");
            let mut command = Command::new("unshare");
            command.args(["--mount", "--pid", "--fork", "sh", "-c", &script, "sh"]);
            command.args(without_privilege()).arg(&program);
            command.args(ARGUMENTS).arg(source);
            command.args(of).output().unwrap()
        };
        const BY_ROOT: [&str; 2] = ["--proc-root", "/proc/1"];
        const BY_PID: [&str; 2] = ["--pid", "1"];
        let hidden = "/proc/1: there is no such process, or it is hidden (hidepid=)";
        let absent = "procfs: /proc/1/net/tcp: cannot open: ENOENT: ";
        let refused = "procfs: /proc/1/net/tcp6: cannot open: EPERM: ";
        for (options, by_root, by_pid) in [
            ("hidepid=0", None, None),
            ("hidepid=1", Some(refused), Some(refused)),
            ("hidepid=2", Some(absent), Some(hidden)),
            ("subset=pid", None, None),
            ("hidepid=2,subset=pid", Some(absent), Some(hidden)),
        ] {
            for source in SOURCES.iter().chain(&["auto"]) {
                answered(&ask(options, source, &[]), 6);
            }
            for (of, problem) in [(BY_ROOT, by_root), (BY_PID, by_pid)] {
                for source in ["auto", "procfs"] {
                    let output = ask(options, source, &of);
                    let Some(problem) = problem else {
                        answered(&output, 6);
                        continue;
                    };
                    let said = failed(&output);
                    assert!(said.contains(problem), "{options}, {of:?}: {said}");
                    assert!(said.contains("hidden (hidepid=)"), "{said}");
                }
            }
            for source in ["netlink", "netlink-full"] {
                let said = failed(&ask(options, source, &BY_PID));
                let enter = "cannot enter the network namespace /proc/1/ns/net: E";
                let expected = by_pid.filter(|problem| *problem == hidden);
                assert!(
                    said.contains(expected.unwrap_or(enter)),
                    "{options}: {said}"
                );
            }
        }
    })
    .unwrap();
}

#[test]
fn no_procfs_at_all() {
    let _alone = alone();
    netns::in_new(|| {
        let mix = Mix {
            established: 3,
            ..Mix::default()
        };
        let _fixture = mix.make().unwrap();
        let script = "mount -t tmpfs none /proc && exec \"$@\"";
        let wrapper = ["unshare", "--mount", "sh", "-c", script, "sh"];
        for source in ["auto", "netlink", "netlink-full"] {
            let said = answered(&command(&wrapper, source).output().unwrap(), 6);
            if source == "auto" {
                assert!(
                    said.contains("module: /proc/tcpstat: cannot open: ENOENT"),
                    "{said}"
                );
            }
        }
        let said = failed(&command(&wrapper, "procfs").output().unwrap());
        assert!(
            said.contains("procfs: /proc/net/tcp: cannot open: ENOENT"),
            "{said}"
        );
        assert!(said.contains("Is a procfs mounted there"), "{said}");
    })
    .unwrap();
}

/// The limit is lowered once the command runs: a program whose libraries are shared does not even start without a
/// descriptor for them.
#[test]
fn no_descriptor_left() {
    let _alone = alone();
    netns::in_new(|| {
        for source in ["auto", "netlink", "netlink-full", "procfs"] {
            let mut child = command(&[], source)
                .args(["--interval", "5ms"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            lines.next().unwrap().unwrap();
            let pid = child.id().to_string();
            let lowered = Command::new("prlimit")
                .args(["--nofile=3", "--pid", &pid])
                .status()
                .unwrap();
            assert!(lowered.success(), "prlimit: {lowered}");
            lines.for_each(|line| drop(line.unwrap()));
            let output = child.wait_with_output().unwrap();
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            // Which file or socket it was depends on where in a reading the command was.
            assert!(
                said.contains("cannot open") && said.contains(": EMFILE: "),
                "{source}: {said}"
            );
            assert!(
                said.ends_with(
                    "\nThis process has too many open files: raise its limit (ulimit -n).\n"
                ),
                "{said}"
            );
        }

        // Enough for the socket, and not for the counters.
        let wrapper = ["sh", "-c", "ulimit -n 4 && exec \"$@\"", "sh"];
        let said = answered(&command(&wrapper, "netlink").output().unwrap(), 0);
        assert!(
            said.contains("no counters: ") && said.contains("EMFILE"),
            "{said}"
        );
        answered(&command(&wrapper, "procfs").output().unwrap(), 0);
    })
    .unwrap();
}

/// What the command prints below a filter, where it must answer.
fn prints(filter: &BpfProgram, arguments: &[&str], more: &[&str]) -> String {
    let mut command = Command::new(cargo_bin!("tcpstat"));
    command.args(arguments).args(more);
    let output = below(filter, command);
    let (status, stderr) = (output.status, stderr(&output));
    assert!(
        status.success(),
        "{arguments:?}, {more:?}: {status}, {stderr}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Whatever could change something ends the command: opening for writing, making, removing or renaming a file,
/// another socket than one of `NETLINK_SOCK_DIAG`, whatever needs a privilege. Except for the calls in `allowed`.
fn read_only(allowed: &[i64]) -> BpfProgram {
    let always = || Vec::new();
    let writes = |index| {
        [
            libc::O_WRONLY,
            libc::O_RDWR,
            libc::O_CREAT,
            libc::O_TRUNC,
            libc::O_APPEND,
        ]
        .map(|flag| rule([argument(index, Is::MaskedEq(flag as u64), flag)]))
        .to_vec()
    };
    let mut rules = vec![
        (libc::SYS_openat, writes(2)),
        (
            libc::SYS_socket,
            vec![
                rule([argument(0, Is::Ne, libc::AF_NETLINK)]),
                rule([argument(2, Is::Ne, libc::NETLINK_SOCK_DIAG)]),
            ],
        ),
    ];
    for call in [
        libc::SYS_openat2,
        libc::SYS_open_by_handle_at,
        libc::SYS_truncate,
        libc::SYS_ftruncate,
        libc::SYS_fallocate,
        libc::SYS_renameat2,
        libc::SYS_unlinkat,
        libc::SYS_mkdirat,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_mknodat,
        libc::SYS_fchmodat,
        libc::SYS_fchmod,
        libc::SYS_fchownat,
        libc::SYS_fchown,
        libc::SYS_utimensat,
        libc::SYS_setxattr,
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_io_uring_setup,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kill,
        libc::SYS_setuid,
        libc::SYS_setgid,
        libc::SYS_capset,
        libc::SYS_bind,
        libc::SYS_listen,
    ] {
        rules.push((call, always()));
    }
    #[cfg(target_arch = "x86_64")]
    {
        rules.push((libc::SYS_open, writes(1)));
        for call in [
            libc::SYS_creat,
            libc::SYS_rename,
            libc::SYS_unlink,
            libc::SYS_rmdir,
            libc::SYS_mkdir,
            libc::SYS_link,
            libc::SYS_symlink,
            libc::SYS_mknod,
            libc::SYS_chmod,
            libc::SYS_chown,
        ] {
            rules.push((call, always()));
        }
    }
    rules.retain(|(call, _)| !allowed.contains(call));
    filter(rules, SeccompAction::KillProcess)
}

#[test]
fn opens_nothing_for_writing() {
    let _alone = alone();
    let read_only = read_only(&[]);
    netns::in_new(|| {
        // The filter ends what writes: otherwise the rest would say nothing.
        let file = tempfile::NamedTempFile::new().unwrap();
        for script in [": >\"$0\"", ": >>\"$0\"", ": <>\"$0\""] {
            let mut writes = Command::new("sh");
            writes.args(["-c", script]).arg(file.path());
            let output = below(&read_only, writes);
            assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{script}");
        }
        let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mix = Mix {
            established: 3,
            ..Mix::default()
        };
        let _fixture = mix.make().unwrap();
        for source in ["auto", "netlink", "netlink-full", "procfs"] {
            answered(&below(&read_only, command(&[], source)), 6);
            for (arguments, expected) in [
                (&["services"][..], "\"services\":[{"),
                (
                    &["services", "--port", "1-65535", "--format", "table"],
                    " PORT ",
                ),
                (&["connections", "--state", "listen"], "\"LISTEN\""),
                (&["check", "--warn", "total<1"], " OK"),
            ] {
                let said = prints(&read_only, arguments, &["--source", source]);
                assert!(said.contains(expected), "{arguments:?}: {said}");
            }
        }
        let said = prints(&read_only, &["explain", "close-wait"], &[]);
        assert!(said.starts_with("CLOSE_WAIT: "), "{said}");

        let watch = ["watch", "--interval", "5ms"];
        let mut command = Command::new(cargo_bin!("tcpstat"));
        command.args(watch).stdout(Stdio::piped());
        let mut child = start_below(&read_only, || command.spawn());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.take(3) {
            assert!(line.unwrap().contains("ESTABLISHED 6"));
        }
        assert!(child.wait().unwrap().success());

        let mut terminal = Terminal::new(80, 24).unwrap();
        let mut command = Command::new(cargo_bin!("tcpstat"));
        command.args(watch).env("TERM", "xterm");
        let mut child = start_below(&read_only, || terminal.start(&mut command));
        terminal.wait_for("the screen", |screen| screen.contents().contains("q: quit"));
        terminal.press("q").unwrap();
        assert!(terminal.wait(&mut child).unwrap().success());
    })
    .unwrap();
}

/// The namespace of another process is entered, by `setns`, and nothing more is done than in one's own.
#[test]
fn enters_namespaces_and_opens_nothing_for_writing() {
    let _alone = alone();
    netns::in_new(|| {
        let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let idle = Idle::start().unwrap();
        let pid = idle.pid().to_string();
        // A procfs of this process alone.
        let root = TempDir::new().unwrap();
        symlink(format!("/proc/{pid}"), root.path().join("7")).unwrap();
        let all = [
            "--all-namespaces",
            "--proc-root",
            root.path().to_str().unwrap(),
        ];
        let [entering, staying] = [&[libc::SYS_setns][..], &[]].map(read_only);
        netns::in_new(|| {
            for source in ["netlink", "netlink-full", "procfs"] {
                for of in [&["--pid", &pid][..], &all] {
                    for command in [&[][..], &["services"], &["connections"]] {
                        let arguments = [command, of].concat();
                        let said = prints(&entering, &arguments, &["--source", source]);
                        assert!(said.contains("LISTEN"), "{arguments:?}: {said}");
                        let mut command = Command::new(cargo_bin!("tcpstat"));
                        command.args(arguments).args(["--source", source]);
                        let stays = source == "procfs";
                        assert_eq!(below(&staying, command).status.success(), stays);
                    }
                }
            }
        })
        .unwrap();
    })
    .unwrap();
}
