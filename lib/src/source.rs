// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which sources there are.

use std::fmt;

/// Where counts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `/proc/tcpstat`, counted in the kernel by the tcpstat module.
    Module,
    /// `NETLINK_SOCK_DIAG`, a message for every connection in the states that are few; the two that are many are from
    /// the kernel's counters, `/proc/net/sockstat` and `sockstat6`. Where these do not do, as [`Source::NetlinkFull`].
    Netlink,
    /// `NETLINK_SOCK_DIAG`, a message for every connection, as `ss` uses it.
    NetlinkFull,
    /// `/proc/net/tcp` and `/proc/net/tcp6`, a line of text for every connection.
    Procfs,
}

impl Source {
    /// Every source, in the order of their cost: the cheapest first.
    pub const ALL: [Source; 4] = [
        Source::Module,
        Source::Netlink,
        Source::NetlinkFull,
        Source::Procfs,
    ];

    /// The order in which sources are tried: the cheapest first.
    pub(crate) const AUTO: [Source; 3] = [Source::Module, Source::Netlink, Source::Procfs];

    /// The same of those that tell of each connection.
    pub(crate) const LISTING: [Source; 2] = [Source::Netlink, Source::Procfs];

    /// The source's name: `module`, `netlink`, `netlink-full` or `procfs`.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Module => "module",
            Source::Netlink => "netlink",
            Source::NetlinkFull => "netlink-full",
            Source::Procfs => "procfs",
        }
    }

    pub(crate) const fn is_netlink(self) -> bool {
        matches!(self, Source::Netlink | Source::NetlinkFull)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
