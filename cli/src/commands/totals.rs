// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat` alone: how many connections of the network namespace are in each state.

use jiff::Timestamp;

use super::{Failure, at_each_tick, explain, print};
use crate::args::Totals;

/// Counts and prints, as often as it is asked for.
pub(crate) fn run(args: &Totals) -> Result<(), Failure> {
    args.check().map_err(Failure::Usage)?;
    let mut sampler = args.from.sampler().map_err(Failure::Usage)?;
    at_each_tick(&args.every, || {
        let timestamp = Timestamp::now();
        let snapshot = sampler.sample().map_err(Failure::Sample)?;
        if args.from.verbose {
            explain(&snapshot.tried, snapshot.source, &snapshot.method);
        }
        let text = args
            .format
            .text(&snapshot, timestamp)
            .map_err(Failure::Format)?;
        print(&text)
    })
}
