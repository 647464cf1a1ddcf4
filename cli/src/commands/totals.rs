// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat` alone: how many connections of the network namespace are in each state.

use jiff::Timestamp;

use super::namespaces::Asked;
use super::{Failure, at_each_tick, explain, print};
use crate::args::Totals;

/// Counts and prints, as often as it is asked for.
pub(crate) fn run(args: &Totals) -> Result<(), Failure> {
    args.check().map_err(Failure::Usage)?;
    let mut asked = Asked::new(&args.from, &args.everywhere)?;
    at_each_tick(&args.every, || {
        let timestamp = Timestamp::now();
        let answers = asked.ask(|sampler| {
            let snapshot = sampler.sample()?;
            if args.from.verbose {
                explain(&snapshot.tried, snapshot.source, &snapshot.method);
            }
            Ok(snapshot)
        })?;
        let text = args
            .format
            .text(&answers, timestamp)
            .map_err(Failure::Format)?;
        print(&text)
    })?;
    asked.finish()
}
