// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat services`: the connections of each service, and the queues of its listeners.

use jiff::Timestamp;

use super::namespaces::Asked;
use super::{Failure, at_each_tick, explain, print};
use crate::args::Services;

/// Counts and prints, as often as it is asked for.
pub(crate) fn run(args: &Services) -> Result<(), Failure> {
    args.check().map_err(Failure::Usage)?;
    let mut asked = Asked::new(&args.from, &args.everywhere)?;
    at_each_tick(&args.every, || {
        let timestamp = Timestamp::now();
        let answers = asked.ask(|sampler| {
            let mut services = sampler.services(args.port.as_ref())?;
            if args.from.verbose {
                let found = format!("{} services", services.services.len());
                explain(&services.tried, services.source, found);
            }
            args.sort.sort(&mut services.services);
            Ok(services)
        })?;
        let text = args
            .format
            .text(&answers, timestamp)
            .map_err(Failure::Format)?;
        print(&text)
    })?;
    asked.finish()
}
