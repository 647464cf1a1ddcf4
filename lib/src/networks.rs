// SPDX-License-Identifier: MIT OR Apache-2.0

//! A set of IP networks: `10.0.0.0/8,2001:db8::/32,192.0.2.7`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A set of IP networks and addresses; never empty. An IPv4-mapped IPv6 address is an IPv4 address.
///
/// ```
/// let networks: tcpstat::Networks = "10.0.0.0/8,::1".parse()?;
/// assert!(networks.contains("10.1.2.3".parse()?));
/// assert!(networks.contains("::ffff:10.1.2.3".parse()?));
/// assert!(!networks.contains("::2".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Whether `address` is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The networks, in the order in which they were named.
    pub(crate) fn networks(&self) -> &[Network] {
        &self.0
    }
}

/// Whether `address` is one of the loopback's: in 127.0.0.0/8, or ::1.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// All bits after the prefix are zero.
    address: IpAddr,
    /// In bits.
    prefix: u8,
}

impl Network {
    /// The addresses of the loopback.
    pub(crate) const LOOPBACK: [Self; 2] = [
        Self {
            address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)),
            prefix: 8,
        },
        Self {
            address: IpAddr::V6(Ipv6Addr::LOCALHOST),
            prefix: 128,
        },
    ];

    /// The first address.
    pub(crate) fn address(self) -> IpAddr {
        self.address
    }

    /// The number of bits that addresses have in common.
    pub(crate) fn prefix(self) -> u8 {
        self.prefix
    }

    fn new(address: IpAddr, prefix: u8) -> Self {
        let (address, prefix) = match (address, address.to_canonical(), prefix) {
            // All of it is IPv4.
            (IpAddr::V6(_), mapped @ IpAddr::V4(_), 96..) => (mapped, prefix - 96),
            _ => (address, prefix),
        };
        let address = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        };
        Self { address, prefix }
    }

    fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && Self::new(address, self.prefix) == self
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Why a text could not be parsed as networks. Its `Display` has the wrong part and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{part}\" {problem}")]
pub struct NetworksError {
    part: String,
    problem: String,
}

impl FromStr for Networks {
    type Err = NetworksError;

    /// Parses networks and addresses, separated by commas.
    ///
    /// # Errors
    /// [`NetworksError`] with the wrong part and the reason.
    fn from_str(text: &str) -> Result<Self, NetworksError> {
        let networks = text.split(',').map(|part| {
            network(part.trim()).map_err(|problem| NetworksError {
                part: part.to_owned(),
                problem,
            })
        });
        Ok(Self(networks.collect::<Result<_, _>>()?))
    }
}

fn network(part: &str) -> Result<Network, String> {
    let (address, prefix) = match part.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (part, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| "is not an address, nor a network such as 10.0.0.0/8 or 2001:db8::/32")?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => most,
        Some(digits) => Some(digits)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok())
            .filter(|prefix| *prefix <= most)
            .ok_or_else(|| format!("has no number from 0 to {most} after its slash"))?,
    };
    Ok(Network::new(address, prefix))
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_networks_and_addresses() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8, ::1", "10.0.0.0/8,::1/128"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:db8:1::/32", "2001:db8::/32"),
            ("0.0.0.0/0,::/0", "0.0.0.0/0,::/0"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/64", "::/64"),
        ] {
            assert_eq!(text.parse::<Networks>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn says_which_part_is_wrong() {
        for (text, expected) in [
            ("", "\"\" is not an address"),
            ("10.0.0.1,", "\"\" is not an address"),
            ("10.0.0", "\"10.0.0\" is not an address"),
            ("localhost", "\"localhost\" is not an address"),
            ("10.0.0.0/33", "\"10.0.0.0/33\" has no number from 0 to 32"),
            ("10.0.0.0/", "\"10.0.0.0/\" has no number from 0 to 32"),
            ("10.0.0.0/+8", "\"10.0.0.0/+8\" has no number from 0 to 32"),
            ("::/129", "\"::/129\" has no number from 0 to 128"),
            ("::/256", "\"::/256\" has no number from 0 to 128"),
        ] {
            let problem = text.parse::<Networks>().unwrap_err().to_string();
            assert!(problem.starts_with(expected), "{text}: {problem}");
        }
    }

    #[test]
    fn contains_addresses_of_its_family_alone() {
        let contains = |networks: &str, address: &str| {
            let networks: Networks = networks.parse().unwrap();
            networks.contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1"));
        assert!(!contains("10.0.0.0/8", "::10.0.0.1"));
        assert!(contains("0.0.0.0/0", "192.0.2.1"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1"));
        assert!(!contains("::/0", "192.0.2.1"));
        assert!(!contains("::/0", "::ffff:192.0.2.1"));
        assert!(contains("2001:db8::/33", "2001:db8:7fff::1"));
        assert!(!contains("2001:db8::/33", "2001:db8:8000::1"));
        for (address, expected) in [
            ("127.1.2.3", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("128.0.0.1", false),
            ("::2", false),
            ("::", false),
        ] {
            assert_eq!(is_loopback(address.parse().unwrap()), expected, "{address}");
            let inside = Network::LOOPBACK
                .iter()
                .any(|network| network.contains(address.parse().unwrap()));
            assert_eq!(inside, expected, "{address}");
        }
    }
}
