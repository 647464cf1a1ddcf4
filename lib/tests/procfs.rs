// SPDX-License-Identifier: MIT OR Apache-2.0

//! Connections by procfs while the table grows, on real sockets. Needs `CAP_SYS_ADMIN` for the
//! namespace.

use std::collections::HashMap;

use tcpstat::{Connection, Filter, Options, Sampler, Source};
use tcpstat_tests::netns;
use tcpstat_tests::sockets::repaired;

/// At most this many sockets come while a table is read, each in a page of its own or nearly so.
const MORE: usize = 400;

fn sampler() -> Sampler {
    let mut options = Options::default();
    options.source = Some(Source::Procfs);
    Sampler::new(options).unwrap()
}

/// How often each is listed.
fn times(connections: impl Iterator<Item = Connection>) -> HashMap<Connection, u32> {
    let mut times = HashMap::new();
    connections.for_each(|connection| *times.entry(connection).or_default() += 1);
    times
}

#[test]
fn a_growing_table_is_listed_once() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let mut stay = repaired(600).unwrap();
        // 27 rows of IPv4 are a page of 4 KiB: of so many tables, some have a full last page.
        for _ in 0..30 {
            let sampler = sampler();
            let list = || sampler.connections(Filter::default()).unwrap();
            let before = times(list().map(Result::unwrap));
            assert_eq!(before.len(), stay.len());

            let mut new = Vec::new();
            let mut listed = 0;
            let grow = |connection: &Result<Connection, _>| {
                assert!(connection.is_ok());
                listed += 1;
                if listed % 10 == 0 && new.len() < MORE {
                    new.extend(repaired(8).unwrap());
                }
            };
            let meanwhile = times(list().inspect(grow).map(Result::unwrap));
            assert!(new.len() > 100);
            assert!(meanwhile.values().all(|&times| times == 1));
            assert!(before.keys().all(|socket| meanwhile.contains_key(socket)));

            drop(new);
            stay.extend(repaired(2).unwrap());
        }
    })
    .unwrap();
}
