// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads what collectors show, once for everyone who asks for it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tcpstat::{
    Counts, Error, Filter, Grouping, Key, Listener, Listeners, Method, Options, Sampler, Services,
    Source, Weight,
};

use super::collectors::{Collector, Collectors};
use super::drops::{Drops, Place};
use super::families::{About, Families, GroupFamilies, ListenerPlace, Outcome, ServiceFamilies};
use super::figures::{self, Figures};
use super::history::History;
use super::listed::{self, Listed};
use super::log::{Fields, Log};
use super::process::ProcessNumbers;
use super::seen::{Seen, States};
use crate::commands::namespaces::Scope;
use crate::commands::services::formats::Metrics;
use crate::failure::Failure;
use crate::format::labels;
use crate::hints::explained;
use crate::netns_name::Names;
use crate::opened::Found;
use crate::owners::Owners;

/// How many series a collector may make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Ports, addresses, groups or namespaces.
    pub(super) items: usize,
    pub(super) destinations: usize,
    /// Whether states that have always been zero are shown too.
    pub(super) zeros: bool,
}

/// What is kept from one reading to the next.
pub(super) struct Reader {
    options: Options,
    sampler: Sampler,
    bounds: Bounds,
    /// Whether units are those of all network namespaces.
    units_of_all: bool,
    log: Log,
    readings: u64,
    drops: Drops,
    history: History,
    owners: Owners,
    ports: Seen<u16>,
    groups: HashMap<Collector, Seen<String>>,
    /// The collectors whose last reading failed.
    failing: Collectors,
    /// The source of each collector at its last reading.
    sources: HashMap<Collector, (&'static str, &'static str)>,
}

/// The answers of the collectors that were asked for.
pub(super) struct Reading {
    families: Vec<(Collector, Arc<Families>)>,
    outcomes: Vec<Outcome>,
    readings: u64,
    /// For the pages, if some asked.
    figures: Option<Result<Figures, String>>,
}

impl Reading {
    /// The event for a page on which this port is open. `None` if no page asked.
    pub(super) fn event(&self, port: Option<u16>) -> Option<String> {
        figures::reading(self.figures.as_ref()?, port).ok()
    }

    /// The metrics of these collectors.
    pub(super) fn families(&self, of: Collectors) -> Vec<Arc<Families>> {
        let outcomes = self.outcomes.iter();
        let about = About {
            outcomes: outcomes
                .filter(|one| of.has(one.collector))
                .cloned()
                .collect(),
            readings: self.readings,
            process: ProcessNumbers::read(),
        };
        let families = self.families.iter();
        let families = families.filter(|(collector, _)| of.has(*collector));
        let families = families.map(|(_, families)| families.clone());
        families.chain([Arc::new(Families::About(about))]).collect()
    }
}

/// What a collector has read.
struct Answer {
    families: Families,
    source: Option<(&'static str, &'static str)>,
    left_out: u64,
}

impl Reader {
    pub(super) fn new(
        options: Options,
        sampler: Sampler,
        bounds: Bounds,
        units_of_all: bool,
        log: Log,
    ) -> Self {
        Self {
            owners: Owners::new(&options.proc_root),
            history: History::default(),
            options,
            sampler,
            bounds,
            units_of_all,
            log,
            readings: 0,
            drops: Drops::default(),
            ports: Seen::default(),
            groups: HashMap::new(),
            failing: Collectors::default(),
            sources: HashMap::new(),
        }
    }

    /// The first event for a page: what stays as it is, and the last hour.
    pub(super) fn hello(&self) -> Option<String> {
        figures::hello(&self.options.proc_root, &self.history).ok()
    }

    /// Reads now. An error of one collector leaves the others. `pages` are the ports that are open
    /// on the pages that ask.
    pub(super) fn read(&mut self, wanted: Collectors, pages: &BTreeSet<Option<u16>>) -> Reading {
        use Collector::*;
        self.readings += 1;
        let mut reading = Reading {
            families: Vec::new(),
            outcomes: Vec::new(),
            readings: self.readings,
            figures: None,
        };
        let mut add = |reader: &mut Self, collector, start: Instant, answer| {
            reader.add(&mut reading, collector, start, answer);
        };

        let start = Instant::now();
        // Listing listeners costs little. Drops are counted by socket, and outgoing connections
        // have no listener at their local port.
        let needs = [Services, Listeners, PeerPorts, LocalPorts, Destinations];
        let listeners = needs.iter().any(|&one| wanted.has(one));
        let listeners = listeners.then(|| self.sampler.listeners(None));
        if let Some(Ok(all)) = listeners.as_ref().filter(|_| knows_drops(&listeners)) {
            self.drops.add(&all.listeners);
        }
        let mut totals = None;
        let mut figures = None;
        if wanted.has(Services) {
            let services = self.sampler.services(None);
            if let Ok(services) = &services {
                if !knows_drops(&listeners) {
                    self.drops.add_sums(&services.services);
                }
                let counts = services.services.iter().map(|one| one.counts);
                let counts = counts.chain(services.other).sum();
                totals = Some(Answer {
                    families: Families::Totals(counts),
                    source: Some((services.source.name(), "services")),
                    left_out: 0,
                });
                self.history.add_totals(start, &counts);
                let other = services.other.as_ref();
                let symptoms =
                    self.history
                        .add_services(start, &services.services, other, &self.drops);
                let drops = |port| self.drops.of_port(port);
                let most = self.bounds.items;
                let new = || Ok(Figures::new(services, counts, symptoms, drops, most));
                figures = (!pages.is_empty()).then(new);
            }
            let answer = match services {
                Ok(services) => Ok(self.services(services)),
                Err(error) => {
                    let error = text(error);
                    figures = (!pages.is_empty()).then(|| Err(error.clone()));
                    Err(error)
                }
            };
            add(self, Services, start, answer);
        }
        if let Some(Ok(figures)) = &mut figures {
            for port in pages.iter().flatten() {
                let opened = Found::ask(&mut self.sampler, *port)
                    .and_then(|found| found.finish(&self.options.proc_root, &mut self.owners));
                figures.opened.push((*port, opened.map_err(text)));
            }
        }
        if wanted.has(Totals) {
            // Services with all others are everything: no second walk.
            let (start, answer) = match totals {
                Some(answer) => (start, Ok(answer)),
                None => (Instant::now(), self.totals()),
            };
            add(self, Totals, start, answer);
        }
        if wanted.has(Counters) || wanted.has(Limits) {
            let start = Instant::now();
            let kernel = self.sampler.kernel();
            for collector in [Counters, Limits]
                .into_iter()
                .filter(|&one| wanted.has(one))
            {
                let answer = match &kernel {
                    Ok(kernel) => Ok(Answer {
                        families: match collector {
                            Counters => Families::Counters(kernel.clone()),
                            _ => Families::Limits(kernel.clone()),
                        },
                        source: None,
                        left_out: 0,
                    }),
                    Err(error) => Err(error.to_string()),
                };
                add(self, collector, start, answer);
            }
        }
        let start = Instant::now();
        if let Some(listeners) = listeners.as_ref().filter(|_| wanted.has(Listeners)) {
            let answer = match listeners {
                Ok(listeners) => Ok(self.listeners(listeners)),
                Err(error) => Err(explained(error)),
            };
            add(self, Listeners, start, answer);
        }
        let mut listing: Collectors = wanted.iter().filter(|one| one.lists()).collect();
        if listing.has(Units) && self.units_of_all {
            listing = listing.without(Units);
            let start = Instant::now();
            let answer = self.units_of_all_namespaces();
            add(self, Units, start, answer);
        }
        if !listing.is_empty() {
            let start = Instant::now();
            for (collector, answer) in self.listed(listing, listeners.as_ref()) {
                add(self, collector, start, answer);
            }
        }
        if wanted.has(Namespaces) {
            let start = Instant::now();
            let answer = self.namespaces();
            add(self, Namespaces, start, answer);
        }
        reading.figures = figures;
        reading.outcomes.sort_by_key(|one| one.collector);
        reading.families.sort_by_key(|(collector, _)| *collector);
        reading
    }

    /// Adds an answer to the reading; logs what has changed.
    fn add(
        &mut self,
        reading: &mut Reading,
        collector: Collector,
        start: Instant,
        answer: Result<Answer, String>,
    ) {
        let mut outcome = Outcome {
            collector,
            seconds: start.elapsed().as_secs_f64(),
            success: answer.is_ok(),
            source: None,
            left_out: None,
        };
        let name = collector.name();
        match answer {
            Ok(answer) => {
                if self.failing.has(collector) {
                    self.failing = self.failing.without(collector);
                    self.log
                        .info("reading works again", &[("collector", &name)]);
                }
                outcome.source = answer.source;
                outcome.left_out = collector.is_bounded().then_some(answer.left_out);
                reading
                    .families
                    .push((collector, Arc::new(answer.families)));
                if let Some((source, method)) = answer.source {
                    let before = self.sources.insert(collector, (source, method));
                    if before.is_some_and(|(before, _)| before != source) {
                        let fields: Fields<'_> = &[("collector", &name), ("source", &source)];
                        self.log.info("another source answers", fields);
                    }
                    let fields: Fields<'_> = &[
                        ("collector", &name),
                        ("source", &source),
                        ("method", &method),
                        ("seconds", &outcome.seconds),
                    ];
                    self.log.debug("read", fields);
                }
            }
            // Once, not at each scrape.
            Err(error) if !self.failing.has(collector) => {
                self.failing = self.failing.with(collector);
                let fields: Fields<'_> = &[("collector", &name), ("error", &error)];
                self.log.error("reading fails", fields);
            }
            Err(_) => {}
        }
        reading.outcomes.push(outcome);
    }

    fn totals(&mut self) -> Result<Answer, String> {
        let snapshot = self.sampler.sample().map_err(text)?;
        self.history.add_totals(Instant::now(), &snapshot.counts);
        let method = match snapshot.method {
            Method::WithoutIpv6 { .. } => "ipv4",
            Method::Difference { .. } => "difference",
            Method::Fallback(_) => "fallback",
            _ => "whole",
        };
        Ok(Answer {
            families: Families::Totals(snapshot.counts),
            source: Some((snapshot.source.name(), method)),
            left_out: 0,
        })
    }

    fn services(&mut self, services: Services) -> Answer {
        let source = (services.source.name(), whole(services.missing.is_some()));
        let mut shown = services.services;
        let left_out = shown.len().saturating_sub(self.bounds.items);
        if left_out > 0 {
            // Those with the most connections; of equals those with the lowest port, so that they
            // do not change from scrape to scrape.
            shown.sort_by_key(|one| (std::cmp::Reverse(one.connections()), one.port));
            shown.truncate(self.bounds.items);
            shown.sort_by_key(|one| one.port);
        }
        self.ports
            .update(shown.iter().map(|one| (one.port, &one.counts)));
        let states = |port| match self.bounds.zeros {
            true => States::ALL,
            false => self.ports.states(&port),
        };
        let ports: Vec<u16> = shown.iter().map(|one| one.port).collect();
        let drops = ports.iter();
        let drops = drops.filter_map(|&port| Some((port, self.drops.of_port(port)?)));
        let families = ServiceFamilies {
            shown: ports.iter().map(|&port| (port, states(port))).collect(),
            drops: drops.collect(),
            metrics: Metrics {
                labels: Vec::new(),
                services: shown,
                other: services.other,
            },
        };
        Answer {
            families: Families::Services(families),
            source: Some(source),
            left_out: left_out as u64,
        }
    }

    fn listeners(&self, listeners: &Listeners) -> Answer {
        let mut places: BTreeMap<Place, Vec<&Listener>> = BTreeMap::new();
        for listener in &listeners.listeners {
            places
                .entry(Place::of(listener))
                .or_default()
                .push(listener);
        }
        let left_out = places.len().saturating_sub(self.bounds.items);
        let mut places: Vec<_> = places
            .into_iter()
            .map(|(place, sockets)| ListenerPlace {
                sockets: sockets.len() as u64,
                accept_queue: sockets.iter().map(|one| u64::from(one.accept_queue)).sum(),
                fullest: sockets.iter().filter_map(|one| one.queue()).max(),
                drops: self.drops.of_place(&place),
                place,
            })
            .collect();
        places.truncate(self.bounds.items);
        Answer {
            families: Families::Listeners(places),
            source: Some((listeners.source.name(), whole(listeners.missing.is_some()))),
            left_out: left_out as u64,
        }
    }

    /// The collectors that list all sockets, which share one listing.
    fn listed(
        &mut self,
        mut wanted: Collectors,
        listeners: Option<&Result<Listeners, Error>>,
    ) -> Vec<(Collector, Result<Answer, String>)> {
        let mut answers = Vec::new();
        let mut listening = HashSet::new();
        match listeners {
            None => {}
            Some(Ok(all)) => {
                listening = all.listeners.iter().map(|one| one.local.port()).collect();
            }
            // Without the listeners, only units are known.
            Some(Err(error)) => {
                let error = explained(error);
                let units = wanted.iter().filter(|&one| one == Collector::Units);
                let units: Collectors = units.collect();
                let others = wanted.without(Collector::Units);
                answers.extend(others.iter().map(|one| (one, Err(error.clone()))));
                wanted = units;
                if wanted.is_empty() {
                    return answers;
                }
            }
        }
        let listening = &listening;
        let mut ask = |wanted: Collectors| {
            let units = wanted.has(Collector::Units);
            let units = units.then(|| Grouping::new(Key::Unit, Weight::Total));
            let mut units: Vec<Grouping> = units.into_iter().collect();
            let each = |listed: &mut Listed, one: &_| listed.add(wanted, listening, one);
            let filter = Filter::default();
            let listed = self.sampler.group_each(&filter, &mut units, each);
            listed.map(|(listed, grouped)| (units.pop(), listed, grouped.source))
        };
        let mut result = ask(wanted);
        if let Err(error @ Error::NoSource(_)) = &result {
            // Not every source knows units; the others need not fail with them.
            let others = wanted.without(Collector::Units);
            if wanted.has(Collector::Units) && !others.is_empty() {
                answers.push((Collector::Units, Err(explained(error))));
                wanted = others;
                result = ask(wanted);
            }
        }
        let (units, listed, source) = match result {
            Ok(result) => result,
            Err(error) => {
                let error = explained(&error);
                answers.extend(wanted.iter().map(|one| (one, Err(error.clone()))));
                return answers;
            }
        };
        let source = source.name();
        if let Some(units) = units {
            let answer = self.units(units, source);
            answers.push((Collector::Units, answer));
        }
        let most = self.bounds.items;
        for (collector, ports, other) in [
            (Collector::PeerPorts, listed.peer_ports, Counts::ZERO),
            (Collector::LocalPorts, listed.local_ports, listed.other),
        ] {
            if wanted.has(collector) {
                let (ports, left_out) = listed::largest(ports, other, most);
                let families = self.groups(collector, ports);
                let source = Some((source, "whole"));
                let answer = Answer {
                    families,
                    source,
                    left_out,
                };
                answers.push((collector, Ok(answer)));
            }
        }
        if wanted.has(Collector::Destinations) {
            let (largest, left_out) = listed.destinations.largest(self.bounds.destinations);
            let answer = Answer {
                families: Families::Destinations(largest),
                source: Some((source, "whole")),
                left_out,
            };
            answers.push((Collector::Destinations, Ok(answer)));
        }
        answers
    }

    /// The units of every network namespace, added up. One that does not answer is an error, since
    /// its sockets would be missing from sums.
    fn units_of_all_namespaces(&mut self) -> Result<Answer, String> {
        let mut scope = self.every_namespace(false);
        let mut round = scope.round().map_err(failure)?;
        let mut units = Grouping::new(Key::Unit, Weight::Total);
        let mut source = None;
        let filter = Filter::default();
        while let Some((_, grouped)) =
            round.ask_next(&mut |sampler| sampler.group(&filter, &mut units))
        {
            source.get_or_insert(grouped.map_err(text)?.source.name());
        }
        let source = source.ok_or("no network namespace could be read")?;
        self.units(units, source)
    }

    /// The scope of all network namespaces.
    fn every_namespace(&self, totals: bool) -> Scope {
        Scope::All {
            options: self.options.clone(),
            totals,
            // The exporter has its own log for what cannot be seen.
            said: true,
        }
    }

    fn units(&mut self, units: Grouping, source: &'static str) -> Result<Answer, String> {
        let groups = units.finish(&self.options.proc_root).map_err(text)?;
        let most = self.bounds.items;
        let listed = groups.iter().take(most);
        let mut all: Vec<(String, Counts)> = listed
            .map(|group| (group.key.to_string(), group.counts))
            .collect();
        let other = groups.other(most);
        if other.total() > 0 {
            all.push(("other".to_owned(), other));
        }
        let whole = whole(groups.missing.is_some());
        Ok(Answer {
            left_out: groups.len().saturating_sub(most) as u64,
            families: self.groups(Collector::Units, all),
            source: Some((source, whole)),
        })
    }

    /// The families of groups, without what has always been zero.
    fn groups(&mut self, collector: Collector, all: Vec<(String, Counts)>) -> Families {
        let seen = self.groups.entry(collector).or_default();
        seen.update(all.iter().map(|(key, counts)| (key.clone(), counts)));
        let shown = |key: &String| match self.bounds.zeros {
            true => States::ALL,
            false => seen.states(key),
        };
        let groups = all.into_iter().map(|(key, counts)| {
            let shown = shown(&key);
            (key, counts, shown)
        });
        Families::Groups(GroupFamilies {
            collector,
            groups: groups.collect(),
        })
    }

    fn namespaces(&mut self) -> Result<Answer, String> {
        let totals = matches!(self.options.source, None | Some(Source::Module));
        let mut scope = self.every_namespace(totals);
        let names = Names::read(&self.options.proc_root);
        let mut round = scope.round().map_err(failure)?;
        let mut all = Vec::new();
        let mut source = None;
        let mut left_out = 0;
        while let Some((namespace, answer)) = round.ask_next(&mut |sampler| sampler.sample()) {
            match answer {
                Ok(_) if all.len() >= self.bounds.items => left_out += 1,
                Ok(snapshot) => {
                    source.get_or_insert(snapshot.source.name());
                    all.push((labels(namespace, &names), snapshot.counts));
                }
                Err(error) => {
                    left_out += 1;
                    let error = error.to_string();
                    let of = namespace.map_or(String::new(), |one| one.inode.to_string());
                    let fields: Fields<'_> = &[("netns", &of), ("error", &error)];
                    self.log.debug("a namespace did not answer", fields);
                }
            }
        }
        let source = source.ok_or("no network namespace could be read")?;
        Ok(Answer {
            families: Families::Namespaces(all),
            source: Some((source, "whole")),
            left_out,
        })
    }
}

/// Whether the listeners were listed by a source that knows their drops.
fn knows_drops(listeners: &Option<Result<Listeners, Error>>) -> bool {
    match listeners {
        Some(Ok(all)) => all.listeners.iter().all(|one| one.drops.is_some()),
        _ => false,
    }
}

/// The method of a source that lists or counts everything.
fn whole(without_ipv6: bool) -> &'static str {
    if without_ipv6 { "ipv4" } else { "whole" }
}

fn text(error: Error) -> String {
    explained(&error)
}

fn failure(failure: Failure) -> String {
    match failure {
        Failure::Sample(error) => text(error),
        _ => "no network namespace could be read".to_owned(),
    }
}
