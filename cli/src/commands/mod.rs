// SPDX-License-Identifier: MIT OR Apache-2.0

//! A folder or file for each command: its arguments, what it asks, its formats, its text.

pub(crate) mod check;
pub(crate) mod connections;
pub(crate) mod explain;
mod namespaces;
pub(crate) mod services;
pub(crate) mod totals;
pub(crate) mod watch;
