// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat services`: the connections of each service, and the queues of its listeners.

use super::namespaces::answer;
use super::{Failure, explain};
use crate::args::Services;

/// Counts and prints, as often as it is asked for.
pub(crate) fn run(args: &Services) -> Result<(), Failure> {
    args.check().map_err(Failure::Usage)?;
    answer(
        &args.from,
        &args.everywhere,
        &args.every,
        |sampler| {
            let mut services = sampler.services(args.port.as_ref())?;
            if args.from.verbose {
                let found = format!("{} services", services.services.len());
                explain(&services.tried, services.source, found);
            }
            args.sort.sort(&mut services.services);
            Ok(services)
        },
        |answers, timestamp| args.format.text(answers, timestamp),
    )
}
