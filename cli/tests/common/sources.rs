// SPDX-License-Identifier: MIT OR Apache-2.0

//! The sources that can be tested without the module.

use tcpstat::Source;

/// Every source but the module.
pub(crate) fn without_module() -> impl Iterator<Item = Source> {
    Source::ALL
        .into_iter()
        .filter(|source| *source != Source::Module)
}

/// Their names for `--source`.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    without_module().map(Source::name)
}

/// The same and `auto`.
pub(crate) fn names_and_auto() -> impl Iterator<Item = &'static str> {
    ["auto"].into_iter().chain(names())
}
