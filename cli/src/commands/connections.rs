// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat connections`: every connection, one after another, as the kernel tells of them.

use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;
use tcpstat::{Connection, Connections, Namespace};

use super::namespaces::Asked;
use super::{Failure, explain, print};
use crate::args;
use crate::format::Answer;

/// So much is printed at a time, in bytes: whole lines.
const AT_A_TIME: usize = 32 * 1024;

/// Prints a line for each connection. What came before an error is printed.
pub(crate) fn run(args: &args::Connections) -> Result<(), Failure> {
    args.check().map_err(Failure::Usage)?;
    let filter = args.filter();
    let mut asked = Asked::new(&args.from, &args.everywhere)?;
    asked.each(
        |sampler| sampler.connections(filter.clone()),
        |Answer { namespace, answer }| {
            if args.from.verbose {
                let method = "lists every connection";
                explain(namespace, answer.tried(), answer.source(), method);
            }
            list(answer, namespace)
        },
    )?;
    asked.finish()
}

fn list(connections: Connections, namespace: Option<Namespace>) -> Result<(), Failure> {
    let mut lines = Vec::with_capacity(AT_A_TIME + 1024);
    let mut end = Ok(());
    for connection in connections {
        match connection {
            Ok(connection) => line(&mut lines, namespace, &connection).map_err(Failure::Print)?,
            Err(error) => end = Err(Failure::Sample(error)),
        }
        if lines.len() >= AT_A_TIME {
            print(&lines)?;
            lines.clear();
        }
    }
    print(&lines)?;
    end
}

/// What is not known, or not there, is `null`.
#[derive(Serialize)]
struct Json {
    /// Whose connection it is where several namespaces are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<u64>,
    /// A process in that namespace, which need not be one that has the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
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

/// Writes a connection and the end of its line.
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
