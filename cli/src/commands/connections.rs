// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat connections`: lists connections one by one, in the order of the kernel.

use std::io;
use std::net::IpAddr;

use serde::Serialize;
use tcpstat::{Connection, Connections, Error, Interface, Namespace, Process, Source};

use super::namespaces::{Scope, end};
use crate::failure::Failure;
use crate::flags::{FilterFlags, NamespaceFlags, OutputFlags, SourceFlags};
use crate::format::{Answer, Format, JsonInterface, interface_text};
use crate::output::{Output, say_source, without};
use crate::owners::{JsonProcess, Owners, printable, processes_text};
use crate::table::Column;

/// List connections, one line each, in constant memory
#[derive(Debug, clap::Args)]
pub(crate) struct ConnectionsArgs {
    #[command(flatten)]
    filter: FilterFlags,

    /// Show the processes that have each connection open (yours; as root, all): takes more memory
    #[arg(short, long)]
    processes: bool,

    /// What to print: json, table
    #[arg(long, default_value_t = Format::Json, hide_possible_values = true)]
    #[arg(value_parser = Format::parser(&FORMATS))]
    format: Format,

    #[command(flatten)]
    output: OutputFlags,

    #[command(flatten)]
    namespaces: NamespaceFlags,

    #[command(flatten)]
    source: SourceFlags,
}

/// The values of `--format`.
const FORMATS: [Format; 2] = [Format::Json, Format::Table];

/// The size of a write, in bytes, rounded up to whole lines.
const CHUNK: usize = 32 * 1024;

/// Prints a line for each connection. If there is an error, the connections before it are printed.
pub(crate) fn run(args: &ConnectionsArgs) -> Result<(), Failure> {
    if args.source.source() == Some(Source::Module) {
        return Err(Failure::Usage(format!(
            "{}: use --source netlink or procfs, or leave it out",
            Error::NotListed
        )));
    }
    let filter = args.filter.filter();
    let mut scope = Scope::new(&args.source, &args.namespaces)?;
    let proc_root = args.source.options().proc_root;
    let mut owners = Owners::new(&proc_root);
    if args.processes {
        owners.read_processes(&proc_root)?;
    }
    let mut lines = match args.format {
        Format::Table => Lines::table(args.namespaces.all_namespaces, args.processes),
        _ => Lines::default(),
    };
    let mut to = Output::begin(args.output.output.as_deref())?;
    let mut round = scope.round()?;
    let mut ask = |sampler: &mut tcpstat::Sampler| sampler.connections(filter.clone());
    while let Some(Answer { namespace, answer }) = round.next(&mut ask)? {
        if args.source.verbose {
            let method = without("lists every connection", answer.missing());
            say_source(namespace, answer.tried(), answer.source(), method);
        }
        if let Err(error) = list(answer, namespace, &mut owners, &mut lines, &mut to)? {
            round.failed(namespace, error)?;
        }
    }
    let mut complete = true;
    round.end(())?.unless_missing(&mut complete);
    if !args.output.stays(complete) {
        to.end()?;
    }
    end(complete)
}

/// Prints connections until the end or an error of the source. The inner result has that error.
fn list(
    mut connections: Connections,
    namespace: Option<Namespace>,
    owners: &mut Owners,
    lines: &mut Lines,
    to: &mut Output<'_>,
) -> Result<Result<(), Error>, Failure> {
    let mut end = Ok(());
    while let Some(connection) = connections.next() {
        match connection {
            Ok(connection) => {
                let interface = connections.interface(&connection);
                lines
                    .add(namespace, &connection, interface.as_ref(), owners)
                    .map_err(Failure::Print)?;
            }
            Err(error) => end = Err(error),
        }
        lines.print_beyond(CHUNK, to)?;
    }
    lines.print_beyond(0, to)?;
    Ok(end)
}

/// The lines that are not printed yet.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    /// The columns of a table; JSON has none. A wider cell shifts those after it: connections are
    /// printed as they come.
    columns: Vec<(Column, usize)>,
}

impl Lines {
    fn table(namespaces: bool, processes: bool) -> Self {
        let netns = namespaces.then(|| (Column::number("NETNS", 10), 10));
        let mut columns: Vec<(Column, usize)> = netns.into_iter().collect();
        columns.extend([
            (Column::text("STATE", 11), 11),
            (Column::number("RECV_Q", 6), 6),
            (Column::number("SEND_Q", 6), 6),
            (Column::text("LOCAL", 21), 21),
            (Column::text("REMOTE", 21), 21),
            (Column::text("INTERFACE", 9), 9),
            (Column::number("UID", 5), 5),
            (Column::text("UNIT", 20), 20),
        ]);
        if processes {
            columns.push((Column::text("PROCESSES", 9), 9));
        }
        let mut table = Self {
            text: Vec::new(),
            columns,
        };
        let headings = table.columns.iter().map(|(column, _)| column.heading);
        let headings: Vec<String> = headings.map(str::to_owned).collect();
        table.row(&headings);
        table
    }

    fn row(&mut self, cells: &[String]) {
        let cells = self.columns.iter().zip(cells);
        let cells: Vec<String> = cells
            .map(|((column, width), cell)| column.padded(cell, *width))
            .collect();
        self.text.extend(cells.join("  ").trim_end().as_bytes());
        self.text.push(b'\n');
    }

    fn add(
        &mut self,
        namespace: Option<Namespace>,
        connection: &Connection,
        interface: Option<&Interface>,
        owners: &mut Owners,
    ) -> io::Result<()> {
        let unit = owners.unit(connection.cgroup);
        let processes = owners.processes(connection.inode);
        if self.columns.is_empty() {
            let json = Json::new(namespace, connection, interface, unit, processes);
            serde_json::to_writer(&mut self.text, &json)?;
            self.text.push(b'\n');
            return Ok(());
        }
        let netns = namespace.map(|namespace| namespace.inode.to_string());
        let mut cells: Vec<String> = netns.into_iter().collect();
        let number = |number: Option<u32>| number.map_or(String::new(), |one| one.to_string());
        cells.extend([
            connection.state.name().to_owned(),
            connection.receive_queue.to_string(),
            number(connection.send_queue),
            connection.local.to_string(),
            connection.remote.to_string(),
            interface.map_or(String::new(), interface_text),
            number(connection.uid),
            printable(&unit.unwrap_or_default()),
        ]);
        cells.extend(processes.map(processes_text));
        self.row(&cells);
        Ok(())
    }

    /// Prints the lines if they have more bytes than this.
    fn print_beyond(&mut self, bytes: usize, to: &mut Output<'_>) -> Result<(), Failure> {
        if self.text.len() > bytes {
            to.print(&self.text)?;
            to.flush_stdout()?;
            self.text.clear();
        }
        Ok(())
    }
}

/// A connection as a line of JSON. A value that is unknown or does not exist is `null`.
#[derive(Serialize)]
struct Json<'a> {
    /// Its namespace, with `--all-namespaces`.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<u64>,
    /// A process in that namespace, if there is one; not necessarily the owner of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<Option<u32>>,
    state: &'static str,
    local_address: IpAddr,
    local_port: u16,
    remote_address: IpAddr,
    remote_port: u16,
    uid: Option<u32>,
    inode: Option<u64>,
    receive_queue: u32,
    send_queue: Option<u32>,
    interface: Option<JsonInterface<'a>>,
    unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<Vec<JsonProcess<'a>>>,
}

impl<'a> Json<'a> {
    fn new(
        namespace: Option<Namespace>,
        connection: &Connection,
        interface: Option<&'a Interface>,
        unit: Option<String>,
        processes: Option<&'a [Process]>,
    ) -> Self {
        let Connection {
            state,
            local,
            remote,
            uid,
            inode,
            receive_queue,
            send_queue,
            ..
        } = *connection;
        Self {
            namespace: namespace.map(|namespace| namespace.inode),
            pid: namespace.map(|namespace| namespace.pid),
            state: state.name(),
            local_address: local.ip(),
            local_port: local.port(),
            remote_address: remote.ip(),
            remote_port: remote.port(),
            uid,
            inode,
            receive_queue,
            send_queue,
            interface: interface.map(JsonInterface::from),
            unit,
            processes: processes.map(|processes| processes.iter().map(Into::into).collect()),
        }
    }
}
