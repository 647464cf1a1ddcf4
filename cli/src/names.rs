// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names of states on the command line: the names that shell completion offers, and their aliases.

use std::ffi::OsStr;

use clap::Arg;
use clap::builder::{PossibleValue, TypedValueParser};
use tcpstat::State;

use crate::explain::TOPICS;

/// The parser of a state, by any of its names, in any case, with `-` or `_`.
pub(crate) const STATE: NameParser<State> = NameParser {
    read: state,
    names: states,
};

/// The states as people type them, each with its meaning.
pub(crate) fn states() -> Vec<PossibleValue> {
    let states = TOPICS
        .iter()
        .filter(|topic| topic.name.parse::<State>().is_ok());
    states.map(|topic| topic.possible_value()).collect()
}

fn state(text: &str) -> Result<State, String> {
    text.parse().map_err(|_| {
        let names = State::ALL.map(State::name).join(", ");
        format!("unknown state; the states are: {names}")
    })
}

/// A parser of named values. Shell completion offers `names`; `read` accepts aliases too.
#[derive(Clone, Copy)]
pub(crate) struct NameParser<T> {
    pub(crate) read: fn(&str) -> Result<T, String>,
    pub(crate) names: fn() -> Vec<PossibleValue>,
}

impl<T: Copy + Send + Sync + 'static> TypedValueParser for NameParser<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        self.read.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue>>> {
        Some(Box::new((self.names)().into_iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_in_any_case() {
        assert_eq!(state("close-wait"), Ok(State::CloseWait));
        assert_eq!(state("CLOSE_WAIT"), Ok(State::CloseWait));
        assert!(state("open").unwrap_err().contains("CLOSE_WAIT"));
    }
}
