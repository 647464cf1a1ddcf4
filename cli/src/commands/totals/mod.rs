// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat` alone: how many connections of the network namespace are in each state.

mod formats;

use tcpstat::Sampler;

use super::namespaces::answer;
use super::{Failure, explain};
use crate::args::Totals;
use crate::format::Answer;

/// Counts and prints, as often as it is asked for.
pub(crate) fn run(args: &Totals) -> Result<(), Failure> {
    args.check().map_err(Failure::Usage)?;
    answer(
        &args.from,
        &args.everywhere,
        &args.every,
        Sampler::sample,
        |Answer { namespace, answer }| {
            explain(*namespace, &answer.tried, answer.source, &answer.method);
        },
        |answers, timestamp| args.format.text(answers, timestamp),
    )
}
