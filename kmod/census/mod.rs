// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Counting TCP sockets by state, and by service: the part that needs nothing but `core`.
//!
//! These files are compiled twice: into the kernel module (`mod census` of `tcpstat_main.rs`), and as an
//! ordinary crate, `tcpstat-census`, that is tested natively and gives the command its names.
#![cfg_attr(not(MODULE), no_std)]

pub mod counts;
pub mod obvious;
pub mod services;
pub mod state;
pub mod walk;
