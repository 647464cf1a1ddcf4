// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat watch`: totals and services on one screen, read at an interval.

mod figures;
mod line;
mod terminal;
mod view;

use std::sync::mpsc;
use std::time::Duration;
use std::{env, thread};

use crossterm::event::{self, KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use tcpstat::{Error, Ports, Sampler};

use super::services::sort::{self, SortBy};
use crate::failure::Failure;
use crate::flags::{RepeatFlags, SourceFlags, interval};
use crate::output::{print, say, say_source, without};
use figures::{Figures, Reading};
use terminal::Terminal;
use view::{Scroll, View, plain_lines};

const AFTER_HELP: &str = "\
Examples:
  tcpstat watch --sort accept-queue              the longest accept queue first
  tcpstat watch --port 443,8000-8100 | tee log   lines instead of a screen: the totals, and these services
  tcpstat watch | grep -F ' port 443: '          the lines of one service

Keys:
  up, down, k, j, PgUp, PgDn, Home, End   scroll
  q, Esc, Ctrl-C                          quit

CHANGE, and numbers with a sign, are since the previous reading. If a reading fails, the previous figures stay on
screen, marked OLD, and the next reading is tried. There are no colours if NO_COLOR is set. On a short screen, states
without sockets are hidden.

Lines are printed if standard output is no terminal, or TERM is dumb, unknown, dialup, network or not set: at each
reading one of the totals, then one for each service with connections, with a non-empty accept queue or with new
drops; with --port, for each of these services.";

/// Show totals and services on one screen, and refresh them
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct WatchArgs {
    /// Read again every 2s, 500ms, 1m, ...
    #[arg(long, value_name = "TIME", value_parser = interval, allow_hyphen_values = true, default_value = "2s")]
    interval: Duration,

    /// Only the services at these local ports: 443,8000-8100
    #[arg(long, value_name = "PORTS")]
    port: Option<Ports>,

    /// Sort by port, or descending by total, listeners, accept-queue, drops, or a state
    #[arg(long, value_name = "COLUMN", default_value = "port")]
    #[arg(value_parser = sort::COLUMN, hide_possible_values = true)]
    sort: SortBy,

    #[command(flatten)]
    source: SourceFlags,
}

/// Shows each reading: on the terminal's screen, or line by line without a screen.
pub(crate) fn run(args: WatchArgs) -> Result<(), Failure> {
    let sampler = args.source.sampler()?;
    let reader = Reader { args, sampler };
    if terminal::has_screen() {
        screen(reader)
    } else {
        lines(reader)
    }
}

/// Takes the readings.
struct Reader {
    args: WatchArgs,
    sampler: Sampler,
}

impl Reader {
    fn read(&mut self) -> Result<Reading, Error> {
        let at = Timestamp::now();
        let mut services = self.sampler.services(self.args.port.as_ref())?;
        let totals = match services.other {
            // Every socket is at the port of a service, or at another.
            Some(other) => {
                let counts = services.services.iter().map(|service| service.counts);
                counts.chain([other]).sum()
            }
            None => self.sampler.sample()?.counts,
        };
        self.args.sort.sort(&mut services.services);
        Ok(Reading {
            at,
            totals,
            services,
        })
    }

    /// With `--verbose`, prints which source answered.
    fn say_source(&self, Reading { services, .. }: &Reading) {
        if self.args.source.verbose {
            let found = format!("{} services", services.services.len());
            let found = without(found, services.missing.as_deref());
            say_source(None, &services.tried, services.source, found);
        }
    }

    fn repeat(&self) -> RepeatFlags {
        RepeatFlags {
            interval: Some(self.args.interval),
            count: None,
        }
    }
}

/// Prints lines at each tick. After the first answer, a failure is printed to standard error, and
/// the next reading is tried.
fn lines(mut reader: Reader) -> Result<(), Failure> {
    let mut last: Option<Figures> = None;
    reader.repeat().at_each_tick(|| {
        match reader.read() {
            Ok(reading) => {
                reader.say_source(&reading);
                let figures = Figures::new(&reading, last.as_ref());
                print(&plain_lines(&figures, reader.args.port.is_some()))?;
                last = Some(figures);
            }
            Err(error) if last.is_none() => return Err(Failure::Sample(error)),
            Err(error) => {
                let now = Timestamp::now();
                say(format_args!("{now:.3}: {error}"));
            }
        }
        Ok(())
    })
}

/// The time limit for leaving the screen after a signal that ends the command.
const GRACE: Duration = Duration::from_secs(1);

/// Signals that end the process, by request or by default.
const ENDS: [i32; 7] = [SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2];

/// An event that the screen reacts to.
enum Event {
    Reading(Box<Result<Reading, Error>>),
    Key(KeyEvent),
    Signal(i32),
}

/// Shows the figures and handles events, until a key or a signal ends the command.
fn screen(mut reader: Reader) -> Result<(), Failure> {
    // Take the terminal only after the first answer.
    let first = reader.read().map_err(Failure::Sample)?;
    // Print this before the screen is taken, so that it stays readable.
    reader.say_source(&first);
    let mut view = View {
        figures: Figures::new(&first, None),
        failure: None,
        interval: reader.args.interval,
        first_state: match reader.args.sort {
            SortBy::State(state) => Some(state),
            _ => None,
        },
        above: 0,
        keys: false,
        utf8: terminal::is_utf8(|name| env::var(name).ok()),
    };

    // The channel is bounded: a sender that is faster than the screen waits.
    let (events, incoming) = mpsc::sync_channel(8);
    let mut signals =
        Signals::new(ENDS.iter().chain(&[SIGTSTP, SIGWINCH])).map_err(Failure::Screen)?;
    let mut terminal = Terminal::take().map_err(Failure::Screen)?;
    // These threads end with the process, or when the receiver is gone.
    start({
        let events = events.clone();
        move || {
            for signal in signals.forever() {
                // If the channel is full, the screen is drawn again anyway.
                let _ = events.try_send(Event::Signal(signal));
                if ENDS.contains(&signal) {
                    // If the main thread has not ended the process by now, its write to the
                    // terminal is blocked and the screen cannot be left.
                    thread::sleep(GRACE);
                    terminal::restore_settings();
                    let _ = emulate_default_handler(signal);
                }
            }
        }
    })?;
    if terminal.has_keys() {
        view.keys = true;
        let events = events.clone();
        start(move || {
            while let Ok(event) = event::read() {
                if let event::Event::Key(key) = event {
                    let _ = events.send(Event::Key(key));
                }
            }
        })?;
    }
    start(move || {
        thread::sleep(reader.args.interval);
        let _ = reader.repeat().at_each_tick(|| {
            let _ = events.send(Event::Reading(Box::new(reader.read())));
            Ok(())
        });
    })?;

    loop {
        let size = terminal::columns_and_rows();
        let (width, height) = (size.0.into(), size.1.into());
        terminal
            .show(&view.lines(width, height), size)
            .map_err(Failure::Print)?;
        let Ok(event) = incoming.recv() else {
            return Ok(());
        };
        match event {
            Event::Reading(reading) => match *reading {
                Ok(reading) => {
                    view.figures = Figures::new(&reading, Some(&view.figures));
                    view.failure = None;
                }
                Err(error) => view.failure = Some(error.to_string()),
            },
            Event::Key(key) => match meaning(key) {
                Some(Key::Quit) => return Ok(()),
                Some(Key::Stop) => terminal = stopped(terminal)?,
                Some(Key::Scroll(to)) => view.scroll(to, width, height),
                None => {}
            },
            Event::Signal(SIGWINCH) => {}
            Event::Signal(SIGTSTP) => terminal = stopped(terminal)?,
            Event::Signal(signal) => {
                drop(terminal);
                // End by the signal itself, so that the exit status shows it.
                return emulate_default_handler(signal).map_err(Failure::Screen);
            }
        }
    }
}

fn start(work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let thread = thread::Builder::new().spawn(work);
    thread.map(drop).map_err(Failure::Screen)
}

/// Returns the terminal to the shell and stops; takes it again when the process continues.
fn stopped(terminal: Terminal) -> Result<Terminal, Failure> {
    drop(terminal);
    emulate_default_handler(SIGTSTP)
        .and_then(|()| Terminal::take())
        .map_err(Failure::Screen)
}

#[derive(Debug, PartialEq, Eq)]
enum Key {
    Quit,
    Stop,
    Scroll(Scroll),
}

/// The action of a key. Ctrl-C and Ctrl-Z are keys here, since raw mode sends no signals for them.
fn meaning(key: KeyEvent) -> Option<Key> {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if with_control => Key::Quit,
        KeyCode::Char('z') if with_control => Key::Stop,
        _ if with_control => return None,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Char('k') | KeyCode::Up => Key::Scroll(Scroll::Up),
        KeyCode::Char('j') | KeyCode::Down => Key::Scroll(Scroll::Down),
        KeyCode::PageUp => Key::Scroll(Scroll::PageUp),
        KeyCode::PageDown => Key::Scroll(Scroll::PageDown),
        KeyCode::Home => Key::Scroll(Scroll::First),
        KeyCode::End => Key::Scroll(Scroll::Last),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_meanings() {
        let plain = |code| meaning(KeyEvent::new(code, KeyModifiers::NONE));
        let control = |c| meaning(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL));
        for quit in [plain(KeyCode::Char('q')), plain(KeyCode::Esc), control('c')] {
            assert_eq!(quit, Some(Key::Quit));
        }
        assert_eq!(control('z'), Some(Key::Stop));
        for (code, same, to) in [
            (KeyCode::Up, KeyCode::Char('k'), Scroll::Up),
            (KeyCode::Down, KeyCode::Char('j'), Scroll::Down),
            (KeyCode::PageUp, KeyCode::PageUp, Scroll::PageUp),
            (KeyCode::PageDown, KeyCode::PageDown, Scroll::PageDown),
            (KeyCode::Home, KeyCode::Home, Scroll::First),
            (KeyCode::End, KeyCode::End, Scroll::Last),
        ] {
            assert_eq!(plain(code), Some(Key::Scroll(to)));
            assert_eq!(plain(same), Some(Key::Scroll(to)));
        }
        for nothing in [
            plain(KeyCode::Char('c')),
            plain(KeyCode::Enter),
            control('q'),
            control('k'),
        ] {
            assert_eq!(nothing, None);
        }
    }
}
