// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat watch`: totals and services on one screen, read again and again.

mod figures;
mod line;
mod terminal;
mod view;

use std::io::{self, Write};
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
use tcpstat::{Error, Sampler};

use super::{Failure, at_each_tick, explain, print};
use crate::args::{Every, SortBy, Watch};
use figures::{Figures, Reading};
use terminal::Terminal;
use view::{Scroll, View, plain_lines};

/// Shows what is read at each tick: on the terminal's screen, or line by line where there is none.
pub(crate) fn run(args: Watch) -> Result<(), Failure> {
    let sampler = args.from.sampler().map_err(Failure::Usage)?;
    let reader = Reader { args, sampler };
    if terminal::has_screen() {
        screen(reader)
    } else {
        lines(reader)
    }
}

/// Takes the readings, in whichever thread.
struct Reader {
    args: Watch,
    sampler: Sampler,
}

impl Reader {
    fn read(&mut self) -> Result<Reading, Error> {
        let at = Timestamp::now();
        let mut services = self.sampler.services(self.args.port.as_ref())?;
        let totals = match services.other {
            // Every socket is at the port of a service, or at another.
            Some(other) => figures::sum(
                services
                    .services
                    .iter()
                    .map(|service| service.counts)
                    .chain([other]),
            ),
            None => self.sampler.sample()?.counts,
        };
        self.args.sort.sort(&mut services.services);
        Ok(Reading {
            at,
            totals,
            services,
        })
    }

    /// Says who answered, if that is asked for.
    fn explain(&self, Reading { services, .. }: &Reading) {
        if self.args.from.verbose {
            let found = format!("{} services", services.services.len());
            explain(None, &services.tried, services.source, found);
        }
    }

    fn every(&self) -> Every {
        Every {
            interval: Some(self.args.interval),
            count: None,
        }
    }
}

/// Prints lines at each tick. After the first answer, one that fails is said and is not the end.
fn lines(mut reader: Reader) -> Result<(), Failure> {
    let mut last: Option<Figures> = None;
    at_each_tick(&reader.every(), || {
        match reader.read() {
            Ok(reading) => {
                reader.explain(&reading);
                let figures = Figures::new(&reading, last.as_ref());
                print(&plain_lines(&figures, reader.args.port.is_some()))?;
                last = Some(figures);
            }
            Err(error) if last.is_none() => return Err(Failure::Sample(error)),
            Err(error) => {
                let now = Timestamp::now();
                // Whether or not anybody reads it.
                let _ = writeln!(io::stderr(), "tcpstat: {now:.3}: {error}");
            }
        }
        Ok(())
    })
}

/// How long leaving the screen may take when a signal ends the command.
const GRACE: Duration = Duration::from_secs(1);

/// The signals that are sent to end a process, or end it because nothing is done about them.
const ENDS: [i32; 7] = [SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2];

/// What the screen reacts to.
enum Event {
    Reading(Box<Result<Reading, Error>>),
    Key(KeyEvent),
    Signal(i32),
}

/// Shows the figures, and reacts to what happens until that is the end.
fn screen(mut reader: Reader) -> Result<(), Failure> {
    // Until there is something to show, the terminal stays as it is.
    let first = reader.read().map_err(Failure::Sample)?;
    // For when the screen is left; on it, a message would be in the way.
    reader.explain(&first);
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

    // Who is faster than the screen has to wait.
    let (events, incoming) = mpsc::sync_channel(8);
    let mut signals =
        Signals::new(ENDS.iter().chain(&[SIGTSTP, SIGWINCH])).map_err(Failure::Screen)?;
    let mut terminal = Terminal::take().map_err(Failure::Screen)?;
    // These threads end with the process, or when nobody listens to them any more.
    start({
        let events = events.clone();
        move || {
            for signal in signals.forever() {
                // Where there is no room for it, there is enough to draw for already.
                let _ = events.try_send(Event::Signal(signal));
                if ENDS.contains(&signal) {
                    // The terminal may take nothing more: then the screen cannot be left.
                    thread::sleep(GRACE);
                    terminal::give_settings_back();
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
        let _ = at_each_tick(&reader.every(), || {
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
                // The end, with an exit status that says so.
                return emulate_default_handler(signal).map_err(Failure::Screen);
            }
        }
    }
}

fn start(work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let thread = thread::Builder::new().spawn(work);
    thread.map(drop).map_err(Failure::Screen)
}

/// Lets the shell have the terminal, until it gives it back.
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

/// What a key is for. Ctrl-C and Ctrl-Z are keys, since the terminal makes no signals of them now.
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
