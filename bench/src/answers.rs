// SPDX-License-Identifier: GPL-2.0-only

//! Reads the counts in what each way to count prints.

use std::collections::BTreeMap;

use serde::Deserialize;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use crate::outcome::Outcome;

/// The counts in what a way has printed: tcpstat's JSON, of totals, services or groups,
/// node_exporter's metrics, or lines of a state and its count. States have the kernel's names,
/// those of `ss`, or numbers.
pub(crate) fn counts(text: &str) -> Outcome<Counts> {
    let mut counts = Counts::ZERO;
    if text.starts_with("{\"timestamp\"") {
        let services: Services = serde_json::from_str(text)?;
        for row in services.services.iter().chain([&services.other]) {
            for (name, share) in &row.states {
                add(&mut counts, name, share.count)?;
            }
        }
        return Ok(counts);
    }
    if text.starts_with('{') {
        let values: BTreeMap<String, u64> = serde_json::from_str(text)?;
        for (name, count) in values {
            add(&mut counts, &name, count)?;
        }
        return Ok(counts);
    }
    const METRIC: &str = "node_tcp_connection_states{state=\"";
    let metrics = text.contains(METRIC);
    for line in text.lines() {
        let line = if metrics {
            let Some(line) = line.strip_prefix(METRIC) else {
                continue;
            };
            line.replacen("\"}", "", 1)
        } else {
            line.to_owned()
        };
        let (name, count) = line
            .split_once(' ')
            .ok_or_else(|| format!("no count in {line:?}"))?;
        match name {
            // From ss -a: bound to a port and unused. From node_exporter: not states.
            "UNCONN" | "rx_queued_bytes" | "tx_queued_bytes" => continue,
            _ => {}
        }
        // node_exporter writes a million as 1e+06.
        let count: f64 = count
            .parse()
            .map_err(|_| format!("no number in {line:?}"))?;
        add(&mut counts, name, count as u64)?;
    }
    Ok(counts)
}

/// The parts of what `tcpstat services` and `tcpstat top` print that are needed here.
#[derive(Deserialize)]
struct Services {
    #[serde(alias = "groups")]
    services: Vec<ServiceRow>,
    other: ServiceRow,
}

#[derive(Deserialize)]
struct ServiceRow {
    states: BTreeMap<String, Share>,
}

#[derive(Deserialize)]
struct Share {
    count: u64,
}

/// Two names may mean the same state: the kernel has another number for request sockets.
fn add(counts: &mut Counts, name: &str, count: u64) -> Outcome {
    let state = state(name)?;
    counts.set(state, counts.get(state) + count);
    Ok(())
}

fn state(name: &str) -> Outcome<State> {
    let name = name.to_ascii_uppercase().replace('-', "_");
    let by_name = match name.as_str() {
        "ESTAB" => Some(State::Established),
        "FIN_WAIT_1" => Some(State::FinWait1),
        "FIN_WAIT_2" => Some(State::FinWait2),
        name => State::ALL.into_iter().find(|state| state.name() == name),
    };
    by_name
        .or_else(|| State::from_code(name.parse().ok()?))
        .ok_or_else(|| format!("no state is called {name:?}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(pairs: &[(State, u64)]) -> Counts {
        let mut counts = Counts::ZERO;
        for &(state, count) in pairs {
            counts.set(state, count);
        }
        counts
    }

    #[test]
    fn every_form_is_read() {
        use State::{Established, FinWait1, Listen, SynSent};
        let want = some(&[(Established, 1_000_000), (FinWait1, 2), (Listen, 1)]);
        for text in [
            "{\"ESTABLISHED\":1000000,\"FIN_WAIT1\":2,\"LISTEN\":1,\"CLOSING\":0}\n",
            "{\"timestamp\":\"\",\"services\":[{\"port\":1,\"states\":{\"ESTABLISHED\":{\"count\":999999,\"ratio\":1.0},\
             \"LISTEN\":{\"count\":1,\"ratio\":0.0}}}],\"other\":{\"states\":{\"ESTABLISHED\":{\"count\":1},\
             \"FIN_WAIT1\":{\"count\":2}}}}\n",
            "{\"timestamp\":\"\",\"groups\":[{\"key\":\"a\",\"states\":{\"ESTABLISHED\":{\"count\":1000000}}}],\
             \"other\":{\"states\":{\"LISTEN\":{\"count\":1},\"FIN_WAIT1\":{\"count\":2}}}}\n",
            "ESTAB 1000000\nUNCONN 4\nFIN-WAIT-1 2\nLISTEN 1\n",
            "ESTABLISHED 1000000\nFIN_WAIT1 2\nLISTEN 1\n",
            "1 1000000\n4 2\n10 1\n",
            "# HELP x y\nnode_tcp_connection_states{state=\"established\"} 1e+06\n\
             node_tcp_connection_states{state=\"fin_wait1\"} 2\nnode_tcp_connection_states{state=\"listen\"} 1\n\
             node_tcp_connection_states{state=\"rx_queued_bytes\"} 77\nother 3\n",
        ] {
            assert_eq!(counts(text).unwrap(), want, "{text}");
        }
        assert_eq!(counts("3 2\n12 3\n").unwrap(), some(&[(State::SynRecv, 5)]));
        assert_eq!(counts("SYN-SENT 3\n").unwrap(), some(&[(SynSent, 3)]));
    }

    #[test]
    fn another_form_is_an_error() {
        for text in ["ESTAB\n", "NOTHING 3\n", "LISTEN x\n", "13 1\n", "{\n"] {
            assert!(counts(text).is_err(), "{text}");
        }
    }
}
