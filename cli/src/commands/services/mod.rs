// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat services`: the connections of each service, and the queues of its listeners.

mod formats;
pub(crate) mod sort;

use jiff::Timestamp;
use tcpstat::Ports;

use super::namespaces::{Scope, end};
use crate::failure::Failure;
use crate::flags::{NamespaceFlags, RepeatFlags, SourceFlags};
use crate::format::Format;
use crate::netns_name::Names;
use crate::output::{print, say_source, without};
use sort::SortBy;

const AFTER_HELP: &str = "\
Examples:
  tcpstat services --format table --sort accept-queue   the longest accept queue first
  tcpstat services --port 443,8000-8100                 these ports only, as one line of JSON

The sockets at ports without a listener (outgoing connections) are counted together, as \"other\"; not with --port.
Shares are of the connections of a port: listeners are counted only in its total, and the ratio of LISTEN is null.
Accept queue, backlog and drops are sums over the listeners of the port. The source procfs knows neither backlog nor
drops: they are null then, or a question mark in a table.";

/// Count connections by service: by local port with a listener
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ServicesArgs {
    /// Only these local ports: 443,8000-8100
    #[arg(long, value_name = "PORTS")]
    port: Option<Ports>,

    /// Sort by port, or descending by total, listeners, accept-queue, drops, or a state
    #[arg(long, value_name = "COLUMN", default_value = "port")]
    #[arg(value_parser = sort::COLUMN, hide_possible_values = true)]
    sort: SortBy,

    /// What to print: json, prometheus, table
    #[arg(long, default_value_t = Format::Json, hide_possible_values = true)]
    #[arg(value_parser = Format::parser(&formats::FORMATS))]
    format: Format,

    #[command(flatten)]
    repeat: RepeatFlags,

    #[command(flatten)]
    namespaces: NamespaceFlags,

    #[command(flatten)]
    source: SourceFlags,
}

/// Counts and prints, once or at each tick.
pub(crate) fn run(args: &ServicesArgs) -> Result<(), Failure> {
    if args.repeat.interval.is_some() && !args.format.is_one_line() {
        return Err(Failure::Usage(
            "--interval prints one line each time, which --format table and prometheus cannot: use json, or \
             tcpstat watch"
                .into(),
        ));
    }
    let mut scope = Scope::new(&args.source, &args.namespaces)?;
    let names = match args.format {
        Format::Prometheus => Names::read(&args.source.options().proc_root),
        Format::Json | Format::Report | Format::Table => Names::default(),
    };
    let mut complete = true;
    args.repeat.at_each_tick(|| {
        let timestamp = Timestamp::now();
        let reading = scope.read(|sampler| sampler.services(args.port.as_ref()))?;
        let mut answers = reading.unless_missing(&mut complete);
        for answer in &mut answers {
            let services = &mut answer.answer;
            args.sort.sort(&mut services.services);
            if args.source.verbose {
                let found = format!("{} services", services.services.len());
                let found = without(found, services.missing.as_deref());
                say_source(answer.namespace, &services.tried, services.source, found);
            }
        }
        print(&formats::text(args.format, &answers, timestamp, &names).map_err(Failure::Format)?)
    })?;
    end(complete)
}
