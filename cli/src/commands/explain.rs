// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat explain`: explains a state, a queue, or another number of a service.

use std::ffi::OsStr;
use std::fmt::Write;

use clap::Arg;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::explain::{self, TOPICS, Topic};
use crate::failure::Failure;
use crate::output::print;

/// Explain a state, or a number of a service: its meaning, and what to do about many of them
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// A state, syn-queue, accept-queue, backlog, drops or other; without it, one line for each
    #[arg(value_parser = TopicParser, hide_possible_values = true)]
    topic: Option<&'static Topic>,
}

/// Prints the five lines of the topic; without a topic, one line for each.
pub(crate) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    match args.topic {
        Some(topic) => print(&topic.to_string()),
        None => print(&TOPICS.iter().fold(String::new(), |mut text, topic| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:<12} {}", topic.name, topic.means);
            text
        })),
    }
}

/// Finds a topic by its name. The error for an unknown name suggests a similar one.
#[derive(Clone)]
struct TopicParser;

impl TopicParser {
    fn names() -> impl Iterator<Item = PossibleValue> {
        TOPICS.iter().map(Topic::possible_value)
    }
}

impl TypedValueParser for TopicParser {
    type Value = &'static Topic;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let text = value.to_string_lossy();
        match Topic::find(&text) {
            Some(topic) => Ok(topic),
            // The error of clap for an unknown name, which suggests names similar to the normalized
            // one.
            None => PossibleValuesParser::new(Self::names())
                .try_map(|name| Topic::find(&name).ok_or("unknown topic"))
                .parse_ref(command, arg, explain::typed(&text).as_ref()),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue>>> {
        Some(Box::new(Self::names()))
    }
}
