// SPDX-License-Identifier: GPL-2.0-only

//! The host's side must fail whenever something went wrong inside the machine. The machines here
//! are shell scripts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const GOOD: &str = "KTAP version 1\n1..2\n# a: took 1 s\nok 1 a\nok 2 b\n";

/// The result of a run of `tcpstat-vm-run`.
struct Run {
    code: Option<i32>,
    stdout: String,
    console: String,
    directory: TempDir,
}

impl Run {
    /// Asserts that it failed with `reason` among its problems, not only in the console.
    fn failed_with(&self, reason: &str) {
        assert_eq!(self.code, Some(1), "{}", self.stdout);
        let is_there = self
            .stdout
            .lines()
            .any(|line| line.starts_with("PROBLEM ") && line.contains(reason));
        assert!(is_there, "no problem {reason:?} in:\n{}", self.stdout);
        assert!(!self.closing().ends_with(" 0 failed"), "{}", self.stdout);
    }

    fn closing(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }
}

fn vm_run(directory: &Path, timeout: u64, command: &[&str]) -> Command {
    let mut run = Command::new(env!("CARGO_BIN_EXE_tcpstat-vm-run"));
    run.args(["--timeout", &timeout.to_string(), "--ktap"])
        .arg(directory.join("ktap"));
    run.arg("--console")
        .arg(directory.join("console"))
        .arg("--")
        .args(command);
    // For the machine's script.
    run.env("KTAP", directory.join("ktap"))
        .env("DIRECTORY", directory);
    run
}

fn run_in(directory: TempDir, timeout: u64, command: &[&str]) -> Run {
    let run = vm_run(directory.path(), timeout, command);
    judged(directory, run)
}

/// Runs `run`, a `tcpstat-vm-run` with its files in `directory`.
fn judged(directory: TempDir, mut run: Command) -> Run {
    let output = run.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        console: fs::read_to_string(directory.path().join("console")).unwrap_or_default(),
        directory,
    }
}

/// Runs a machine that is a shell script.
fn machine(script: &str) -> Run {
    run_in(TempDir::new().unwrap(), 60, &["sh", "-c", script])
}

/// Runs a machine that prints `console` and writes the verdict `ktap`.
fn machine_with(ktap: &str, console: &str) -> Run {
    machine_judged_by(&[], ktap, console)
}

/// The same, with more arguments for `tcpstat-vm-run`.
fn machine_judged_by(arguments: &[&str], ktap: &str, console: &str) -> Run {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    fs::write(path.join("good"), ktap).unwrap();
    fs::write(path.join("text"), console).unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_tcpstat-vm-run"));
    run.args(arguments)
        .arg("--summary")
        .arg(path.join("summary"));
    let script = r#"cat "$DIRECTORY/text"; cat "$DIRECTORY/good" >"$KTAP""#;
    let usual = vm_run(path, 60, &["sh", "-c", script]);
    run.args(usual.get_args());
    run.envs(
        usual
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    judged(directory, run)
}

fn is_gone(pid: &str) -> bool {
    // A process that has ended counts as gone even if its parent has not waited for it.
    match fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Ok(stat) => stat
            .rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

fn wait_for_file(path: PathBuf) -> String {
    let start = Instant::now();
    loop {
        match fs::read_to_string(&path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(
                start.elapsed() < Duration::from_secs(20),
                "{} never came",
                path.display()
            ),
        }
        sleep(Duration::from_millis(10));
    }
}

fn wait_until_gone(pid: &str) {
    let start = Instant::now();
    while !is_gone(pid) {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "process {pid} is still there"
        );
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn all_is_well() {
    let boot = include_str!("../data/boot.log");
    let run = machine_with(GOOD, boot);
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    assert_eq!(run.closing(), "2 passed, 0 failed");
    assert_eq!(run.console, boot);
    assert!(run.stdout.contains(boot), "the console is shown");
    assert!(run.directory.path().join("ktap").exists());
}

#[test]
fn carriage_returns_do_no_harm() {
    let run = machine_with(&GOOD.replace('\n', "\r\n"), "fine\r\n");
    assert_eq!(run.code, Some(0), "{}", run.stdout);
}

#[test]
fn no_verdict() {
    machine("echo booting").failed_with("no verdict");
}

#[test]
fn an_empty_verdict() {
    machine(r#": >"$KTAP""#).failed_with("no verdict");
}

#[test]
fn an_old_verdict_is_not_taken() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("ktap"), GOOD).unwrap();
    run_in(directory, 60, &["true"]).failed_with("no verdict");
}

#[test]
fn no_plan() {
    machine_with("KTAP version 1\nok 1 a\n", "").failed_with("no plan");
}

#[test]
fn a_plan_of_nothing() {
    machine_with("KTAP version 1\n1..0\n", "").failed_with("plans no tests");
}

#[test]
fn fewer_results_than_planned() {
    let run = machine_with("KTAP version 1\n1..3\nok 1 a\nok 2 b\n# c: began\n", "");
    run.failed_with("3 results were planned, 2 came");
    run.failed_with("never ended: c: began");
}

#[test]
fn more_results_than_planned() {
    machine_with("KTAP version 1\n1..1\nok 1 a\nok 2 b\n", "")
        .failed_with("1 results were planned, 2 came");
}

#[test]
fn a_test_that_failed() {
    let run = machine_with(
        "KTAP version 1\n1..2\nok 1 a\n# b: LISTEN is 3, wanted 4\nnot ok 2 b\n",
        "",
    );
    assert_eq!(run.code, Some(1));
    assert!(
        run.stdout.contains("LISTEN is 3, wanted 4"),
        "{}",
        run.stdout
    );
    assert_eq!(run.closing(), "1 passed, 1 failed");
}

#[test]
fn a_test_that_was_skipped() {
    let run = machine_with(
        "KTAP version 1\n1..2\nok 1 a\nok 2 b # SKIP no kernel\n",
        "",
    );
    assert_eq!(run.code, Some(0));
    assert!(
        run.stdout.contains("\nSKIPPED b: no kernel\n"),
        "{}",
        run.stdout
    );
    assert_eq!(run.closing(), "1 passed, 0 failed, 1 skipped");
}

#[test]
fn the_summary_has_the_numbers_and_what_was_skipped() {
    let run = machine_with(
        "KTAP version 1\n1..4\nok 1 a\nok 2 b # SKIP no table\nnot ok 3 c: d\nok 4 e # SKIP no IPv6\n",
        "",
    );
    assert_eq!(run.code, Some(1));
    let summary = fs::read_to_string(run.directory.path().join("summary")).unwrap();
    assert_eq!(
        summary,
        "passed=1 skipped=2 failed=1\nskipped: b: no table\nskipped: e: no IPv6\n"
    );
}

#[test]
fn a_good_run_of_before_leaves_no_summary() {
    let directory = TempDir::new().unwrap();
    let summary = directory.path().join("summary");
    fs::write(&summary, "passed=2 skipped=0 failed=0\n").unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_tcpstat-vm-run"));
    run.arg("--summary").arg(&summary);
    run.args(vm_run(directory.path(), 60, &["/no/such/launcher"]).get_args());
    let run = judged(directory, run);
    run.failed_with("cannot start");
    assert!(!run.directory.path().join("summary").exists());
}

#[test]
fn a_skipped_test_fails_a_run_in_which_all_must_run() {
    let text = "KTAP version 1\n1..2\nok 1 a\nok 2 b # SKIP no table\n";
    let run = machine_judged_by(&["--no-skips"], text, "");
    run.failed_with("\"b\" was skipped, and must run here: no table");
    assert_eq!(run.closing(), "1 passed, 1 failed, 1 skipped");
    let run = machine_judged_by(&["--no-skips"], GOOD, "");
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    assert_eq!(run.closing(), "2 passed, 0 failed");
}

#[test]
fn nothing_but_skipped_tests() {
    machine_with("KTAP version 1\n1..1\nok 1 a # SKIP no kernel\n", "")
        .failed_with("every test was skipped");
}

#[test]
fn what_was_measured_is_shown() {
    let run = machine_with(
        "KTAP version 1\n1..1\n# a: measured: 5 us, at most\n# a: took 1 s\nok 1 a\n",
        "",
    );
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    assert!(run.stdout.contains("a: 5 us, at most\n"), "{}", run.stdout);
    assert!(!run.stdout.contains("took 1 s"), "{}", run.stdout);
}

#[test]
fn something_else_in_the_verdict() {
    machine_with("KTAP version 1\n1..2\nok 1 a\nok 2 b\nok 2 b\nwell\n", "").failed_with("line 6");
}

#[test]
fn the_command_fails() {
    machine(&format!(
        "printf '{}' >\"$KTAP\"; exit 3",
        GOOD.replace('\n', "\\n")
    ))
    .failed_with("exit code 3");
    machine(&format!(
        "printf '{}' >\"$KTAP\"; kill -SEGV $$",
        GOOD.replace('\n', "\\n")
    ))
    .failed_with("SIGSEGV");
}

#[test]
fn the_command_cannot_be_started() {
    run_in(TempDir::new().unwrap(), 60, &["/no/such/launcher"])
        .failed_with("cannot start /no/such/launcher");
}

#[test]
fn the_console_cannot_be_kept() {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("console")).unwrap();
    run_in(directory, 60, &["true"]).failed_with("cannot write");
}

#[test]
fn a_machine_that_hangs_is_killed_with_all_it_started() {
    // The verdict is good, but the run is not.
    let run = run_in(
        TempDir::new().unwrap(),
        1,
        &[
            "sh",
            "-c",
            r#"printf 'KTAP version 1\n1..1\nok 1 a\n' >"$KTAP"
               echo last words; sleep 1000 & echo $! >"$DIRECTORY/child"; echo $$ >"$DIRECTORY/machine"
               trap '' TERM; sleep 1000; sleep 1000"#,
        ],
    );
    run.failed_with("did not end within 1 s");
    assert_eq!(run.closing(), "1 passed, 1 failed");
    assert!(
        run.stdout.contains("    last words"),
        "the end of the console is shown: {}",
        run.stdout
    );
    for file in ["child", "machine"] {
        wait_until_gone(&fs::read_to_string(run.directory.path().join(file)).unwrap());
    }
}

#[test]
fn what_a_machine_leaves_behind_is_killed() {
    let run = machine(&format!(
        "printf '{}' >\"$KTAP\"; sleep 1000 & echo $! >\"$DIRECTORY/child\"",
        GOOD.replace('\n', "\\n")
    ));
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    wait_until_gone(&fs::read_to_string(run.directory.path().join("child")).unwrap());
}

#[test]
fn interrupting_it_ends_the_machine() {
    let directory = TempDir::new().unwrap();
    let script = r#"echo $$ >"$DIRECTORY/machine"; sleep 1000; sleep 1000"#;
    let child = vm_run(directory.path(), 60, &["sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let machine = wait_for_file(directory.path().join("machine"));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("PROBLEM interrupted"));
    wait_until_gone(&machine);
}

#[test]
fn usage() {
    let output = Command::new(env!("CARGO_BIN_EXE_tcpstat-vm-run"))
        .arg("--timeout")
        .arg("0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// Lines as kernels print them.
const SPLATS: [&str; 44] = [
    "[    9.1] ------------[ cut here ]------------",
    "[    9.1] WARNING: kernel/locking/rwsem.c:42 at down_read+0x1/0x2, CPU#1: insmod/77",
    "[    9.1] WARNING: CPU: 1 PID: 77 at net/ipv4/tcp.c:12 tcp_close+0x1/0x2",
    "[    9.1][   T77] WARNING: possible circular locking dependency detected",
    "[    9.1] WARNING: possible recursive locking detected",
    "[    9.1] WARNING: inconsistent lock state",
    "[    9.1] WARNING: suspicious RCU usage",
    "[    9.1] WARNING: bad unlock balance detected!",
    "[    9.1] BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "[    9.1] BUG: unable to handle page fault for address: ffff888000000000",
    "[    9.1] Unable to handle kernel paging request at virtual address dead000000000100",
    "[    9.1] BUG: sleeping function called from invalid context at mm/slab.h:1",
    "[    9.1] BUG: scheduling while atomic: cat/77/0x00000002",
    "[    9.1] BUG: KASAN: slab-use-after-free in show+0x1/0x2 [tcpstat]",
    "[    9.1] BUG: KFENCE: out-of-bounds read in show+0x1/0x2 [tcpstat]",
    "[    9.1] BUG kmalloc-64 (Tainted: G           O      ): Poison overwritten",
    "[    9.1] BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 30s!",
    "[    9.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [cat:77]",
    "[    9.1] watchdog: Watchdog detected hard LOCKUP on cpu 0",
    "[    9.1] INFO: task insmod:77 blocked for more than 120 seconds.",
    "[    9.1] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "[    9.1] rcu: INFO: rcu_preempt self-detected stall on CPU",
    "[    9.1] Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
    "[    9.1] Oops: 0000 [#1] SMP",
    "[    9.1] general protection fault: 0000 [#1] SMP",
    "[    9.1] Kernel panic - not syncing: sysrq triggered crash",
    "[    9.1] Call Trace:",
    "[    9.1] Call trace:",
    "[    9.1] Internal error: synchronous external abort: 0000000096000010 [#1]  SMP",
    "[    9.1] SError Interrupt on CPU0, code 0x00000000be000000 -- SError",
    "[    9.1] kernel BUG at kmod/own/own.c:20!",
    "[    9.1] list_add corruption. prev->next should be next (ffff8), but was ffff9.",
    "[    9.1] list_del corruption, ffff8->next is LIST_POISON1",
    "[    9.1] refcount_t: underflow; use-after-free.",
    "[    9.1] UBSAN: array-index-out-of-bounds in net/ipv4/tcp.c:1:2",
    "[    9.1] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "[    9.1] DEBUG_LOCKS_WARN_ON(1)",
    "[    9.1] [ BUG: Invalid wait context ]",
    "[    9.1] tcpstat: Unknown symbol tcp_hashinfo (err -2)",
    "[    9.1] traps: PANIC: double fault, error_code: 0x0",
    "[    9.1] BUG: stack guard page was hit at (____ptrval____)",
    "[    9.1] remove_proc_entry: removing non-empty directory 'net', leaking at least 'tcpstat'",
    "[    9.1] cat invoked oom-killer: gfp_mask=0x1, order=0, oom_score_adj=0",
    // After half a line of a program.
    "ok 3 a na[    9.1] BUG: KCSAN: data-race in show / tcp_close",
];

#[test]
fn every_splat_fails_a_run_that_is_good_otherwise() {
    let boot = include_str!("../data/boot.log");
    let number = boot.lines().count() + 1;
    for splat in SPLATS {
        let run = machine_with(GOOD, &format!("{boot}{splat}\r\n[   10.0] fine\r\n"));
        run.failed_with(&format!("console line {number}: {splat}"));
        assert_eq!(run.closing(), "2 passed, 1 failed");
    }
}

#[test]
fn a_flood_of_splats_is_shortened() {
    let run = machine_with(GOOD, &"[    9.1] Call Trace:\n".repeat(500));
    run.failed_with("and 470 more such console lines");
    assert_eq!(run.closing(), "2 passed, 31 failed");
}
