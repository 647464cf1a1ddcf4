// SPDX-License-Identifier: MIT OR Apache-2.0

//! The collectors of the exporter: their names, their cost, and sets of them.

/// A group of metrics that is read and switched on or off as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Collector {
    Totals,
    Services,
    Counters,
    Limits,
    Listeners,
    Units,
    PeerPorts,
    LocalPorts,
    Destinations,
    Namespaces,
}

impl Collector {
    /// Every collector, in the order of the answer.
    pub(super) const ALL: [Self; 10] = [
        Self::Totals,
        Self::Services,
        Self::Counters,
        Self::Limits,
        Self::Listeners,
        Self::Units,
        Self::PeerPorts,
        Self::LocalPorts,
        Self::Destinations,
        Self::Namespaces,
    ];

    /// Its name in flags, in `collect[]` and in labels.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Totals => "totals",
            Self::Services => "services",
            Self::Counters => "counters",
            Self::Limits => "limits",
            Self::Listeners => "listeners",
            Self::Units => "units",
            Self::PeerPorts => "peer-ports",
            Self::LocalPorts => "local-ports",
            Self::Destinations => "destinations",
            Self::Namespaces => "namespaces",
        }
    }

    /// Whether it is on without a flag: those that are cheap in series.
    pub(super) const fn is_default(self) -> bool {
        matches!(
            self,
            Self::Totals | Self::Services | Self::Counters | Self::Limits
        )
    }

    /// What it shows, for its flag and for the landing page.
    pub(super) const fn shows(self) -> &'static str {
        match self {
            Self::Totals => "sockets by state",
            Self::Services => "sockets by state, queues and drops of each listening port",
            Self::Counters => "the kernel's counters that explain states",
            Self::Limits => "the kernel's limits",
            Self::Listeners => "queue, backlog and drops of each listening address",
            Self::Units => "sockets by state and systemd unit or container",
            Self::PeerPorts => "outgoing connections by state and remote port",
            Self::LocalPorts => "sockets by state and listening port, whatever the address",
            Self::Destinations => "the remote addresses and ports that take the most local ports",
            Self::Namespaces => "sockets by state of each network namespace",
        }
    }

    /// What a reading costs, and how many series it makes.
    pub(super) const fn cost(self) -> &'static str {
        match self {
            Self::Totals => "the cheapest source; nothing beside services. 11 series",
            Self::Services => {
                "lists every socket, or one walk of the module. 7 to 18 series for each port"
            }
            Self::Counters => "two small files. 12 series",
            Self::Limits => "the same files. 4 series",
            Self::Listeners => "lists the listeners. 5 series for each address and port",
            Self::Units => "lists every socket. 1 to 11 series for each unit",
            Self::PeerPorts => "lists every socket. 1 to 11 series for each port",
            Self::LocalPorts => "lists every socket. 1 to 11 series for each port",
            Self::Destinations => "lists every socket. 20 series",
            Self::Namespaces => "a reading for each namespace. 11 series for each",
        }
    }

    /// Whether it lists all sockets, together with the others that do.
    pub(super) const fn lists(self) -> bool {
        matches!(
            self,
            Self::Units | Self::PeerPorts | Self::LocalPorts | Self::Destinations
        )
    }

    /// Whether the number of its series is bounded by a flag.
    pub(super) const fn is_bounded(self) -> bool {
        !matches!(self, Self::Totals | Self::Counters | Self::Limits)
    }
}

/// A set of collectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Collectors(u16);

impl Collectors {
    /// The set with this collector too.
    pub(super) const fn with(self, collector: Collector) -> Self {
        Self(self.0 | (1 << collector as u16))
    }

    /// The set without this collector.
    pub(super) const fn without(self, collector: Collector) -> Self {
        Self(self.0 & !(1 << collector as u16))
    }

    pub(super) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn has(self, collector: Collector) -> bool {
        self.0 & (1 << collector as u16) != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Collector> {
        Collector::ALL.into_iter().filter(move |&one| self.has(one))
    }
}

impl FromIterator<Collector> for Collectors {
    fn from_iter<I: IntoIterator<Item = Collector>>(collectors: I) -> Self {
        collectors.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_what_was_added() {
        let set: Collectors = [Collector::Totals, Collector::Units].into_iter().collect();
        assert!(set.iter().eq([Collector::Totals, Collector::Units]));
        assert!(!set.has(Collector::Limits));
        let without = set.without(Collector::Totals).without(Collector::Units);
        assert!(without.is_empty());
        assert_eq!(without.union(set), set);
        let all: Collectors = Collector::ALL.into_iter().collect();
        assert_eq!(all.iter().count(), 10);
    }
}
