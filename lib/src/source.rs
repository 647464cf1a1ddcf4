// SPDX-License-Identifier: MIT OR Apache-2.0

//! The sources of counts.

use std::fmt;

/// A source of counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Source {
    /// `/proc/tcpstat`, counted in the kernel by the tcpstat module.
    Module,
    /// `NETLINK_SOCK_DIAG`, a message for every connection in a rare state; the numbers of the two
    /// common states are from the kernel's counters, `/proc/net/sockstat` and `sockstat6`. If these
    /// cannot be used, the same as [`Source::NetlinkFull`].
    Netlink,
    /// `NETLINK_SOCK_DIAG`, a message for every connection, as `ss` uses it.
    NetlinkFull,
    /// `/proc/net/tcp` and `/proc/net/tcp6`, a line of text for every connection.
    Procfs,
}

impl Source {
    /// Every source, the cheapest first.
    pub const ALL: [Source; 4] = [
        Source::Module,
        Source::Netlink,
        Source::NetlinkFull,
        Source::Procfs,
    ];

    /// The order in which sources are tried: the cheapest first.
    pub(crate) const AUTO: [Source; 3] = [Source::Module, Source::Netlink, Source::Procfs];

    /// The same order, without the module, which cannot list connections.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "serde")]
    fn serialized_sources_have_their_names() {
        for source in Source::ALL {
            let json = serde_json::to_string(&source).unwrap();
            assert_eq!(json, format!("\"{source}\""));
        }
    }
}
