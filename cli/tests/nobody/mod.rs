// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command without any privilege: as a user who owns nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use assert_cmd::cargo::cargo_bin;
use tempfile::TempDir;

/// The user, and the group, that nothing belongs to.
pub(crate) const NOBODY: u32 = 65534;

/// The command where everybody may read it, in a directory of its own.
pub(crate) fn for_everybody() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("tcpstat");
    fs::copy(cargo_bin!("tcpstat"), &path).unwrap();
    (dir, path)
}
