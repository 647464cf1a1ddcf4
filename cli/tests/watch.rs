// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat watch` as its users meet it: on a terminal, and without one.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use common::run::run;
use common::saved;
use common::watch::{rows, shows, watch_on};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tcpstat_tests::terminal::{Terminal, vt100};
use tempfile::TempDir;

const HEADING: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

/// A procfs with a listener at port 2024, and a number of connections to it.
fn proc_root(connections: usize) -> TempDir {
    let root = saved::proc_root(&[]);
    set(&root, connections);
    root
}

fn set(root: &TempDir, connections: usize) {
    let socket = |remote: &str, state: &str| {
        format!(
            "   0: 0100007F:07E8 {remote} {state} 00000000:00000000 00:00000000 00000000     0        0 1574 1\n"
        )
    };
    let mut text = HEADING.to_owned() + &socket("00000000:0000", "0A");
    for port in 0..connections {
        text += &socket(&format!("0100007F:{:04X}", 50_000 + port), "01");
    }
    // In one step, so that no reading finds a part of it.
    let new = root.path().join("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, root.path().join("net/tcp")).unwrap();
}

fn watch(root: &TempDir) -> Command {
    watch_on(root.path(), &["--interval", "20ms", "--source", "procfs"])
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

fn is_left(screen: &vt100::Screen) -> bool {
    !screen.alternate_screen() && !screen.hide_cursor()
}

#[test]
fn the_screen_follows_changes_and_is_restored() {
    let root = proc_root(3);
    let mut terminal = Terminal::new(80, 24).unwrap();
    let settings = terminal.settings().unwrap();
    let mut child = terminal.start(&mut watch(&root)).unwrap();

    terminal.wait_for("the service", |screen| shows(screen, "ESTABLISHED 3"));
    let screen = terminal.screen();
    assert!(screen.alternate_screen() && screen.hide_cursor());
    assert_ne!(
        terminal.settings().unwrap(),
        settings,
        "keys are read one by one"
    );
    let shown = rows(screen);
    assert!(shown[0].starts_with("STATE  "), "{shown:?}");
    assert!(
        shown[1].starts_with("ESTABLISHED      3           75.0 %  "),
        "{shown:?}"
    );
    assert!(shown[12].starts_with("total            4 "), "{shown:?}");
    assert!(shown[14].starts_with("  PORT "), "{shown:?}");
    assert!(shown[15].starts_with("  2024 "), "{shown:?}");
    assert!(shown[23].starts_with("? help  q quit  "), "{shown:?}");
    assert!(!shows(screen, "/s"), "nothing has changed: {shown:?}");

    set(&root, 5);
    terminal.wait_for("two more connections", |screen| {
        shows(screen, "ESTABLISHED 5 +")
    });

    fs::write(
        root.path().join("net/tcp"),
        HEADING.to_owned() + "nonsense\n",
    )
    .unwrap();
    terminal.wait_for("the error", |screen| {
        shows(screen, "error: ") && shows(screen, "net/tcp, line 2") && shows(screen, "q quit  OLD")
    });
    assert!(shows(terminal.screen(), "ESTABLISHED 5"));
    set(&root, 4);
    terminal.wait_for("the end of the error", |screen| {
        !shows(screen, "error") && !shows(screen, "OLD") && shows(screen, "ESTABLISHED 4")
    });

    for (columns, lines) in [(40, 10), (10, 3), (1, 1), (200, 50), (80, 24)] {
        terminal.resize(columns, lines).unwrap();
        let footer = match columns {
            14.. => "? help  q quit",
            3.. => "? q",
            _ => "",
        };
        terminal.wait_for("the size", |screen| {
            let shown = rows(screen);
            let (last, others) = shown.split_last().unwrap();
            let below = others.iter().any(|row| row.starts_with("? "));
            !below && last.starts_with(footer)
        });
    }

    terminal.press("q").unwrap();
    assert_eq!(terminal.wait(&mut child).unwrap().code(), Some(0));
    assert!(is_left(terminal.screen()));
    assert_eq!(terminal.screen().contents(), "");
    assert_eq!(terminal.settings().unwrap(), settings);
}

#[test]
fn keys_and_signals_end_it_and_restore_the_terminal() {
    enum End {
        Key(&'static str),
        Signal(Signal),
    }
    for end in [
        End::Key("q"),
        End::Key("\x1b"),
        End::Key("\x03"),
        End::Signal(Signal::SIGTERM),
        End::Signal(Signal::SIGHUP),
        End::Signal(Signal::SIGINT),
        End::Signal(Signal::SIGQUIT),
        End::Signal(Signal::SIGALRM),
        End::Signal(Signal::SIGUSR1),
        End::Signal(Signal::SIGUSR2),
    ] {
        let root = proc_root(1);
        let mut terminal = Terminal::new(80, 24).unwrap();
        let settings = terminal.settings().unwrap();
        let mut child = terminal.start(&mut watch(&root)).unwrap();
        terminal.wait_for("the screen", |screen| shows(screen, "q quit"));
        let expected = match end {
            End::Key(key) => {
                terminal.press(key).unwrap();
                None
            }
            End::Signal(number) => {
                signal(&child, number);
                Some(number as i32)
            }
        };
        let status = terminal.wait(&mut child).unwrap();
        assert_eq!(
            (status.signal(), status.success()),
            (expected, expected.is_none())
        );
        assert!(is_left(terminal.screen()), "{expected:?}");
        assert_eq!(terminal.settings().unwrap(), settings, "{expected:?}");
    }
}

#[test]
fn a_terminal_that_goes_away_ends_it() {
    let root = proc_root(1);
    let mut terminal = Terminal::new(80, 24).unwrap();
    let mut child = terminal.start(&mut watch(&root)).unwrap();
    terminal.wait_for("the screen", |screen| shows(screen, "q quit"));
    drop(terminal);
    assert!(!child.wait().unwrap().success());
}

#[test]
fn a_terminal_that_hangs_does_not_keep_it() {
    let root = proc_root(1);
    let mut terminal = Terminal::new(80, 24).unwrap();
    let settings = terminal.settings().unwrap();
    let mut child = terminal.start(&mut watch(&root)).unwrap();
    terminal.wait_for("the screen", |screen| shows(screen, "q quit"));
    terminal.fill().unwrap();
    signal(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
    assert_eq!(terminal.settings().unwrap(), settings);
}

#[test]
fn the_shell_has_the_terminal_while_it_is_stopped() {
    let root = proc_root(1);
    let mut terminal = Terminal::new(80, 24).unwrap();
    let settings = terminal.settings().unwrap();
    let mut child = terminal.start(&mut watch(&root)).unwrap();
    terminal.wait_for("the screen", |screen| shows(screen, "q quit"));
    terminal.press("\x1a").unwrap();
    terminal.wait_for("the shell's screen", is_left);
    let stopped = nix::sys::wait::waitpid(
        Pid::from_raw(child.id() as i32),
        Some(nix::sys::wait::WaitPidFlag::WUNTRACED),
    );
    assert!(
        matches!(stopped, Ok(nix::sys::wait::WaitStatus::Stopped(..))),
        "{stopped:?}"
    );
    assert_eq!(terminal.settings().unwrap(), settings);
    signal(&child, Signal::SIGCONT);
    terminal.wait_for("the screen again", |screen| {
        screen.alternate_screen() && shows(screen, "q quit")
    });
    terminal.press("q").unwrap();
    assert!(terminal.wait(&mut child).unwrap().success());
    assert_eq!(terminal.settings().unwrap(), settings);
}

#[test]
fn rows_are_scrolled_by_keys() {
    let root = proc_root(0);
    let mut terminal = Terminal::new(80, 4).unwrap();
    let mut child = terminal.start(&mut watch(&root)).unwrap();
    // There is room for one row: the service, or the connections at other ports.
    terminal.wait_for("the first row", |screen| shows(screen, "\n  2024 "));
    for (key, expected) in [
        ("j", "\n  other"),
        ("k", "\n  2024 "),
        ("\x1b[B", "\n  other"),
        ("\x1b[A", "\n  2024 "),
        ("\x1b[6~", "\n  other"),
        ("\x1b[5~", "\n  2024 "),
        ("\x1b[F", "\n  other"),
        ("\x1b[H", "\n  2024 "),
    ] {
        terminal.press(key).unwrap();
        terminal.wait_for(key, |screen| shows(screen, expected));
    }
    terminal.press("q").unwrap();
    assert!(terminal.wait(&mut child).unwrap().success());
}

#[test]
fn no_key_is_lost_while_the_size_changes() {
    let root = proc_root(0);
    let mut terminal = Terminal::new(80, 4).unwrap();
    let mut child = terminal.start(&mut watch(&root)).unwrap();
    terminal.wait_for("the first row", |screen| shows(screen, "\n  2024 "));
    for columns in 81..181 {
        terminal.resize(columns, 4).unwrap();
        let (key, expected) = match columns % 2 {
            0 => ("k", "\n  2024 "),
            _ => ("j", "\n  other"),
        };
        terminal.press(key).unwrap();
        terminal.wait_for(key, |screen| shows(screen, expected));
    }
    terminal.press("q").unwrap();
    assert!(terminal.wait(&mut child).unwrap().success());
}

#[test]
fn colours_are_shown_only_where_they_are_wanted() {
    let coloured = |variable: &str, value: &str| {
        let root = proc_root(1);
        let mut terminal = Terminal::new(80, 24).unwrap();
        let mut child = terminal.start(watch(&root).env(variable, value)).unwrap();
        terminal.wait_for("the screen", |screen| shows(screen, "q quit"));
        let cells = (0..24).flat_map(|row| (0..80).map(move |column| (row, column)));
        let screen = terminal.screen();
        let coloured = cells
            .filter_map(|(row, column)| screen.cell(row, column))
            .any(|cell| cell.fgcolor() != vt100::Color::Default);
        terminal.press("q").unwrap();
        assert!(terminal.wait(&mut child).unwrap().success());
        coloured
    };
    assert!(coloured("NO_COLOR", ""));
    assert!(!coloured("NO_COLOR", "1"));
    assert!(!coloured("TERM", "vt100"));
}

#[test]
fn without_a_keyboard_signals_end_it() {
    let root = proc_root(2);
    let mut terminal = Terminal::new(80, 24).unwrap();
    let settings = terminal.settings().unwrap();
    // Its output is its only terminal: setsid detaches it from the terminal that the test may have.
    let mut command = Command::new("setsid");
    let watch = watch(&root);
    command.arg(watch.get_program()).args(watch.get_args());
    for (name, value) in watch.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .stdin(Stdio::null())
        .stdout(terminal.handle().unwrap());
    let mut child = command.spawn().unwrap();
    terminal.wait_for("the screen", |screen| shows(screen, "ESTABLISHED 2"));
    assert!(!shows(terminal.screen(), "q quit"));
    signal(&child, Signal::SIGTERM);
    assert_eq!(
        terminal.wait(&mut child).unwrap().signal(),
        Some(Signal::SIGTERM as i32)
    );
    assert!(is_left(terminal.screen()));
    assert_eq!(terminal.settings().unwrap(), settings);
}

#[test]
fn a_first_reading_that_fails_ends_it_and_touches_no_screen() {
    let root = TempDir::new().unwrap();
    let mut terminal = Terminal::new(80, 24).unwrap();
    let settings = terminal.settings().unwrap();
    let mut child = terminal.start(&mut watch(&root)).unwrap();
    assert_eq!(terminal.wait(&mut child).unwrap().code(), Some(1));
    assert!(
        shows(terminal.screen(), "tcpstat: "),
        "{}",
        terminal.screen().contents()
    );
    assert!(shows(terminal.screen(), "net/tcp"));
    assert_eq!(terminal.settings().unwrap(), settings);
}

#[test]
fn without_a_screen_it_prints_lines() {
    let root = proc_root(3);
    let mut command = watch(&root);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut complaints = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = || lines.next().expect("another line").unwrap();
    for expected in [
        "Z procfs: total 4, ESTABLISHED 3, LISTEN 1",
        "Z procfs: port 2024: total 4, ESTABLISHED 3, LISTEN 1, accept queue 0/?, drops ?",
    ] {
        let line = next();
        assert!(line.ends_with(expected), "{line}");
    }

    set(&root, 5);
    let changed = loop {
        let line = next();
        if line.contains('+') {
            break line;
        }
    };
    assert!(
        changed.contains(" total 6 +2, ESTABLISHED 5 +2, LISTEN 1"),
        "{changed}"
    );

    fs::remove_file(root.path().join("net/tcp")).unwrap();
    let complaint = complaints.next().expect("an error").unwrap();
    assert!(
        complaint.starts_with("tcpstat: 2") && complaint.contains("Z: "),
        "{complaint}"
    );
    set(&root, 1);
    let changed = loop {
        let line = next();
        if line.contains("ESTABLISHED 1 -4") {
            break line;
        }
    };
    assert!(changed.contains(" total 2 -4"), "{changed}");

    // A closed pipe is not an error.
    drop(lines);
    drop(complaints);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_service_without_connections_has_a_line_only_if_its_port_is_selected() {
    let root = proc_root(0);
    for (arguments, expected) in [
        (&[][..], "Z procfs: total 1, LISTEN 1"),
        (
            &["--port", "2024"],
            "Z procfs: port 2024: total 1, LISTEN 1, accept queue 0/?, drops ?",
        ),
    ] {
        let mut command = watch(&root);
        command.args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Without a selected port, this is the line of the second reading.
        let second = lines.map(Result::unwrap).nth(1).expect("another line");
        assert!(second.ends_with(expected), "{second}");
        // A closed pipe is not an error.
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_gets_lines() {
    for term in ["dumb", "unknown", ""] {
        let root = proc_root(3);
        let mut terminal = Terminal::new(120, 24).unwrap();
        let mut child = terminal.start(watch(&root).env("TERM", term)).unwrap();
        terminal.wait_for("two readings", |screen| {
            let rows = rows(screen);
            let totals = |row: &str| row.contains("Z procfs: total 4, ESTABLISHED 3, LISTEN 1");
            let services = |row: &str| row.contains("Z procfs: port 2024: total 4, ");
            // Nothing changes after the first reading.
            totals(&rows[0]) && services(&rows[1]) && totals(&rows[2]) && totals(&rows[3])
        });
        assert!(!terminal.screen().alternate_screen());
        terminal.press("\x03").unwrap();
        assert_eq!(
            terminal.wait(&mut child).unwrap().signal(),
            Some(Signal::SIGINT as i32)
        );
    }
}

#[test]
fn a_service_has_a_line_only_if_it_has_changed() {
    let root = proc_root(3);
    let mut command = watch_on(root.path(), &["--interval", "50ms", "--count", "3"]);
    let (code, text, stderr) = run(&mut command);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines.len(),
        4,
        "three of the totals, one of the service: {text}"
    );
    assert!(lines[1].contains(": port 2024: "), "{text}");

    let mut command = watch_on(root.path(), &["--interval", "100ms", "--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!(first["source"], "procfs");
    assert_eq!(
        (&first["total"], &first["states"]["ESTABLISHED"]["count"]),
        (&4.into(), &3.into())
    );
    assert_eq!(first["services"][0]["port"], 2024);
    assert_eq!(first["services"][0]["states"]["ESTABLISHED"]["count"], 3);
    assert_eq!(next()["services"], Value::Array(Vec::new()));
    set(&root, 5);
    let changed = loop {
        let line = next();
        if line["services"] != Value::Array(Vec::new()) {
            break line;
        }
    };
    assert_eq!(changed["services"][0]["total"], 6);
    // The listener goes, and that is a change.
    fs::write(root.path().join("net/tcp"), HEADING).unwrap();
    let gone = loop {
        let line = next();
        if line["services"] != Value::Array(Vec::new()) {
            break line;
        }
    };
    assert_eq!(
        (
            &gone["services"][0]["port"],
            &gone["services"][0]["listeners"]
        ),
        (&2024.into(), &0.into())
    );
    assert_eq!(gone["total"], 0);
    drop(lines);
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_listens_no_more_has_a_last_line() {
    let root = proc_root(1);
    let mut command = watch_on(root.path(), &["--interval", "50ms"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.next().unwrap().contains("total 2"));
    fs::write(root.path().join("net/tcp"), HEADING).unwrap();
    let gone = lines.find(|line| line.contains("port 2024: nothing"));
    assert!(
        gone.unwrap()
            .ends_with(" procfs: port 2024: nothing listens any more")
    );
    drop(lines);
    assert!(child.wait().unwrap().success());
}
