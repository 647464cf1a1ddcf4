// SPDX-License-Identifier: MIT OR Apache-2.0

//! How each source is read: the module's files, netlink, procfs.

mod by_port;
pub(crate) mod difference;
mod filter;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod interrupted;
mod lines;
pub(crate) mod module;
pub(crate) mod module_services;
mod namespace;
pub(crate) mod netlink;
pub(crate) mod procfs;
pub(crate) mod root;
mod sockstat;
