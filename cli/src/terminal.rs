// SPDX-License-Identifier: MIT OR Apache-2.0

//! The terminal as a screen: alternate screen, no cursor, raw mode. However the command ends, the
//! terminal is restored.

use std::io::{self, BufWriter, Stdout, Write};
use std::mem::ManuallyDrop;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, panic, process};

use crossterm::cursor::{Hide, Show};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::{TerminalOptions, Viewport};

/// In one piece, so that half a frame is never visible.
const FRAME: usize = 256 * 1024;

/// The wheel of the mouse sends arrow keys, and the terminal can still select text (xterm's
/// alternate scroll mode).
const WHEEL: &str = "\x1b[?1007h";
const NO_WHEEL: &str = "\x1b[?1007l";

/// The terminal in use. Restored on drop and on a panic.
pub(crate) struct Terminal {
    keys: bool,
    /// Not dropped: that would write to a terminal that may be gone.
    screen: ManuallyDrop<ratatui::Terminal<CrosstermBackend<BufWriter<Stdout>>>>,
    size: Rect,
}

/// Whether the terminal is in use and must be restored.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl Terminal {
    /// Takes the terminal: enters raw mode and the alternate screen.
    pub(crate) fn take() -> io::Result<Self> {
        restore_on_panic();
        TAKEN.store(true, Ordering::SeqCst);
        // Without a terminal to read from there are no keys, but signals work.
        let keys = enable_raw_mode().is_ok();
        let mut stdout = BufWriter::with_capacity(FRAME, io::stdout());
        queue!(stdout, EnterAlternateScreen, Hide, Print(WHEEL))?;
        let backend = CrosstermBackend::new(stdout);
        let size = area();
        let viewport = Viewport::Fixed(size);
        let mut screen = ratatui::Terminal::with_options(backend, TerminalOptions { viewport })?;
        // There may be no alternate screen, and text on this one.
        screen.clear()?;
        let screen = ManuallyDrop::new(screen);
        Ok(Self { keys, screen, size })
    }

    /// Whether keys can be read.
    pub(crate) fn has_keys(&self) -> bool {
        self.keys
    }

    /// Clears the screen, on which something else may have written.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.screen.clear()
    }

    /// Draws the screen by `draw`, in the size that the terminal has now.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(Rect, &mut Buffer)) -> io::Result<()> {
        let now = area();
        if self.size != now {
            self.size = now;
            self.screen.resize(now)?;
        }
        self.screen.draw(|frame| draw(now, frame.buffer_mut()))?;
        self.screen.backend_mut().flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal if it is in use.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Ignore a failure: the terminal is gone.
        let _ = execute!(
            io::stdout(),
            SetAttribute(Attribute::Reset),
            Print(NO_WHEEL),
            Show,
            LeaveAlternateScreen
        );
        restore_settings();
    }
}

/// Restores the settings of the terminal, which needs no write to it.
pub(crate) fn restore_settings() {
    // Ignore a failure: the terminal is gone.
    let _ = disable_raw_mode();
}

/// On a panic in any thread, restores the terminal, prints the message, and aborts.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
            process::abort();
        }));
    });
}

/// The size of the terminal in columns and rows; 80x24 if it is unknown, as on a serial line.
fn area() -> Rect {
    match size() {
        Ok((columns, rows)) if columns > 0 && rows > 0 => Rect::new(0, 0, columns, rows),
        _ => Rect::new(0, 0, 80, 24),
    }
}

/// Whether to use colours: not with `NO_COLOR` (<https://no-color.org>), nor on terminals that are
/// known to have no colours.
pub(crate) fn has_colours(variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
    let term = variable("TERM").unwrap_or_default();
    let is_monochrome = term.ends_with("-m") || term.ends_with("-mono");
    // The terminals of DEC, and their emulations.
    let is_vt = ["vt1", "vt2", "vt3", "vt4", "vt5"]
        .iter()
        .any(|vt| term.starts_with(vt));
    !(is_set("NO_COLOR") || is_monochrome || is_vt)
}

/// Whether standard output is a terminal with a cursor that can be moved.
pub(crate) fn has_screen() -> bool {
    use std::io::IsTerminal;
    io::stdout().is_terminal() && moves_cursor(|name| env::var(name).ok())
}

/// Whether the cursor can be moved. It cannot for `dumb`, for the generic types of terminfo, and
/// without `TERM`.
fn moves_cursor(variable: impl Fn(&str) -> Option<String>) -> bool {
    let term = variable("TERM").unwrap_or_default();
    !["", "dumb", "unknown", "dialup", "network"].contains(&term.as_str())
}

/// Whether the locale says that the terminal shows UTF-8.
pub(crate) fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    // The first that is set counts, as for setlocale(3).
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.ends_with("utf-8") || locale.ends_with("utf8")
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |name| {
            let variable = variables.iter().find(|(known, _)| *known == name);
            variable.map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn a_panic_restores_the_terminal_before_its_message() {
        const HERE: &str = "TCPSTAT_TEST_PANIC";
        if env::var_os(HERE).is_some() {
            let _terminal = Terminal::take().unwrap();
            let thread = std::thread::spawn(|| panic!("what went wrong"));
            panic!("the command went on after {:?}", thread.join());
        }
        let mut terminal = tcpstat_tests::terminal::Terminal::new(80, 24).unwrap();
        let settings = terminal.settings().unwrap();
        // Run this test again in a child process, which aborts.
        let mut command = process::Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "--nocapture"])
            .arg("terminal::tests::a_panic_restores_the_terminal_before_its_message")
            .env(HERE, "1");
        let mut child = terminal.start(&mut command).unwrap();
        let status = terminal.wait(&mut child).unwrap();
        assert_eq!(status.signal(), Some(nix::libc::SIGABRT));
        let screen = terminal.screen();
        assert!(
            screen.contents().contains("what went wrong"),
            "{}",
            screen.contents()
        );
        assert!(
            !screen.contents().contains("went on"),
            "{}",
            screen.contents()
        );
        assert!(!screen.alternate_screen() && !screen.hide_cursor());
        assert_eq!(terminal.settings().unwrap(), settings);
    }

    #[test]
    fn colours_need_a_terminal_with_colours_and_no_opt_out() {
        for (variables, expected) in [
            (&[("TERM", "xterm-256color")][..], true),
            (&[("TERM", "linux"), ("NO_COLOR", "")], true),
            (&[("TERM", "xterm"), ("NO_COLOR", "1")], false),
            (&[("TERM", "vt100")], false),
            (&[("TERM", "vt220")], false),
            (&[("TERM", "linux-m")], false),
            (&[("TERM", "xterm-mono")], false),
        ] {
            assert_eq!(
                has_colours(environment(variables)),
                expected,
                "{variables:?}"
            );
        }
    }

    #[test]
    fn a_screen_needs_a_known_terminal() {
        for term in ["dumb", "unknown", "dialup", "network", ""] {
            assert!(!moves_cursor(environment(&[("TERM", term)])), "{term:?}");
        }
        assert!(!moves_cursor(environment(&[])));
        for term in ["xterm-256color", "linux", "vt100", "tmux", "dumber"] {
            assert!(moves_cursor(environment(&[("TERM", term)])), "{term:?}");
        }
    }

    #[test]
    fn the_locale_says_whether_a_terminal_shows_utf_8() {
        for (variables, expected) in [
            (&[("LANG", "de_DE.UTF-8")][..], true),
            (&[("LANG", "C.utf8")], true),
            (&[("LANG", "C.UTF-8"), ("LC_ALL", "C")], false),
            (&[("LANG", "C.UTF-8"), ("LC_ALL", "")], true),
            (&[("LANG", "C"), ("LC_CTYPE", "en_GB.UTF-8")], true),
            (&[("LANG", "de_DE.ISO-8859-1")], false),
            (&[], false),
        ] {
            assert_eq!(is_utf8(environment(variables)), expected, "{variables:?}");
        }
    }
}
