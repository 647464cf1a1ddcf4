// SPDX-License-Identifier: MIT OR Apache-2.0

//! Counters of the kernel that explain the states, and the limits beside them.

use std::fmt;

/// An event that the kernel counts, since the network namespace was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Counter {
    /// Handshakes that were completed while the accept queue was full.
    ListenOverflows,
    /// Handshakes that a listener refused, for this and for other reasons.
    ListenDrops,
    /// SYNs that were dropped because the queue of handshakes was full.
    TcpReqQFullDrop,
    /// SYN cookies that were sent, since that queue was full.
    SyncookiesSent,
    /// Segments that were sent again.
    RetransSegs,
    /// Resets that were sent.
    OutRsts,
    /// Connections that were reset while they were open.
    EstabResets,
    /// Connections that were not opened: refused, or without an answer.
    AttemptFails,
    /// Connections that skipped `TIME_WAIT`, since there were `tcp_max_tw_buckets` of these.
    TcpTimeWaitOverflow,
}

impl Counter {
    /// Every counter.
    pub const ALL: [Self; 9] = [
        Self::ListenOverflows,
        Self::ListenDrops,
        Self::TcpReqQFullDrop,
        Self::SyncookiesSent,
        Self::RetransSegs,
        Self::OutRsts,
        Self::EstabResets,
        Self::AttemptFails,
        Self::TcpTimeWaitOverflow,
    ];

    /// Its name in `/proc/net/netstat` or `/proc/net/snmp`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ListenOverflows => "ListenOverflows",
            Self::ListenDrops => "ListenDrops",
            Self::TcpReqQFullDrop => "TCPReqQFullDrop",
            Self::SyncookiesSent => "SyncookiesSent",
            Self::RetransSegs => "RetransSegs",
            Self::OutRsts => "OutRsts",
            Self::EstabResets => "EstabResets",
            Self::AttemptFails => "AttemptFails",
            Self::TcpTimeWaitOverflow => "TCPTimeWaitOverflow",
        }
    }

    /// Whether it is in `snmp`; the others are in `netstat`.
    pub(crate) const fn is_in_snmp(self) -> bool {
        matches!(
            self,
            Self::RetransSegs | Self::OutRsts | Self::EstabResets | Self::AttemptFails
        )
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A number of sockets, or of what they take, that the kernel keeps for the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Gauge {
    /// Sockets that exist, connected or not.
    Alloc,
    /// Sockets that no process has, and that are not closed yet.
    Orphan,
    /// Pages of memory in the queues of sockets.
    Mem,
}

impl Gauge {
    /// Every gauge.
    pub const ALL: [Self; 3] = [Self::Alloc, Self::Orphan, Self::Mem];

    /// Its name in `/proc/net/sockstat`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alloc => "alloc",
            Self::Orphan => "orphan",
            Self::Mem => "mem",
        }
    }
}

impl fmt::Display for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A limit of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ceiling {
    /// `net.ipv4.tcp_max_tw_buckets`: sockets in `TIME_WAIT`.
    MaxTwBuckets,
    /// `net.ipv4.tcp_max_orphans`: sockets that no process has. Of the whole machine; only its
    /// first network namespace can read it.
    MaxOrphans,
    /// `net.core.somaxconn`: the longest backlog.
    Somaxconn,
    /// `net.ipv4.ip_local_port_range`: the number of ports that connections to one address can use.
    LocalPorts,
}

impl Ceiling {
    /// Every limit.
    pub const ALL: [Self; 4] = [
        Self::MaxTwBuckets,
        Self::MaxOrphans,
        Self::Somaxconn,
        Self::LocalPorts,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxTwBuckets => "tcp_max_tw_buckets",
            Self::MaxOrphans => "tcp_max_orphans",
            Self::Somaxconn => "somaxconn",
            Self::LocalPorts => "local_ports",
        }
    }

    /// The file of its sysctl, below `/proc/sys`.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::MaxTwBuckets => "net/ipv4/tcp_max_tw_buckets",
            Self::MaxOrphans => "net/ipv4/tcp_max_orphans",
            Self::Somaxconn => "net/core/somaxconn",
            Self::LocalPorts => "net/ipv4/ip_local_port_range",
        }
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Counters and limits of a network namespace. A number is `None` if the kernel does not have it,
/// or if it may not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kernel {
    pub(crate) counters: [Option<u64>; Counter::ALL.len()],
    pub(crate) gauges: [Option<u64>; Gauge::ALL.len()],
    pub(crate) limits: [Option<u64>; Ceiling::ALL.len()],
}

impl Kernel {
    /// How often this has happened since the network namespace was made.
    pub fn counter(&self, counter: Counter) -> Option<u64> {
        self.counters[counter as usize]
    }

    /// The number now, of the whole machine.
    pub fn gauge(&self, gauge: Gauge) -> Option<u64> {
        self.gauges[gauge as usize]
    }

    /// The limit.
    pub fn limit(&self, limit: Ceiling) -> Option<u64> {
        self.limits[limit as usize]
    }
}
