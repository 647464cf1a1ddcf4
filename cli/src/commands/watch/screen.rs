// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the screen shows and what its keys do.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;

use super::figures::{Figure, Figures};
use super::reading::{GROUPINGS, Query, Reading, RowKey};
use crate::commands::services::sort::SortBy;

/// What is read, and how often.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) query: Query,
    pub(super) interval: Duration,
    pub(super) paused: bool,
}

/// The content of the screen, and what was chosen by keys.
pub(super) struct Screen {
    /// The last reading that succeeded.
    pub(super) figures: Figures,
    /// The error of the last reading, if it failed.
    pub(super) failure: Option<String>,
    pub(super) settings: Settings,
    /// Whether the help is shown.
    pub(super) help: bool,
    pub(super) sort: SortBy,
    pub(super) reversed: bool,
    /// The text that the names of rows must have.
    pub(super) filter: String,
    /// Whether keys are text of the filter.
    pub(super) typing: bool,
    /// The row for Enter; `None` for the first one, whichever that is.
    pub(super) selected: Option<RowKey>,
    /// The number of rows, or of lines of an opened service, above the first one on the screen.
    pub(super) above: usize,
    /// The number of rows on the screen when it was drawn last.
    pub(super) rows_shown: usize,
    /// Whether keys can be read.
    pub(super) keys: bool,
    /// Whether the terminal shows UTF-8.
    pub(super) utf8: bool,
    /// Whether the terminal shows colours.
    pub(super) colours: bool,
    /// The name of the machine, if it is known.
    pub(super) host: Option<String>,
    pub(super) zone: TimeZone,
}

/// What a key asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// The settings have changed.
    Settings,
    Quit,
    /// Stop, as by Ctrl-Z.
    Stop,
    /// Clear the screen, and draw all of it.
    Clear,
}

/// The intervals that `+` and `-` choose from, in milliseconds.
const INTERVALS: [u64; 9] = [100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000];

impl Screen {
    /// Takes a reading, unless there is a pause.
    pub(super) fn take(&mut self, reading: Result<Reading, String>) {
        match reading {
            // A key may have come while it was read.
            Ok(_) if self.settings.paused => {}
            Ok(reading) => {
                self.figures.take(reading);
                self.failure = None;
            }
            Err(error) => self.failure = Some(error),
        }
    }

    /// The rows that are shown, in their order.
    pub(super) fn rows(&self) -> Vec<&Figure> {
        let figures = &self.figures;
        figures.ordered(self.sort, self.reversed, &self.filter)
    }

    /// The place of the selected row in these rows.
    pub(super) fn place(&self, rows: &[&Figure]) -> usize {
        let key = self.selected.as_ref();
        let place = rows.iter().position(|one| Some(&one.row.key) == key);
        place.unwrap_or(0)
    }

    /// The service that is open, if it is still there.
    pub(super) fn opened(&self) -> Option<&Figure> {
        let key = self.settings.query.opened.as_ref()?;
        self.figures.services.iter().find(|one| one.row.key == *key)
    }

    /// Does what a key means. Ctrl-C and Ctrl-Z are keys here, since raw mode sends no signals for
    /// them.
    pub(super) fn press(&mut self, key: KeyEvent) -> Effect {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Effect::Quit,
                KeyCode::Char('z') => Effect::Stop,
                KeyCode::Char('l') => Effect::Clear,
                _ => Effect::None,
            };
        }
        if self.typing {
            self.type_filter(key.code);
            return Effect::None;
        }
        match key.code {
            KeyCode::Char('q') => return Effect::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = !self.help,
            KeyCode::Esc => return self.go_back(),
            KeyCode::Char(' ') => {
                self.settings.paused = !self.settings.paused;
                return Effect::Settings;
            }
            KeyCode::Char('+') => return self.set_interval(|&one, now| one > now),
            KeyCode::Char('-') => return self.set_interval(|&one, now| one < now),
            // What follows is about the rows.
            _ if self.help => {}
            KeyCode::Char('b') if self.settings.query.opened.is_none() => {
                let by = &mut self.settings.query.by;
                let next = GROUPINGS.iter().skip_while(|one| *one != by).nth(1);
                *by = next.copied().unwrap_or(GROUPINGS[0]);
                (self.selected, self.above) = (None, 0);
                return self.ask();
            }
            KeyCode::Char('s' | '>') => self.sort_by(1),
            KeyCode::Char('<') => self.sort_by(SortBy::NAMED.len() - 1),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('/') if self.settings.query.opened.is_none() => self.typing = true,
            KeyCode::Enter => return self.open(),
            code => self.scroll(code),
        }
        Effect::None
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(char) => self.filter.push(char),
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => (self.typing, self.filter) = (false, String::new()),
            code => self.scroll(code),
        }
    }

    /// Goes back one step: from the help, from a service, from a filter; from the rows it leaves.
    fn go_back(&mut self) -> Effect {
        if self.help {
            self.help = false;
        } else if let Some(opened) = self.settings.query.opened.take() {
            (self.selected, self.above) = (Some(opened), 0);
            return Effect::Settings;
        } else if self.filter.is_empty() {
            return Effect::Quit;
        } else {
            self.filter.clear();
        }
        Effect::None
    }

    /// Opens the selected row, if it is a service.
    fn open(&mut self) -> Effect {
        let rows = self.rows();
        let key = rows.get(self.place(&rows)).map(|one| one.row.key.clone());
        match key {
            Some(key @ RowKey::Port(..)) if self.settings.query.opened.is_none() => {
                self.settings.query.opened = Some(key);
                self.above = 0;
                self.ask()
            }
            _ => Effect::None,
        }
    }

    /// Asks for other figures, which cannot wait for the end of a pause.
    fn ask(&mut self) -> Effect {
        self.settings.paused = false;
        Effect::Settings
    }

    /// Sorts by the column this number of columns to the right.
    fn sort_by(&mut self, right: usize) {
        let columns = SortBy::NAMED.map(|(_, column)| column);
        let now = columns.iter().position(|&one| one == self.sort);
        // A state is left of the first column, and right of the last.
        let first = if right == 1 { 0 } else { right };
        let next = now.map_or(first, |now| now + right) % columns.len();
        self.sort = columns[next];
    }

    fn set_interval(&mut self, is_next: impl Fn(&Duration, Duration) -> bool) -> Effect {
        let now = self.settings.interval;
        let all = INTERVALS.map(Duration::from_millis);
        let found = all.iter().filter(|one| is_next(one, now));
        let found = found.min_by_key(|one| one.abs_diff(now));
        self.settings.interval = found.copied().unwrap_or(now);
        Effect::Settings
    }

    /// Moves the selection, or scrolls the lines of an opened service.
    fn scroll(&mut self, code: KeyCode) {
        let page = self.rows_shown.max(1);
        let moved = |from: usize| match code {
            KeyCode::Char('k') | KeyCode::Up => from.saturating_sub(1),
            KeyCode::Char('j') | KeyCode::Down => from + 1,
            KeyCode::PageUp => from.saturating_sub(page),
            KeyCode::PageDown => from + page,
            KeyCode::Home => 0,
            KeyCode::End => usize::MAX,
            _ => from,
        };
        if self.settings.query.opened.is_some() {
            // Drawing limits it to the lines that there are.
            self.above = moved(self.above);
            return;
        }
        let rows = self.rows();
        let place = self.place(&rows);
        let moved = moved(place).min(rows.len().saturating_sub(1));
        if moved != place {
            self.selected = rows.get(moved).map(|one| one.row.key.clone());
        }
    }
}
