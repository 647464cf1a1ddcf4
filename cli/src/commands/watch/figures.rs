// SPDX-License-Identifier: MIT OR Apache-2.0

//! The last reading with its past, and the order of its rows: what is wrong comes first.

use std::cmp::Reverse;
use std::collections::HashMap;

use tcpstat::{Counts, State};

use super::history::History;
use super::reading::{Reading, Row, RowKey};
use crate::commands::services::sort::SortBy;
use crate::symptoms::Symptom;

/// The most rows of which all counts are remembered. Of more, only those of the opened one are.
const REMEMBERED: usize = 256;

/// A row, its past, and what is wrong with it.
pub(super) struct Figure {
    pub(super) row: Row,
    pub(super) history: History,
    pub(super) symptoms: Vec<Symptom>,
}

/// The last reading that succeeded, and the past of its rows.
pub(super) struct Figures {
    pub(super) reading: Reading,
    pub(super) totals: Figure,
    /// In the order of the reading.
    pub(super) services: Vec<Figure>,
    groups: Vec<Figure>,
}

impl Figures {
    /// The figures of the first reading.
    pub(super) fn new(reading: Reading) -> Self {
        let mut figures = Self {
            totals: Figure::new(Row::of(RowKey::Other, Counts::ZERO)),
            services: Vec::new(),
            groups: Vec::new(),
            reading: reading.clone(),
        };
        figures.take(reading);
        figures
    }

    /// Takes the next reading.
    pub(super) fn take(&mut self, mut reading: Reading) {
        let at = reading.instant;
        if reading.query.by != self.reading.query.by {
            // A key of another kind may have the same name.
            self.groups.clear();
        }
        self.totals.row.counts = reading.totals;
        self.totals.symptoms = self.totals.history.add(at, &self.totals.row, true);
        for (figures, rows) in [
            (&mut self.services, std::mem::take(&mut reading.services)),
            (&mut self.groups, std::mem::take(&mut reading.groups)),
        ] {
            let before = figures.drain(..).map(|one| (one.row.key.clone(), one));
            let mut before: HashMap<RowKey, Figure> = before.collect();
            let remembers_all = rows.len() <= REMEMBERED;
            for row in rows {
                let mut figure = match before.remove(&row.key) {
                    Some(figure) => Figure { row, ..figure },
                    None => Figure::new(row),
                };
                let is_open = reading.query.opened.as_ref() == Some(&figure.row.key);
                let remembers = remembers_all || is_open;
                figure.symptoms = figure.history.add(at, &figure.row, remembers);
                figures.push(figure);
            }
        }
        self.reading = reading;
    }

    /// The rows that have `filter` in their names: those first with which something is wrong, the
    /// others in the order of the column.
    pub(super) fn ordered(&self, by: SortBy, reversed: bool, filter: &str) -> Vec<&Figure> {
        let all = match self.reading.query.by {
            None => &self.services,
            Some(_) => &self.groups,
        };
        let filter = filter.to_lowercase();
        let matches = |one: &&Figure| one.names().to_lowercase().contains(&filter);
        let mut rows: Vec<_> = all.iter().filter(matches).collect();
        rows.sort_by_key(|one| {
            let counts = &one.row.counts;
            Reverse(match (one.row.service, by) {
                (Some(service), _) => by.key(&service),
                (None, SortBy::State(state)) => (None, counts.get(state)),
                (None, SortBy::Total) => (None, counts.total()),
                (None, _) => (None, 0),
            })
        });
        if reversed {
            rows.reverse();
        }
        // The sockets of no service are last, whatever they are sorted by.
        rows.sort_by_key(|one| {
            let worst = one.symptoms.first().filter(|worst| worst.is_alarm());
            (worst.is_none(), worst, one.row.key == RowKey::Other)
        });
        rows
    }
}

impl Figure {
    fn new(row: Row) -> Self {
        Self {
            row,
            history: History::default(),
            symptoms: Vec::new(),
        }
    }

    /// Whether someone should act now.
    pub(super) fn is_alarm(&self) -> bool {
        self.symptoms.iter().any(|symptom| symptom.is_alarm())
    }

    /// What identifies the row for people: a port, the key of a group, `other`.
    pub(super) fn label(&self) -> String {
        match &self.row.key {
            RowKey::Port(_, port) => port.to_string(),
            RowKey::Group(key) => key.clone(),
            RowKey::Other => "other".to_owned(),
        }
    }

    /// The names that a filter looks at.
    fn names(&self) -> String {
        let unit = self.row.unit.as_deref().unwrap_or_default();
        let netns = self.row.namespace.as_ref().map_or("", |(_, name)| name);
        format!("{} {unit} {netns}", self.label())
    }

    /// The states with connections, or that had some: the abnormal ones first, then those that have
    /// changed, then the largest. `first` is the one that is sorted by.
    pub(super) fn states(&self, first: Option<State>) -> Vec<State> {
        let counts = &self.row.counts;
        let mut states: Vec<State> = State::ALL
            .into_iter()
            .filter(|&state| state != State::Listen)
            .filter(|&state| counts.get(state) > 0 || self.history.has_changed(state))
            .collect();
        states.sort_by_key(|&state| {
            let changed = self.history.has_changed(state);
            let count = counts.get(state);
            (
                Some(state) != first,
                count == 0,
                abnormal(state),
                !changed,
                Reverse(count),
            )
        });
        states
    }
}

/// The place of a state in the order of what is abnormal; those that are not are equal. A machine
/// with only normal load has few sockets in the others, and not for long.
pub(super) fn abnormal(state: State) -> usize {
    use State::{CloseWait, Closing, FinWait1, LastAck, SynRecv, SynSent};
    let order = [
        CloseWait,
        SynRecv,
        SynSent,
        LastAck,
        FinWait1,
        Closing,
        State::Close,
    ];
    let place = order.iter().position(|&one| one == state);
    place.unwrap_or(order.len())
}
