// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat connections`: lists connections one by one, in the order of the kernel.

use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;
use tcpstat::{Connection, Connections, Error, Namespace, Source};

use super::namespaces::{Scope, end};
use crate::failure::Failure;
use crate::flags::{FilterFlags, NamespaceFlags, SourceFlags};
use crate::format::Answer;
use crate::output::{print, say_source, without};

/// List connections, one line of JSON each, in constant memory
#[derive(Debug, clap::Args)]
pub(crate) struct ConnectionsArgs {
    #[command(flatten)]
    filter: FilterFlags,

    #[command(flatten)]
    namespaces: NamespaceFlags,

    #[command(flatten)]
    source: SourceFlags,
}

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
    let mut round = scope.round()?;
    let mut ask = |sampler: &mut tcpstat::Sampler| sampler.connections(filter.clone());
    while let Some(Answer { namespace, answer }) = round.next(&mut ask)? {
        if args.source.verbose {
            let method = without("lists every connection", answer.missing());
            say_source(namespace, answer.tried(), answer.source(), method);
        }
        if let Err(error) = list(answer, namespace)? {
            round.failed(namespace, error)?;
        }
    }
    let mut complete = true;
    round.end(())?.unless_missing(&mut complete);
    end(complete)
}

/// Prints connections until the end or an error of the source. The inner result has that error.
fn list(
    connections: Connections,
    namespace: Option<Namespace>,
) -> Result<Result<(), Error>, Failure> {
    let mut lines = Vec::with_capacity(CHUNK + 1024);
    let mut end = Ok(());
    for connection in connections {
        match connection {
            Ok(connection) => line(&mut lines, namespace, &connection).map_err(Failure::Print)?,
            Err(error) => end = Err(error),
        }
        if lines.len() >= CHUNK {
            print(&lines)?;
            lines.clear();
        }
    }
    print(&lines)?;
    Ok(end)
}

/// A connection as a line of JSON. A value that is unknown or does not exist is `null`.
#[derive(Serialize)]
struct Json {
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
}

/// Writes a connection as a line.
fn line(
    to: &mut impl Write,
    namespace: Option<Namespace>,
    connection: &Connection,
) -> io::Result<()> {
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
    let json = Json {
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
    };
    serde_json::to_writer(&mut *to, &json)?;
    to.write_all(b"\n")
}
