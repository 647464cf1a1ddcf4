// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which connections of a local port are those of its listeners.

use core::net::{IpAddr, Ipv4Addr};

/// With listeners at more addresses than this, every connection of the port is theirs.
pub const MOST: usize = 8;

/// The local addresses at which the listeners of a port take connections.
///
/// A connection is theirs if one of them has its family, or is IPv6 and takes IPv4 too, and has the
/// unspecified address or the connection's own. IPv4-mapped IPv6 addresses are IPv4 here. The
/// device that a listener may be bound to is not looked at (`inet_lhash2_lookup`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddresses {
    /// All of IPv4, since a listener has the unspecified address; and all of IPv6.
    ipv4: bool,
    ipv6: bool,
    /// How many of the following there are.
    len: usize,
    addresses: [IpAddr; MOST],
}

impl LocalAddresses {
    /// No listener.
    pub const NONE: Self = Self {
        ipv4: false,
        ipv6: false,
        len: 0,
        addresses: [IpAddr::V4(Ipv4Addr::UNSPECIFIED); MOST],
    };

    /// Every address.
    pub const ALL: Self = Self {
        ipv4: true,
        ipv6: true,
        ..Self::NONE
    };

    /// Whether every connection is theirs, so that there is no need to look at its address.
    #[inline(always)]
    pub fn is_all(&self) -> bool {
        self.ipv4 & self.ipv6
    }

    /// Whether a connection with this local address is theirs.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match address {
            IpAddr::V4(_) if self.ipv4 => true,
            IpAddr::V6(_) if self.ipv6 => true,
            _ => self.lists(address),
        }
    }

    /// Adds a listener at `address`, which if `v6only` takes no IPv4. The order does not matter.
    pub fn insert(&mut self, address: IpAddr, v6only: bool) {
        let address = address.to_canonical();
        if address.is_unspecified() {
            self.ipv4 |= address.is_ipv4() || !v6only;
            self.ipv6 |= address.is_ipv6();
        } else if !self.lists(address) {
            match self.addresses.get_mut(self.len) {
                Some(free) => {
                    *free = address;
                    self.len = self.len.saturating_add(1);
                }
                None => (self.ipv4, self.ipv6) = (true, true),
            }
        }
    }

    fn lists(&self, address: IpAddr) -> bool {
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
