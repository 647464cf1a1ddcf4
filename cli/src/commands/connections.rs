// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat connections`: every connection, one after another, as the kernel tells of them.

use tcpstat::{Connections, Namespace};

use super::namespaces::Asked;
use super::{Failure, explain, print};
use crate::args;
use crate::output::Answer;
use crate::output::connections::line;

/// So much is printed at a time, in bytes: whole lines.
const AT_A_TIME: usize = 32 * 1024;

/// Prints a line for each connection. What came before an error is printed.
pub(crate) fn run(args: &args::Connections) -> Result<(), Failure> {
    args.check().map_err(Failure::Usage)?;
    let filter = args.filter();
    let mut asked = Asked::new(&args.from, &args.everywhere)?;
    asked.each(
        |sampler| sampler.connections(filter.clone()),
        |Answer { namespace, answer }| {
            if args.from.verbose {
                let method = "lists every connection";
                explain(namespace, answer.tried(), answer.source(), method);
            }
            list(answer, namespace)
        },
    )?;
    asked.finish()
}

fn list(connections: Connections, namespace: Option<Namespace>) -> Result<(), Failure> {
    let mut lines = Vec::with_capacity(AT_A_TIME + 1024);
    let mut end = Ok(());
    for connection in connections {
        match connection {
            Ok(connection) => line(&mut lines, namespace, &connection).map_err(Failure::Print)?,
            Err(error) => end = Err(Failure::Sample(error)),
        }
        if lines.len() >= AT_A_TIME {
            print(&lines)?;
            lines.clear();
        }
    }
    print(&lines)?;
    end
}
