// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command when its environment fails: system calls refused, procfs mounted in part or not at
//! all, no free descriptor, signals. And what it does not need: capabilities, writing.
//!
//! Needs `CAP_SYS_ADMIN` for the namespaces.

mod common;

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

use assert_cmd::cargo::cargo_bin;
use common::container::{Container, in_container};
use common::exporter::Exporter;
use common::run::{tcpstat, texts};
use common::serial::serial;
use common::{sources, unprivileged};
use nix::libc;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
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

/// Verbose, with every count and its source; to be followed by a source.
const ARGUMENTS: [&str; 4] = ["-v", "--format", "report", "--source"];

/// The command as the child of `wrapper`.
fn command(wrapper: &[&str], source: &str) -> Command {
    let program = cargo_bin!("tcpstat").to_str().unwrap();
    let whole = [wrapper, &[program], &ARGUMENTS, &[source]].concat();
    let mut command = Command::new(whole[0]);
    command.args(&whole[1..]);
    command
}

/// Asserts that the command has answered, with `established` ESTABLISHED connections. Returns its
/// standard error.
fn answered(output: &Output, established: u64) -> String {
    let (stdout, stderr) = texts(output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let count = &report["states"]["ESTABLISHED"]["count"];
    assert_eq!(*count, established, "{stderr}");
    stderr
}

/// Asserts that the command has failed and answered nothing. Returns its standard error.
fn failed(output: &Output) -> String {
    let (stdout, stderr) = texts(output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stdout, "", "{stderr}");
    stderr
}

/// A seccomp filter that applies `answer` to some system calls, under some conditions.
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

/// Starts a process under a filter. Neither this thread nor the other tests are under it.
fn start_under(filter: &BpfProgram, start: impl FnOnce() -> io::Result<Child> + Send) -> Child {
    thread::scope(|scope| {
        let under = scope.spawn(|| {
            apply_filter(filter).unwrap();
            start().unwrap()
        });
        under.join().unwrap()
    })
}

/// Runs a command under a filter.
fn run_under(filter: &BpfProgram, mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = start_under(filter, || command.spawn());
    child.wait_with_output().unwrap()
}

fn errno(errno: i32) -> SeccompAction {
    SeccompAction::Errno(errno as u32)
}

#[test]
fn netlink_refused() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let mix = Mix {
            established: 3,
            ..Mix::default()
        };
        let _fixture = mix.make().unwrap();
        // SELinux allows the socket, and refuses the request.
        for (call, action, number, name) in [
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
            let reason = format!("cannot {action} a NETLINK_SOCK_DIAG socket: {name}: ");
            // If the module is loaded, it is read first and answers.
            let module = std::path::Path::new("/proc/tcpstat").exists();
            let stderr = answered(&run_under(&refused, command(&[], "auto")), 6);
            if !module {
                assert!(stderr.contains(&format!("netlink: {reason}")), "{stderr}");
                assert!(stderr.contains("procfs: counted everything"), "{stderr}");
            }
            for source in ["netlink", "netlink-full"] {
                let stderr = failed(&run_under(&refused, command(&[], source)));
                assert!(stderr.contains(&reason), "{stderr}");
                assert!(stderr.contains("try --source procfs"), "{stderr}");
            }
        }
    })
    .unwrap();
}

#[test]
fn netlink_refused_in_a_container() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
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
                run_under(&refused, in_container(container, "hidepid=0", &whole))
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
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
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
                    let child = start_under(&older, || {
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

/// If the kernel's answer is lost, the command fails: it does not guess.
#[test]
fn the_answer_of_netlink_is_lost() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
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
                let stderr = failed(&run_under(&lost, command(&[], source)));
                assert!(stderr.contains(expected), "{stderr}");
                assert!(
                    stderr.contains("\nThe kernel may be short of memory: try again"),
                    "{stderr}"
                );
            }
            answered(&run_under(&lost, command(&[], "procfs")), 0);
        }
    })
    .unwrap();
}

/// Reads in this process, which has a handler for the signal. The tests of each source also
/// interrupt system calls, since most calls here never wait.
#[test]
fn signals_during_readings() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
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
                // Not a number of readings: these are slow if other namespaces have many sockets,
                // and some sockets of the fixture end.
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

/// Without privileges, with a new procfs over /proc. This also needs a new PID namespace, without
/// which root of a user namespace may not mount a procfs. The first process there is root's.
#[test]
fn procfs_in_part() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    let (_dir, program) = unprivileged::readable_copy();
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
            command.args(unprivileged::wrapper()).arg(&program);
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
            for source in sources::names_and_auto() {
                answered(&ask(options, source, &[]), 6);
            }
            for (of, problem) in [(BY_ROOT, by_root), (BY_PID, by_pid)] {
                for source in ["auto", "procfs"] {
                    let output = ask(options, source, &of);
                    let Some(problem) = problem else {
                        answered(&output, 6);
                        continue;
                    };
                    let stderr = failed(&output);
                    assert!(stderr.contains(problem), "{options}, {of:?}: {stderr}");
                    assert!(stderr.contains("hidden (hidepid=)"), "{stderr}");
                }
            }
            for source in ["netlink", "netlink-full"] {
                let stderr = failed(&ask(options, source, &BY_PID));
                let enter = "cannot enter the network namespace /proc/1/ns/net: E";
                let expected = by_pid.filter(|problem| *problem == hidden);
                assert!(
                    stderr.contains(expected.unwrap_or(enter)),
                    "{options}: {stderr}"
                );
            }
        }
    })
    .unwrap();
}

#[test]
fn no_procfs_at_all() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let mix = Mix {
            established: 3,
            ..Mix::default()
        };
        let _fixture = mix.make().unwrap();
        let script = "mount -t tmpfs none /proc && exec \"$@\"";
        let wrapper = ["unshare", "--mount", "sh", "-c", script, "sh"];
        for source in ["auto", "netlink", "netlink-full"] {
            let stderr = answered(&command(&wrapper, source).output().unwrap(), 6);
            if source == "auto" {
                assert!(
                    stderr.contains("module: /proc/tcpstat: cannot open: ENOENT"),
                    "{stderr}"
                );
            }
        }
        let stderr = failed(&command(&wrapper, "procfs").output().unwrap());
        assert!(
            stderr.contains("procfs: /proc/net/tcp: cannot open: ENOENT"),
            "{stderr}"
        );
        assert!(stderr.contains("Is a procfs mounted there"), "{stderr}");
    })
    .unwrap();
}

/// The limit is lowered once the command runs: a program with shared libraries needs a descriptor
/// to start.
#[test]
fn no_free_descriptor() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        for source in sources::names_and_auto() {
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
            let (_, stderr) = texts(&output);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            // Which file or socket is named depends on the place in a reading.
            assert!(
                stderr.contains("cannot open") && stderr.contains(": EMFILE: "),
                "{source}: {stderr}"
            );
            assert!(
                stderr.ends_with(
                    "\nThis process has too many open files: raise its limit (ulimit -n).\n"
                ),
                "{stderr}"
            );
        }

        // Enough for the socket, but not for the counters.
        let wrapper = ["sh", "-c", "ulimit -n 4 && exec \"$@\"", "sh"];
        let stderr = answered(&command(&wrapper, "netlink").output().unwrap(), 0);
        assert!(
            stderr.contains("no counters: ") && stderr.contains("EMFILE"),
            "{stderr}"
        );
        answered(&command(&wrapper, "procfs").output().unwrap(), 0);
    })
    .unwrap();
}

/// Asserts that the command answers under a filter. Returns its standard output.
fn prints(filter: &BpfProgram, arguments: &[&str], more: &[&str]) -> String {
    let output = run_under(filter, tcpstat(&[arguments, more].concat()));
    let (stdout, stderr) = texts(&output);
    let status = output.status;
    assert!(
        status.success(),
        "{arguments:?}, {more:?}: {status}, {stderr}"
    );
    stdout
}

/// A filter that kills a process which could change anything: which opens a file for writing,
/// makes, removes or renames one, makes another socket than one of `NETLINK_SOCK_DIAG`, or makes a
/// call that needs a privilege. Except for the calls in `allowed`.
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
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    let read_only = read_only(&[]);
    netns::in_new(|| {
        // Proves that the filter kills a process that writes.
        let file = tempfile::NamedTempFile::new().unwrap();
        for script in [": >\"$0\"", ": >>\"$0\"", ": <>\"$0\""] {
            let mut writes = Command::new("sh");
            writes.args(["-c", script]).arg(file.path());
            let output = run_under(&read_only, writes);
            assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{script}");
        }
        let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mix = Mix {
            established: 3,
            ..Mix::default()
        };
        let _fixture = mix.make().unwrap();
        for source in sources::names_and_auto() {
            answered(&run_under(&read_only, command(&[], source)), 6);
            for (arguments, expected) in [
                (&["services"][..], "\"services\":[{"),
                (
                    &["services", "--port", "1-65535", "--format", "table"],
                    " PORT ",
                ),
                (&["connections", "--state", "listen"], "\"LISTEN\""),
                (&["check", "--warn", "total<1"], " OK"),
                (
                    &["top", "--by", "peer", "--address", "127.0.0.0/8"],
                    "\"key\":\"127.0.0.1\",\"total\":6,",
                ),
                (&["top", "--by", "user"], "\"exact\":true"),
                (&["top", "--by", "process"], "\"exact\":true"),
            ] {
                let stdout = prints(&read_only, arguments, &["--source", source]);
                assert!(stdout.contains(expected), "{arguments:?}: {stdout}");
            }
        }
        let stdout = prints(&read_only, &["explain", "close-wait"], &[]);
        assert!(stdout.starts_with("CLOSE_WAIT: "), "{stdout}");

        let watch = ["watch", "--interval", "5ms"];
        let mut command = tcpstat(&watch);
        command.stdout(Stdio::piped());
        let mut child = start_under(&read_only, || command.spawn());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.take(3) {
            assert!(line.unwrap().contains("ESTABLISHED 6"));
        }
        assert!(child.wait().unwrap().success());

        let mut terminal = Terminal::new(80, 24).unwrap();
        let mut command = tcpstat(&watch);
        command.env("TERM", "xterm");
        let mut child = start_under(&read_only, || terminal.start(&mut command));
        terminal.wait_for("the screen", |screen| screen.contents().contains("q quit"));
        terminal.press("q").unwrap();
        assert!(terminal.wait(&mut child).unwrap().success());
    })
    .unwrap();
}

/// The exporter listens, and otherwise does no more than the others.
#[test]
fn the_exporter_opens_nothing_for_writing() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    let listening = read_only(&[libc::SYS_socket, libc::SYS_bind, libc::SYS_listen]);
    netns::in_new(|| {
        let address = "127.0.0.1:10069";
        let mut command = tcpstat(&["exporter", "--web.listen-address", address]);
        command.args(["--collector.listeners", "--collector.peer-ports"]);
        command.stderr(Stdio::piped());
        let child = start_under(&listening, || command.spawn());
        let exporter = Exporter::of(child, address);
        for _ in 0..3 {
            let samples = exporter.scrape("/metrics");
            let success = samples.iter();
            let success = success.filter(|(key, _)| key.starts_with("tcpstat_reading_success"));
            assert_eq!(success.map(|(_, value)| value).sum::<f64>(), 6.0);
        }
        // The filter is on: it may not make another socket than those.
        let mut refused = tcpstat(&["exporter", "--web.listen-address", address]);
        refused.stderr(Stdio::piped());
        let output = run_under(&read_only(&[]), refused);
        assert_eq!(output.status.signal(), Some(libc::SIGSYS));
    })
    .unwrap();
}

/// The command enters the namespace of another process with `setns`, and otherwise does the same as
/// in its own.
#[test]
fn enters_namespaces_and_opens_nothing_for_writing() {
    if netns::must_skip() {
        return;
    }
    let _serial = serial();
    netns::in_new(|| {
        let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let idle = Idle::start().unwrap();
        let pid = idle.pid().to_string();
        // A procfs with this process only.
        let root = TempDir::new().unwrap();
        symlink(format!("/proc/{pid}"), root.path().join("7")).unwrap();
        let all = [
            "--all-namespaces",
            "--proc-root",
            root.path().to_str().unwrap(),
        ];
        let [entering, staying] = [&[libc::SYS_setns][..], &[]].map(read_only);
        netns::in_new(|| {
            for source in sources::names() {
                for of in [&["--pid", &pid][..], &all] {
                    let top = ["top", "--by", "family"];
                    for command in [&[][..], &["services"], &["connections"], &top] {
                        let arguments = [command, of].concat();
                        let stdout = prints(&entering, &arguments, &["--source", source]);
                        assert!(stdout.contains("LISTEN"), "{arguments:?}: {stdout}");
                        let mut command = tcpstat(&arguments);
                        command.args(["--source", source]);
                        let stays = source == "procfs";
                        assert_eq!(run_under(&staying, command).status.success(), stays);
                    }
                }
            }
        })
        .unwrap();
    })
    .unwrap();
}
