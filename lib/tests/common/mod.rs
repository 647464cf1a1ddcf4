// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a test needs of the machine.

use std::env;
use std::io::{self, ErrorKind, Write};
use std::thread;

use tcpstat_tests::netns;

/// Whether network namespaces can be made. If not, says that the test is skipped: in CI, where `CI`
/// is set, that is a failure.
pub(crate) fn can_make_namespaces() -> bool {
    let Err(error) = netns::in_new(|| ()) else {
        return true;
    };
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let skipped = format!("skipped: needs CAP_SYS_ADMIN to make a network namespace: {error}");
    assert!(env::var_os("CI").is_none(), "{skipped}");
    // What `eprintln!` writes is captured, and not shown for a test that passes.
    let test = thread::current();
    let line = format!("{}: {skipped}\n", test.name().unwrap_or("?"));
    io::stderr().write_all(line.as_bytes()).unwrap();
    false
}
