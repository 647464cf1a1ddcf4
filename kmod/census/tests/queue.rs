// SPDX-License-Identifier: GPL-2.0-only

//! Which accept queue is the fullest.

use proptest::prelude::*;
use tcpstat_census::queue::AcceptQueue;

const fn queue(length: u32, backlog: u32) -> AcceptQueue {
    AcceptQueue { length, backlog }
}

#[test]
fn the_fullest_has_the_greatest_use() {
    // In ascending order.
    let queues = [
        AcceptQueue::EMPTY,
        queue(0, 64),
        queue(0, 128),
        queue(1, 4096),
        queue(1, 128),
        // The same use: the longer queue is the fuller one.
        queue(2, 256),
        queue(u32::MAX - 1, u32::MAX),
        queue(1, 0),
        // A backlog of 0 counts as 1.
        queue(1, 1),
        queue(64, 64),
        queue(u32::MAX, u32::MAX),
        queue(65, 64),
        queue(2, 1),
        queue(u32::MAX, 0),
    ];
    assert!(queues.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!((queue(1, 0).capacity(), queue(1, 64).capacity()), (1, 64));
    assert_eq!(
        (queue(2, 0).ratio(), queue(65, 64).ratio()),
        (2.0, 1.015625)
    );
}

#[test]
fn serialized_queues_have_their_fields() {
    let json = serde_json::to_string(&queue(65, 64)).unwrap();
    assert_eq!(json, "{\"length\":65,\"backlog\":64}");
}

fn any_queue() -> impl Strategy<Value = AcceptQueue> {
    let number = || prop_oneof![0u32..4, Just(u32::MAX), any::<u32>()];
    (number(), number()).prop_map(|(length, backlog)| queue(length, backlog))
}

proptest! {
    /// An order, so that the fullest does not depend on the order in which listeners are found.
    #[test]
    fn any_three_are_in_order(mut queues in [any_queue(), any_queue(), any_queue()]) {
        queues.sort_unstable();
        let [least, middle, greatest] = queues;
        prop_assert!(least <= middle && middle <= greatest && least <= greatest);
        prop_assert!((least < greatest) == (least != greatest));
        let exact = |this: AcceptQueue, of: AcceptQueue| u128::from(this.length) * u128::from(of.capacity());
        prop_assert!(exact(least, greatest) <= exact(greatest, least));
    }
}
