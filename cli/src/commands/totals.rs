// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat` alone: how many connections of the network namespace are in each state.

use super::namespaces::answer;
use super::{Failure, explain};
use crate::args::Totals;

/// Counts and prints, as often as it is asked for.
pub(crate) fn run(args: &Totals) -> Result<(), Failure> {
    args.check().map_err(Failure::Usage)?;
    answer(
        &args.from,
        &args.everywhere,
        &args.every,
        |sampler| {
            let snapshot = sampler.sample()?;
            if args.from.verbose {
                explain(&snapshot.tried, snapshot.source, &snapshot.method);
            }
            Ok(snapshot)
        },
        |answers, timestamp| args.format.text(answers, timestamp),
    )
}
