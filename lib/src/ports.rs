// SPDX-License-Identifier: MIT OR Apache-2.0

//! A set of ports: `443,8000-8100`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A set of port numbers, as ranges; never empty.
///
/// ```
/// let ports: tcpstat::Ports = "8000-8100,443".parse()?;
/// assert!(ports.contains(443) && ports.contains(8042) && !ports.contains(80));
/// assert_eq!(ports.to_string(), "443,8000-8100");
/// # Ok::<(), tcpstat::PortsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(Vec<RangeInclusive<u16>>);

impl Ports {
    /// Whether `port` is in the set.
    pub fn contains(&self, port: u16) -> bool {
        // The last range that does not begin after the port.
        let after = self.0.partition_point(|range| *range.start() <= port);
        after > 0 && self.0[after - 1].contains(&port)
    }

    /// The ranges, in ascending order, with a gap between any two of them.
    pub fn ranges(&self) -> &[RangeInclusive<u16>] {
        &self.0
    }
}

/// Why a text could not be parsed as ports. Its `Display` has the wrong part and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{part}\" {problem}")]
pub struct PortsError {
    part: String,
    problem: String,
}

impl FromStr for Ports {
    type Err = PortsError;

    /// Parses ports and ranges of ports, separated by commas.
    ///
    /// # Errors
    /// [`PortsError`] with the wrong part and the reason.
    fn from_str(text: &str) -> Result<Self, PortsError> {
        let mut ranges = text
            .split(',')
            .map(|part| {
                range(part).map_err(|problem| PortsError {
                    part: part.to_owned(),
                    problem,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        ranges.sort_by_key(|range| *range.start());
        let mut merged: Vec<RangeInclusive<u16>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                // They overlap or are adjacent.
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => merged.push(range),
            }
        }
        Ok(Self(merged))
    }
}

fn range(part: &str) -> Result<RangeInclusive<u16>, String> {
    let port = |digits: &str| -> Result<u16, String> {
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("is not a port, nor a range of ports such as 8000-8100".into());
        }
        digits
            .parse()
            .map_err(|_| "is not a port: the highest is 65535".into())
    };
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (port(first.trim())?, port(last.trim())?);
    if first > last {
        return Err(format!("begins after its end; write {last}-{first}"));
    }
    Ok(first..=last)
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_ports_and_ranges() {
        for (text, expected) in [
            ("443", "443"),
            ("443,8000-8100", "443,8000-8100"),
            ("8000-8100, 443", "443,8000-8100"),
            ("1-3,2-5,6", "1-6"),
            ("0-65535", "0-65535"),
            ("65535,65535", "65535"),
        ] {
            assert_eq!(text.parse::<Ports>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn says_which_part_is_wrong() {
        for (text, expected) in [
            ("", "\"\" is not a port, nor"),
            ("443,", "\"\" is not a port, nor"),
            ("443,http", "\"http\" is not a port, nor"),
            ("+443", "\"+443\" is not a port, nor"),
            ("-1", "\"-1\" is not a port, nor"),
            ("65536", "\"65536\" is not a port: the highest is 65535"),
            ("9-8", "\"9-8\" begins after its end; write 8-9"),
            ("1-2-3", "\"1-2-3\" is not a port, nor"),
        ] {
            let problem = text.parse::<Ports>().unwrap_err().to_string();
            assert!(problem.starts_with(expected), "{text}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn contains_what_was_named(ranges in prop::collection::vec((0u16..200, 0u16..20), 1..10), port in 0u16..250) {
            let text: Vec<String> = ranges.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
            let ports: Ports = text.join(",").parse().unwrap();
            let expected = ranges.iter().any(|(first, more)| (*first..=first + more).contains(&port));
            prop_assert_eq!(ports.contains(port), expected);
            prop_assert!(ports.ranges().windows(2).all(|pair| *pair[0].end() + 1 < *pair[1].start()));
            prop_assert_eq!(ports.to_string().parse::<Ports>(), Ok(ports));
        }
    }
}
