// SPDX-License-Identifier: MIT OR Apache-2.0

//! A connection as a line of JSON.

use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;
use tcpstat::{Connection, Namespace};

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
pub(crate) fn line(
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
