// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat check`: compares counts with limits, for a monitoring system that reads one line and
//! the exit code.
//!
//! The statuses and their order are those of the Monitoring Plugins (their guidelines, and
//! `max_state_alt` in their library): CRITICAL, then WARNING, then UNKNOWN, then OK.

mod expression;
mod judge;
mod line;
mod reading;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use tcpstat::{
    Ceiling, Connections, Counts, Error, Filter, Gauge, GroupKey, Groups, Kernel, Key, Listener,
    Listeners, Namespace, Ports, Sampler, Service, Services, Snapshot, Source, State,
};

use super::namespaces;
use crate::failure::Failure;
use crate::flags::{NamespaceFlags, SourceFlags, interval};
use crate::netns_name::Names;
use crate::output::{say, say_source, without};
use expression::{Expression, Expressions, Measure, Quantity, Scope, Subject};
use judge::{Comparison, Status, Value};
use line::Namespaces;
use reading::{Drops, Level, Reading};

const AFTER_HELP: &str = "\
Expressions: [SCOPE:]WHAT[/s] OP NUMBER[%]
  SCOPE     443             the service at this port; UNKNOWN if nothing listens there
            local-port=5432 the sockets at this local port, whether something listens there or not
            peer-port=5432  the connections to this remote port
            unit=nginx.service
                            the sockets of this systemd unit, or of a container as tcpstat top --by unit
                            names it
            listener=127.0.0.1:5432
                            the sockets that listen at this address: their accept_queue and drops
            without it, the whole network namespace
  WHAT      a state such as CLOSE_WAIT, total, listeners, or
            accept_queue: connections waiting for accept() (without SCOPE: the longest queue)
            drops: dropped by the current listeners since each started
            without SCOPE also what the kernel counts: ListenOverflows, ListenDrops, TCPReqQFullDrop,
            SyncookiesSent, RetransSegs, OutRsts, EstabResets, AttemptFails, TCPTimeWaitOverflow,
            and keeps for the machine: alloc, orphan, mem
  /s        the change per second, between two readings that are --over TIME apart: negative if the
            number falls; of drops, those at listeners that were there at both
  OP        > >= < <=
  NUMBER    a count; with /s, also 0.5 or -10
  NUMBER%   without SCOPE: of all sockets
            at a port or of a unit: of its connections without listeners
            for accept_queue: the queue of the fullest listener, of its backlog
            for orphan: of net.ipv4.tcp_max_orphans

Without --warn and --crit, the line has the totals, and the status is OK if a source could answer.
With --all-namespaces, each limit holds for each network namespace, and the worst is named; a limit on
a service, for those in which it listens, and UNKNOWN if it listens in none.

Examples:
  tcpstat check --warn 'TIME_WAIT>50%' --crit 'total>1000000'
  tcpstat check --warn '8080:CLOSE_WAIT>100' --crit '443:accept_queue>80%,443:listeners<1'
  tcpstat check --crit '443:drops/s>1' --warn 'ListenOverflows/s>0' --over 10s
  tcpstat check --warn 'peer-port=5432:ESTABLISHED>200' --crit 'unit=nginx.service:CLOSE_WAIT>100'
  tcpstat check --warn 'local-port=5432:ESTABLISHED>100' --all-namespaces

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN: no answer, nothing listens at the port, the source does not
know the number (procfs: drops and backlogs), or wrong usage. Of several, the worst: CRITICAL, then WARNING, UNKNOWN, OK";

/// Compare counts with limits, for a monitoring system: one line, perfdata and an exit code
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CheckArgs {
    /// WARNING if one of these is true; separate several by commas, or repeat the option
    #[arg(long, value_name = "EXPR")]
    warn: Vec<Expressions>,

    /// CRITICAL if one of these is true
    #[arg(long, value_name = "EXPR")]
    crit: Vec<Expressions>,

    /// The time between the two readings for /s [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = interval, allow_hyphen_values = true)]
    over: Option<Duration>,

    #[command(flatten)]
    namespaces: NamespaceFlags,

    #[command(flatten)]
    source: SourceFlags,
}

/// The time between two readings, without `--over`.
const OVER: Duration = Duration::from_secs(5);

/// Compares, prints the line, and returns the exit code.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let mut subjects: Vec<Subject> = Vec::new();
    for limit in each(&args.warn).chain(each(&args.crit)) {
        if !subjects.contains(&limit.subject) {
            subjects.push(limit.subject.clone());
        }
    }
    if subjects.is_empty() {
        subjects = totals();
    }
    let rates: Vec<Subject> = subjects
        .iter()
        .filter(|one| one.is_rate())
        .cloned()
        .collect();
    if args.over.is_some() && rates.is_empty() {
        return Err(Failure::Usage(
            "--over is the time between two readings, which only a change per second needs: \
             write drops/s>1, or leave it out"
                .into(),
        ));
    }
    let of_totals = |subject: &Subject| {
        subject.scope == Scope::Namespace
            && matches!(
                subject.what,
                Quantity::State(_) | Quantity::Listeners | Quantity::Total
            )
    };
    let mut scope = match subjects.iter().all(of_totals) {
        true => namespaces::Scope::of_totals(&args.source, &args.namespaces)?,
        false => namespaces::Scope::new(&args.source, &args.namespaces)?,
    };
    match compare(args, &mut scope, &subjects, &rates) {
        Ok((status, line)) => Ok(answer(status, &line)),
        // The exit code of a failure would mean WARNING.
        Err(Failure::Sample(error)) => {
            let line = line::unknown(&error.to_string());
            Ok(answer(Status::Unknown, &line))
        }
        Err(failure) => Err(failure),
    }
}

/// What is printed without limits.
fn totals() -> Vec<Subject> {
    let states = State::ALL.map(Quantity::State);
    let subject = |what| Subject {
        scope: Scope::Namespace,
        what,
        measure: Measure::Count,
    };
    let all = std::iter::once(Quantity::Total).chain(states);
    all.map(subject).collect()
}

/// Opens a namespace through its process; `None` if it has none, that has left it, or may not be
/// looked at.
fn hold(proc_root: &Path, namespace: Namespace) -> Option<File> {
    let path = proc_root.join(namespace.pid?.to_string()).join("ns/net");
    let file = File::open(path).ok()?;
    let is_same = file
        .metadata()
        .is_ok_and(|metadata| metadata.ino() == namespace.inode);
    is_same.then_some(file)
}

/// Reads each namespace, twice if there are `rates`, and compares: the status and the line.
fn compare(
    args: &CheckArgs,
    scope: &mut namespaces::Scope,
    subjects: &[Subject],
    rates: &[Subject],
) -> Result<(Status, String), Failure> {
    let mut before = Vec::new();
    // While it is open, the inode number of a namespace is not given to another one.
    let mut held: Vec<File> = Vec::new();
    if !rates.is_empty() {
        let start = Instant::now();
        before = read(scope, rates, false)?.0;
        held = before
            .iter()
            .filter_map(|one| hold(&args.source.options().proc_root, one.namespace?))
            .collect();
        let over = args.over.unwrap_or(OVER);
        thread::sleep(over.saturating_sub(start.elapsed()));
    }
    let (after, hidden) = read(scope, subjects, args.source.verbose)?;
    drop(held);

    let namespaces: Vec<_> = after.iter().map(|one| one.namespace).collect();
    let names = Names::read(&args.source.options().proc_root).unique(&namespaces);
    let mut comparisons = Vec::new();
    for subject in subjects {
        let limits = |limits| {
            let on_it = each(limits).filter(|limit| limit.subject == *subject);
            on_it.cloned().collect()
        };
        // A service is in some namespaces, and not in the others.
        let is_anywhere = after.iter().any(|one| !one.is_absent(subject));
        for (one, name) in after.iter().zip(&names) {
            let before = before.iter().find(|other| other.inode() == one.inode());
            let is_new = subject.is_rate() && before.is_none();
            if is_new || (is_anywhere && one.is_absent(subject)) {
                continue;
            }
            comparisons.push(Comparison {
                namespace: name.clone(),
                subject: subject.clone(),
                value: one.value(subject, before),
                warn: limits(&args.warn),
                crit: limits(&args.crit),
            });
        }
    }
    if comparisons.is_empty() {
        let line = line::unknown("no network namespace was there at both readings");
        return Ok((Status::Unknown, line));
    }
    let namespaces = args.namespaces.all_namespaces.then_some(Namespaces {
        read: after.len(),
        hidden,
    });
    Ok(line::answer(&comparisons, namespaces))
}

/// Reads the subjects in each namespace, and whether there may be others, which cannot be seen.
fn read(
    scope: &mut namespaces::Scope,
    subjects: &[Subject],
    verbose: bool,
) -> Result<(Vec<Reading>, bool), Failure> {
    let mut readings = Vec::new();
    let mut round = scope.round()?;
    loop {
        let (mut at, mut levels) = (Instant::now(), Vec::new());
        let mut sources = Sources::default();
        let asked = round.ask_next(&mut |sampler| {
            at = Instant::now();
            let mut answers = Answers::new(sampler, subjects);
            let level = |subject: &Subject| (subject.clone(), answers.level(subject));
            levels = subjects.iter().map(level).collect();
            let failure = answers.failure.take();
            sources = answers.into_sources();
            failure.map_or(Ok(()), Err)
        });
        let Some((namespace, asked)) = asked else {
            return Ok((readings, round.is_partial()));
        };
        if let (true, Err(error)) = (levels.is_empty(), &asked) {
            let unknown = |subject: &Subject| (subject.clone(), Err(error.to_string()));
            levels = subjects.iter().map(unknown).collect();
        }
        if verbose {
            sources.say(namespace);
        }
        readings.push(Reading {
            namespace,
            at,
            levels,
        });
    }
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

/// The answers of the sampler for one namespace, each requested when it is first needed.
struct Answers<'a> {
    sampler: &'a mut Sampler,
    /// The ports of the services to count; `None` for all services.
    ports: Option<Ports>,
    /// The local ports whose sockets are counted.
    local_ports: Option<Ports>,
    totals: Option<Result<Snapshot, String>>,
    services: Option<Result<Services, String>>,
    at_local_ports: Option<Result<Listed, String>>,
    /// The remote ports whose connections are counted.
    peer_ports: Option<Ports>,
    by_peer_port: Option<Result<Groups, String>>,
    by_unit: Option<Result<Groups, String>>,
    kernel: Option<Result<Kernel, String>>,
    /// The ports of single listeners.
    listener_ports: Option<Ports>,
    listeners_at: Option<Result<Listeners, String>>,
    /// `None` inside if no source lists them.
    listeners: Option<Result<Option<Listeners>, String>>,
    /// The first error of a source.
    failure: Option<Error>,
}

/// The sockets at some local ports, counted one by one.
struct Listed {
    counts: BTreeMap<u16, Counts>,
    connections: Connections,
}

impl<'a> Answers<'a> {
    fn new(sampler: &'a mut Sampler, subjects: &[Subject]) -> Self {
        let ports = |of: fn(&Scope) -> Option<u16>| -> Option<Ports> {
            let ports = subjects.iter().filter_map(|subject| of(&subject.scope));
            let ports: Vec<String> = ports.map(|port| port.to_string()).collect();
            // Without ports, the empty text does not parse. Then they are not requested.
            ports.join(",").parse().ok()
        };
        let every = |subject: &Subject| {
            subject.scope == Scope::Namespace
                && matches!(subject.what, Quantity::AcceptQueue | Quantity::Drops)
        };
        Self {
            sampler,
            ports: ports(Scope::service).filter(|_| !subjects.iter().any(every)),
            local_ports: ports(Scope::local_port),
            totals: None,
            services: None,
            at_local_ports: None,
            peer_ports: ports(Scope::peer_port),
            by_peer_port: None,
            by_unit: None,
            kernel: None,
            listener_ports: ports(|scope| match scope {
                Scope::Listener(address) => Some(address.port()),
                _ => None,
            }),
            listeners_at: None,
            listeners: None,
            failure: None,
        }
    }

    fn totals(&mut self) -> Result<&Snapshot, String> {
        let answer = self.totals.get_or_insert_with(|| {
            let snapshot = self.sampler.sample();
            snapshot.map_err(|error| noted(&mut self.failure, error))
        });
        answer.as_ref().map_err(Clone::clone)
    }

    fn services(&mut self) -> Result<&Services, String> {
        let answer = self.services.get_or_insert_with(|| {
            let services = self.sampler.services(self.ports.as_ref());
            services.map_err(|error| noted(&mut self.failure, error))
        });
        answer.as_ref().map_err(Clone::clone)
    }

    fn at_local_ports(&mut self) -> Result<&Listed, String> {
        let answer = self.at_local_ports.get_or_insert_with(|| {
            let listed = listed(self.sampler, self.local_ports.as_ref());
            listed.map_err(|error| noted(&mut self.failure, error))
        });
        answer.as_ref().map_err(Clone::clone)
    }

    fn kernel(&mut self) -> Result<&Kernel, String> {
        let answer = self.kernel.get_or_insert_with(|| {
            let kernel = self.sampler.kernel();
            kernel.map_err(|error| noted(&mut self.failure, error))
        });
        answer.as_ref().map_err(Clone::clone)
    }

    fn by_peer_port(&mut self) -> Result<&Groups, String> {
        let answer = self.by_peer_port.get_or_insert_with(|| {
            let mut filter = Filter::default();
            filter.remote_ports.clone_from(&self.peer_ports);
            let groups = self.sampler.groups(Key::PeerPort, &filter);
            groups.map_err(|error| noted(&mut self.failure, error))
        });
        answer.as_ref().map_err(Clone::clone)
    }

    fn by_unit(&mut self) -> Result<&Groups, String> {
        let answer = self.by_unit.get_or_insert_with(|| {
            let groups = self.sampler.groups(Key::Unit, &Filter::default());
            groups.map_err(|error| noted(&mut self.failure, error))
        });
        answer.as_ref().map_err(Clone::clone)
    }

    /// The same for the sockets that listen at this address.
    fn level_of_listener(
        &mut self,
        address: SocketAddr,
        subject: &Subject,
    ) -> Result<Level, String> {
        let (what, share) = (subject.what, subject.measure == Measure::Share);
        let answer = self.listeners_at.get_or_insert_with(|| {
            let listeners = self.sampler.listeners(self.listener_ports.as_ref());
            listeners.map_err(|error| noted(&mut self.failure, error))
        });
        let Listeners {
            listeners, source, ..
        } = answer.as_ref().map_err(|error| error.clone())?;
        let at_address = |one: &&Listener| {
            (one.local.ip().to_canonical(), one.local.port())
                == (address.ip().to_canonical(), address.port())
        };
        let all: Vec<&Listener> = listeners.iter().filter(at_address).collect();
        if all.is_empty() {
            return Ok(Level::Absent);
        }
        if what == Quantity::Drops {
            let drops = all
                .iter()
                .map(|one| Some(((one.inode, one.local), one.drops?)));
            let drops: Option<BTreeMap<_, _>> = drops.collect();
            let drops = drops.ok_or_else(|| unknown_drops(*source))?;
            return Ok(match subject.measure {
                Measure::Rate => Level::Drops(Drops::OfListeners(drops)),
                _ => Level::Value(Value::count(
                    drops.values().map(|&drops| u64::from(drops)).sum(),
                )),
            });
        }
        let queues = all.iter().map(|one| u64::from(one.accept_queue));
        Ok(Level::Value(match what {
            Quantity::AcceptQueue if share => {
                let fullest = all.iter().filter_map(|one| one.queue()).max();
                let fullest =
                    fullest.ok_or_else(|| format!("{source} does not know the backlog"))?;
                Value {
                    whole: Some(fullest.backlog.into()),
                    ..Value::count(fullest.length.into())
                }
            }
            Quantity::AcceptQueue => Value::count(queues.sum()),
            _ => Value::count(all.len() as u64),
        }))
    }

    /// What is read for a subject, or why it is not known.
    fn level(&mut self, subject: &Subject) -> Result<Level, String> {
        if let Scope::Listener(address) = subject.scope {
            return self.level_of_listener(address, subject);
        }
        let port = subject.scope.service();
        if (subject.measure, subject.what) == (Measure::Rate, Quantity::Drops) {
            if let Some(drops) = self.drops_of_listeners(port)? {
                return Ok(drops);
            }
        }
        if let Some(port) = port {
            if self.services()?.get(port).is_none() {
                return Ok(Level::Absent);
            }
        }
        match (subject.measure, subject.what) {
            (Measure::Rate, Quantity::Drops) => self.drops_of_ports(port),
            _ => self.value(subject).map(Level::Value),
        }
    }

    /// The drops of each listener, at this port or at all; `None` if no source lists them.
    fn drops_of_listeners(&mut self, port: Option<u16>) -> Result<Option<Level>, String> {
        let answer = self.listeners.get_or_insert_with(|| {
            match self.sampler.listeners(self.ports.as_ref()) {
                Ok(listeners) => Ok(Some(listeners)),
                // The module may know the drops of a port.
                Err(Error::NotListed | Error::NoSource(_)) => Ok(None),
                Err(error) => Err(noted(&mut self.failure, error)),
            }
        });
        let Some(answer) = answer.as_ref().map_err(Clone::clone)? else {
            return Ok(None);
        };
        let listeners = answer.listeners.iter();
        let mut listeners = listeners
            .filter(|one| port.is_none_or(|port| one.local.port() == port))
            .peekable();
        if port.is_some() && listeners.peek().is_none() {
            return Ok(Some(Level::Absent));
        }
        let drops = listeners.map(|one| Some(((one.inode, one.local), one.drops?)));
        let drops: Option<_> = drops.collect();
        Ok(drops.map(|drops| Level::Drops(Drops::OfListeners(drops))))
    }

    /// The drops of each port, or of this one.
    fn drops_of_ports(&mut self, port: Option<u16>) -> Result<Level, String> {
        let services = self.services()?;
        let source = services.source;
        let services = services.services.iter();
        let drops = services
            .filter(|service| port.is_none_or(|port| service.port == port))
            .map(|service| {
                let drops = service.drops.ok_or_else(|| unknown_drops(source))?;
                Ok((service.port, drops))
            });
        let drops: Result<_, String> = drops.collect();
        Ok(Level::Drops(Drops::OfPorts(drops?)))
    }

    /// The number, or why it is not known.
    fn value(&mut self, subject: &Subject) -> Result<Value, String> {
        let (what, share) = (subject.what, subject.measure == Measure::Share);
        if let Some(port) = subject.scope.local_port() {
            let counts = self.at_local_ports()?.counts.get(&port);
            return Ok(at_local_port(counts.copied().unwrap_or_default(), what));
        }
        let key = match &subject.scope {
            Scope::PeerPort(port) => Some(GroupKey::Port(*port)),
            Scope::Unit(name) => Some(GroupKey::Unit(name.as_str().into())),
            _ => None,
        };
        if let Some(key) = key {
            let groups = match key {
                GroupKey::Port(_) => self.by_peer_port()?,
                _ => self.by_unit()?,
            };
            let group = groups.iter().find(|group| group.key == key);
            let counts = group.map_or(Counts::ZERO, |group| group.counts);
            return Ok(at_local_port(counts, what));
        }
        match (subject.scope.service(), what) {
            (Some(port), _) => {
                let services = self.services()?;
                let service = services.get(port).ok_or("nothing listens at this port")?;
                at_service(service, what, share, services.source)
            }
            (None, Quantity::AcceptQueue) => {
                let services = self.services()?;
                let service = fullest(&services.services, share);
                let service = service.ok_or("nothing listens at any port")?;
                at_service(service, what, share, services.source)
            }
            (None, Quantity::Drops) => {
                let services = self.services()?;
                let mut sum = Value::count(0);
                for service in &services.services {
                    sum.amount += at_service(service, what, share, services.source)?.amount;
                }
                Ok(sum)
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
            (None, Quantity::Counter(counter)) => {
                let count = self.kernel()?.counter(counter);
                Ok(Value::count(count.ok_or_else(|| unknown_to_kernel(what))?))
            }
            (None, Quantity::Gauge(gauge)) => {
                let kernel = self.kernel()?;
                let number = kernel.gauge(gauge).ok_or_else(|| unknown_to_kernel(what))?;
                let whole = match (gauge, share) {
                    (Gauge::Orphan, true) => Some(kernel.limit(Ceiling::MaxOrphans).ok_or(
                        "net.ipv4.tcp_max_orphans is read in the machine's first network namespace",
                    )?),
                    _ => None,
                };
                Ok(Value {
                    whole,
                    ..Value::count(number)
                })
            }
        }
    }

    /// What the sources answered.
    fn into_sources(self) -> Sources {
        Sources {
            totals: self.totals.and_then(Result::ok),
            services: self.services.and_then(Result::ok),
            listed: self.at_local_ports.and_then(Result::ok),
            listeners: [
                self.listeners.and_then(Result::ok).flatten(),
                self.listeners_at.and_then(Result::ok),
            ],
            groups: [self.by_peer_port, self.by_unit].map(|groups| groups.and_then(Result::ok)),
        }
    }
}

/// What the sources answered for one namespace.
#[derive(Default)]
struct Sources {
    totals: Option<Snapshot>,
    services: Option<Services>,
    listed: Option<Listed>,
    listeners: [Option<Listeners>; 2],
    groups: [Option<Groups>; 2],
}

impl Sources {
    /// Prints to standard error which sources answered.
    fn say(&self, namespace: Option<Namespace>) {
        if let Some(totals) = &self.totals {
            say_source(namespace, &totals.tried, totals.source, &totals.method);
        }
        if let Some(services) = &self.services {
            let method = without("counted by port", services.missing.as_deref());
            say_source(namespace, &services.tried, services.source, method);
        }
        for groups in self.groups.iter().flatten() {
            if let Some(&source) = groups.sources.first() {
                let method = format!("groups sockets by {}", groups.key);
                let method = without(method, groups.missing.as_deref());
                say_source(namespace, &[], source, method);
            }
        }
        for listeners in self.listeners.iter().flatten() {
            let method = "listed the listeners";
            say_source(namespace, &listeners.tried, listeners.source, method);
        }
        if let Some(Listed { connections, .. }) = &self.listed {
            let method = without("listed the local ports", connections.missing());
            say_source(namespace, connections.tried(), connections.source(), method);
        }
    }
}

/// The text of an error. The first one is kept.
fn noted(failure: &mut Option<Error>, error: Error) -> String {
    let text = error.to_string();
    failure.get_or_insert(error);
    text
}

/// Counts the sockets at these local ports.
fn listed(sampler: &mut Sampler, ports: Option<&Ports>) -> Result<Listed, Error> {
    let mut filter = Filter::default();
    filter.local_ports = ports.cloned();
    let mut connections = sampler.connections(filter)?;
    let mut counts: BTreeMap<u16, Counts> = BTreeMap::new();
    for connection in &mut connections {
        let connection = connection?;
        let at_port = counts.entry(connection.local.port()).or_default();
        at_port.add_one(connection.state);
    }
    Ok(Listed {
        counts,
        connections,
    })
}

/// A number of the sockets at a local port.
fn at_local_port(counts: Counts, what: Quantity) -> Value {
    match what {
        Quantity::State(state) => Value {
            whole: Some(counts.total() - counts.get(State::Listen)),
            ..Value::count(counts.get(state))
        },
        Quantity::Listeners => Value::count(counts.get(State::Listen)),
        // The others are not of a local port.
        _ => Value::count(counts.total()),
    }
}

fn unknown_to_kernel(what: Quantity) -> String {
    format!("this kernel has no {}", what.name())
}

fn unknown_drops(source: Source) -> String {
    format!("{source} does not know the drops")
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
        Quantity::Drops => Value::count(service.drops.ok_or_else(|| unknown_drops(source))?),
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
        // The numbers of the kernel are of no service.
        Quantity::AcceptQueue | Quantity::Counter(_) | Quantity::Gauge(_) => {
            Value::count(service.accept_queue)
        }
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
