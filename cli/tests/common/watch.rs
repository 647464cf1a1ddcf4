// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat watch` on a pseudo terminal, and what it shows there.

use std::path::Path;
use std::process::{Child, Command};

use tcpstat_tests::terminal::{Terminal, vt100};

use super::run::{tcpstat, tcpstat_on};

/// The command with these arguments, for a terminal with colours and UTF-8.
pub(crate) fn watch(arguments: &[&str]) -> Command {
    for_terminal(tcpstat(&[&["watch"], arguments].concat()))
}

/// The same, for a saved sample.
pub(crate) fn watch_on(root: &Path, arguments: &[&str]) -> Command {
    for_terminal(tcpstat_on(root, &[&["watch"], arguments].concat()))
}

fn for_terminal(mut command: Command) -> Command {
    command
        .env("TERM", "xterm-256color")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "EST5")
        .env_remove("NO_COLOR");
    command
}

/// The command on a terminal.
pub(crate) struct Watch {
    pub(crate) terminal: Terminal,
    child: Child,
}

impl Watch {
    /// Starts it on a terminal of this size, and waits for its first screen.
    pub(crate) fn start(command: &mut Command, columns: u16, rows: u16) -> Self {
        let mut terminal = Terminal::new(columns, rows).unwrap();
        let child = terminal.start(command).unwrap();
        terminal.wait_for("the footer", |screen| shows(screen, "? "));
        terminal.settle().unwrap();
        Self { terminal, child }
    }

    /// Presses a key, and waits until the screen shows a text.
    pub(crate) fn press(&mut self, key: &str, text: &str) {
        self.terminal.press(key).unwrap();
        self.wait_for(text);
        self.terminal.settle().unwrap();
    }

    /// Waits until the screen shows a text.
    pub(crate) fn wait_for(&mut self, text: &str) {
        self.terminal.wait_for(text, |screen| shows(screen, text));
    }

    /// Waits until the screen does not show a text any more.
    pub(crate) fn wait_until_gone(&mut self, text: &str) {
        self.terminal.wait_for(text, |screen| !shows(screen, text));
    }

    /// The lines of the screen, from the top.
    pub(crate) fn rows(&self) -> Vec<String> {
        rows(self.terminal.screen())
    }

    /// Whether a cell with this text, at the beginning of which the text is, has this colour.
    pub(crate) fn has_colour(&self, text: &str, colour: u8) -> bool {
        let screen = self.terminal.screen();
        self.rows().iter().zip(0..).any(|(row, line)| {
            row.match_indices(text).any(|(start, _)| {
                let column = row[..start].chars().count() as u16;
                let cell = screen.cell(line, column).unwrap();
                cell.fgcolor() == vt100::Color::Idx(colour)
            })
        })
    }

    /// The screen as a picture, SVG.
    pub(crate) fn picture(&self) -> String {
        // Of a column and a row, in pixels.
        const SIZE: (f64, f64) = (8.4, 18.0);
        let screen = self.terminal.screen();
        let (rows, columns) = screen.size();
        let (width, height) = (f64::from(columns) * SIZE.0, f64::from(rows) * SIZE.1);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-8 -8 {} {}\">\n\
             <rect x=\"-8\" y=\"-8\" width=\"100%\" height=\"100%\" fill=\"#1b1d1f\"/>\n\
             <g font-family=\"monospace\" font-size=\"14\" fill=\"#e7eaed\">\n",
            width + 16.0,
            height + 16.0
        );
        for row in 0..rows {
            let y = f64::from(row) * SIZE.1;
            for column in 0..columns {
                let cell = screen.cell(row, column).unwrap();
                let x = f64::from(column) * SIZE.0;
                let colour = match (cell.inverse(), cell.fgcolor()) {
                    (true, _) => "#1b1d1f",
                    (_, vt100::Color::Idx(1)) => "#ff6b5e",
                    (_, vt100::Color::Idx(3)) => "#e6c34a",
                    (_, vt100::Color::Idx(6)) => "#4fc1d9",
                    _ => "#e7eaed",
                };
                if cell.inverse() {
                    let back = match cell.fgcolor() {
                        vt100::Color::Idx(1) => "#ff6b5e",
                        _ => "#e7eaed",
                    };
                    svg += &format!(
                        "<rect x=\"{x:.1}\" y=\"{y}\" width=\"8.5\" height=\"18\" fill=\"{back}\"/>\n"
                    );
                }
                let level = "\u{2581}\u{2582}\u{2583}\u{2584}\u{2585}\u{2586}\u{2587}\u{2588}";
                let text = cell.contents();
                if let Some(place) = level.chars().position(|one| text.starts_with(one)) {
                    let high = 2.0 * (place as f64 + 1.0);
                    let top = y + SIZE.1 - 1.0 - high;
                    svg += &format!(
                        "<rect x=\"{x:.1}\" y=\"{top}\" width=\"8\" height=\"{high}\" fill=\"{colour}\"/>\n"
                    );
                } else if !text.trim().is_empty() {
                    let text = text.replace('&', "&amp;").replace('<', "&lt;");
                    let weight = if cell.bold() {
                        " font-weight=\"bold\""
                    } else {
                        ""
                    };
                    let bottom = y + 13.5;
                    svg += &format!(
                        "<text x=\"{x:.1}\" y=\"{bottom}\" fill=\"{colour}\"{weight}>{text}</text>\n"
                    );
                }
            }
        }
        svg + "</g>\n</svg>\n"
    }

    /// Leaves it by `q`.
    pub(crate) fn leave(mut self) {
        self.terminal.press("q").unwrap();
        self.has_left();
    }

    /// Waits until it has left, with success.
    pub(crate) fn has_left(mut self) {
        assert!(self.terminal.wait(&mut self.child).unwrap().success());
    }
}

pub(crate) fn shows(screen: &vt100::Screen, text: &str) -> bool {
    screen.contents().contains(text)
}

/// The lines of the screen, from the top.
pub(crate) fn rows(screen: &vt100::Screen) -> Vec<String> {
    let (_, columns) = screen.size();
    screen.rows(0, columns).collect()
}
