// SPDX-License-Identifier: GPL-2.0-only

//! States and counts in JSON, by the feature `serde`.

use proptest::prelude::*;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

const ONE_EACH: &str = concat!(
    r#"{"ESTABLISHED":1,"SYN_SENT":2,"SYN_RECV":3,"FIN_WAIT1":4,"FIN_WAIT2":5,"TIME_WAIT":6,"#,
    r#""CLOSE":7,"CLOSE_WAIT":8,"LAST_ACK":9,"LISTEN":10,"CLOSING":11}"#
);

fn error<T: serde::de::DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
    serde_json::from_str::<T>(text).unwrap_err().to_string()
}

#[test]
fn a_state_is_its_kernel_name() {
    for state in State::ALL {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(text, format!("{:?}", state.name()));
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
    let state: State = serde_json::from_str(r#""fin_wait_1""#).unwrap();
    assert_eq!(state, State::FinWait1);
}

#[test]
fn counts_are_a_map_in_kernel_order() {
    let counts: Counts = State::ALL.into_iter().zip(1..).collect();
    assert_eq!(serde_json::to_string(&counts).unwrap(), ONE_EACH);
}

#[test]
fn what_is_wrong_is_named() {
    let unknown = "invalid value: string \"NONE\", expected the name of a TCP state";
    assert!(error::<State>("\"NONE\"").starts_with(unknown));
    assert!(error::<State>("1").contains("expected the name of a TCP state"));
    assert!(error::<Counts>("[]").contains("expected a map of all TCP states to their counts"));
    let renamed = |to| ONE_EACH.replace("LISTEN", to);
    assert!(error::<Counts>(&renamed("NONE")).starts_with(unknown));
    assert!(error::<Counts>(&renamed("CLOSED")).starts_with("duplicate field `CLOSE`"));
    let without = ONE_EACH.replace(r#""LISTEN":10,"#, "");
    assert!(error::<Counts>(&without).starts_with("missing field `LISTEN`"));
}

proptest! {
    #[test]
    fn any_counts_come_back(numbers: [u64; State::COUNT]) {
        let counts: Counts = State::ALL.into_iter().zip(numbers).collect();
        let text = serde_json::to_string(&counts).unwrap();
        prop_assert_eq!(serde_json::from_str::<Counts>(&text).unwrap(), counts);
    }
}
