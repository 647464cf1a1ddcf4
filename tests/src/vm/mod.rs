// SPDX-License-Identifier: GPL-2.0-only

//! The tests inside the virtual machine: its start and end ([`boot`]), the run of the scenarios
//! ([`runner`]), and the [`scenarios`], a file for each topic.
//!
//! Each scenario is a process of its own, so that one that panics, hangs or stays in another
//! namespace cannot disturb the others. It starts with the module loaded, in a network namespace
//! that has no sockets.

pub mod boot;
pub mod descriptors;
pub mod helper;
pub mod module;
pub mod reading;
pub mod runner;
pub mod scenario;
pub mod scenarios;

mod agreement;
mod all_namespaces;
mod churn;
mod command;
mod endings;
mod exporter;
mod injection;
mod leaks;
mod lifetime;
mod locks;
mod namespaces;
mod need;
mod parameters;
mod sections;
mod services;
mod text;
