// SPDX-License-Identifier: GPL-2.0-only

//! What the tests of tcpstat are made of: sockets in every state, the scenarios of the virtual machine, and
//! the host's judgement of a run.
//!
//! Inside the machine, `tcpstat-vm-init` runs [`vm`], which uses [`sockets`], [`churn`], [`netns`] and [`naive`].
//! Outside, `tcpstat-vm-run` starts the machine ([`launch`], [`tsc`]) and judges ([`verdict`]) its results
//! ([`ktap`]) and its console ([`splat`]).

pub mod churn;
pub mod idle;
pub mod ktap;
pub mod launch;
pub mod naive;
pub mod netns;
pub mod sockets;
pub mod splat;
pub mod ss;
pub mod terminal;
pub mod tsc;
pub mod verdict;
pub mod vm;
