// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat watch`: totals and services on one screen, read at an interval; or line by line.

mod events;
mod figures;
mod history;
mod lines;
mod reading;
mod screen;
mod view;

use std::time::Duration;

use tcpstat::Ports;

use super::namespaces::Scope;
use super::services::sort::{self, SortBy};
use crate::failure::Failure;
use crate::flags::{NamespaceFlags, SourceFlags, interval};
use crate::format::Format;
use crate::terminal;
use reading::Reader;

/// What follows the options in `--help`; the keys go in between.
const EXAMPLES: &str = "\
Examples:
  tcpstat watch --sort accept-queue              the longest accept queue first, below what is wrong
  tcpstat watch --all-namespaces                 containers, too
  tcpstat watch --port 443,8000-8100 | tee log   lines instead of a screen: the totals, and these services
  tcpstat watch | grep -F ' port 443: '          the lines of one service
  tcpstat watch --format json --count 10         ten lines of JSON

";

const LINES: &str = "
A number like +3.1/s is a change per second, smoothed. If a reading fails, the previous figures stay on screen,
marked OLD, and the next reading is tried. There are no colours if NO_COLOR is set. On a short screen, states without
sockets are hidden.

Lines are printed with --count or --format, if standard output is no terminal, or if TERM is dumb, unknown, dialup,
network or not set: at each reading one of the totals, then one for each service that has changed since its last
line. At the first reading these are the services with connections, with a non-empty accept queue or with drops; with
--port, all of them. Numbers with a sign are changes since the last line.";

/// Show totals and services on one screen, what is wrong first, and refresh them
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}{}{LINES}", view::KEYS))]
pub(crate) struct WatchArgs {
    /// Read again every 2s, 500ms, 1m, ...
    #[arg(long, value_name = "TIME", value_parser = interval, allow_hyphen_values = true, default_value = "2s")]
    interval: Duration,

    /// Print lines, and stop after N readings
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Print lines: json. One object for each reading, with the services that have changed
    #[arg(long, value_parser = Format::parser(&[Format::Json]), hide_possible_values = true)]
    format: Option<Format>,

    /// Only the services at these local ports: 443,8000-8100
    #[arg(long, value_name = "PORTS")]
    port: Option<Ports>,

    /// Sort by port, or descending by total, listeners, accept-queue, use, drops, or a state
    #[arg(long, value_name = "COLUMN", default_value = "port")]
    #[arg(value_parser = sort::COLUMN, hide_possible_values = true)]
    sort: SortBy,

    #[command(flatten)]
    namespaces: NamespaceFlags,

    #[command(flatten)]
    source: SourceFlags,
}

/// Shows each reading: on the terminal's screen, or line by line without a screen.
pub(crate) fn run(args: WatchArgs) -> Result<(), Failure> {
    let scope = Scope::new(&args.source, &args.namespaces)?;
    let root = args.source.options().proc_root;
    let reader = Reader::new(scope, root, args.port.clone(), args.source.verbose);
    if args.count.is_none() && args.format.is_none() && terminal::has_screen() {
        events::run(reader, &args)
    } else {
        lines::run(reader, &args)
    }
}
