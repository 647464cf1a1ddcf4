// SPDX-License-Identifier: MIT OR Apache-2.0

//! Command-line options that several commands share, and their conversion for the library.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tcpstat::{Filter, Named, Networks, Options, Ports, Sampler, Source, State, Target};

use crate::failure::Failure;
use crate::names::STATE;
use crate::output::say;

/// How often to answer: once, or at an interval.
#[derive(Debug, clap::Args)]
pub(crate) struct RepeatFlags {
    /// Print again every 10s, 500ms, 1m, ... until a reading fails; one line each time
    #[arg(long, value_name = "TIME", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) interval: Option<Duration>,

    /// Stop after N answers
    #[arg(
        long,
        value_name = "N",
        requires = "interval",
        allow_negative_numbers = true
    )]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

impl RepeatFlags {
    /// Calls `once` a single time, or at each tick of the interval. Ticks do not drift.
    pub(crate) fn at_each_tick(
        &self,
        mut once: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(interval) = self.interval else {
            return once();
        };
        let start = Instant::now();
        let mut times = 0;
        loop {
            once()?;
            times += 1;
            if self.count.is_some_and(|count| times >= count) {
                return Ok(());
            }
            thread::sleep(until_next_tick(start.elapsed(), interval));
        }
    }
}

/// The time until the next tick. Missed ticks are skipped.
fn until_next_tick(elapsed: Duration, interval: Duration) -> Duration {
    // The remainder is below `interval`, which is at most a year: it fits in a u64.
    let since_tick = elapsed.as_nanos() % interval.as_nanos();
    interval - Duration::from_nanos(since_tick as u64)
}

/// The source to use, and the network namespace to count.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceFlags {
    /// Source of the counts: auto, module, netlink, netlink-full, procfs
    #[arg(long, value_enum, default_value_t = SourceValue::Auto, hide_possible_values = true)]
    source: SourceValue,

    /// The network namespace of this process, such as a container's, instead of your own
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,

    /// The network namespace with this name (ip netns, Docker), or that this file is
    #[arg(long, value_name = "NAME|PATH", conflicts_with = "pid")]
    netns: Option<PathBuf>,

    /// Another procfs: a host's, a process's directory, or a saved sample
    #[arg(long, value_name = "DIR", default_value = Options::PROC_ROOT)]
    proc_root: PathBuf,

    /// Print to standard error which network namespace and source answered, and how
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// The values of `--source`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SourceValue {
    Auto,
    Module,
    Netlink,
    NetlinkFull,
    Procfs,
}

impl SourceFlags {
    /// The source; `None` for the first that answers.
    pub(crate) fn source(&self) -> Option<Source> {
        match self.source {
            SourceValue::Auto => None,
            SourceValue::Module => Some(Source::Module),
            SourceValue::Netlink => Some(Source::Netlink),
            SourceValue::NetlinkFull => Some(Source::NetlinkFull),
            SourceValue::Procfs => Some(Source::Procfs),
        }
    }

    /// The options of the library for these flags.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::default();
        options.source = self.source();
        options.target = match (self.pid, &self.netns) {
            (Some(pid), _) => Target::Process(pid),
            (None, Some(name)) => Target::File {
                path: Named::path_of(&self.proc_root, name),
                inode: None,
            },
            (None, None) => Target::Own,
        };
        options.proc_root.clone_from(&self.proc_root);
        options
    }

    /// Whether one network namespace is meant by its process or its name.
    pub(crate) fn has_target(&self) -> bool {
        self.pid.is_some() || self.netns.is_some()
    }

    /// A sampler for these flags. With `--verbose`, prints whose connections it counts.
    pub(crate) fn sampler(&self) -> Result<Sampler, Failure> {
        let options = self.options();
        let source = options.source.map_or("auto", Source::name);
        let sampler = Sampler::new(options).map_err(|error| {
            Failure::Usage(format!(
                "--source {source} cannot be used with --proc-root alone: {error}"
            ))
        })?;
        if self.verbose {
            // An error is reported by the first reading, which has it as well.
            if let Ok(origin) = sampler.origin() {
                say(origin);
            }
        }
        Ok(sampler)
    }
}

/// Which connections to list or to group.
#[derive(Debug, clap::Args)]
pub(crate) struct FilterFlags {
    /// Only those in one of these states: established, close-wait, ...
    #[arg(long = "state", value_name = "STATE,...", value_delimiter = ',')]
    #[arg(value_parser = STATE, hide_possible_values = true)]
    states: Option<Vec<State>>,

    /// Only those at these local ports: 443,8000-8100
    #[arg(long, value_name = "PORTS")]
    port: Option<Ports>,

    /// Only those to these remote ports
    #[arg(long, value_name = "PORTS")]
    remote_port: Option<Ports>,

    /// Only those at a local address in these networks: 10.0.0.0/8,2001:db8::/32,192.0.2.7
    #[arg(long, value_name = "NET,...")]
    address: Option<Networks>,

    /// Only those to a remote address in these networks
    #[arg(long, value_name = "NET,...")]
    peer: Option<Networks>,

    /// None with a loopback address at either end: 127.0.0.0/8, ::1
    #[arg(long)]
    no_loopback: bool,
}

impl FilterFlags {
    /// The filter of the library for these flags.
    pub(crate) fn filter(&self) -> Filter {
        let mut filter = Filter::default();
        filter.states.clone_from(&self.states);
        filter.local_ports.clone_from(&self.port);
        filter.remote_ports.clone_from(&self.remote_port);
        filter.local_addresses.clone_from(&self.address);
        filter.remote_addresses.clone_from(&self.peer);
        filter.no_loopback = self.no_loopback;
        filter
    }
}

/// Where to write answers.
#[derive(Debug, clap::Args)]
pub(crate) struct OutputFlags {
    /// Replace this file by each answer, whole and at once; an error leaves it as it is
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

impl OutputFlags {
    /// Whether the file stays as it is, since the answer is not complete.
    pub(crate) fn stays(&self, complete: bool) -> bool {
        self.output.is_some() && !complete
    }
}

/// Whether to read every network namespace.
#[derive(Debug, clap::Args)]
pub(crate) struct NamespaceFlags {
    /// All network namespaces with a process or a name, each by its inode and one PID
    #[arg(long, conflicts_with_all = ["pid", "netns"])]
    pub(crate) all_namespaces: bool,
}

/// The longest interval: a year, so that the times of ticks cannot overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Parses an interval such as `10s`.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
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
    fn ticks_do_not_drift_and_missed_ones_are_skipped() {
        let ms = Duration::from_millis;
        assert_eq!(until_next_tick(ms(0), ms(10)), ms(10));
        assert_eq!(until_next_tick(ms(3), ms(10)), ms(7));
        assert_eq!(until_next_tick(ms(13), ms(10)), ms(7));
        assert_eq!(until_next_tick(ms(57), ms(10)), ms(3));
        assert_eq!(
            until_next_tick(Duration::from_nanos(1), Duration::from_nanos(1)),
            Duration::from_nanos(1)
        );
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
