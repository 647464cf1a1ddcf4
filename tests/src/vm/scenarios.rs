// SPDX-License-Identifier: GPL-2.0-only

//! All scenarios, in the order in which they run.

use super::parameters::on_debug_kernel;
use super::scenario::Scenario;
use super::{
    agreement, all_namespaces, churn, command, descriptors, endings, exporter, injection, leaks,
    lifetime, locks, namespaces, sections, services, text,
};

/// All scenarios for this kernel.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    let everywhere: [&[Scenario]; 13] = [
        text::SCENARIOS,
        descriptors::SCENARIOS,
        agreement::SCENARIOS,
        services::SCENARIOS,
        namespaces::SCENARIOS,
        all_namespaces::SCENARIOS,
        endings::SCENARIOS,
        command::SCENARIOS,
        lifetime::SCENARIOS,
        exporter::SCENARIOS,
        churn::SCENARIOS,
        locks::SCENARIOS,
        sections::SCENARIOS,
    ];
    let (first, last): (&[_], [&[Scenario]; 2]) = if on_debug_kernel() {
        (leaks::FIRST, [injection::SCENARIOS, leaks::SCENARIOS])
    } else {
        (&[], [&[], &[]])
    };
    first
        .iter()
        .chain(everywhere.into_iter().chain(last).flatten())
}

/// The scenario called `name`; if there is none, those whose names contain it.
pub(super) fn named(name: &str) -> Vec<&'static Scenario> {
    match all().find(|scenario| scenario.name == name) {
        Some(scenario) => vec![scenario],
        None => all()
            .filter(|scenario| scenario.name.contains(name))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_selects_one_scenario_and_a_part_of_it_all_that_have_it() {
        for scenario in all() {
            let selected = named(scenario.name);
            assert_eq!(selected.len(), 1, "{}", scenario.name);
            assert_eq!(selected[0].name, scenario.name);
        }
        let part = "every state counts right";
        let selected: Vec<_> = named(part).iter().map(|scenario| scenario.name).collect();
        assert_eq!(selected.len(), 4, "{selected:?}");
        assert!(selected.iter().all(|name| name.starts_with(part)));
        assert!(named("every state counts wrong").is_empty());
    }
}
