// SPDX-License-Identifier: MIT OR Apache-2.0

//! Line mode: at each reading the totals, and the services that have changed.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;
use tcpstat::{Counts, Service};

use super::WatchArgs;
use super::reading::{Query, Reader, Reading, Row, RowKey, failure_text};
use crate::commands::namespaces::end;
use crate::commands::services::formats::{JsonService, known};
use crate::failure::Failure;
use crate::flags::RepeatFlags;
use crate::format::{JsonNamespace, Shares, Whole, rfc3339};
use crate::output::{print, say};

/// Prints lines at each tick. After the first answer, a failure is printed to standard error, and
/// the next reading is tried.
pub(super) fn run(mut reader: Reader, args: &WatchArgs) -> Result<(), Failure> {
    let query = Query::default();
    let repeat = RepeatFlags {
        interval: Some(args.interval),
        count: args.count,
    };
    let mut last: Option<Printed> = None;
    let mut complete = true;
    repeat.at_each_tick(|| {
        let mut reading = match reader.read(&query) {
            Ok(reading) => reading,
            Err(failure) if last.is_none() => return Err(failure),
            Err(failure) => {
                let now = Timestamp::now();
                say(format_args!("{now:.3}: {}", failure_text(failure)));
                return Ok(());
            }
        };
        for note in &reading.notes {
            say(format_args!("{:.3}: {note}", reading.at));
        }
        complete &= reading.complete;
        let key = |row: &Row| Reverse(row.service.map(|one| args.sort.key(&one)));
        reading.services.sort_by_key(key);
        let printed = last.get_or_insert_default();
        let text = match args.format {
            Some(_) => printed.json(&reading, args.port.is_some())?,
            None => printed.text(&reading, args.port.is_some()),
        };
        printed.totals = Some(reading.totals);
        print(&text)
    })?;
    end(complete)
}

/// The numbers of the last lines.
#[derive(Debug, Default)]
pub(super) struct Printed {
    /// `None` at the first reading.
    totals: Option<Counts>,
    services: BTreeMap<RowKey, Row>,
}

impl Printed {
    /// The services that have changed, each with its row in the last line of it. With `all`, each
    /// service has changed at the first reading; without, those where something is.
    fn changed(&mut self, reading: &Reading, all: bool) -> Vec<(Row, Option<Row>)> {
        let mut before = std::mem::take(&mut self.services);
        let mut changed = Vec::new();
        for row in reading.services.iter().filter(|row| row.service.is_some()) {
            let last = before.remove(&row.key);
            let is_shown = match &last {
                Some(last) => numbers(last) != numbers(row),
                None => self.totals.is_some() || all || is_busy(row),
            };
            if is_shown {
                changed.push((row.clone(), last));
            }
            self.services.insert(row.key.clone(), row.clone());
        }
        if !reading.complete {
            // What is left may be of a namespace that did not answer.
            self.services.extend(before);
            return changed;
        }
        // What is left has no listener any more.
        for (_, last) in before {
            let mut row = last.clone();
            row.counts = Counts::ZERO;
            row.service = row.service.map(|one| Service::new(one.port));
            changed.push((row, Some(last)));
        }
        changed
    }

    /// A line for the totals, and one for each service that has changed:
    ///
    /// `2026-01-02T03:04:05.678Z module: total 20 +1, ESTABLISHED 6 +1, LISTEN 14`
    ///
    /// `... module: port 443: total 9, ESTABLISHED 6, LISTEN 3, accept queue 0/128, drops 0`
    pub(super) fn text(&mut self, reading: &Reading, all: bool) -> String {
        let head = format!("{:.3} {}: ", reading.at, reading.source);
        let totals = self.totals.as_ref();
        let mut text = format!("{head}{}\n", states(&reading.totals, totals));
        // A new service had no sockets.
        let none = totals.map(|_| Counts::ZERO);
        for (row, last) in self.changed(reading, all) {
            let Some(service) = &row.service else {
                continue;
            };
            let netns = row.namespace.as_ref();
            let netns = netns.map_or(String::new(), |(_, name)| format!("netns {name}: "));
            let head = format!("{head}{netns}port {}: ", service.port);
            let before = last.as_ref().and_then(|last| last.service);
            if service.listeners == 0 && before.is_some_and(|before| before.listeners > 0) {
                text += &format!("{head}nothing listens any more\n");
                continue;
            }
            let counts = last.as_ref().map(|last| &last.counts).or(none.as_ref());
            let drops = service.drops.unwrap_or(0);
            let drops_before = before.and_then(|before| before.drops).unwrap_or(drops);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{head}{}, accept queue {}/{}, drops {}{}",
                states(&row.counts, counts),
                service.accept_queue,
                known(service.backlog),
                known(service.drops),
                change(drops, drops_before)
            );
        }
        text
    }

    /// One object, with the totals and the services that have changed.
    fn json(&mut self, reading: &Reading, all: bool) -> Result<String, Failure> {
        let changed = self.changed(reading, all);
        let services = changed.iter().filter_map(|(row, _)| {
            let namespace = row.namespace.as_ref().map(|(one, name)| {
                let name = Some(name.clone()).filter(|name| *name != one.inode.to_string());
                JsonNamespace::named(*one, name)
            });
            Some(JsonRow {
                namespace,
                service: JsonService::new(row.service.as_ref()?, row.unit.clone(), None),
            })
        });
        let json = serde_json::to_string(&Json {
            timestamp: rfc3339(reading.at),
            source: reading.source.name(),
            total: reading.totals.total(),
            states: Shares {
                counts: &reading.totals,
                whole: Whole::Total,
            },
            services: services.collect(),
        });
        json.map(|line| line + "\n")
            .map_err(|error| Failure::Format(error.into()))
    }
}

#[derive(Serialize)]
struct Json<'a> {
    timestamp: String,
    source: &'static str,
    total: u64,
    states: Shares<'a>,
    services: Vec<JsonRow<'a>>,
}

#[derive(Serialize)]
struct JsonRow<'a> {
    #[serde(flatten)]
    namespace: Option<JsonNamespace>,
    #[serde(flatten)]
    service: JsonService<'a>,
}

/// The numbers of a service whose change is worth a line: not the bytes in its queues.
fn numbers(row: &Row) -> Option<Service> {
    let mut service = row.service?;
    service.queues = None;
    Some(service)
}

/// Whether a service has connections, a queue that is not empty, or drops.
fn is_busy(row: &Row) -> bool {
    row.service.is_some_and(|one| {
        one.connections() > 0 || one.accept_queue > 0 || one.drops.unwrap_or(0) > 0
    })
}

/// `total 20 +1, ESTABLISHED 6 +1, LISTEN 14`: the states that have sockets, or had some.
fn states(now: &Counts, before: Option<&Counts>) -> String {
    let of = |state| before.map(|before| before.get(state));
    let mut text = format!("total {}", now.total());
    text += &before.map_or(String::new(), |before| change(now.total(), before.total()));
    for (state, count) in now.iter() {
        if count > 0 || of(state).is_some_and(|before| before > 0) {
            let change = of(state).map_or(String::new(), |before| change(count, before));
            text += &format!(", {state} {count}{change}");
        }
    }
    text
}

/// ` +3` or ` -2`; empty if nothing has changed.
fn change(now: u64, before: u64) -> String {
    match i128::from(now) - i128::from(before) {
        0 => String::new(),
        change => format!(" {change:+}"),
    }
}
