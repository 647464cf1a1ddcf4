// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The obvious walk, bucket after bucket under its lock, as `tcp_diag_dump` does it.
//!
//! For tests and benchmarks only: what `walk.rs` is compared with.

use super::table::Table;

/// The walk pauses at least once in this many empty buckets, and after each bucket that it locked.
const PAUSE_EVERY: usize = 1024;

/// Visits every entry of `table`, bucket by bucket; empty buckets are skipped without locking.
///
/// # Errors
/// The table says at a pause that the walk is to end.
pub fn walk<T: Table>(
    table: &T,
    mut visit: impl FnMut(&T::Socket<'_>),
) -> Result<(), T::Interrupt> {
    for bucket in 0..table.buckets() {
        let empty = table.is_empty(bucket);
        if !empty {
            table.visit(&table.section(), bucket, &mut visit);
        }
        if !empty || bucket % PAUSE_EVERY == 0 {
            table.pause()?;
        }
    }
    Ok(())
}
