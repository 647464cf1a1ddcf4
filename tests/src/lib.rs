// SPDX-License-Identifier: GPL-2.0-only

//! What the tests of every package share, and the tests in the virtual machine.
//!
//! For all tests and the benchmark: [`sockets`] in every state, listeners and connections at
//! specified addresses ([`at_addresses`]), processes that hold them ([`holder`]), connections that
//! come and go ([`churn`]), cgroups ([`cgroup`]), network namespaces ([`netns`]) and processes in
//! them ([`idle`]), a [`terminal`], [`limits`], two counts to compare with ([`naive`], [`ss`]), and
//! the formats of metrics ([`exposition`]).
//!
//! For a built module: whether it is as its kernel's configuration asks ([`ko`]).
//!
//! Inside the machine, `tcpstat-vm-init` runs [`vm`]. Outside, `tcpstat-vm-run` starts the machine
//! ([`launch`], [`tsc`]) and judges ([`verdict`]) its results ([`ktap`]) and its console
//! ([`splat`]).

pub mod at_addresses;
pub mod cgroup;
pub mod churn;
pub mod exposition;
pub mod holder;
pub mod idle;
pub mod ko;
pub mod ktap;
pub mod launch;
pub mod limits;
pub mod naive;
pub mod netns;
pub mod sockets;
pub mod splat;
pub mod ss;
pub mod terminal;
pub mod tsc;
pub mod verdict;
pub mod vm;
