// SPDX-License-Identifier: MIT OR Apache-2.0

//! The flags `--collector.NAME` and `--no-collector.NAME`, two for each collector.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::collectors::{Collector, Collectors};

/// Which collectors are on.
#[derive(Debug)]
pub(super) struct CollectorFlags(Collectors);

impl CollectorFlags {
    /// Those that are on: the default ones and those of a flag, without those of the opposite flag.
    pub(super) fn on(&self) -> Collectors {
        self.0
    }
}

fn names(collector: Collector) -> [String; 2] {
    let name = collector.name();
    [format!("collector.{name}"), format!("no-collector.{name}")]
}

impl Args for CollectorFlags {
    fn augment_args(command: Command) -> Command {
        Collector::ALL.into_iter().fold(command, |command, one| {
            let [on, off] = names(one);
            let (shows, cost) = (one.shows(), one.cost());
            let help = match one.is_default() {
                true => format!("Show {shows} (on): {cost}"),
                false => format!("Show {shows}: {cost}"),
            };
            // The last of the two counts.
            let flag = |name: &String, other: &String| {
                Arg::new(name.clone())
                    .long(name.clone())
                    .action(ArgAction::SetTrue)
                    .overrides_with_all([name.clone(), other.clone()])
            };
            let on_flag = flag(&on, &off).help(help);
            let off_flag = flag(&off, &on).help(format!("Do not show {shows}"));
            // The help shows the flag that changes something.
            command
                .arg(on_flag.hide(one.is_default()))
                .arg(off_flag.hide(!one.is_default()))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CollectorFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_on = |one: &Collector| {
            let [on, off] = names(*one);
            (one.is_default() || matches.get_flag(&on)) && !matches.get_flag(&off)
        };
        Ok(Self(Collector::ALL.into_iter().filter(is_on).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_flag_counts() {
        let on = |arguments: &[&str]| {
            let command = CollectorFlags::augment_args(Command::new("exporter"));
            let arguments = ["exporter"].iter().chain(arguments);
            let matches = command.try_get_matches_from(arguments).unwrap();
            CollectorFlags::from_arg_matches(&matches).unwrap().on()
        };
        let default: Collectors = Collector::ALL
            .into_iter()
            .filter(|one| one.is_default())
            .collect();
        assert_eq!(on(&[]), default);
        assert_eq!(on(&["--collector.units"]), default.with(Collector::Units));
        let both = ["--no-collector.totals", "--collector.totals"];
        assert_eq!(on(&both), default);
        let off = ["--collector.totals", "--no-collector.totals"];
        assert_eq!(on(&off), default.without(Collector::Totals));
    }
}
