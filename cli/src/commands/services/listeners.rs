// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat services --listeners`: the order and the output formats of listening sockets.

use std::cmp::Reverse;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;
use tcpstat::{AcceptQueue, Listener, Listeners, Process, Source};

use super::formats::{known, percent};
use super::sort::SortBy;
use crate::format::{
    Answer, Format, JsonInterface, JsonNamespace, blocks, interface_text, lines, rfc3339, rounded,
};
use crate::netns_name::Names;
use crate::owners::{JsonProcess, Owners, printable, processes_text};
use crate::table::{self, Column};

/// Why listeners cannot be printed in this order or format, if so.
pub(super) fn refusal(format: Format, sort: SortBy) -> Option<&'static str> {
    match (format, sort) {
        (Format::Prometheus, _) => Some(
            "--listeners has no --format prometheus: the fullest listener of each port is in the metrics of \
             tcpstat services",
        ),
        (_, SortBy::Port | SortBy::AcceptQueue | SortBy::Use | SortBy::Drops) => None,
        _ => Some("--listeners can only be sorted by port, accept-queue, use or drops"),
    }
}

/// Sorts descending by the column. Equal ones stay in the order of the library, which is by port.
pub(super) fn sort(by: SortBy, listeners: &mut [Listener]) {
    match by {
        SortBy::Use => listeners.sort_by_key(|one| Reverse(one.queue())),
        SortBy::AcceptQueue => listeners.sort_by_key(|one| Reverse(one.accept_queue)),
        SortBy::Drops => listeners.sort_by_key(|one| Reverse(one.drops)),
        _ => {}
    }
}

/// The listeners of a namespace, and whose they are.
pub(super) struct OwnedListeners {
    source: Source,
    listeners: Vec<Owned>,
}

/// A listener, and whose it is.
struct Owned {
    listener: Listener,
    unit: Option<String>,
    /// `None` if they were not asked for.
    processes: Option<Vec<Process>>,
}

impl OwnedListeners {
    pub(super) fn new(listeners: Listeners, owners: &mut Owners) -> Self {
        let owned = |listener: Listener| Owned {
            unit: owners.unit(listener.cgroup),
            processes: owners.processes(listener.inode).map(<[Process]>::to_vec),
            listener,
        };
        Self {
            source: listeners.source,
            listeners: listeners.listeners.into_iter().map(owned).collect(),
        }
    }
}

/// The listeners as text, with the final newline. `timestamp` is the time of the reading.
pub(super) fn text(
    format: Format,
    answers: &[Answer<OwnedListeners>],
    timestamp: Timestamp,
    names: &Names,
) -> serde_json::Result<String> {
    match format {
        Format::Table => Ok(blocks(answers, names, listeners_table)),
        _ => lines(answers.iter().map(|Answer { namespace, answer }| {
            serde_json::to_string(&Json {
                timestamp: rfc3339(timestamp),
                namespace: JsonNamespace::of(*namespace, names),
                source: answer.source.name(),
                listeners: answer.listeners.iter().map(JsonListener::from).collect(),
            })
        })),
    }
}

#[derive(Serialize)]
struct Json<'a> {
    timestamp: String,
    #[serde(flatten)]
    namespace: Option<JsonNamespace>,
    source: &'static str,
    listeners: Vec<JsonListener<'a>>,
}

/// A listener. A value that is unknown or does not exist is `null`.
#[derive(Serialize)]
struct JsonListener<'a> {
    address: IpAddr,
    port: u16,
    interface: Option<JsonInterface<'a>>,
    accept_queue: u32,
    backlog: Option<u32>,
    accept_queue_ratio: Option<f64>,
    drops: Option<u32>,
    uid: Option<u32>,
    inode: Option<u64>,
    unit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<Vec<JsonProcess<'a>>>,
}

impl<'a> From<&'a Owned> for JsonListener<'a> {
    fn from(owned: &'a Owned) -> Self {
        let Owned {
            listener,
            unit,
            processes,
        } = owned;
        let interface = listener.interface.as_ref();
        let processes = processes.as_ref();
        Self {
            unit: unit.as_deref(),
            processes: processes.map(|processes| processes.iter().map(Into::into).collect()),
            address: listener.local.ip(),
            port: listener.local.port(),
            interface: interface.map(JsonInterface::from),
            accept_queue: listener.accept_queue,
            backlog: listener.backlog,
            accept_queue_ratio: listener.queue().map(AcceptQueue::ratio).map(rounded),
            drops: listener.drops,
            uid: listener.uid,
            inode: listener.inode,
        }
    }
}

/// A row for each listener.
fn listeners_table(listeners: &OwnedListeners) -> String {
    let mut columns = vec![
        Column::text("ADDRESS", 0),
        Column::number("PORT", 0),
        Column::text("INTERFACE", 0),
        Column::number("ACCEPT_QUEUE", 0),
        Column::number("BACKLOG", 0),
        Column::number("USE", 0),
        Column::number("DROPS", 0),
        Column::number("UID", 0),
        Column::number("INODE", 0),
        Column::text("UNIT", 0),
    ];
    if listeners
        .listeners
        .iter()
        .any(|one| one.processes.is_some())
    {
        columns.push(Column::text("PROCESSES", 0));
    }
    // An interface that is not known is not the same as none.
    let unbound = match listeners.source {
        Source::Procfs => "?",
        _ => "",
    };
    let row = |owned: &Owned| {
        let listener = &owned.listener;
        let bound = listener.interface.as_ref().map(interface_text);
        let mut row = vec![
            listener.local.ip().to_string(),
            listener.local.port().to_string(),
            bound.unwrap_or(unbound.to_owned()),
            listener.accept_queue.to_string(),
            known(listener.backlog),
            percent(listener.queue().map(AcceptQueue::ratio)),
            known(listener.drops),
            // Sockets of the kernel itself belong to no process.
            listener.uid.map_or(String::new(), |uid| uid.to_string()),
            listener
                .inode
                .map_or(String::new(), |inode| inode.to_string()),
            owned.unit.as_deref().map_or(String::new(), printable),
        ];
        row.extend(owned.processes.as_deref().map(processes_text));
        row
    };
    let rows: Vec<_> = listeners.listeners.iter().map(row).collect();
    let mut text = table::text(&columns, &rows);
    if rows.is_empty() {
        text += "nothing listens\n";
    }
    text += &format!("\nsource: {}", listeners.source);
    if listeners.source == Source::Procfs {
        text += ", which knows neither interface, backlog, drops nor unit";
    }
    text + "\n"
}
