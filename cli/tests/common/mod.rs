// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the tests of the command share.

// Each file of tests is a crate of its own, and uses a part of this.
#![allow(dead_code)]

pub(crate) mod container;
pub(crate) mod dashboard;
pub(crate) mod exporter;
pub(crate) mod prometheus;
pub(crate) mod promtool;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod saved;
pub(crate) mod serial;
pub(crate) mod sockets;
pub(crate) mod sources;
pub(crate) mod tmux;
pub(crate) mod unprivileged;
pub(crate) mod watch;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file of the project.
pub(crate) fn project_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The time, as Prometheus has it.
pub(crate) fn seconds_since_1970() -> f64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.unwrap().as_secs_f64()
}
