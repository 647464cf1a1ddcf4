// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat explain`: what a state or a queue means, and what to do about many of them.

use std::fmt::Write;

use super::{Failure, print};
use crate::args::Explain;
use crate::explain::TOPICS;

/// Prints the four lines of the topic; without one, a line for each.
pub(crate) fn run(args: &Explain) -> Result<(), Failure> {
    match args.topic {
        Some(topic) => print(&topic.to_string()),
        None => print(&TOPICS.iter().fold(String::new(), |mut text, topic| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:<12} {}", topic.name, topic.means);
            text
        })),
    }
}
