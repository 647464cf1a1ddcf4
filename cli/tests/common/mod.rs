// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the tests of the command share.

// Each file of tests is a crate of its own, and uses a part of this.
#![allow(dead_code)]

pub(crate) mod container;
pub(crate) mod exporter;
pub(crate) mod run;
pub(crate) mod saved;
pub(crate) mod serial;
pub(crate) mod sources;
pub(crate) mod unprivileged;
