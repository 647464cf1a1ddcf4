// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat top`: groups of sockets, the largest first.

mod formats;

use std::path::Path;
use std::sync::Arc;

use clap::builder::PossibleValue;
use jiff::Timestamp;
use tcpstat::{Error, Grouping, Key, Namespaces, Origin, Sampler, Source, State, Weight};

use super::namespaces::{Scope, end};
use crate::explain;
use crate::failure::Failure;
use crate::flags::{FilterFlags, NamespaceFlags, OutputFlags, RepeatFlags, SourceFlags};
use crate::format::Format;
use crate::names::{self, NameParser};
use crate::netns_name::Names;
use crate::output::{print_by, say, say_source, without};
use crate::owners::say_hidden;
use crate::users::Users;
use formats::Reading;

const AFTER_HELP: &str = "\
Keys:
  unit, cgroup    who made the socket: systemd unit or container, or cgroup (needs cgroup v2, netlink)
  process         which processes have it open: nginx[81,82] (yours; as root, all)
  user            who owns it
  peer            the remote address
  peer-port       the remote port: which services do outgoing connections use?
  local-port, local-address, state, family, netns

Examples:
  tcpstat top --by unit --format table                        which service has how many connections
  tcpstat top --by process --state close-wait                 which program does not close its sockets
  tcpstat top --by peer --port 443 --limit 20                 the clients with the most connections
  tcpstat top --by peer-port --no-loopback --sort syn-sent    which remote service does not answer
  tcpstat top --by unit --all-namespaces                      containers, too

Groups have a string as key, which is (none) where there is nothing: TIME_WAIT and handshakes (request sockets)
have no cgroup, process or user any more or yet, listeners have no peer. (gone) is a cgroup or process that has ended,
(hidden) a process that you may not look at. Sockets that are used for IPv4 are IPv4, whatever their family.
What is not in the listed groups is counted as \"other\".
Up to 65,536 groups are counted exactly. If there are more, as there may be peers in an attack, exact is false, and the
groups with the most sockets stay, by --sort: a total is too high by at most its error, and its states add up to total
minus error. Memory stays below 16 MiB, except by process: about 32 bytes for each socket that passes the filter,
and 8 for each further descriptor of it.";

/// Count sockets in groups: by unit, process, user, peer, ... the largest first
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct TopArgs {
    /// What the sockets of a group have in common: unit, process, peer, ... (see Keys, below)
    #[arg(long, value_name = "KEY", value_parser = KEY, hide_possible_values = true)]
    by: Key,

    #[command(flatten)]
    filter: FilterFlags,

    /// The number of groups to list; 0 for all
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        allow_negative_numbers = true
    )]
    limit: usize,

    /// Sort descending by total, or by a state
    #[arg(long, value_name = "COLUMN", default_value = "total")]
    #[arg(value_parser = COLUMN, hide_possible_values = true)]
    sort: Column,

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

/// The parser of `--by`.
const KEY: NameParser<Key> = NameParser {
    read: key,
    names: || {
        let names = Key::ALL.map(|key| PossibleValue::new(key.name()));
        names.into_iter().collect()
    },
};

fn key(text: &str) -> Result<Key, String> {
    let typed = explain::typed(text);
    let found = Key::ALL.into_iter().find(|key| key.name() == typed);
    found.ok_or_else(|| {
        let names = Key::ALL.map(Key::name).join(", ");
        format!("unknown key; the keys are: {names}")
    })
}

/// The column to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Total,
    State(State),
}

/// The parser of `--sort`.
const COLUMN: NameParser<Column> = NameParser {
    read: column,
    names: || {
        let total = [PossibleValue::new("total")];
        total.into_iter().chain(names::states()).collect()
    },
};

fn column(text: &str) -> Result<Column, String> {
    if explain::typed(text) == "total" {
        return Ok(Column::Total);
    }
    let state = text.parse().map(Column::State);
    state.map_err(|_| "unknown column; the columns are: total, or a state".into())
}

/// Counts and prints, once or at each tick.
pub(crate) fn run(args: &TopArgs) -> Result<(), Failure> {
    if args.repeat.interval.is_some() && !args.format.is_one_line() {
        return Err(Failure::Usage(
            "--interval prints one line each time, which --format table and prometheus cannot: use json"
                .into(),
        ));
    }
    let filter = args.filter.filter();
    let counts_alone = matches!(args.by, Key::State | Key::Netns) && filter == Default::default();
    if args.source.source() == Some(Source::Module) && !counts_alone {
        return Err(Failure::Usage(format!(
            "{}: use --source netlink or procfs, or leave it out",
            Error::NotListed
        )));
    }
    let proc_root = args.source.options().proc_root;
    // A network namespace alone would be the only group.
    let all_namespaces =
        args.namespaces.all_namespaces || (args.by == Key::Netns && !args.source.has_target());
    let namespaces = NamespaceFlags { all_namespaces };
    let mut scope = match counts_alone {
        true => Scope::of_totals(&args.source, &namespaces)?,
        false => Scope::new(&args.source, &namespaces)?,
    };
    if let Scope::One(sampler) = &scope {
        if !args.source.has_target() {
            say_others(sampler, &proc_root);
        }
    }
    let names = match args.by {
        Key::Netns => Names::read(&proc_root),
        _ => Names::default(),
    };
    let users = Arc::new(match args.by {
        Key::User => Users::read(&proc_root),
        _ => Users::default(),
    });
    let weight = match args.sort {
        Column::Total => Weight::Total,
        Column::State(state) => Weight::State(state),
    };
    let mut complete = true;
    let mut said = false;
    args.repeat.at_each_tick(|| {
        let timestamp = Timestamp::now();
        let mut whole = true;
        let mut grouping = Grouping::new(args.by, weight);
        let reading = scope.read(|sampler| sampler.group(&filter, &mut grouping))?;
        let answers = reading.unless_missing(&mut whole);
        let groups = grouping.finish(&proc_root).map_err(Failure::Sample)?;
        if args.source.verbose {
            for answer in &answers {
                let grouped = &answer.answer;
                let method = format!("groups sockets by {}", args.by);
                let method = without(method, groups.missing.as_deref());
                say_source(answer.namespace, &grouped.tried, grouped.source, method);
            }
        }
        said = said || say_hidden(groups.hidden, groups.invisible);
        let namespaces = answers.iter().filter_map(|answer| answer.namespace);
        let reading = Reading {
            groups,
            limit: match args.limit {
                0 => usize::MAX,
                limit => limit,
            },
            names: namespaces
                .map(|namespace| (namespace.inode, names.name(namespace)))
                .collect(),
            users: users.clone(),
        };
        complete &= whole;
        if args.output.stays(whole) {
            return Ok(());
        }
        let path = args.output.output.as_deref();
        print_by(path, |to| reading.write(args.format, timestamp, to))
    })?;
    end(complete)
}

/// Says how many network namespaces are not counted.
fn say_others(sampler: &Sampler, proc_root: &Path) {
    let (Ok(Origin::Namespace { inode, .. }), Ok(namespaces)) =
        (sampler.origin(), Namespaces::list(proc_root))
    else {
        return;
    };
    let seen = namespaces.seen.iter().map(|one| one.inode);
    let named = namespaces.named.iter().map(|one| one.inode);
    match seen.chain(named).filter(|&other| other != inode).count() {
        0 => {}
        1 => say("1 other network namespace is not counted: see --all-namespaces"),
        others => say(format_args!(
            "{others} other network namespaces are not counted: see --all-namespaces"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_columns_are_read_in_any_case() {
        for known in Key::ALL {
            let name = known.name().to_uppercase().replace('-', "_");
            assert_eq!(key(&name), Ok(known));
        }
        assert!(key("port").unwrap_err().contains("peer-port, local-port"));
        assert_eq!(column("TOTAL"), Ok(Column::Total));
        assert_eq!(column("time-wait"), Ok(Column::State(State::TimeWait)));
        assert!(column("drops").unwrap_err().contains("a state"));
    }
}
