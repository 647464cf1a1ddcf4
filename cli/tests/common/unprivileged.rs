// SPDX-License-Identifier: MIT OR Apache-2.0

//! Runs the command without privileges: as another user if there is one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use assert_cmd::cargo::cargo_bin;
use tempfile::TempDir;

/// The start of a command line, which takes every privilege from the command that follows. Root of
/// a user namespace may have no other user; then it only loses its capabilities.
pub(crate) fn wrapper() -> &'static [&'static str] {
    let all_users = fs::read_to_string("/proc/self/uid_map").unwrap();
    if all_users.split_whitespace().eq(["0", "0", "4294967295"]) {
        &[
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ]
    } else {
        &["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    }
}

/// A copy of the command that every user may read, and its directory, which has to be kept.
pub(crate) fn readable_copy() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("tcpstat");
    fs::copy(cargo_bin!("tcpstat"), &path).unwrap();
    (directory, path)
}
