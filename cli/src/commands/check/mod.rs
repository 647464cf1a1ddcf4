// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat check`: compares counts with limits, for a monitoring system that reads one line and
//! the exit code.
//!
//! The statuses and their order are those of the Monitoring Plugins (their guidelines, and
//! `max_state_alt` in their library): CRITICAL, then WARNING, then UNKNOWN, then OK.

mod expression;
mod judge;
mod line;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::ArgGroup;
use tcpstat::{Ports, Sampler, Service, Services, Snapshot, Source, State};

use crate::failure::Failure;
use crate::flags::SourceFlags;
use crate::output::{say, say_source, without};
use expression::{Expression, Expressions, Quantity, Subject};
use judge::{Comparison, Status, Value};

const AFTER_HELP: &str = "\
Expressions: [PORT:]WHAT OP NUMBER[%]
  PORT      a service; without it, the whole network namespace
  WHAT      a state such as CLOSE_WAIT, total, listeners, or
            accept_queue: connections waiting for accept() (without PORT: the longest queue)
            drops: dropped by the current listeners since each started
  OP        > >= < <=
  NUMBER    a count, or
  NUMBER%   without PORT: of all sockets
            with PORT: of its connections without listeners
            for accept_queue: of the backlog

Examples:
  tcpstat check --warn 'TIME_WAIT>50%' --crit 'total>1000000'
  tcpstat check --warn '8080:CLOSE_WAIT>100' --crit '443:accept_queue>80%,443:listeners<1'

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN: no answer, nothing listens at the port, the source does not
know the number (procfs: drops and backlogs), or wrong usage. Of several, the worst: CRITICAL, then WARNING, UNKNOWN, OK";

/// Compare counts with limits, for a monitoring system: one line, perfdata and an exit code
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, group = ArgGroup::new("limits").required(true).multiple(true))]
pub(crate) struct CheckArgs {
    /// WARNING if one of these is true; separate several by commas, or repeat the option
    #[arg(long, value_name = "EXPR", group = "limits")]
    warn: Vec<Expressions>,

    /// CRITICAL if one of these is true
    #[arg(long, value_name = "EXPR", group = "limits")]
    crit: Vec<Expressions>,

    #[command(flatten)]
    source: SourceFlags,
}

/// Compares, prints the line, and returns the exit code.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let mut sampler = args.source.sampler()?;
    let mut subjects: Vec<Subject> = Vec::new();
    for limit in each(&args.warn).chain(each(&args.crit)) {
        if !subjects.contains(&limit.subject) {
            subjects.push(limit.subject);
        }
    }
    let limits = |limits, subject| {
        let on_it = each(limits).filter(|limit| limit.subject == subject);
        on_it.copied().collect()
    };
    let mut answers = Answers::new(&mut sampler, &subjects);
    let comparisons: Vec<Comparison> = subjects
        .into_iter()
        .map(|subject| Comparison {
            subject,
            value: answers.value(subject),
            warn: limits(&args.warn, subject),
            crit: limits(&args.crit, subject),
        })
        .collect();
    if args.source.verbose {
        answers.say_sources();
    }
    let (status, line) = line::answer(&comparisons);
    Ok(answer(status, &line))
}

/// All limits of an option, whether separated by commas or in repeated options.
fn each(limits: &[Expressions]) -> impl Iterator<Item = &Expression> {
    limits.iter().flat_map(|Expressions(together)| together)
}

/// Whether these arguments of the command `top` select the check, even if they are wrong. The exit
/// code is then that of UNKNOWN, since the one of other usage errors would mean CRITICAL.
pub(crate) fn is_requested(
    top: &clap::Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> bool {
    let command = arguments
        .into_iter()
        .find_map(|argument| top.find_subcommand(argument));
    command.is_some_and(|command| command.get_name() == "check")
}

/// Reports wrong usage in one line. The full message is on standard error.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.to_string();
    let mut lines = text.lines();
    let mut problem = lines.next().unwrap_or_default().to_owned();
    // The message continues on the next lines.
    if problem.ends_with(':') {
        problem.extend(lines.take_while(|line| !line.is_empty()));
    }
    let problem = problem.strip_prefix("error: ").unwrap_or(&problem);
    let line = line::unknown(&format!("wrong usage: {problem}"));
    answer(Status::Unknown, &line)
}

/// Prints the line. If the reader has closed the pipe, the exit code does not change.
fn answer(status: Status, line: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            say(format_args!("cannot write to standard output: {error}"));
            status.max(Status::Unknown).exit_code()
        }
        _ => status.exit_code(),
    }
}

/// The answers of the sampler, each requested when it is first needed.
struct Answers<'a> {
    sampler: &'a mut Sampler,
    /// The ports of the services to count; `None` for all services.
    ports: Option<Ports>,
    totals: Option<Result<Snapshot, String>>,
    services: Option<Result<Services, String>>,
}

impl<'a> Answers<'a> {
    fn new(sampler: &'a mut Sampler, subjects: &[Subject]) -> Self {
        let ports: Vec<String> = subjects
            .iter()
            .filter_map(|subject| Some(subject.port?.to_string()))
            .collect();
        let every = |subject: &Subject| {
            subject.port.is_none()
                && matches!(subject.what, Quantity::AcceptQueue | Quantity::Drops)
        };
        Self {
            sampler,
            // Without ports, the empty text does not parse. Then services are not requested.
            ports: match subjects.iter().any(every) {
                true => None,
                false => ports.join(",").parse().ok(),
            },
            totals: None,
            services: None,
        }
    }

    fn totals(&mut self) -> Result<&Snapshot, String> {
        self.totals
            .get_or_insert_with(|| self.sampler.sample().map_err(|error| error.to_string()))
            .as_ref()
            .map_err(Clone::clone)
    }

    fn services(&mut self) -> Result<&Services, String> {
        self.services
            .get_or_insert_with(|| {
                let services = self.sampler.services(self.ports.as_ref());
                services.map_err(|error| error.to_string())
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    /// The number, or why it is not known.
    fn value(&mut self, Subject { port, what, share }: Subject) -> Result<Value, String> {
        match (port, what) {
            (Some(port), _) => {
                let services = self.services()?;
                match services.get(port) {
                    Some(service) => at_service(service, what, share, services.source),
                    None if what == Quantity::Listeners => Ok(Value {
                        port: Some(port),
                        ..Value::count(0)
                    }),
                    None => Err("nothing listens at this port".into()),
                }
            }
            (None, Quantity::AcceptQueue) => {
                let services = self.services()?;
                let service = fullest(&services.services, share);
                let service = service.ok_or("nothing listens at any port")?;
                at_service(service, what, share, services.source)
            }
            (None, Quantity::Drops) => {
                let services = self.services()?;
                let mut sum = 0u64;
                for service in &services.services {
                    let value = at_service(service, what, share, services.source)?;
                    sum = sum.saturating_add(value.amount);
                }
                Ok(Value::count(sum))
            }
            (None, Quantity::State(state)) => {
                let counts = &self.totals()?.counts;
                Ok(Value {
                    whole: Some(counts.total()),
                    ..Value::count(counts.get(state))
                })
            }
            (None, Quantity::Listeners) => {
                Ok(Value::count(self.totals()?.counts.get(State::Listen)))
            }
            (None, Quantity::Total) => Ok(Value::count(self.totals()?.counts.total())),
        }
    }

    /// Prints to standard error which sources answered.
    fn say_sources(&self) {
        if let Some(Ok(snapshot)) = &self.totals {
            say_source(None, &snapshot.tried, snapshot.source, &snapshot.method);
        }
        if let Some(Ok(services)) = &self.services {
            let method = without("counted by port", services.missing.as_deref());
            say_source(None, &services.tried, services.source, method);
        }
    }
}

/// A number of one service, or why it is not known.
fn at_service(
    service: &Service,
    what: Quantity,
    share: bool,
    source: Source,
) -> Result<Value, String> {
    let value = match what {
        Quantity::State(state) => Value {
            whole: Some(service.connections()),
            ..Value::count(service.counts.get(state))
        },
        Quantity::Total => Value::count(service.counts.total()),
        Quantity::Listeners => Value::count(service.listeners),
        Quantity::Drops => Value::count(
            service
                .drops
                .ok_or_else(|| format!("{source} does not know the drops"))?,
        ),
        Quantity::AcceptQueue if share => match service.fullest {
            Some(fullest) => Value {
                whole: Some(fullest.backlog.into()),
                ..Value::count(fullest.length.into())
            },
            None if service.backlog.is_none() => {
                return Err(format!("{source} does not know the backlog"));
            }
            None => {
                return Err(format!(
                    "the {source} is too old to know the fullest listener"
                ));
            }
        },
        Quantity::AcceptQueue => Value::count(service.accept_queue),
    };
    Ok(Value {
        port: Some(service.port),
        ..value
    })
}

/// The service with the longest accept queue, or with the fullest listener if `share`. Of equal
/// ones, the lowest port.
fn fullest(services: &[Service], share: bool) -> Option<&Service> {
    let services = services.iter().rev();
    match share {
        true => services.max_by_key(|service| service.fullest),
        false => services.max_by_key(|service| service.accept_queue),
    }
}
