// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Counting TCP sockets by state and by service: the part that needs nothing but `core`.
//!
//! These files are compiled twice: into the kernel module (`mod census` of `tcpstat_main.rs`), and
//! as an ordinary crate, `tcpstat-census`, which is tested in user space and from which the library
//! and the command have the states and their counts.
#![cfg_attr(not(MODULE), no_std)]

#[cfg(not(MODULE))]
mod collection;
pub mod counts;
mod line;
pub mod local_addresses;
#[cfg(not(MODULE))]
pub mod names;
pub mod namespaces;
#[cfg(not(MODULE))]
#[doc(hidden)] // For the tests and the benchmark of this crate.
pub mod obvious;
pub mod queue;
#[cfg(feature = "serde")]
mod serialize;
pub mod services;
pub mod state;
pub mod table;
pub mod totals;
// The benchmark also measures a module with the obvious walk in place of the other.
#[cfg_attr(OBVIOUS_WALK, path = "obvious.rs")]
pub mod walk;
