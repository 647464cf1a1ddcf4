// SPDX-License-Identifier: GPL-2.0-only

//! The walk over tables made up here: which buckets it locks, when it pauses, and what it counts.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;
use tcpstat_census::walk::{walk, Socket, Table, Tally, UnknownState};

#[derive(Clone, Copy, Debug)]
struct Entry {
    net: u8,
    state: u8,
    /// `None` where there is none to be asked for.
    substate: Option<u8>,
}

impl Socket for Entry {
    type Net = u8;

    fn net(&self) -> u8 {
        self.net
    }

    fn state(&self) -> u8 {
        self.state
    }

    fn tw_substate(&self) -> u8 {
        self.substate
            .expect("only a time-wait socket has a substate")
    }
}

/// What a walk does to a table, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Lock(usize),
    Unlock(usize),
    Pause,
}

#[derive(Debug, Default)]
struct Buckets {
    chains: Vec<Vec<Entry>>,
    /// Buckets that look filled, but are found empty once they are locked.
    emptied: Vec<usize>,
    looked_at: Cell<usize>,
    steps: RefCell<Vec<Step>>,
}

impl Buckets {
    fn new(chains: Vec<Vec<Entry>>) -> Self {
        Self {
            chains,
            ..Self::default()
        }
    }

    /// A table in which only some buckets have an entry: an established socket of namespace 0.
    fn with_one_in(buckets: usize, filled: &[usize]) -> Self {
        let mut chains = vec![Vec::new(); buckets];
        for &bucket in filled {
            chains[bucket].push(Entry {
                net: 0,
                state: 1,
                substate: None,
            });
        }
        Self::new(chains)
    }

    fn locked(&self) -> Vec<usize> {
        let steps = self.steps.borrow();
        steps
            .iter()
            .filter_map(|step| {
                if let Step::Lock(bucket) = step {
                    Some(*bucket)
                } else {
                    None
                }
            })
            .collect()
    }
}

impl Table for Buckets {
    type Net = u8;
    type Socket = Entry;

    fn buckets(&self) -> usize {
        self.chains.len()
    }

    fn is_empty(&self, bucket: usize) -> bool {
        self.looked_at.set(self.looked_at.get() + 1);
        self.chains[bucket].is_empty() && !self.emptied.contains(&bucket)
    }

    fn visit(&self, bucket: usize, visit: impl FnMut(&Entry)) {
        self.steps.borrow_mut().push(Step::Lock(bucket));
        self.chains[bucket].iter().for_each(visit);
        self.steps.borrow_mut().push(Step::Unlock(bucket));
    }

    fn pause(&self) {
        self.steps.borrow_mut().push(Step::Pause);
    }
}

fn tally(table: &Buckets, net: u8) -> Result<Counts, UnknownState> {
    let mut tally = Tally::default();
    tally.count(table, net);
    tally.finish()
}

#[test]
fn the_first_and_the_last_bucket_are_visited() {
    for buckets in [1, 2, 3, 1023, 1024, 1025, 4096] {
        let table = Buckets::with_one_in(buckets, &[0]);
        assert_eq!(
            tally(&table, 0).unwrap().get(State::Established),
            1,
            "first of {buckets}"
        );
        let table = Buckets::with_one_in(buckets, &[buckets - 1]);
        assert_eq!(
            tally(&table, 0).unwrap().get(State::Established),
            1,
            "last of {buckets}"
        );
    }
}

#[test]
fn every_bucket_is_looked_at_and_only_filled_ones_are_locked() {
    let table = Buckets::with_one_in(5000, &[3, 1024, 1025, 4999]);
    walk(&table, |_| {});
    assert_eq!(table.looked_at.get(), 5000);
    assert_eq!(table.locked(), [3, 1024, 1025, 4999]);
}

#[test]
fn a_bucket_emptied_before_it_is_locked_counts_nothing() {
    let mut table = Buckets::with_one_in(4, &[0, 3]);
    table.emptied = vec![1];
    assert_eq!(tally(&table, 0).unwrap().total(), 2);
    assert_eq!(table.locked(), [0, 1, 3]);
}

#[test]
fn an_empty_table_is_zeros() {
    assert_eq!(tally(&Buckets::new(Vec::new()), 0), Ok(Counts::ZERO));
    assert_eq!(
        tally(&Buckets::new(vec![Vec::new(); 10]), 0),
        Ok(Counts::ZERO)
    );
}

#[test]
fn others_may_run_after_each_locked_bucket_and_in_long_stretches_of_empty_ones() {
    let table = Buckets::with_one_in(100, &[50, 51]);
    walk(&table, |_| {});
    let steps = table.steps.borrow();
    let after = |bucket| {
        steps
            .iter()
            .skip_while(move |step| **step != Step::Unlock(bucket))
            .nth(1)
    };
    assert_eq!(after(50), Some(&Step::Pause));
    assert_eq!(after(51), Some(&Step::Pause));

    let empty = Buckets::with_one_in(1 << 20, &[]);
    walk(&empty, |_| {});
    let pauses = empty.steps.borrow().len();
    assert!(
        (1 << 10..1 << 20).contains(&pauses),
        "{pauses} pauses in 2^20 empty buckets"
    );
}

#[test]
fn two_tables_are_counted_together() {
    let mut tally = Tally::default();
    tally.count(&Buckets::with_one_in(4, &[1, 2]), 0);
    tally.count(&Buckets::with_one_in(8, &[7]), 0);
    assert_eq!(tally.finish().unwrap().get(State::Established), 3);
}

#[test]
fn an_unknown_state_is_told_with_its_number() {
    let one = |state, substate| {
        Buckets::new(vec![vec![Entry {
            net: 0,
            state,
            substate,
        }]])
    };
    for state in [0, 13, 255] {
        assert_eq!(tally(&one(state, None), 0), Err(UnknownState(state)));
        // Of a time-wait socket, the number that has no name is the substate.
        assert_eq!(tally(&one(6, Some(state)), 0), Err(UnknownState(state)));
        // Another namespace's sockets are its own business.
        assert_eq!(tally(&one(state, None), 1), Ok(Counts::ZERO));
    }
    // Found in one table, it is not forgotten over the next.
    let mut tally = Tally::default();
    tally.count(&one(13, None), 0);
    tally.count(&Buckets::with_one_in(1, &[0]), 0);
    assert_eq!(tally.finish(), Err(UnknownState(13)));
}

fn entry() -> impl Strategy<Value = Entry> {
    (0u8..3, 1u8..=12, 5u8..=6).prop_map(|(net, state, substate)| Entry {
        net,
        state,
        substate: (state == 6).then_some(substate),
    })
}

fn chains() -> impl Strategy<Value = Vec<Vec<Entry>>> {
    // Most buckets of a real table are empty, or have one entry.
    let chain = prop_oneof![2 => Just(0usize..1), 2 => Just(1..2), 1 => Just(0..9)];
    let entry = entry().boxed();
    let chain = chain.prop_flat_map(move |length| prop::collection::vec(entry.clone(), length));
    prop::collection::vec(chain, 0..200)
}

proptest! {
    #[test]
    fn any_table_is_counted_as_a_naive_count_does(chains in chains()) {
        for net in 0..3 {
            let mut expected = [0u64; 13];
            for entry in chains.iter().flatten().filter(|entry| entry.net == net) {
                match (entry.state, entry.substate) {
                    (12, _) => expected[3] += 1,
                    (_, Some(substate)) => expected[usize::from(substate)] += 1,
                    (state, None) => expected[usize::from(state)] += 1,
                }
            }
            let counts = tally(&Buckets::new(chains.clone()), net).unwrap();
            for (state, count) in counts.iter() {
                prop_assert_eq!(count, expected[usize::from(state.code())], "{:?}", state);
            }
        }
    }

    #[test]
    fn any_unknown_state_makes_the_count_an_error(
        mut chains in chains(),
        unknown in prop_oneof![Just(0u8), 13u8..],
        time_wait: bool,
        at: prop::sample::Index,
    ) {
        chains.push(Vec::new());
        let wrong = if time_wait {
            Entry { net: 1, state: 6, substate: Some(unknown) }
        } else {
            Entry { net: 1, state: unknown, substate: None }
        };
        let bucket = at.index(chains.len());
        chains[bucket].push(wrong);
        let table = Buckets::new(chains);
        prop_assert_eq!(tally(&table, 1), Err(UnknownState(unknown)));
        prop_assert!(tally(&table, 0).is_ok());
    }

    #[test]
    fn every_lock_is_on_a_filled_bucket_and_no_pause_is_under_it(chains in chains()) {
        let table = Buckets::new(chains);
        let mut visited = 0;
        walk(&table, |_| visited += 1);
        prop_assert_eq!(visited, table.chains.iter().map(Vec::len).sum::<usize>());
        let filled: Vec<_> = (0..table.chains.len()).filter(|&bucket| !table.chains[bucket].is_empty()).collect();
        prop_assert_eq!(table.locked(), filled);
        let mut held = None;
        for step in table.steps.borrow().iter() {
            match (step, held) {
                (Step::Lock(bucket), None) => held = Some(*bucket),
                (Step::Unlock(bucket), Some(locked)) if locked == *bucket => held = None,
                (Step::Pause, None) => {}
                (step, held) => return Err(TestCaseError::fail(format!("{step:?} with {held:?} locked"))),
            }
        }
        prop_assert_eq!(held, None);
    }
}
