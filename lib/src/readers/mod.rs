// SPDX-License-Identifier: MIT OR Apache-2.0

//! How each source is read: the module's files, netlink, procfs.

pub(crate) mod by_port;
mod byte_order;
pub(crate) mod cgroups;
mod columns;
pub(crate) mod difference;
mod filter;
pub(crate) mod heavy;
pub(crate) mod holders;
mod interrupted;
pub(crate) mod kernel;
pub(crate) mod lines;
pub(crate) mod module;
pub(crate) mod module_namespaces;
pub(crate) mod module_services;
pub(crate) mod namespace;
pub(crate) mod netlink;
pub(crate) mod procfs;
#[cfg(test)]
mod procfs_live;
pub(crate) mod root;
mod shown;
pub(crate) mod sockstat;
