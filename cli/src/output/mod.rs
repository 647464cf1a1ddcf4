// SPDX-License-Identifier: MIT OR Apache-2.0

//! How answers are printed: a file for each kind of answer.

mod totals;

/// `count` as a share of `total`, 0 to 1; of nothing, it is 0.
pub(crate) fn ratio(count: u64, total: u64) -> f64 {
    if total == 0 {
        0.0
    } else {
        count as f64 / total as f64
    }
}
