// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat services`: the connections of each service, and the queues of its listeners, together
//! or one by one.

pub(super) mod formats;
mod listeners;
pub(crate) mod sort;

use jiff::Timestamp;
use tcpstat::{Error, Ports, Source};

use super::namespaces::{Scope, end};
use crate::failure::Failure;
use crate::flags::{NamespaceFlags, OutputFlags, RepeatFlags, SourceFlags};
use crate::format::{Answer, Format};
use crate::netns_name::Names;
use crate::output::{print_by, say_source, without};
use crate::owners::Owners;
use formats::OwnedServices;
use listeners::OwnedListeners;
use sort::SortBy;

const AFTER_HELP: &str = "\
Examples:
  tcpstat services --format table --sort accept-queue   what waits to be accepted, the most first
  tcpstat services --port 443,8000-8100                 these ports only, as one line of JSON
  tcpstat services --listeners --format table -p        each worker that listens there: which one is stuck?

A socket counts at its local port if a listener there has its family (or is IPv6 and takes IPv4, too) and the
unspecified address or the socket's own one. All others (outgoing connections) are counted together, as \"other\"; not
with --port.
Shares are of the connections of a port: listeners count only in its total, and the ratio of LISTEN is null.
Accept queue, backlog and drops are sums over the listeners of the port. The use is that of the fullest listener,
which has the greatest queue / backlog: one full queue drops connections, however empty the others are. A value that
the source does not know is null, or a question mark: procfs knows neither backlog, use nor drops, and a module that
is older than this command knows no use.";

/// Count connections by service: by local port with a listener
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ServicesArgs {
    /// Only these local ports: 443,8000-8100
    #[arg(long, value_name = "PORTS")]
    port: Option<Ports>,

    /// Show the processes that listen (yours; as root, all)
    #[arg(short, long)]
    processes: bool,

    /// A row for each listening socket instead of one for each port
    #[arg(long)]
    listeners: bool,

    /// Sort by port, or descending by total, listeners, accept-queue, use, drops, or a state
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
    output: OutputFlags,

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
    if args.listeners {
        if let Some(refusal) = listeners::refusal(args.format, args.sort) {
            return Err(Failure::Usage(refusal.into()));
        }
        if args.source.source() == Some(Source::Module) {
            return Err(Failure::Usage(format!(
                "{}: use --source netlink or procfs, or leave it out",
                Error::NotListed
            )));
        }
    }
    let mut scope = Scope::new(&args.source, &args.namespaces)?;
    let names = match args.namespaces.all_namespaces {
        true => Names::read(&args.source.options().proc_root),
        false => Names::default(),
    };
    let proc_root = args.source.options().proc_root;
    let mut owners = Owners::new(&proc_root);
    let mut complete = true;
    args.repeat.at_each_tick(|| {
        let timestamp = Timestamp::now();
        let mut whole = true;
        if args.processes {
            owners.read_processes(&proc_root)?;
        }
        let text = if args.listeners {
            let reading = scope.read(|sampler| sampler.listeners(args.port.as_ref()))?;
            let mut answers = reading.unless_missing(&mut whole);
            for Answer { namespace, answer } in &mut answers {
                listeners::sort(args.sort, &mut answer.listeners);
                if args.source.verbose {
                    let found = format!("{} listeners", answer.listeners.len());
                    let found = without(found, answer.missing.as_deref());
                    say_source(*namespace, &answer.tried, answer.source, found);
                }
            }
            let answers: Vec<_> = answers
                .into_iter()
                .map(|answer| answer.map(|all| OwnedListeners::new(all, &mut owners)))
                .collect();
            listeners::text(args.format, &answers, timestamp, &names).map_err(Into::into)
        } else {
            let reading = scope.read(|sampler| {
                let services = sampler.services(args.port.as_ref())?;
                let ports = args.port.as_ref();
                let owners = match services.source {
                    // Metrics have neither units nor processes.
                    _ if args.format == Format::Prometheus => None,
                    // It knows no units.
                    Source::Procfs if !args.processes => None,
                    Source::Procfs => sampler.owners_of_services(ports, Source::Procfs)?,
                    _ => sampler.owners_of_services(ports, Source::Netlink)?,
                };
                Ok((services, owners))
            })?;
            let mut answers = reading.unless_missing(&mut whole);
            for Answer {
                namespace,
                answer: (answer, _),
            } in &mut answers
            {
                args.sort.sort(&mut answer.services);
                if args.source.verbose {
                    let found = format!("{} services", answer.services.len());
                    let found = without(found, answer.missing.as_deref());
                    say_source(*namespace, &answer.tried, answer.source, found);
                }
            }
            let answers: Vec<_> = answers
                .into_iter()
                .map(|answer| {
                    answer.map(|(all, listeners)| OwnedServices::new(all, listeners, &mut owners))
                })
                .collect();
            formats::text(args.format, &answers, timestamp, &names)
        };
        complete &= whole;
        if args.output.stays(whole) {
            return Ok(());
        }
        let text = text.map_err(Failure::Format)?;
        print_by(args.output.output.as_deref(), |to| {
            to.print(text.as_bytes())
        })
    })?;
    end(complete)
}
