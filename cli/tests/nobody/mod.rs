// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command without any privilege: as a user who owns nothing, if there is one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use assert_cmd::cargo::cargo_bin;
use tempfile::TempDir;

/// What takes every privilege from a command that follows. Whoever is root of a user namespace only has no other user to
/// become, and loses the capabilities of this one.
pub(crate) fn without_privilege() -> &'static [&'static str] {
    let everybody = fs::read_to_string("/proc/self/uid_map").unwrap();
    if everybody.split_whitespace().eq(["0", "0", "4294967295"]) {
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

/// The command where everybody may read it, in a directory of its own.
pub(crate) fn for_everybody() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("tcpstat");
    fs::copy(cargo_bin!("tcpstat"), &path).unwrap();
    (dir, path)
}
