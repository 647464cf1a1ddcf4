// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The name of a state: how it is printed, and which spellings are understood.

use core::error::Error;
use core::fmt;
use core::str::FromStr;

use super::state::State;

/// What `ss` and OpenTelemetry (`network.connection.state`) call a state, if that differs from the
/// kernel's name by more than its case and `-` for `_`.
const OTHER_NAMES: [(&str, State); 7] = [
    ("ESTAB", State::Established),
    ("SYN_RECEIVED", State::SynRecv),
    ("FIN_WAIT_1", State::FinWait1),
    ("FIN_WAIT_2", State::FinWait2),
    ("UNCONN", State::Close),
    ("CLOSED", State::Close),
    ("LISTENING", State::Listen),
];

/// The kernel's name: [`State::name`].
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Understands the names of the kernel, of `ss` and of OpenTelemetry, in any case, with `-` or `_`:
/// `ESTABLISHED`, `ESTAB`, `fin-wait-1`.
impl FromStr for State {
    type Err = ParseStateError;

    fn from_str(text: &str) -> Result<Self, ParseStateError> {
        let kernel = State::ALL.map(|state| (state.name(), state));
        let mut names = kernel.into_iter().chain(OTHER_NAMES);
        let (_, state) = names
            .find(|(name, _)| same(name, text))
            .ok_or(ParseStateError(()))?;
        Ok(state)
    }
}

/// Whether `text` is `name`, but for case and `-` for `_`.
fn same(name: &str, text: &str) -> bool {
    let form = |byte: u8| match byte {
        b'-' => b'_',
        byte => byte.to_ascii_uppercase(),
    };
    name.bytes().eq(text.bytes().map(form))
}

/// A text is not the name of a TCP state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseStateError(());

impl fmt::Display for ParseStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the name of a TCP state")
    }
}

impl Error for ParseStateError {}
