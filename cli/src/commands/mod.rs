// SPDX-License-Identifier: MIT OR Apache-2.0

//! The commands. Each folder or file has the arguments, the queries and the output of one command.

pub(crate) mod check;
pub(crate) mod connections;
pub(crate) mod explain;
pub(crate) mod exporter;
mod namespaces;
pub(crate) mod services;
pub(crate) mod top;
pub(crate) mod totals;
pub(crate) mod version;
pub(crate) mod watch;
