// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command line: what may be asked for, and what of it makes no sense together.

use std::ffi::OsStr;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgGroup, CommandFactory, Parser, Subcommand, ValueEnum};
use tcpstat::{Error, Filter, Options, Ports, Sampler, Source, State};

use crate::explain::{self, TOPICS, Topic};
use crate::expression::Expressions;

const AFTER_HELP: &str = "\
Examples:
  tcpstat                                  all eleven states, as one line of JSON
  tcpstat --format table                   the same for people
  tcpstat --format report --interval 10s   a JSON object with time, source and ratios, every ten seconds
  tcpstat services --format table          by service, with what waits in its accept queue
  tcpstat check --crit 'CLOSE_WAIT>100'    one line and an exit code, for a monitoring system
  tcpstat explain CLOSE_WAIT               what the state means, and what to do about many of them
  tcpstat --pid 1234                       the network namespace of process 1234: a container's
  tcpstat --all-namespaces --format table  every network namespace that a process is in

Sources, the cheapest first; without --source, the first that answers:
  module        /proc/tcpstat: counted in the kernel (needs the tcpstat module)
  netlink       the few by sock_diag, the many from the kernel's counters (sockstat);
                where these do not do, as netlink-full: -v says why
  netlink-full  sock_diag, as ss does: a binary message for every connection
  procfs        /proc/net/tcp and tcp6: a line of text for every connection

Exit codes: 0 answered; 1 no source could answer, an answer is malformed, a namespace could not be seen,
or the output could not be written; 2 usage";

/// Count TCP connections by state, IPv4 and IPv6 together, in this network namespace
#[derive(Debug, Parser)]
#[command(name = "tcpstat", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) totals: Totals,
}

/// What else can be asked for. Without any of these, the totals.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Count connections by service: by the local ports that something listens on
    #[command(after_help = SERVICES_AFTER_HELP)]
    Services(Services),
    Check(Check),
    Connections(Connections),
    Explain(Explain),
    /// Show totals and services on one screen, again and again
    #[command(after_help = WATCH_AFTER_HELP)]
    Watch(Watch),
}

/// `tcpstat` alone: the connections of the network namespace.
#[derive(Debug, clap::Args)]
pub(crate) struct Totals {
    /// What to print: json, report, prometheus, table
    #[arg(long, value_enum, default_value_t = Format::Json, hide_possible_values = true)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) every: Every,

    #[command(flatten)]
    pub(crate) everywhere: Everywhere,

    #[command(flatten)]
    pub(crate) from: From,
}

/// The values of `--format` for the totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Json,
    Report,
    Prometheus,
    Table,
}

impl Format {
    /// Whether an answer is one line, so that many can follow one another.
    pub(crate) fn is_one_line(self) -> bool {
        matches!(self, Self::Json | Self::Report)
    }
}

impl Totals {
    /// Refuses what makes no sense together.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        if self.every.interval.is_some() && !self.format.is_one_line() {
            return Err(conflict(
                "--interval prints one line each time, which --format table and prometheus cannot: use json or report",
            ));
        }
        Ok(())
    }
}

const CHECK_HELP: &str = "\
Expressions: [PORT:]WHAT OP NUMBER[%]
  PORT      a service; without it, the whole network namespace
  WHAT      a state such as CLOSE_WAIT, total, listeners, accept_queue (connections that wait for accept;
            without PORT, those of the service that has most), drops (at listeners, since they listen)
  OP        > >= < <=
  NUMBER    a count; with %, the share of all sockets, with PORT of its connections (listeners are none),
            for accept_queue of its backlog

Examples:
  tcpstat check --warn 'TIME_WAIT>50%' --crit 'total>1000000'
  tcpstat check --warn '8080:CLOSE_WAIT>100' --crit '443:accept_queue>80%,443:listeners<1'

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN: no answer, nothing listens at the port, the source does not
know the number (procfs: drops and backlogs), or wrong usage. Of several, the worst: CRITICAL, then WARNING, UNKNOWN, OK";

/// Compare counts with limits, for a monitoring system: one line, perfdata and an exit code
#[derive(Debug, clap::Args)]
#[command(after_help = CHECK_HELP, group = ArgGroup::new("limits").required(true).multiple(true))]
pub(crate) struct Check {
    /// WARNING if one of these holds: several by commas, or by repeating the option
    #[arg(long, value_name = "EXPR", group = "limits")]
    pub(crate) warn: Vec<Expressions>,

    /// CRITICAL if one of these holds
    #[arg(long, value_name = "EXPR", group = "limits")]
    pub(crate) crit: Vec<Expressions>,

    #[command(flatten)]
    pub(crate) from: From,
}

/// List connections, one line of JSON each, in constant memory
#[derive(Debug, clap::Args)]
pub(crate) struct Connections {
    /// Those in one of these states: established, close-wait, ...
    #[arg(long = "state", value_name = "STATE,...", value_delimiter = ',')]
    #[arg(value_parser = STATE, hide_possible_values = true)]
    states: Option<Vec<State>>,

    /// Those at one of these local ports: 443,8000-8100
    #[arg(long, value_name = "PORTS")]
    port: Option<Ports>,

    /// Those whose other end is at one of these ports
    #[arg(long, value_name = "PORTS")]
    remote_port: Option<Ports>,

    #[command(flatten)]
    pub(crate) everywhere: Everywhere,

    #[command(flatten)]
    pub(crate) from: From,
}

impl Connections {
    /// Refuses what makes no sense together.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        match self.from.source {
            SourceArg::Module => Err(conflict(Error::NotListed)),
            _ => Ok(()),
        }
    }

    /// Which connections are asked for.
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            states: self.states.clone(),
            local_ports: self.port.clone(),
            remote_ports: self.remote_port.clone(),
        }
    }
}

/// Say what a state or a queue of a listener means, and what to do about many of them
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// A state, syn-queue or accept-queue; without it, all of them with a line each
    #[arg(value_parser = TopicParser, hide_possible_values = true)]
    pub(crate) topic: Option<&'static Topic>,
}

/// Finds a topic by its name, and suggests one where there is none of that name.
#[derive(Clone)]
struct TopicParser;

impl TopicParser {
    fn names() -> impl Iterator<Item = PossibleValue> {
        TOPICS
            .iter()
            .map(|topic| PossibleValue::new(topic.typed()).help(topic.means))
    }
}

impl TypedValueParser for TopicParser {
    type Value = &'static Topic;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let text = value.to_string_lossy();
        match Topic::find(&text) {
            Some(topic) => Ok(topic),
            // What clap says of a wrong name, with the name in the form that suggestions are looked for.
            None => PossibleValuesParser::new(Self::names())
                .try_map(|name| Topic::find(&name).ok_or("there is no such topic"))
                .parse_ref(command, arg, explain::typed(&text).as_ref()),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue>>> {
        Some(Box::new(Self::names()))
    }
}

const SERVICES_AFTER_HELP: &str = "\
Examples:
  tcpstat services --format table --sort accept-queue   what waits to be accepted, the most first
  tcpstat services --port 443,8000-8100                 these ports only, as one line of JSON

The sockets of ports that nothing listens on (outgoing connections) are counted together, as \"other\"; not with --port.
Shares are of the connections of a port: listeners count only in its total, and the ratio of LISTEN is null.
Accept queue, backlog and drops are sums over the listeners of the port. The source procfs knows neither backlog nor
drops: they are null then, or a question mark.";

/// `tcpstat services`: the connections of each local port that something listens on.
#[derive(Debug, clap::Args)]
pub(crate) struct Services {
    /// Only these local ports: 443,8000-8100
    #[arg(long, value_name = "PORTS")]
    pub(crate) port: Option<Ports>,

    /// Order: port; or the most first: total, listeners, accept-queue, drops, or a state
    #[arg(long, value_name = "COLUMN", default_value = "port")]
    #[arg(value_parser = COLUMN, hide_possible_values = true)]
    pub(crate) sort: SortBy,

    /// What to print: json, prometheus, table
    #[arg(long, value_enum, default_value_t = ServicesFormat::Json, hide_possible_values = true)]
    pub(crate) format: ServicesFormat,

    #[command(flatten)]
    pub(crate) every: Every,

    #[command(flatten)]
    pub(crate) everywhere: Everywhere,

    #[command(flatten)]
    pub(crate) from: From,
}

/// The values of `--format` for services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServicesFormat {
    Json,
    Prometheus,
    Table,
}

impl Services {
    /// Refuses what makes no sense together.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        if self.every.interval.is_some() && self.format != ServicesFormat::Json {
            return Err(conflict(
                "--interval prints one line each time, which --format table and prometheus cannot: use json, or \
                 tcpstat watch",
            ));
        }
        Ok(())
    }
}

const WATCH_AFTER_HELP: &str = "\
Examples:
  tcpstat watch --sort accept-queue              what waits to be accepted, the most first
  tcpstat watch --port 443,8000-8100 | tee log   lines instead of a screen: the totals, and these services
  tcpstat watch | grep -F ' port 443: '          the lines of one service

Keys:
  up, down, k, j, PgUp, PgDn, Home, End   scroll
  q, Esc, Ctrl-C                          quit

CHANGE, and numbers with a sign, are since the reading before. Where a reading fails, the figures of the last one stay,
are called OLD, and the next one is tried. There are no colours where NO_COLOR is set. A screen that is too low for
all states and a service has no lines for states without sockets.

Lines are printed where standard output is no terminal, or TERM is dumb, unknown, dialup, network or not set: at each
reading one of the totals, then one for each service with connections, with something in its accept queue or with new
drops; with --port, for each service asked for.";

/// `tcpstat watch`: the totals and the services, in place.
#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// Read again every 2s, 500ms, 1m, ...
    #[arg(long, value_name = "TIME", value_parser = interval, allow_hyphen_values = true, default_value = "2s")]
    pub(crate) interval: Duration,

    /// Only the services at these local ports: 443,8000-8100
    #[arg(long, value_name = "PORTS")]
    pub(crate) port: Option<Ports>,

    /// Order: port; or the most first: total, listeners, accept-queue, drops, or a state
    #[arg(long, value_name = "COLUMN", default_value = "port")]
    #[arg(value_parser = COLUMN, hide_possible_values = true)]
    pub(crate) sort: SortBy,

    #[command(flatten)]
    pub(crate) from: From,
}

/// What services are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortBy {
    Port,
    Total,
    Listeners,
    AcceptQueue,
    Drops,
    State(State),
}

impl SortBy {
    const NAMED: [(&str, SortBy); 5] = [
        ("port", Self::Port),
        ("total", Self::Total),
        ("listeners", Self::Listeners),
        ("accept-queue", Self::AcceptQueue),
        ("drops", Self::Drops),
    ];
}

/// A column by its name, in any case, with `-` or `_`; or a state.
const COLUMN: Named<SortBy> = Named {
    read: column,
    names: || {
        let names = SortBy::NAMED.map(|(name, _)| PossibleValue::new(name));
        names.into_iter().chain((STATE.names)()).collect()
    },
};

fn column(text: &str) -> Result<SortBy, String> {
    let named = SortBy::NAMED
        .into_iter()
        .find(|(name, _)| *name == explain::typed(text));
    let column = named.map(|(_, column)| column);
    let column = column.or_else(|| explain::state(text).map(SortBy::State));
    column.ok_or_else(|| {
        let names = SortBy::NAMED.map(|(name, _)| name).join(", ");
        format!("it is not a column: {names}, or a state")
    })
}

/// A state by its name, or by any other that it is explained by, in any case, with `-` or `_`.
const STATE: Named<State> = Named {
    read: state,
    names: || {
        let is_state = |value: &PossibleValue| explain::state(value.get_name()).is_some();
        TopicParser::names().filter(is_state).collect()
    },
};

fn state(text: &str) -> Result<State, String> {
    explain::state(text).ok_or_else(|| {
        let names = State::ALL.map(State::name).join(", ");
        format!("it is not a state; these are: {names}")
    })
}

/// What has names that a shell can complete, and others that are understood as well.
#[derive(Clone, Copy)]
struct Named<T> {
    read: fn(&str) -> Result<T, String>,
    names: fn() -> Vec<PossibleValue>,
}

impl<T: Copy + Send + Sync + 'static> TypedValueParser for Named<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        self.read.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue>>> {
        Some(Box::new((self.names)().into_iter()))
    }
}

/// When to answer: once, or again and again.
#[derive(Debug, clap::Args)]
pub(crate) struct Every {
    /// Print again every 10s, 500ms, 1m, ... until a reading fails; one line each time
    #[arg(long, value_name = "TIME", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) interval: Option<Duration>,

    /// Stop after so many times
    #[arg(
        long,
        value_name = "N",
        requires = "interval",
        allow_negative_numbers = true
    )]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

/// Who is asked, and whose connections are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct From {
    /// Where to count: auto, module, netlink, netlink-full, procfs
    #[arg(long, value_enum, default_value_t = SourceArg::Auto, hide_possible_values = true)]
    source: SourceArg,

    /// The network namespace of this process, such as a container's, instead of one's own
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// Another procfs: a host's, or a saved sample
    #[arg(long, value_name = "DIR", default_value = Options::PROC_ROOT)]
    proc_root: PathBuf,

    /// Say on standard error which source answered, and how it counted
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// The values of `--source`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SourceArg {
    Auto,
    Module,
    Netlink,
    NetlinkFull,
    Procfs,
}

impl From {
    /// What is asked for.
    pub(crate) fn options(&self) -> Options {
        let source = match self.source {
            SourceArg::Auto => None,
            SourceArg::Module => Some(Source::Module),
            SourceArg::Netlink => Some(Source::Netlink),
            SourceArg::NetlinkFull => Some(Source::NetlinkFull),
            SourceArg::Procfs => Some(Source::Procfs),
        };
        Options {
            source,
            pid: self.pid,
            inode: None,
            proc_root: self.proc_root.clone(),
        }
    }

    /// The sampler that is asked for.
    pub(crate) fn sampler(&self) -> Result<Sampler, clap::Error> {
        let options = self.options();
        let source = options.source.map_or("auto", Source::name);
        Sampler::new(options).map_err(|error| {
            conflict(format!(
                "--source {source} cannot be used with --proc-root alone: {error}"
            ))
        })
    }
}

/// Whether every network namespace is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Everywhere {
    /// Every network namespace that a process is in, each named by its inode and one process
    #[arg(long, conflicts_with = "pid")]
    pub(crate) all_namespaces: bool,
}

/// A usage error about arguments that make no sense together.
fn conflict(message: impl Display) -> clap::Error {
    Args::command().error(ErrorKind::ArgumentConflict, message)
}

/// The longest interval, a year: every time to come can be told then.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

fn interval(text: &str) -> Result<Duration, String> {
    if text
        .parse::<f64>()
        .is_ok_and(|number| number > 0.0 && number.is_finite())
    {
        return Err(format!(
            "it has no unit; write {text}s for seconds, {text}ms, {text}m"
        ));
    }
    if text.parse() == Ok(0.0) {
        return Err("it must be longer than zero".into());
    }
    let interval: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "it is not a time such as 10s, 500ms, 1m or 1h 30m".to_owned())?;
    match interval.try_into() {
        Ok(Duration::ZERO) | Err(_) => Err("it must be longer than zero".into()),
        Ok(interval) if interval > LONGEST => Err("it must not be longer than a year".into()),
        Ok(interval) => Ok(interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_the_explanations_say_to_type_is_understood() {
        let mut typed = 0;
        for line in TOPICS.iter().flat_map(|topic| [topic.look, topic.act]) {
            for (at, name) in line.match_indices("tcpstat ") {
                let mut words = line[at + name.len()..]
                    .split(' ')
                    .map(|word| word.trim_matches(['.', ',', ';', ':', '?', '\'']));
                let mut arguments = vec!["tcpstat", words.next().unwrap()];
                while let Some(option) = words.next().filter(|word| word.starts_with("--")) {
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
    }

    #[test]
    fn states_and_columns_are_read_in_any_case() {
        assert_eq!(state("close-wait"), Ok(State::CloseWait));
        assert_eq!(state("CLOSE_WAIT"), Ok(State::CloseWait));
        assert!(state("open").unwrap_err().contains("CLOSE_WAIT"));
        assert_eq!(column("Accept_Queue"), Ok(SortBy::AcceptQueue));
        assert_eq!(column("time-wait"), Ok(SortBy::State(State::TimeWait)));
        assert!(column("name").unwrap_err().contains("a state"));
    }

    #[test]
    fn what_a_shell_completes_is_understood() {
        let args = Args::command();
        for (command, option, expected) in [
            ("services", "sort", SortBy::NAMED.len() + State::COUNT),
            ("watch", "sort", SortBy::NAMED.len() + State::COUNT),
            ("connections", "state", State::COUNT),
        ] {
            let known = args.find_subcommand(command).unwrap();
            let mut options = known.get_opts();
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

    #[test]
    fn intervals_have_a_unit_and_are_longer_than_zero() {
        assert_eq!(interval("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(interval("1h 30m"), Ok(Duration::from_secs(5400)));
        for (text, expected) in [
            ("10", "write 10s"),
            ("0.5", "write 0.5s"),
            ("0", "longer than zero"),
            ("0s", "longer than zero"),
            ("-1s", "longer than zero"),
            ("-1", "not a time"),
            ("ten", "not a time"),
            ("", "not a time"),
            ("10 parsecs", "not a time"),
            ("nan", "not a time"),
            ("inf", "not a time"),
            ("99999999999999999999s", "not a time"),
            ("9000h", "a year"),
        ] {
            let error = interval(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
