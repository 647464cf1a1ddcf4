// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the page is sent, as JSON: figures at each reading, and first what stays as it is.

use std::cmp::Reverse;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tcpstat::{Counts, Listener, Service, Services, Source, State};

use super::history::History;
use crate::explain::{TOPICS, Topic};
use crate::format::{interface_text, rfc3339};
use crate::opened::{Largest, Opened};
use crate::symptoms::Symptom;

/// What a reading shows on the page.
#[derive(Debug)]
pub(super) struct Figures {
    at: Timestamp,
    source: Source,
    totals: Counts,
    other: Counts,
    other_symptoms: Vec<Symptom>,
    services: Vec<ServiceFigures>,
    left_out: usize,
    /// Those that are open on some page, or why they are not known.
    pub(super) opened: Vec<(u16, Result<Opened, String>)>,
}

/// A service on the page.
#[derive(Debug)]
struct ServiceFigures {
    service: Service,
    drops: Option<u64>,
    symptoms: Vec<Symptom>,
}

impl Figures {
    /// Those of a reading, of at most `most` services: what is wrong comes first, then what has the
    /// most connections.
    pub(super) fn new(
        services: &Services,
        totals: Counts,
        (symptoms, other_symptoms): (Vec<Vec<Symptom>>, Vec<Symptom>),
        drops: impl Fn(u16) -> Option<u64>,
        most: usize,
    ) -> Self {
        let all = services.services.iter().zip(symptoms);
        let mut all: Vec<_> = all
            .map(|(service, symptoms)| ServiceFigures {
                service: *service,
                drops: drops(service.port),
                symptoms,
            })
            .collect();
        all.sort_by_key(|one| {
            let worst = one.symptoms.first().copied();
            (
                worst.is_none(),
                worst,
                Reverse(one.service.connections()),
                one.service.port,
            )
        });
        let left_out = all.len().saturating_sub(most);
        all.truncate(most);
        Self {
            at: Timestamp::now(),
            source: services.source,
            totals,
            other: services.other.unwrap_or(Counts::ZERO),
            other_symptoms,
            services: all,
            left_out,
            opened: Vec::new(),
        }
    }

    /// The event of a page on which this port is open.
    fn json(&self, port: Option<u16>) -> serde_json::Result<String> {
        let opened = self.opened.iter().find(|(one, _)| Some(*one) == port);
        serde_json::to_string(&Json {
            time: rfc3339(self.at),
            source: self.source.name(),
            states: States::all(&self.totals),
            other: States::of(&self.other),
            other_symptoms: &self.other_symptoms,
            services: self.services.iter().map(JsonService::new).collect(),
            left_out: self.left_out,
            service: opened.map(|(port, opened)| JsonOpened::new(*port, opened)),
        })
    }
}

/// The event of a reading, for a page on which this port is open; of one that failed, its error.
pub(super) fn reading(
    figures: &Result<Figures, String>,
    port: Option<u16>,
) -> serde_json::Result<String> {
    let json = match figures {
        Ok(figures) => figures.json(port),
        Err(error) => serde_json::to_string(&JsonError {
            time: rfc3339(Timestamp::now()),
            error,
        }),
    };
    json.map(|json| format!("event: reading\ndata: {json}\n\n"))
}

/// The first event: what stays as it is, and the last hour.
pub(super) fn hello(proc_root: &Path, history: &History) -> serde_json::Result<String> {
    let host = fs::read_to_string(proc_root.join("sys/kernel/hostname"));
    let json = serde_json::to_string(&JsonHello {
        version: env!("CARGO_PKG_VERSION"),
        host: host.ok().map(|host| host.trim().to_owned()),
        states: State::ALL.map(State::name),
        topics: TOPICS,
        samples: history.samples(),
    });
    // After an error, the page tries again after a second.
    json.map(|json| format!("retry: 1000\nevent: hello\ndata: {json}\n\n"))
}

#[derive(Serialize)]
struct JsonHello {
    version: &'static str,
    host: Option<String>,
    /// The states of a sample, after its time.
    states: [&'static str; State::COUNT],
    topics: &'static [Topic],
    samples: Vec<Vec<u64>>,
}

#[derive(Serialize)]
struct JsonError<'a> {
    time: String,
    error: &'a str,
}

#[derive(Serialize)]
struct Json<'a> {
    time: String,
    source: &'static str,
    states: States<'a>,
    other: States<'a>,
    other_symptoms: &'a [Symptom],
    services: Vec<JsonService<'a>>,
    left_out: usize,
    service: Option<JsonOpened<'a>>,
}

#[derive(Serialize)]
struct JsonService<'a> {
    port: u16,
    listeners: u64,
    accept_queue: u64,
    backlog: Option<u64>,
    fullest: Option<JsonQueue>,
    drops: Option<u64>,
    states: States<'a>,
    symptoms: &'a [Symptom],
}

#[derive(Serialize)]
struct JsonQueue {
    length: u32,
    backlog: u32,
}

impl<'a> JsonService<'a> {
    fn new(figures: &'a ServiceFigures) -> Self {
        let service = &figures.service;
        Self {
            port: service.port,
            listeners: service.listeners,
            accept_queue: service.accept_queue,
            backlog: service.backlog,
            fullest: service.fullest.map(|queue| JsonQueue {
                length: queue.length,
                backlog: queue.backlog,
            }),
            drops: figures.drops,
            states: States::of(&service.counts),
            symptoms: &figures.symptoms,
        }
    }
}

#[derive(Serialize)]
struct JsonOpened<'a> {
    port: u16,
    listeners: Vec<JsonListener<'a>>,
    peers: Option<JsonLargest<'a>>,
    units: Option<JsonLargest<'a>>,
    /// Why something is not known.
    errors: Vec<&'a str>,
}

#[derive(Serialize)]
struct JsonListener<'a> {
    address: String,
    interface: Option<String>,
    accept_queue: u32,
    backlog: Option<u32>,
    drops: Option<u32>,
    unit: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonLargest<'a> {
    groups: Vec<JsonGroup<'a>>,
    others: usize,
}

#[derive(Serialize)]
struct JsonGroup<'a> {
    name: &'a str,
    states: States<'a>,
}

impl<'a> JsonOpened<'a> {
    fn new(port: u16, opened: &'a Result<Opened, String>) -> Self {
        let none = Self {
            port,
            listeners: Vec::new(),
            peers: None,
            units: None,
            errors: Vec::new(),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let errors = vec![error.as_str()];
                return Self { errors, ..none };
            }
        };
        let listener = |(listener, unit): &'a (Listener, Option<String>)| JsonListener {
            address: listener.local.to_string(),
            interface: listener.interface.as_ref().map(interface_text),
            accept_queue: listener.accept_queue,
            backlog: listener.backlog,
            drops: listener.drops,
            unit: unit.as_deref(),
        };
        Self {
            listeners: opened.listeners.iter().map(listener).collect(),
            peers: Some(JsonLargest::new(&opened.peers)),
            units: opened.units.as_ref().ok().map(JsonLargest::new),
            errors: opened
                .units
                .as_ref()
                .err()
                .map(String::as_str)
                .into_iter()
                .collect(),
            ..none
        }
    }
}

impl<'a> JsonLargest<'a> {
    fn new(largest: &'a Largest) -> Self {
        let group = |(name, counts): &'a (String, Counts)| JsonGroup {
            name,
            states: States::of(counts),
        };
        Self {
            groups: largest.groups.iter().map(group).collect(),
            others: largest.others,
        }
    }
}

/// Counts by the names of the states: all of them, or those that are not zero.
struct States<'a> {
    counts: &'a Counts,
    zeros: bool,
}

impl<'a> States<'a> {
    fn all(counts: &'a Counts) -> Self {
        let zeros = true;
        Self { counts, zeros }
    }

    fn of(counts: &'a Counts) -> Self {
        let zeros = false;
        Self { counts, zeros }
    }
}

impl Serialize for States<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = self.counts.iter();
        let shown = counts.filter(|(_, count)| self.zeros || *count > 0);
        serializer.collect_map(shown.map(|(state, count)| (state.name(), count)))
    }
}
