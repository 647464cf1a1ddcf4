// SPDX-License-Identifier: MIT OR Apache-2.0

//! The tcpstat command: parses the command line, runs the command, and returns the exit code.
#![forbid(unsafe_code)]

mod commands;
pub mod explain;
mod failure;
mod flags;
mod format;
mod hints;
mod names;
mod netns_name;
mod opened;
mod output;
mod owners;
mod symptoms;
mod table;
mod terminal;
mod text;
mod users;

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, error};

use commands::check::CheckArgs;
use commands::connections::ConnectionsArgs;
use commands::explain::ExplainArgs;
use commands::exporter::ExporterArgs;
use commands::services::ServicesArgs;
use commands::top::TopArgs;
use commands::totals::TotalsArgs;
use commands::watch::WatchArgs;
use failure::Failure;

const AFTER_HELP: &str = "\
Examples:
  tcpstat                                  all eleven states, as one line of JSON
  tcpstat --format table                   the same as a table
  tcpstat --format report --interval 10s   a JSON object with time, source and ratios, every ten seconds
  tcpstat services --format table          by service, with its accept queue
  tcpstat top --by unit --format table     by systemd unit or container; also by process, peer, ...
  tcpstat check --crit 'CLOSE_WAIT>100'    one line and an exit code, for a monitoring system
  tcpstat explain CLOSE_WAIT               what the state means, and what to do about many of them
  tcpstat --pid 1234                       the network namespace of process 1234 (of a container)
  tcpstat --netns web                      the network namespace with this name (ip netns, Docker)
  tcpstat --proc-root /host/proc           that of the host, whose procfs is mounted in this container
  tcpstat --all-namespaces --format table  every network namespace that has a process or a name

Sources, the cheapest first; without --source, the first that answers:
  module        /proc/tcpstat: counted in the kernel (needs the tcpstat module)
  netlink       rare states from sock_diag, ESTABLISHED and TIME_WAIT from kernel counters
                (sockstat); falls back to netlink-full if these cannot be used (-v says why)
  netlink-full  sock_diag, as ss does: a binary message for every connection
  procfs        /proc/net/tcp and tcp6: a line of text for every connection

Exit codes: 0 success; 1 no source could answer, an answer is malformed, a namespace could not be seen,
or the output could not be written; 2 usage";

/// Count TCP connections by state, IPv4 and IPv6 together, in this network namespace
#[derive(Debug, Parser)]
#[command(name = "tcpstat", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
#[command(disable_version_flag = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    totals: TotalsArgs,

    /// Print the version; with -v the module's and kernel's too, and which sources answer
    #[arg(short = 'V', long)]
    version: bool,
}

/// The commands; without one, the totals.
#[derive(Debug, Subcommand)]
enum Command {
    Services(ServicesArgs),
    Top(TopArgs),
    Check(CheckArgs),
    Connections(ConnectionsArgs),
    Explain(ExplainArgs),
    Watch(WatchArgs),
    Exporter(Box<ExporterArgs>),
}

/// The description of the whole command line, for manual pages and completions.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the command that the command line of this process selects.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let done = match args.command {
        None if args.version => commands::version::run(args.totals.source()),
        None => commands::totals::run(&args.totals),
        Some(Command::Services(args)) => commands::services::run(&args),
        Some(Command::Top(args)) => commands::top::run(&args),
        Some(Command::Check(args)) => match commands::check::run(&args) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Some(Command::Connections(args)) => commands::connections::run(&args),
        Some(Command::Explain(args)) => commands::explain::run(&args),
        Some(Command::Watch(args)) => commands::watch::run(args),
        Some(Command::Exporter(args)) => commands::exporter::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            usage(&command().error(error::ErrorKind::ArgumentConflict, message))
        }
        Err(Failure::Print(error)) => printed(Err(error)),
        Err(Failure::File(path, error)) => {
            fail(format_args!("cannot write {}: {error}", path.display()))
        }
        Err(Failure::Sample(error)) => fail(match hints::hint(&error) {
            Some(hint) => format!("{error}\n{hint}"),
            None => error.to_string(),
        }),
        Err(Failure::Format(error)) => fail(error),
        Err(Failure::Incomplete) => ExitCode::FAILURE,
        Err(Failure::Serve(error)) => fail(error),
        Err(Failure::Screen(error)) => fail(format_args!("cannot use the terminal: {error}")),
    }
}

/// Prints the error of the command line, or the requested help or version.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return printed(error.print());
    }
    // Ignore a failed write to stderr.
    let _ = error.print();
    if commands::check::is_requested(&command(), std::env::args_os().skip(1)) {
        return commands::check::refuse(error);
    }
    ExitCode::from(2)
}

fn printed(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe: `tcpstat | head -1`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(format_args!("cannot write to standard output: {error}")),
    }
}

fn fail(error: impl Display) -> ExitCode {
    // Ignore a failed write to stderr: the exit code reports the failure too.
    let _ = writeln!(io::stderr(), "tcpstat: {error}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use tcpstat::State;

    use super::*;
    use crate::commands::services::sort::SortBy;
    use crate::explain::TOPICS;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn commands_in_the_explanations_parse() {
        let mut typed = 0;
        for line in TOPICS.iter().flat_map(|topic| [topic.look, topic.act]) {
            for (at, name) in line.match_indices("tcpstat ") {
                let mut words = line[at + name.len()..]
                    .split(' ')
                    .map(|word| word.trim_matches(['.', ',', ';', ':', '?', '\'']));
                let mut arguments = vec!["tcpstat", words.next().unwrap()];
                while let Some(option) = words.next().filter(|word| word.starts_with('-')) {
                    if option == "-p" {
                        arguments.push(option);
                        continue;
                    }
                    let value = words.next().unwrap();
                    arguments.extend([option, if value == "PORT" { "443" } else { value }]);
                }
                if let Err(error) = Args::try_parse_from(&arguments) {
                    panic!("{line}: {error}");
                }
                typed += 1;
            }
        }
        assert!(typed > 5, "{typed}");
        for topic in TOPICS {
            if let Err(error) = Args::try_parse_from(topic.next.split(' ')) {
                panic!("{}: {error}", topic.next);
            }
        }
    }

    #[test]
    fn completions_of_a_shell_parse() {
        let args = command();
        for (command, option, expected) in [
            ("services", "sort", SortBy::NAMED.len() + State::COUNT),
            ("watch", "sort", SortBy::NAMED.len() + State::COUNT),
            ("connections", "state", State::COUNT),
        ] {
            let subcommand = args.find_subcommand(command).unwrap();
            let mut options = subcommand.get_opts();
            let found = options.find(|found| found.get_long() == Some(option));
            let values = found.unwrap().get_possible_values();
            assert_eq!(values.len(), expected, "{command}");
            for value in values {
                let option = format!("--{option}");
                let arguments = ["tcpstat", command, &option, value.get_name()];
                if let Err(error) = Args::try_parse_from(arguments) {
                    panic!("{command}: {error}");
                }
            }
        }
    }
}
