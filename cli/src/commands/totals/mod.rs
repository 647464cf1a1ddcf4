// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat` without a command: the number of connections in each state.

pub(super) mod formats;
pub(super) mod kernel;

use jiff::Timestamp;
use tcpstat::Snapshot;

use super::namespaces::{Scope, end};
use crate::failure::Failure;
use crate::flags::{NamespaceFlags, OutputFlags, RepeatFlags, SourceFlags};
use crate::format::Format;
use crate::netns_name::Names;
use crate::output::{print_by, say, say_source};
use kernel::{KernelReading, Last};

/// The options of `tcpstat` without a command.
#[derive(Debug, clap::Args)]
pub(crate) struct TotalsArgs {
    /// What to print: json, report, prometheus, table
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

impl TotalsArgs {
    /// The source and the network namespace.
    pub(crate) fn source(&self) -> &SourceFlags {
        &self.source
    }
}

/// What is known of a network namespace.
pub(crate) struct Totals {
    snapshot: Snapshot,
    /// `None` if it was not asked for, or cannot be read.
    kernel: Option<KernelReading>,
}

/// Counts and prints, once or at each tick.
pub(crate) fn run(args: &TotalsArgs) -> Result<(), Failure> {
    if args.repeat.interval.is_some() && !args.format.is_one_line() {
        return Err(Failure::Usage(
            "--interval prints one line each time; --format table and prometheus print several: use json or report"
                .into(),
        ));
    }
    let mut scope = Scope::of_totals(&args.source, &args.namespaces)?;
    let names = match args.namespaces.all_namespaces {
        true => Names::read(&args.source.options().proc_root),
        false => Names::default(),
    };
    let with_kernel = matches!(args.format, Format::Report | Format::Prometheus);
    let mut last = Last::default();
    let mut complete = true;
    args.repeat.at_each_tick(|| {
        let timestamp = Timestamp::now();
        let mut whole = true;
        let reading = scope.read(|sampler| {
            let snapshot = sampler.sample()?;
            // What explains the counts must not be missing for them to be printed.
            let kernel = with_kernel.then(|| sampler.kernel());
            Ok((snapshot, kernel))
        })?;
        let answers = reading.unless_missing(&mut whole);
        if args.source.verbose {
            for answer in &answers {
                let (snapshot, kernel) = &answer.answer;
                if let Some(Err(error)) = kernel {
                    say(format_args!("no counters of the kernel: {error}"));
                }
                say_source(
                    answer.namespace,
                    &snapshot.tried,
                    snapshot.source,
                    &snapshot.method,
                );
            }
        }
        let answers: Vec<_> = answers
            .into_iter()
            .map(|answer| {
                let namespace = answer.namespace;
                answer.map(|(snapshot, kernel)| Totals {
                    snapshot,
                    kernel: kernel
                        .and_then(Result::ok)
                        .map(|kernel| last.reading(namespace, kernel)),
                })
            })
            .collect();
        let text = formats::text(args.format, &answers, timestamp, &names);
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
