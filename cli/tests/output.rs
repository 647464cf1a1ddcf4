// SPDX-License-Identifier: MIT OR Apache-2.0

//! `--output FILE`: replaced whole and at once, or left as it is.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;

use common::run::{run, tcpstat_on};
use common::saved::{EMPTY_TCP6, proc_root};
use tempfile::TempDir;

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:01BB 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 1574 1 0000000000000000 100 0 0 10 0
";

/// Each command, and a format of it.
const COMMANDS: [&[&str]; 9] = [
    &[],
    &["--format", "report"],
    &["--format", "prometheus"],
    &["--format", "table"],
    &["services"],
    &["services", "--listeners", "--format", "table"],
    &["top", "--by", "state"],
    &["top", "--by", "family", "--format", "prometheus"],
    &["connections"],
];

#[test]
fn a_file_has_what_would_be_printed() {
    let root = proc_root(&[("net/tcp", TCP), ("net/tcp6", EMPTY_TCP6)]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tcp.prom");
    for arguments in COMMANDS {
        let (code, printed, _) = run(&mut tcpstat_on(root.path(), arguments));
        assert_eq!(code, Some(0));
        fs::write(&path, "old").unwrap();
        let mut command = tcpstat_on(root.path(), arguments);
        let (code, stdout, stderr) = run(command.arg("--output").arg(&path));
        assert_eq!(
            (code, &*stdout, &*stderr),
            (Some(0), "", ""),
            "{arguments:?}"
        );
        let written = fs::read_to_string(&path).unwrap();
        // But for the time of the reading.
        assert_eq!(written.len(), printed.len(), "{arguments:?}: {written}");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn an_error_leaves_the_old_file() {
    let root = proc_root(&[("net/tcp", "nonsense\n"), ("net/tcp6", EMPTY_TCP6)]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tcp.prom");
    for arguments in COMMANDS {
        fs::write(&path, "old").unwrap();
        let mut command = tcpstat_on(root.path(), arguments);
        let (code, stdout, _) = run(command.arg("--output").arg(&path));
        assert_eq!((code, &*stdout), (Some(1), ""), "{arguments:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "{arguments:?}"
        );
    }
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let root = proc_root(&[("net/tcp", TCP), ("net/tcp6", EMPTY_TCP6)]);
    let folder = TempDir::new().unwrap();
    let link = folder.path().join("null");
    symlink("/dev/null", &link).unwrap();
    for (path, expected) in [
        (link.as_path(), "it is no regular file"),
        (folder.path(), "it is no regular file"),
        (&folder.path().join("absent/tcp.prom"), "No such file"),
    ] {
        for arguments in COMMANDS {
            let mut command = tcpstat_on(root.path(), arguments);
            let (code, stdout, stderr) = run(command.arg("--output").arg(path));
            assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
            assert!(
                stderr.contains("cannot write") && stderr.contains(expected),
                "{stderr}"
            );
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
