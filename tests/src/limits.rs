// SPDX-License-Identifier: GPL-2.0-only

//! How many files a process may have open: each socket is one.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// As many open files as any test needs in one process.
const MANY: u64 = 100_000;

/// Raises this process's limit of open files to 100,000, or where that is refused, to the hard
/// limit. The processes that it starts inherit the limit. Gives the limit, 100,000 at most.
///
/// # Errors
/// If the kernel refuses even the hard limit.
pub fn allow_many_files() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.max(MANY);
    // Root may raise the hard limit, unless a sandbox refuses that.
    let allowed = match setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted) {
        Ok(()) => wanted,
        Err(_) => {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
            hard
        }
    };
    Ok(allowed.min(MANY))
}
