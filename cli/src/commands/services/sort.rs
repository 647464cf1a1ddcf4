// SPDX-License-Identifier: MIT OR Apache-2.0

//! The order of services: `--sort`.

use std::cmp::Reverse;

use clap::builder::PossibleValue;
use tcpstat::{AcceptQueue, Service, State};

use crate::explain;
use crate::names::{self, NameParser};

/// The column to sort services by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortBy {
    Port,
    Total,
    Listeners,
    AcceptQueue,
    Use,
    Drops,
    State(State),
}

impl SortBy {
    /// The columns that are not states.
    pub(crate) const NAMED: [(&str, SortBy); 6] = [
        ("port", Self::Port),
        ("total", Self::Total),
        ("listeners", Self::Listeners),
        ("accept-queue", Self::AcceptQueue),
        ("use", Self::Use),
        ("drops", Self::Drops),
    ];

    /// Its name, as it is typed; that of a state as the kernel has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::State(state) => state.name(),
            _ => {
                let named = Self::NAMED.iter().find(|(_, column)| *column == self);
                named.map_or("", |(name, _)| name)
            }
        }
    }

    /// What services are sorted by, in descending order: the fullest queue, or a number.
    pub(crate) fn key(self, service: &Service) -> (Option<AcceptQueue>, u64) {
        let number = match self {
            Self::Port => 0,
            Self::Total => service.counts.total(),
            Self::Listeners => service.listeners,
            Self::AcceptQueue => service.accept_queue,
            Self::Use => return (service.fullest, 0),
            Self::Drops => service.drops.unwrap_or(0),
            Self::State(state) => service.counts.get(state),
        };
        (None, number)
    }

    /// Sorts by port, or descending by the column, and by port if equal.
    pub(crate) fn sort(self, services: &mut [Service]) {
        services.sort_by_key(|service| Reverse((self.key(service), Reverse(service.port))));
    }
}

/// The parser of a column or a state: its name in any case, with `-` or `_`.
pub(crate) const COLUMN: NameParser<SortBy> = NameParser {
    read: column,
    names: || {
        let names = SortBy::NAMED.map(|(name, _)| PossibleValue::new(name));
        names.into_iter().chain(names::states()).collect()
    },
};

fn column(text: &str) -> Result<SortBy, String> {
    let named = SortBy::NAMED
        .into_iter()
        .find(|(name, _)| *name == explain::typed(text));
    let column = named.map(|(_, column)| column);
    let column = column.or_else(|| text.parse().ok().map(SortBy::State));
    column.ok_or_else(|| {
        let names = SortBy::NAMED.map(|(name, _)| name).join(", ");
        format!("unknown column; the columns are: {names}, or a state")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{fullest, service};

    #[test]
    fn columns_are_read_in_any_case() {
        assert_eq!(column("Accept_Queue"), Ok(SortBy::AcceptQueue));
        assert_eq!(column("time-wait"), Ok(SortBy::State(State::TimeWait)));
        assert!(column("name").unwrap_err().contains("a state"));
    }

    #[test]
    fn sorts_by_what_is_asked_for_and_then_by_port() {
        let usual = [(State::Listen, 2), (State::Established, 1)];
        let leaking = [
            (State::Listen, 1),
            (State::Established, 199),
            (State::CloseWait, 300),
        ];
        let mut rows = [
            service(22, 2, (0, None), Some(0), &usual),
            service(8080, 1, (129, None), Some(77), &leaking),
            service(21, 2, (0, None), Some(0), &usual),
        ];
        let mut ports = |by: SortBy| {
            by.sort(&mut rows);
            rows.iter().map(|service| service.port).collect::<Vec<_>>()
        };
        assert_eq!(ports(SortBy::Port), [21, 22, 8080]);
        assert_eq!(ports(SortBy::Total), [8080, 21, 22]);
        assert_eq!(ports(SortBy::Listeners), [21, 22, 8080]);
        assert_eq!(ports(SortBy::Drops), [8080, 21, 22]);
        assert_eq!(ports(SortBy::AcceptQueue), [8080, 21, 22]);
        assert_eq!(ports(SortBy::State(State::CloseWait)), [8080, 21, 22]);
        // Unknown.
        assert_eq!(ports(SortBy::Use), [21, 22, 8080]);
        for (row, (queue, backlog)) in rows.iter_mut().zip([(1, 2), (3, 4), (100, 4096)]) {
            row.fullest = Some(fullest(queue, backlog));
        }
        SortBy::Use.sort(&mut rows);
        assert_eq!(rows.map(|service| service.port), [22, 21, 8080]);
    }
}
