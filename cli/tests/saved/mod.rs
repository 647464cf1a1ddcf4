// SPDX-License-Identifier: MIT OR Apache-2.0

//! Saved samples of procfs, for the command to read.

use std::fs;

use tempfile::TempDir;

/// A procfs with these files.
pub(crate) fn proc_root(files: &[(&str, &str)]) -> TempDir {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("net")).unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}
