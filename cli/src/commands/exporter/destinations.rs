// SPDX-License-Identifier: MIT OR Apache-2.0

//! The remote addresses and ports to which most local ports are in use: each pair of a local and a
//! remote address runs out of ports by itself. In bounded memory.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::families::Destination;

/// The number of destinations that are counted exactly. Beyond it, the small ones are dropped.
const MOST: usize = 32 * 1024;

/// Sockets by destination, while they are listed.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    sockets: HashMap<(IpAddr, u16), u64>,
    /// At most so many sockets of each destination were dropped.
    dropped: u64,
}

impl Destinations {
    /// Adds a socket that is connected to this address.
    pub(super) fn add(&mut self, to: SocketAddr) {
        let key = (to.ip().to_canonical(), to.port());
        *self.sockets.entry(key).or_insert(0) += 1;
        if self.sockets.len() > MOST {
            // As Misra and Gries: what is subtracted from all was there at least half that often.
            let mut counts: Vec<u64> = self.sockets.values().copied().collect();
            let (_, &mut median, _) = counts.select_nth_unstable(MOST / 2);
            self.dropped += median;
            self.sockets.retain(|_, count| {
                *count = count.saturating_sub(median);
                *count > 0
            });
        }
    }

    /// The `most` largest, and how many others there are at least.
    pub(super) fn largest(self, most: usize) -> (Vec<Destination>, u64) {
        let mut all: Vec<_> = self.sockets.into_iter().collect();
        all.sort_unstable_by_key(|&(destination, count)| (Reverse(count), destination));
        let left_out = all.len().saturating_sub(most);
        let largest = all.into_iter().take(most);
        let largest = largest.map(|((address, port), count)| Destination {
            address,
            port,
            local_ports: count,
            error: self.dropped,
        });
        (largest.collect(), left_out as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_stay_when_there_are_too_many() {
        let mut destinations = Destinations::default();
        let large: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:443".parse().unwrap();
        for host in 0..2 * MOST as u32 {
            destinations.add(SocketAddr::new(IpAddr::V4(host.into()), 80));
            destinations.add(if host % 2 == 0 { large } else { mapped });
        }
        assert!(destinations.sockets.len() <= MOST);
        let (largest, left_out) = destinations.largest(1);
        let [first] = &largest[..] else {
            panic!("{largest:?}")
        };
        assert_eq!((first.address, first.port), (large.ip(), 443));
        let true_number = 2 * MOST as u64;
        assert!(first.error > 0 && first.local_ports <= true_number);
        assert!(first.local_ports + first.error >= true_number);
        assert!(left_out < MOST as u64);
    }
}
