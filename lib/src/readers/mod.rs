// SPDX-License-Identifier: MIT OR Apache-2.0

//! How each source is read: the module's files, netlink, procfs.

pub(crate) mod by_port;
pub(crate) mod difference;
mod filter;
mod interrupted;
pub(crate) mod lines;
pub(crate) mod module;
pub(crate) mod module_services;
pub(crate) mod namespace;
pub(crate) mod netlink;
pub(crate) mod procfs;
pub(crate) mod root;
pub(crate) mod sockstat;
