// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which connections of a local port are those of its listeners.

use core::net::{IpAddr, Ipv4Addr};

/// With listeners at more addresses than this, every connection of the port is theirs.
pub const MOST: usize = 8;

const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// The local addresses at which the listeners of a port take connections.
///
/// A connection is theirs if one of them has its family, or is IPv6 and takes IPv4 too, and has the
/// unspecified address or the connection's own. IPv4-mapped IPv6 addresses are IPv4 here. The
/// device that a listener may be bound to is not looked at (`inet_lhash2_lookup`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddresses {
    /// The families of which every address is one of them, since a listener has the unspecified
    /// one: a bit for each.
    families: u8,
    /// How many of the following there are.
    len: usize,
    addresses: [IpAddr; MOST],
}

impl LocalAddresses {
    /// No listener.
    pub const NONE: Self = Self {
        families: 0,
        len: 0,
        addresses: [IpAddr::V4(Ipv4Addr::UNSPECIFIED); MOST],
    };

    /// Every address.
    pub const ALL: Self = Self {
        families: IPV4 | IPV6,
        ..Self::NONE
    };

    /// Whether every connection is theirs, so that there is no need to look at its address.
    pub fn is_all(&self) -> bool {
        self.families == IPV4 | IPV6
    }

    /// Whether every connection of a socket of IPv4, or else of IPv6, is theirs. (The address of a
    /// socket of IPv6 may be an IPv4-mapped one.)
    ///
    /// That is so for most listeners, so that the branch on it can be foreseen; one on
    /// [`is_all`](Self::is_all) cannot where some listen on IPv4 alone.
    #[inline(always)]
    pub fn has_all_of(&self, ipv4: bool) -> bool {
        let families = if ipv4 { IPV4 } else { IPV4 | IPV6 };
        self.families & families == families
    }

    /// Whether a connection with this local address is theirs.
    pub fn contains(&self, address: IpAddr) -> bool {
        let family = match address {
            IpAddr::V4(_) => IPV4,
            IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => IPV4,
            IpAddr::V6(_) => IPV6,
        };
        self.families & family != 0 || self.lists(address)
    }

    /// Adds a listener at `address`, which if `v6only` takes no IPv4. The order does not matter.
    pub fn insert(&mut self, address: IpAddr, v6only: bool) {
        let address = address.to_canonical();
        if address.is_unspecified() {
            self.families |= match (address, v6only) {
                (IpAddr::V4(_), _) => IPV4,
                (IpAddr::V6(_), true) => IPV6,
                (IpAddr::V6(_), false) => IPV4 | IPV6,
            };
        } else if !self.lists(address) {
            match self.addresses.get_mut(self.len) {
                Some(free) => {
                    *free = address;
                    self.len = self.len.saturating_add(1);
                }
                None => self.families = IPV4 | IPV6,
            }
        }
    }

    fn lists(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.addresses
            .iter()
            .take(self.len)
            .any(|own| *own == address)
    }
}

impl Default for LocalAddresses {
    fn default() -> Self {
        Self::NONE
    }
}
