// SPDX-License-Identifier: GPL-2.0-only

//! The walk over invented tables: which buckets it locks, when it pauses, and what it counts.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use proptest::prelude::*;
use tcpstat_census::counts::Counts;
use tcpstat_census::obvious;
use tcpstat_census::state::{State, UnknownState};
use tcpstat_census::table::{Socket, Table};
use tcpstat_census::totals::Tally;
use tcpstat_census::walk::walk;

#[derive(Clone, Copy, Debug)]
struct Entry {
    net: u8,
    state: u8,
    /// `None` if `tw_substate` must not be called.
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

    fn local_port(&self) -> u16 {
        unreachable!("the totals need no port")
    }

    fn family(&self) -> u16 {
        unreachable!("the totals need no family")
    }

    fn local_address(&self) -> IpAddr {
        unreachable!("the totals need no address")
    }
}

/// What a walk does to a table, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Lock(usize),
    Unlock(usize),
    Pause,
    SectionBegins,
    SectionEnds,
    /// The first entry of a bucket was prefetched.
    First(usize),
    /// An entry of this bucket was read ahead, and the next one prefetched.
    Next(usize),
}

#[derive(Debug, Default)]
struct Buckets {
    chains: Vec<Vec<Entry>>,
    /// Buckets that look filled until they are locked, and then are empty.
    emptied: Vec<usize>,
    /// The length of a bucket's chain as it is read ahead, where that differs from its real length.
    looks: HashMap<usize, usize>,
    looked_at: Cell<usize>,
    /// The walk is ended at its nth pause.
    ended_at: Option<usize>,
    steps: Rc<RefCell<Vec<Step>>>,
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

    /// The same in ascending order: the walk may visit buckets in any order.
    fn locked_in_order(&self) -> Vec<usize> {
        let mut locked = self.locked();
        locked.sort_unstable();
        locked
    }

    /// The number of entries that the chain of `bucket` seems to have without its lock.
    fn seen(&self, bucket: usize) -> usize {
        let length = self.chains[bucket].len();
        self.looks.get(&bucket).copied().unwrap_or(length)
    }

    fn pauses(&self) -> usize {
        let steps = self.steps.borrow();
        steps.iter().filter(|step| **step == Step::Pause).count()
    }

    fn step(&self, step: Step) {
        self.steps.borrow_mut().push(step);
    }
}

/// A section lasts until this is dropped.
struct Section(Rc<RefCell<Vec<Step>>>);

impl Drop for Section {
    fn drop(&mut self) {
        self.0.borrow_mut().push(Step::SectionEnds);
    }
}

/// The walk was ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended;

/// A bucket, and the number of entries before this one in its chain.
#[derive(Clone, Copy)]
struct Link(usize, usize);

impl Table for Buckets {
    type Net = u8;
    type Socket<'lock> = Entry;
    type Interrupt = Ended;
    type Section = Section;
    type Link<'section> = Link;

    fn buckets(&self) -> usize {
        self.chains.len()
    }

    fn is_empty(&self, bucket: usize) -> bool {
        self.looked_at.set(self.looked_at.get() + 1);
        self.chains[bucket].is_empty() && !self.emptied.contains(&bucket)
    }

    fn section(&self) -> Section {
        self.step(Step::SectionBegins);
        Section(Rc::clone(&self.steps))
    }

    fn visit(&self, section: &Section, bucket: usize, visit: impl FnMut(&Entry)) {
        assert!(Rc::ptr_eq(&section.0, &self.steps));
        self.step(Step::Lock(bucket));
        self.chains[bucket].iter().for_each(visit);
        self.step(Step::Unlock(bucket));
    }

    fn pause(&self) -> Result<(), Ended> {
        self.step(Step::Pause);
        match self.ended_at {
            Some(nth) if self.pauses() >= nth => Err(Ended),
            _ => Ok(()),
        }
    }

    fn first(&self, section: &Section, bucket: usize) -> Option<Link> {
        assert!(Rc::ptr_eq(&section.0, &self.steps));
        self.step(Step::First(bucket));
        (self.seen(bucket) > 0 || self.emptied.contains(&bucket)).then_some(Link(bucket, 0))
    }

    fn next(&self, section: &Section, Link(bucket, before): Link) -> Option<Link> {
        assert!(Rc::ptr_eq(&section.0, &self.steps));
        self.step(Step::Next(bucket));
        (before + 1 < self.seen(bucket)).then_some(Link(bucket, before + 1))
    }
}

/// Checks what must hold for every walk. Returns the greatest number of entries that were visited
/// between two pauses, without buckets that were visited alone between two pauses.
fn check(table: &Buckets) -> Result<usize, TestCaseError> {
    let steps = table.steps.borrow();
    let (mut locked, mut within) = (None, false);
    let (mut begun, mut links, mut visits, mut entries, mut most) = (0, 0, 0, 0, 0);
    // What is prefetched and not visited yet: the length so far of each bucket's chain.
    let mut ahead = HashMap::new();
    for &step in steps.iter() {
        match step {
            Step::Lock(bucket) => {
                prop_assert!(within, "a lock outside of a section");
                prop_assert_eq!(locked, None, "two locks");
                // A bucket that is visited while others are read ahead is in the cache as a whole.
                if begun > 0 {
                    prop_assert_eq!(ahead.remove(&bucket), Some(table.seen(bucket).max(1)));
                }
                locked = Some(bucket);
                visits += 1;
                entries += table.chains[bucket].len();
            }
            Step::Unlock(bucket) => prop_assert_eq!(locked.take(), Some(bucket)),
            Step::Pause => {
                prop_assert_eq!(locked, None, "a pause under a lock");
                prop_assert!(!within, "a pause in a section");
                if visits > 1 {
                    most = most.max(entries);
                }
                (visits, entries) = (0, 0);
            }
            Step::SectionBegins => {
                prop_assert!(!within, "two sections at once");
                prop_assert_eq!(locked, None, "a section begins under a lock");
                (within, begun, links) = (true, 0, 0);
            }
            Step::SectionEnds => {
                prop_assert!(within && locked.is_none());
                within = false;
                ahead.clear();
            }
            Step::First(bucket) => {
                prop_assert!(within && locked.is_none());
                prop_assert_eq!(ahead.insert(bucket, 1), None, "begun twice");
                begun += 1;
                // Sixteen, and the one that is visited next.
                prop_assert!(ahead.len() <= 17, "{} chains at once", ahead.len());
            }
            Step::Next(bucket) => {
                prop_assert!(within && locked.is_none());
                links += 1;
                prop_assert!(links < 2 * 1024 + 16, "{} links in one section", links);
                let length = ahead.get_mut(&bucket).unwrap();
                if *length < table.seen(bucket) {
                    *length += 1;
                }
            }
        }
    }
    prop_assert_eq!((locked, within), (None, false));
    prop_assert_eq!(steps.last().copied().unwrap_or(Step::Pause), Step::Pause);
    Ok(most)
}

fn tally(table: &Buckets, net: u8) -> Result<Counts, UnknownState> {
    let mut tally = Tally::default();
    tally.count(table, net).unwrap();
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
    walk(&table, |_| {}).unwrap();
    assert_eq!(table.looked_at.get(), 5000);
    assert_eq!(table.locked_in_order(), [3, 1024, 1025, 4999]);
}

#[test]
fn a_bucket_emptied_before_it_is_locked_counts_nothing() {
    let mut table = Buckets::with_one_in(4, &[0, 3]);
    table.emptied = vec![1];
    assert_eq!(tally(&table, 0).unwrap().total(), 2);
    assert_eq!(table.locked_in_order(), [0, 1, 3]);
}

#[test]
fn a_bucket_emptied_before_it_is_read_ahead_is_not_locked() {
    let mut table = Buckets::with_one_in(4, &[0, 1, 3]);
    table.looks.insert(1, 0);
    assert_eq!(tally(&table, 0).unwrap().total(), 2);
    assert_eq!(table.locked_in_order(), [0, 3]);
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
fn others_may_run_often_whatever_is_in_the_table() {
    let entry = Entry {
        net: 0,
        state: 1,
        substate: None,
    };
    for (buckets, length) in [
        (1 << 14, 0),
        (1 << 14, 1),
        (1 << 12, 4),
        (1 << 10, 16),
        (64, 300),
        (16, 2000),
        (3, 10_000),
    ] {
        let table = Buckets::new(vec![vec![entry; length]; buckets]);
        assert_eq!(tally(&table, 0).unwrap().total(), (buckets * length) as u64);
        let most = check(&table).unwrap();
        assert!(
            most < 2 * 1024 + 16,
            "{most} entries in a row, {buckets} times {length}"
        );
        let pauses = table.pauses();
        assert!(
            pauses >= buckets / 4096,
            "{pauses} pauses in {buckets} buckets"
        );
    }
}

/// No depth has to be chosen: as many loads are in flight in a thin table as in a full one.
#[test]
fn sixteen_chains_are_read_ahead_however_full_the_table_is() {
    let entry = Entry {
        net: 0,
        state: 1,
        substate: None,
    };
    for (every, length) in [(1, 1), (1, 4), (1, 16), (10, 1), (50, 1)] {
        let mut chains = vec![Vec::new(); 1000];
        for chain in chains.iter_mut().step_by(every) {
            *chain = vec![entry; length];
        }
        let table = Buckets::new(chains);
        walk(&table, |_| {}).unwrap();
        check(&table).unwrap();
        let steps = table.steps.borrow();
        let before_the_first_read = steps
            .iter()
            .take_while(|step| !matches!(step, Step::Next(_)));
        let begun = before_the_first_read.filter(|step| matches!(step, Step::First(_)));
        assert_eq!(begun.count(), 16);
        // The place of a bucket is taken by the next one before the visit.
        let first_visit = steps.iter().position(|step| matches!(step, Step::Lock(_)));
        let begun = steps[..first_visit.unwrap()]
            .iter()
            .filter(|step| matches!(step, Step::First(_)));
        assert_eq!(begun.count(), 17);
    }
}

#[test]
fn a_chain_that_goes_round_in_circles_holds_nothing_up() {
    let filled: Vec<usize> = (0..100).collect();
    for endless in [&[50][..], &[0, 99], &filled] {
        let mut table = Buckets::with_one_in(100, &filled);
        table.looks = endless.iter().map(|&bucket| (bucket, usize::MAX)).collect();
        assert_eq!(tally(&table, 0).unwrap().total(), 100);
        assert_eq!(table.locked_in_order(), filled);
        check(&table).unwrap();
    }
}

/// Whoever ends a walk waits for one section: after the pause that says so, nothing is locked.
#[test]
fn a_walk_ends_at_the_pause_that_says_so() {
    let entry = Entry {
        net: 0,
        state: 1,
        substate: None,
    };
    for (chains, pauses) in [
        (vec![vec![entry]; 1 << 13], 8),
        (vec![vec![entry; 3000]; 20], 8),
    ] {
        for nth in 1..=pauses {
            let mut table = Buckets::new(chains.clone());
            table.ended_at = Some(nth);
            assert_eq!(Tally::default().count(&table, 0), Err(Ended));
            assert_eq!(table.pauses(), nth);
            assert_eq!(table.steps.borrow().last(), Some(&Step::Pause));
            check(&table).unwrap();
            let mut obvious = Buckets::new(chains.clone());
            obvious.ended_at = Some(nth);
            assert_eq!(obvious::walk(&obvious, |_| {}), Err(Ended));
            assert_eq!(obvious.pauses(), nth);
        }
    }
}

#[test]
fn two_tables_are_counted_together() {
    let mut tally = Tally::default();
    tally.count(&Buckets::with_one_in(4, &[1, 2]), 0).unwrap();
    tally.count(&Buckets::with_one_in(8, &[7]), 0).unwrap();
    assert_eq!(tally.finish().unwrap().get(State::Established), 3);
}

#[test]
fn an_unknown_state_is_an_error_with_its_number() {
    let one = |state, substate| {
        Buckets::new(vec![vec![Entry {
            net: 0,
            state,
            substate,
        }]])
    };
    for state in [0, 13, 255] {
        assert_eq!(tally(&one(state, None), 0), Err(UnknownState(state)));
        // For a time-wait socket, the number is that of the substate.
        assert_eq!(tally(&one(6, Some(state)), 0), Err(UnknownState(state)));
        // The sockets of another namespace do not matter.
        assert_eq!(tally(&one(state, None), 1), Ok(Counts::ZERO));
    }
    // One that was found in the first table is an error after the second table too.
    let mut tally = Tally::default();
    tally.count(&one(13, None), 0).unwrap();
    tally.count(&Buckets::with_one_in(1, &[0]), 0).unwrap();
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
        walk(&table, |_| visited += 1).unwrap();
        prop_assert_eq!(visited, table.chains.iter().map(Vec::len).sum::<usize>());
        let filled: Vec<_> = (0..table.chains.len()).filter(|&bucket| !table.chains[bucket].is_empty()).collect();
        prop_assert_eq!(table.locked_in_order(), filled);
        prop_assert_eq!(table.looked_at.get(), table.chains.len());
        check(&table)?;
    }

    #[test]
    fn what_is_counted_does_not_depend_on_what_is_seen_ahead(
        chains in chains(),
        looks in prop::collection::vec(prop_oneof![1usize..20, 1usize..5000, Just(usize::MAX)], 0..200),
    ) {
        let mut table = Buckets::new(chains);
        table.looks = looks.into_iter().enumerate().take(table.chains.len()).collect();
        let counts = tally(&table, 0);
        let mut naive = Tally::default();
        obvious::walk(&Buckets::new(table.chains.clone()), |socket| naive.add(socket, &0)).unwrap();
        prop_assert_eq!(counts, naive.finish());
        let filled: Vec<_> = (0..table.chains.len()).filter(|&bucket| !table.chains[bucket].is_empty()).collect();
        prop_assert_eq!(table.locked_in_order(), filled);
        check(&table)?;
    }

    #[test]
    fn the_obvious_walk_visits_the_same(chains in chains()) {
        let (ahead, plain) = (Buckets::new(chains.clone()), Buckets::new(chains));
        let (mut visited, mut expected) = (Vec::new(), Vec::new());
        walk(&ahead, |entry| visited.push((entry.net, entry.state, entry.substate))).unwrap();
        obvious::walk(&plain, |entry| expected.push((entry.net, entry.state, entry.substate))).unwrap();
        visited.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(visited, expected);
        prop_assert_eq!(ahead.locked_in_order(), plain.locked());
    }
}
