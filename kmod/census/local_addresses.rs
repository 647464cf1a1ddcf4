// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which connections of a local port are those of its listeners.

use core::net::{IpAddr, Ipv4Addr};

use super::table::{AF_INET, AF_INET6};

/// With listeners at more addresses than this, every connection of the port is theirs.
pub const MOST: usize = 8;

/// Every IPv4 address: the bit of the family whose sockets have no others.
const IPV4: u16 = 1 << AF_INET;
/// Every IPv6 address but IPv4-mapped ones.
const IPV6: u16 = 1;
/// Every address: also the bit of the family of IPv6, whose sockets may have mapped ones.
const BOTH: u16 = IPV4 | IPV6 | (1 << AF_INET6);

/// The local addresses at which the listeners of a port take connections.
///
/// A connection is theirs if one of them has its family, or is IPv6 and takes IPv4 too, and has the
/// unspecified address or the connection's own. IPv4-mapped IPv6 addresses are IPv4 here. The
/// device that a listener may be bound to is not looked at (`inet_lhash2_lookup`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)] // `every`, which is read for each connection, is at the end, where a row has its counts.
pub struct LocalAddresses {
    addresses: [IpAddr; MOST],
    /// How many of these there are.
    len: u8,
    /// None, [`IPV4`], [`IPV6`] or [`BOTH`]: those of which every one is theirs, since a listener
    /// has the unspecified address.
    every: u16,
}

impl LocalAddresses {
    /// No listener.
    pub const NONE: Self = Self {
        every: 0,
        len: 0,
        addresses: [IpAddr::V4(Ipv4Addr::UNSPECIFIED); MOST],
    };

    /// Every address.
    pub const ALL: Self = Self {
        every: BOTH,
        ..Self::NONE
    };

    /// Whether every connection is theirs, so that there is no need to look at its address.
    pub fn is_all(&self) -> bool {
        self.every == BOTH
    }

    /// Whether every connection of a socket of `family` ([`AF_INET`] or [`AF_INET6`]) is theirs.
    ///
    /// That is so for most listeners, so that the branch on it can be foreseen; one on
    /// [`is_all`](Self::is_all) cannot where some listen on IPv4 alone.
    #[inline(always)]
    pub fn has_all_of(&self, family: u16) -> bool {
        u32::from(self.every).wrapping_shr(family.into()) & 1 != 0
    }

    /// Whether a connection with this local address is theirs.
    pub fn contains(&self, address: IpAddr) -> bool {
        let family = match address {
            IpAddr::V4(_) => IPV4,
            IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => IPV4,
            IpAddr::V6(_) => IPV6,
        };
        self.every & family != 0 || self.lists(address)
    }

    /// Adds a listener at `address`, which if `v6only` takes no IPv4. The order does not matter.
    pub fn insert(&mut self, address: IpAddr, v6only: bool) {
        let address = address.to_canonical();
        if address.is_unspecified() {
            self.every |= match (address, v6only) {
                (IpAddr::V4(_), _) => IPV4,
                (IpAddr::V6(_), true) => IPV6,
                (IpAddr::V6(_), false) => BOTH,
            };
            // One listener for each family.
            if self.every == IPV4 | IPV6 {
                self.every = BOTH;
            }
        } else if !self.lists(address) {
            match self.addresses.get_mut(usize::from(self.len)) {
                Some(free) => {
                    *free = address;
                    self.len = self.len.saturating_add(1);
                }
                None => self.every = BOTH,
            }
        }
    }

    fn lists(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.addresses
            .iter()
            .take(self.len.into())
            .any(|own| *own == address)
    }
}

impl Default for LocalAddresses {
    fn default() -> Self {
        Self::NONE
    }
}
