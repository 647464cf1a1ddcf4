// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat services`: the connections of each service, and the queues of its listeners.

mod formats;

use super::namespaces::answer;
use super::{Failure, explain};
use crate::args::Services;
use crate::format::Answer;

/// Counts and prints, as often as it is asked for.
pub(crate) fn run(args: &Services) -> Result<(), Failure> {
    args.check().map_err(Failure::Usage)?;
    answer(
        &args.from,
        &args.everywhere,
        &args.every,
        |sampler| {
            let mut services = sampler.services(args.port.as_ref())?;
            args.sort.sort(&mut services.services);
            Ok(services)
        },
        |Answer { namespace, answer }| {
            let found = format!("{} services", answer.services.len());
            explain(*namespace, &answer.tried, answer.source, found);
        },
        |answers, timestamp| args.format.text(answers, timestamp),
    )
}
