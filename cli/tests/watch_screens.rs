// SPDX-License-Identifier: MIT OR Apache-2.0

//! The screens of `tcpstat watch`, in every size, and its keys.
//!
//! `INSTA_UPDATE=always cargo test -p tcpstat-cli --test watch_screens` writes the expected screens
//! anew.

mod common;

use std::fs;

use common::saved::proc_root;
use common::tmux::{self, Tmux};
use common::watch::{Watch, watch_on};
use tempfile::TempDir;

/// Port 8080 is full and leaks, 9999 fills, 443 holds sockets in CLOSE_WAIT; others are fine.
const SERVICES: &str = "\
PORT LISTENERS ACCEPT_QUEUE BACKLOG DROPS FULLEST_QUEUE FULLEST_BACKLOG ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING
22 1 0 128 2 0 128 1 0 0 0 0 0 0 0 0 1 0
25 1 0 100 0 0 100 0 0 0 0 0 0 0 0 0 1 0
80 2 0 8192 0 0 4096 1200 0 0 0 15 300 0 0 0 2 0
443 2 12 8192 5 7 4096 9000 0 3 0 0 12345 0 1200 1 2 0
5432 1 0 200 0 0 200 57 0 0 0 0 0 0 0 0 1 0
6379 1 0 511 0 0 511 210 0 0 0 0 0 0 0 0 1 0
8080 4 129 512 11 129 128 169 0 0 0 0 0 0 40 0 4 0
9100 1 0 4096 0 0 4096 2 0 0 0 0 8 0 0 0 1 0
9999 1 6 10 0 6 10 6 0 0 0 0 0 0 0 0 1 0
- 0 0 0 0 0 0 349 11 0 0 12 0 0 0 0 0 0
";

/// A sample of the module on a machine whose name is `web1`.
fn sample() -> TempDir {
    proc_root(&[
        ("net/tcpstat_services", SERVICES),
        ("sys/kernel/hostname", "web1\n"),
    ])
}

/// A reading that stays the only one.
const ONCE: [&str; 4] = ["--source", "module", "--interval", "1h"];

/// The screen, without the time.
fn screen(watch: &Watch) -> String {
    let mut rows = watch.rows();
    let footer = rows.last_mut().unwrap();
    for (before, text, after) in [(8, "HH:MM:SS", " EST"), (10, "YYYY-MM-DD", " -05:00")] {
        if let Some(end) = footer.find(after) {
            let is_number = footer[end - before..].starts_with(|c: char| c.is_ascii_digit());
            assert!(is_number, "{footer}");
            footer.replace_range(end - before..end, text);
        }
    }
    // Marks where lines end, and how many there are.
    let rows = rows.iter().map(|row| row.trim_end());
    rows.flat_map(|row| [row, "|\n"]).collect()
}

#[test]
fn every_size_shows_what_is_wrong() {
    let sample = sample();
    for (columns, rows) in [
        (80, 24),
        (20, 24),
        (40, 12),
        (80, 12),
        (80, 3),
        (120, 40),
        (200, 50),
    ] {
        let watch = Watch::start(&mut watch_on(sample.path(), &ONCE), columns, rows);
        insta::assert_snapshot!(format!("screen_{columns}x{rows}"), screen(&watch));
        // The row of the full queue, marked and red, above all others.
        let shown = watch.rows();
        let first = shown.iter().position(|row| row.starts_with("! 8080 "));
        let first = first.unwrap_or_else(|| panic!("{columns}x{rows}: {shown:#?}"));
        assert!(!shown[..first].iter().any(|row| row.starts_with("  22 ")));
        assert!(watch.has_colour("! 8080", 1));
        watch.leave();
    }
}

#[test]
fn every_width_from_20_to_200_has_the_footer_and_whole_numbers() {
    let sample = sample();
    let mut watch = Watch::start(&mut watch_on(sample.path(), &ONCE), 200, 24);
    let numbers = |rows: &[String]| -> Vec<String> {
        let text = rows.join("\n");
        let numbers = text.split(|c: char| !c.is_ascii_digit());
        numbers.map(str::to_owned).collect()
    };
    let known = numbers(&watch.rows());
    for columns in (20..200).rev().step_by(3) {
        watch.terminal.resize(columns, 24).unwrap();
        let is_drawn = |screen: &tcpstat_tests::terminal::vt100::Screen| {
            let rows = common::watch::rows(screen);
            let footers = rows.iter().filter(|row| row.starts_with("? help  q quit"));
            footers.count() == 1 && rows[23].starts_with("? help  q quit")
        };
        watch.terminal.wait_for("the footer", is_drawn);
        watch.terminal.settle().unwrap();
        let rows = watch.rows();
        for number in numbers(&rows[..23]) {
            assert!(known.contains(&number), "{number} at {columns}: {rows:#?}");
        }
        assert!(
            rows.iter().any(|row| row.starts_with("! 8080 ")),
            "{rows:#?}"
        );
    }
    watch.leave();
}

#[test]
fn without_utf_8_and_colours_it_says_the_same() {
    let sample = sample();
    let mut command = watch_on(sample.path(), &ONCE);
    command.env("LC_ALL", "C").env("NO_COLOR", "1");
    let watch = Watch::start(&mut command, 80, 24);
    let shown = screen(&watch);
    assert!(shown.is_ascii(), "{shown}");
    assert!(
        shown.contains("! 8080 accept queue full 129/128"),
        "{shown}"
    );
    assert!(!watch.has_colour("! 8080", 1));
    watch.leave();
}

#[test]
fn the_help_and_an_open_service_are_screens() {
    let sample = sample();
    let mut watch = Watch::start(&mut watch_on(sample.path(), &ONCE), 80, 24);
    watch.press("?", "group by port");
    insta::assert_snapshot!("help", screen(&watch));
    watch.press("?", "PORT");
    watch.press("\r", "4 listening, 129 wait for accept");
    insta::assert_snapshot!("service", screen(&watch));
    watch.leave();
}

#[test]
fn every_key_does_what_the_help_says() {
    let sample = sample();
    let arguments = ["--interval", "2s", "--source", "module"];
    let mut watch = Watch::start(&mut watch_on(sample.path(), &arguments), 80, 24);
    let first_of = |watch: &Watch| {
        let rows = watch.rows();
        let heading = rows.iter().position(|row| row.starts_with("  PORT"));
        // The first one is wrong, the next one has the order.
        let row = &rows[heading.expect("the rows") + 2];
        row.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(first_of(&watch), "22");
    watch.press("s", "sort: total");
    assert_eq!(first_of(&watch), "443");
    watch.press("r", "sort: total, reversed");
    assert_eq!(first_of(&watch), "25");
    watch.press("r", "sort: total ");
    watch.press(">", "sort: listeners");
    watch.press("<", "sort: total ");
    watch.press("<", "sort: port");

    watch.press(" ", "PAUSED");
    let changed = SERVICES.replace("22 1 0 128 2 0 128 1 ", "22 1 0 128 2 0 128 77 ");
    fs::write(sample.path().join("net/tcpstat_services"), changed).unwrap();
    watch.press("+", "every 5s");
    assert!(watch.rows().iter().any(|row| row.contains("PAUSED")));
    watch.press(" ", "ESTABLISHED 77");
    watch.wait_until_gone("PAUSED");
    watch.press("-", "every 2s");
    watch.press("-", "every 1s");

    watch.press("/", "Enter: keep, Esc: all rows");
    watch.press("9", "/9_");
    watch.wait_until_gone("  22 ");
    watch.press("9", "/99_");
    watch.wait_until_gone("  9100 ");
    watch.press("\x7f", "  9100 ");
    watch.press("\r", "/9  ");
    watch.wait_until_gone("Enter: keep");
    // Esc goes back from the filter.
    watch.press("\x1b", "  22 ");

    // The second row is opened, and Esc goes back from it.
    watch.terminal.press("j").unwrap();
    watch.press("\r", "port 22");
    watch.press("\x1b", "PORT");
    watch.press("?", "Colours:");
    watch.press("\x1b", "PORT");

    watch.press("b", "by unit");
    watch.press("b", "by process");
    watch.press("b", "by peer");
    watch.press("b", "by port");

    watch.terminal.press("\x1b").unwrap();
    watch.has_left();
}

#[test]
fn every_key_works_under_tmux() {
    if !tmux::is_there() {
        return;
    }
    let sample = sample();
    let arguments = ["--source", "module", "--interval", "2s"];
    let tmux = Tmux::start(&watch_on(sample.path(), &arguments));
    tmux.wait_for("! 8080 accept queue full 129/128");
    for (key, text) in [
        ("s", "sort: total "),
        (">", "sort: listeners "),
        ("<", "sort: total "),
        ("r", "sort: total, reversed"),
        ("r", "sort: total "),
        ("<", "sort: port "),
        ("Space", "PAUSED"),
        ("+", "PAUSED"),
        ("Space", "every 5s"),
        ("-", "every 2s"),
        ("/", "/_"),
        ("9", "/9_"),
        ("BSpace", "/_"),
        ("9", "/9_"),
        ("Enter", "  9100 "),
        ("Escape", "  22 "),
        ("?", "Colours:"),
        ("Escape", "STATES"),
        ("Down", "STATES"),
        ("Enter", "port 22"),
        ("Escape", "STATES"),
        ("Home", "STATES"),
        ("Enter", "port 8080"),
        ("b", "port 8080"),
        ("Escape", "STATES"),
        ("b", "by unit"),
        ("b", "by process"),
        ("b", "by peer"),
        ("b", "by port"),
    ] {
        tmux.press(key, text);
    }
    tmux.press_last("q");
    // Esc leaves from the first screen, and gives the shell's screen back.
    let tmux = Tmux::start(&watch_on(sample.path(), &ONCE));
    tmux.wait_for("? help");
    tmux.press_last("Escape");
}
