// SPDX-License-Identifier: MIT OR Apache-2.0

//! Groups of sockets that have something in common: a unit, a peer, a process.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// What the sockets of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Key {
    /// The systemd unit, or the container, whose cgroup made the socket.
    Unit,
    /// The cgroup that made it.
    Cgroup,
    /// The processes that have it open.
    Process,
    /// The user that owns it.
    User,
    /// The remote address.
    Peer,
    /// The remote port.
    PeerPort,
    /// The local port.
    LocalPort,
    /// The local address.
    LocalAddress,
    /// The state.
    State,
    /// IPv4 or IPv6. IPv6 sockets that are used for IPv4 are IPv4.
    Family,
    /// The network namespace.
    Netns,
}

impl Key {
    /// Every key.
    pub const ALL: [Self; 11] = [
        Self::Unit,
        Self::Cgroup,
        Self::Process,
        Self::User,
        Self::Peer,
        Self::PeerPort,
        Self::LocalPort,
        Self::LocalAddress,
        Self::State,
        Self::Family,
        Self::Netns,
    ];

    /// Its name: `unit`, `peer-port`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Cgroup => "cgroup",
            Self::Process => "process",
            Self::User => "user",
            Self::Peer => "peer",
            Self::PeerPort => "peer-port",
            Self::LocalPort => "local-port",
            Self::LocalAddress => "local-address",
            Self::State => "state",
            Self::Family => "family",
            Self::Netns => "netns",
        }
    }

    /// Whether it is found by the cgroup of the socket.
    pub(crate) const fn is_of_cgroup(self) -> bool {
        matches!(self, Self::Unit | Self::Cgroup)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which groups are the largest: those that are listed first, and that stay if there are too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weight {
    /// Those with the most sockets.
    #[default]
    Total,
    /// Those with the most sockets in this state.
    State(State),
}

impl Weight {
    /// Whether sockets in `state` count.
    pub(crate) fn weighs(self, state: State) -> bool {
        match self {
            Self::Total => true,
            Self::State(this) => this == state,
        }
    }
}

/// Sockets that have something in common.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// What they have in common. Each group of an answer has another one.
    pub key: GroupKey,
    /// The number of sockets: the sum of `counts` and `error`. Greater than the true number by at
    /// most `error`.
    pub total: u64,
    /// 0 if the group is counted exactly. Otherwise the greatest number of sockets that may have
    /// been missed before the group was among those that are counted: all of them, or, if groups
    /// are weighed by a state, those in this state.
    pub error: u64,
    /// The sockets that were counted, by state.
    pub counts: Counts,
}

/// What the sockets of a group have in common. Its `Display` identifies the group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupKey {
    /// Nothing: sockets that are nobody's or have no peer. Time-wait and request sockets have
    /// neither cgroup nor process nor user; listeners have no peer.
    None,
    /// What is not there any more: a cgroup that was removed, or is not visible in this container;
    /// processes that have ended or closed the socket.
    Gone,
    /// A process that may not be looked at. See [`Groups::hidden`].
    Hidden,
    /// A unit such as `nginx.service`, a container such as `docker/4f0c3a9be1d2`, or the path of
    /// the cgroup if it belongs to neither.
    Unit(Arc<str>),
    /// The path of the cgroup, below the root of cgroups.
    Cgroup(Arc<str>),
    /// Processes that have the same sockets open.
    Processes(Arc<[Process]>),
    /// The ID of a user, in this process's user namespace.
    User(u32),
    /// An address; IPv4 if it is IPv4-mapped.
    Address(IpAddr),
    /// A port.
    Port(u16),
    /// A state.
    State(State),
    /// A family.
    Family(Family),
    /// The inode number of a network namespace.
    Netns(u64),
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("(none)"),
            Self::Gone => f.pad("(gone)"),
            Self::Hidden => f.pad("(hidden)"),
            Self::Unit(name) | Self::Cgroup(name) => f.pad(name),
            Self::Processes(processes) => f.pad(&processes_text(processes)),
            Self::User(uid) => uid.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::State(state) => state.fmt(f),
            Self::Family(family) => family.fmt(f),
            Self::Netns(inode) => inode.fmt(f),
        }
    }
}

/// `nginx[81,82],systemd[1]`: the processes of each name together.
fn processes_text(processes: &[Process]) -> String {
    let mut text = String::new();
    for same in processes.chunk_by(|a, b| a.comm == b.comm) {
        let comma = if text.is_empty() { "" } else { "," };
        let pids: Vec<String> = same.iter().map(|one| one.pid.to_string()).collect();
        text += &format!("{comma}{}[{}]", same[0].comm, pids.join(","));
    }
    text
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Process {
    /// Its name, as in `/proc/PID/comm`.
    pub comm: String,
    /// Its ID.
    pub pid: u32,
}

/// The family of a socket, by the addresses that it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_text() {
        let process = |comm: &str, pid| Process {
            comm: comm.to_owned(),
            pid,
        };
        let nginx = [
            process("nginx", 81),
            process("nginx", 82),
            process("systemd", 1),
        ];
        for (key, expected) in [
            (GroupKey::None, "(none)"),
            (GroupKey::Processes(nginx.into()), "nginx[81,82],systemd[1]"),
            (GroupKey::Address("::1".parse().unwrap()), "::1"),
            (GroupKey::State(State::CloseWait), "CLOSE_WAIT"),
            (GroupKey::Family(Family::Ipv4), "ipv4"),
            (GroupKey::Port(443), "443"),
        ] {
            assert_eq!(key.to_string(), expected);
        }
    }
}
