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
