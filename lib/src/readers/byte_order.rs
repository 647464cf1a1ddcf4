// SPDX-License-Identifier: MIT OR Apache-2.0

//! The byte order of a saved sample. The kernel prints each four bytes of an address as a number of
//! its machine, and nowhere says of which kind that is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::lines::Line;
use crate::error::Error;

/// What the local addresses of a sample say.
#[derive(Debug, Default)]
pub(crate) struct ByteOrder {
    /// Whether one is an address that nearly every machine has.
    ours: bool,
    /// The first that is one in the other byte order.
    other: Option<Error>,
}

impl ByteOrder {
    /// Adds the local address in a line of a file.
    pub(crate) fn add(&mut self, path: &Path, line: Line<'_>, local: IpAddr) {
        let swapped = swapped(local);
        self.ours |= is_common(local);
        if self.other.is_none() && is_common(swapped) {
            let problem = format!(
                "{local} is {swapped} in the other byte order: this sample is of another kind of machine, and its \
                 addresses would be wrong"
            );
            self.other = Some(line.bad(problem).of(path));
        }
    }

    /// Refuses a sample whose addresses make sense only in the other byte order.
    pub(crate) fn check(self) -> Result<(), Error> {
        match self.other {
            Some(error) if !self.ours => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether it is the loopback address, a link-local one, or that of an IPv6 socket that is used for
/// IPv4. None of them is one of these in the other byte order.
fn is_common(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address == Ipv4Addr::LOCALHOST,
        IpAddr::V6(address) => {
            address == Ipv6Addr::LOCALHOST
                || address.to_ipv4_mapped().is_some()
                || address.segments()[..4] == [0xfe80, 0, 0, 0]
        }
    }
}

/// The address, each four bytes of it from the last to the first.
fn swapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            Ipv4Addr::new(d, c, b, a).into()
        }
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets.chunks_exact_mut(4).for_each(<[u8]>::reverse);
            Ipv6Addr::from(octets).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_addresses_are_not_common_in_the_other_order() {
        for (address, other) in [
            ("127.0.0.1", "1.0.0.127"),
            ("::1", "::100:0"),
            ("::ffff:10.1.2.3", "::ffff:0:302:10a"),
            ("fe80::1", "0:80fe::100:0"),
        ] {
            let [address, other] = [address, other].map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(swapped(address), other);
            assert_eq!(swapped(other), address);
            assert!(is_common(address) && !is_common(other), "{address}");
        }
        for neither in [
            "0.0.0.0",
            "10.0.1.127",
            "127.0.0.10",
            "::",
            "2001:db8::1",
            "fd00::1",
        ] {
            let neither = neither.parse().unwrap();
            assert!(
                !is_common(neither) && !is_common(swapped(neither)),
                "{neither}"
            );
        }
    }
}
