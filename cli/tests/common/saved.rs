// SPDX-License-Identifier: MIT OR Apache-2.0

//! Saved samples of procfs for the command to read.

use std::fs::{self, File};
use std::io::Write;

use tempfile::TempDir;

/// A `net/tcp6` without connections.
pub(crate) const EMPTY_TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

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

/// The same, with the lines of its `net/tcp` repeated 100,000 times: more than 32 MiB.
pub(crate) fn large_proc_root(files: &[(&str, &str)]) -> TempDir {
    let root = proc_root(files);
    let path = root.path().join("net/tcp");
    let text = fs::read_to_string(&path).unwrap();
    let lines: String = text.split_inclusive('\n').skip(1).collect();
    let lines = lines.repeat(1000);
    let mut file = File::options().append(true).open(path).unwrap();
    for _ in 0..100 {
        file.write_all(lines.as_bytes()).unwrap();
    }
    assert!(file.metadata().unwrap().len() > 32 << 20);
    root
}
