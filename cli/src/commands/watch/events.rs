// SPDX-License-Identifier: MIT OR Apache-2.0

//! The screen's loop: readings, keys and signals, until one of them ends the command.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crossterm::event::{self, KeyEvent};
use jiff::tz::TimeZone;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::WatchArgs;
use super::figures::Figures;
use super::reading::{Query, Reader, Reading, failure_text};
use super::screen::{Effect, Screen, Settings};
use super::view;
use crate::failure::Failure;
use crate::terminal::{self, Terminal};

/// The time limit for leaving the screen after a signal that ends the command.
const GRACE: Duration = Duration::from_secs(1);

/// Signals that end the process, by request or by default.
const ENDS: [i32; 7] = [SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2];

/// An event that the screen reacts to.
enum Event {
    Reading(Box<Result<Reading, String>>),
    Key(KeyEvent),
    Signal(i32),
}

/// Shows the figures and handles events, until a key or a signal ends the command.
pub(super) fn run(mut reader: Reader, args: &WatchArgs) -> Result<(), Failure> {
    let settings = Settings {
        query: Query::default(),
        interval: args.interval,
        paused: false,
    };
    // Take the terminal only after the first answer, so that what it prints stays readable.
    let first = reader.read(&settings.query)?;
    reader.use_screen(&first);
    let variable = |name: &str| env::var(name).ok();
    let root = args.source.options().proc_root;
    let host = fs::read_to_string(root.join("sys/kernel/hostname"));
    let mut screen = Screen {
        figures: Figures::new(first),
        failure: None,
        settings: settings.clone(),
        help: false,
        sort: args.sort,
        reversed: false,
        filter: String::new(),
        typing: false,
        selected: None,
        above: 0,
        rows_shown: 0,
        keys: false,
        utf8: terminal::is_utf8(variable),
        colours: terminal::has_colours(variable),
        // A saved sample may have none.
        host: host.ok().map(|host| host.trim().to_owned()),
        zone: TimeZone::system(),
    };

    // The channel is bounded: a sender that is faster than the screen waits.
    let (events, incoming) = mpsc::sync_channel(8);
    let mut signals =
        Signals::new(ENDS.iter().chain(&[SIGTSTP, SIGWINCH])).map_err(Failure::Screen)?;
    let mut terminal = Terminal::take().map_err(Failure::Screen)?;
    // These threads end with the process, or when the receiver is gone.
    let to = events.clone();
    start(move || {
        for signal in signals.forever() {
            // If the channel is full, the screen is drawn again anyway.
            let _ = to.try_send(Event::Signal(signal));
            if ENDS.contains(&signal) {
                // If the main thread has not ended the process by now, its write to the
                // terminal is blocked and the screen cannot be left.
                thread::sleep(GRACE);
                terminal::restore_settings();
                let _ = emulate_default_handler(signal);
            }
        }
    })?;
    if terminal.has_keys() {
        screen.keys = true;
        let to = events.clone();
        start(move || {
            while let Ok(event) = event::read() {
                if let event::Event::Key(key) = event {
                    let _ = to.send(Event::Key(key));
                }
            }
        })?;
    }
    let (orders, taken) = mpsc::channel();
    start(move || read(reader, settings, &taken, &events))?;

    loop {
        let drawn = terminal.draw(|area, buffer| view::draw(&mut screen, area, buffer));
        drawn.map_err(Failure::Print)?;
        let Ok(event) = incoming.recv() else {
            return Ok(());
        };
        match event {
            Event::Reading(reading) => screen.take(*reading),
            Event::Key(key) => match screen.press(key) {
                Effect::None => {}
                Effect::Settings => {
                    let _ = orders.send(screen.settings.clone());
                }
                Effect::Quit => return Ok(()),
                Effect::Stop => terminal = stopped(terminal)?,
                Effect::Clear => terminal.clear().map_err(Failure::Print)?,
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

/// Reads at each tick, and at once if something else is to be read.
fn read(
    mut reader: Reader,
    mut settings: Settings,
    orders: &Receiver<Settings>,
    events: &SyncSender<Event>,
) {
    let mut last = Instant::now();
    loop {
        let left = settings.interval.saturating_sub(last.elapsed());
        let order = match settings.paused {
            true => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => orders.recv_timeout(left),
        };
        match order {
            Ok(order) => {
                let is_other = order.query != settings.query;
                let goes_on = settings.paused && !order.paused;
                settings = order;
                if !is_other && !goes_on {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        last = Instant::now();
        let reading = reader.read(&settings.query).map_err(failure_text);
        if events.send(Event::Reading(Box::new(reading))).is_err() {
            return;
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
