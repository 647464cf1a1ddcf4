// SPDX-License-Identifier: GPL-2.0-only

//! The result of everything here that can fail.

use std::error::Error;

/// A value, or the reason why there is none.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;
