// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sockets counted by a key of which there may be more than memory should hold: the keys with the
//! most sockets stay.
//!
//! It is the algorithm Space-Saving with counters that are removed many at a time (Anderson et al.,
//! "A High-Performance Algorithm for Identifying Frequent Items in Data Streams", 2017). With fewer
//! keys than [`KEPT`] it counts exactly. Of more keys, each remaining one has the counts since it
//! entered, and the greatest number of sockets that it may have had before.

use std::cmp::Reverse;
use std::hash::{BuildHasher, RandomState};

use crate::groups::Weight;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// How many keys are counted exactly, and how many stay if there are more.
pub(crate) const KEPT: usize = 65_536;

/// No entry, in `slots`.
const FREE: u32 = u32::MAX;

/// A key and its sockets: one line of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: u128,
    /// By the state's code, less one. More sockets than fit are not counted here: they are part of
    /// the rest then.
    counts: [u32; State::COUNT],
    /// How many sockets, weighed by the table's weight, it may have had before it entered.
    pub(crate) error: u32,
}

impl Entry {
    fn new(key: u128, error: u32) -> Self {
        Self {
            key,
            counts: [0; State::COUNT],
            error,
        }
    }

    /// The sockets since it entered.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::ZERO;
        for (state, &count) in State::ALL.into_iter().zip(&self.counts) {
            counts.set(state, count.into());
        }
        counts
    }

    fn add(&mut self, state: State, more: u32) {
        let count = &mut self.counts[usize::from(state.code()) - 1];
        *count = count.saturating_add(more);
    }

    fn sum(&self) -> u64 {
        self.counts.iter().map(|&count| u64::from(count)).sum()
    }

    /// The greatest weight that it may have.
    fn weight(&self, weight: Weight) -> u64 {
        let counted = match weight {
            Weight::Total => self.sum(),
            Weight::State(state) => self.counts[usize::from(state.code()) - 1].into(),
        };
        counted + u64::from(self.error)
    }

    /// The order of keys: the heaviest first.
    fn order(&self, weight: Weight) -> impl Ord + use<> {
        (
            Reverse((self.weight(weight), self.sum() + u64::from(self.error))),
            self.key,
        )
    }
}

/// The counts so far.
#[derive(Debug)]
pub(crate) struct Heavy {
    weight: Weight,
    /// [`KEPT`], and fewer in tests.
    kept: usize,
    entries: Vec<Entry>,
    /// For each hash the index of its entry, or of one before it; at most half of them are used.
    slots: Vec<u32>,
    /// Of peers that choose their addresses.
    hasher: RandomState,
    /// The greatest weight that a key without an entry may have.
    floor: u32,
    /// Whether keys were removed.
    lossy: bool,
    all: Counts,
}

impl Heavy {
    /// No sockets yet.
    pub(crate) fn new(weight: Weight) -> Self {
        Self::keeping(KEPT, weight)
    }

    pub(crate) fn keeping(kept: usize, weight: Weight) -> Self {
        Self {
            weight,
            kept,
            entries: Vec::new(),
            slots: vec![FREE; 16],
            hasher: RandomState::new(),
            floor: 0,
            lossy: false,
            all: Counts::ZERO,
        }
    }

    /// Counts a socket.
    #[inline]
    pub(crate) fn add(&mut self, key: u128, state: State) {
        self.all.add_one(state);
        match self.find(key) {
            Ok(at) => self.entries[at].add(state, 1),
            // It weighs nothing, and its key may have been removed.
            Err(_) if self.lossy && !self.weight.weighs(state) => {}
            Err(slot) => {
                let mut entry = Entry::new(key, self.floor);
                entry.add(state, 1);
                self.insert(entry, slot);
            }
        }
    }

    /// Counts these sockets of a key.
    pub(crate) fn add_all(&mut self, key: u128, counts: &Counts) {
        let mut entry = Entry::new(key, 0);
        for (state, count) in counts.iter() {
            let all = self.all.get(state).saturating_add(count);
            self.all.set(state, all);
            entry.add(state, u32::try_from(count).unwrap_or(u32::MAX));
        }
        if counts.total() > 0 {
            self.join(entry, 0);
        }
    }

    /// Adds the counts of another table with the same weight.
    pub(crate) fn merge(&mut self, other: Self) {
        if self.entries.is_empty() && !self.lossy {
            *self = other;
            return;
        }
        // Every key may have been removed from the other table, until its entry there is found.
        for entry in &mut self.entries {
            entry.error = entry.error.saturating_add(other.floor);
        }
        self.floor = self.floor.saturating_add(other.floor);
        self.lossy |= other.lossy;
        for entry in other.entries {
            self.join(entry, other.floor);
        }
        self.all = [self.all, other.all].into_iter().sum();
    }

    /// Adds the counts of an entry; not to those of all sockets. `floor` is that of its table, and
    /// included in the errors here.
    fn join(&mut self, from: Entry, floor: u32) {
        match self.find(from.key) {
            Ok(at) => {
                let to = &mut self.entries[at];
                for (to, from) in to.counts.iter_mut().zip(from.counts) {
                    *to = to.saturating_add(from);
                }
                to.error = (to.error - floor).saturating_add(from.error);
            }
            Err(slot) => {
                let error = (self.floor - floor).saturating_add(from.error);
                self.insert(Entry { error, ..from }, slot);
            }
        }
    }

    /// The entries that stay, the heaviest first, and all that is not in them.
    pub(crate) fn finish(mut self) -> Ranking {
        if self.entries.len() > self.kept {
            self.prune();
        }
        let weight = self.weight;
        self.slots = Vec::new();
        self.entries
            .sort_unstable_by_key(|entry| entry.order(weight));
        Ranking {
            entries: self.entries,
            all: self.all,
            exact: !self.lossy,
        }
    }

    /// The index of the key's entry, or the slot for it.
    #[inline]
    fn find(&self, key: u128) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(key) as usize & mask;
        loop {
            match self.slots[slot] {
                FREE => return Err(slot),
                at if self.entries[at as usize].key == key => return Ok(at as usize),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn insert(&mut self, entry: Entry, slot: usize) {
        // More than stay, so that not every new key makes others be removed.
        let most = self.kept + self.kept / 4 + 1;
        if self.entries.len() == self.kept {
            self.entries.reserve_exact(most - self.kept);
        }
        self.slots[slot] = self.entries.len() as u32;
        self.entries.push(entry);
        if self.entries.len() == most {
            self.prune();
        } else if 2 * self.entries.len() > self.slots.len() {
            self.rehash(2 * self.slots.len());
        }
    }

    /// Removes the lightest keys.
    fn prune(&mut self) {
        let (kept, weight) = (self.kept, self.weight);
        self.entries
            .select_nth_unstable_by(kept, |a, b| a.order(weight).cmp(&b.order(weight)));
        let removed = self.entries[kept..].iter();
        let heaviest = removed.map(|entry| entry.weight(weight)).max().unwrap_or(0);
        let heaviest = u32::try_from(heaviest).unwrap_or(u32::MAX);
        self.floor = self.floor.max(heaviest);
        self.lossy = true;
        self.entries.truncate(kept);
        self.rehash(self.slots.len());
    }

    fn rehash(&mut self, length: usize) {
        self.slots.clear();
        self.slots.resize(length, FREE);
        for index in 0..self.entries.len() {
            if let Err(slot) = self.find(self.entries[index].key) {
                self.slots[slot] = index as u32;
            }
        }
    }
}

/// The keys with the most sockets.
#[derive(Debug)]
pub(crate) struct Ranking {
    /// The heaviest first.
    pub(crate) entries: Vec<Entry>,
    /// All sockets, those of other keys too.
    pub(crate) all: Counts,
    /// Whether each key has its entry, with all of its sockets.
    pub(crate) exact: bool,
}

impl Ranking {
    /// The same sockets by other keys. Entries that get the same key are added up.
    pub(crate) fn renamed(self, weight: Weight, name: impl Fn(u128) -> u128) -> Self {
        let mut table = Heavy::new(weight);
        for entry in self.entries {
            let key = name(entry.key);
            table.join(Entry { key, ..entry }, 0);
        }
        table.all = self.all;
        table.lossy = !self.exact;
        table.finish()
    }

    /// The sockets that are not counted in the first `most` entries.
    pub(crate) fn rest(&self, most: usize) -> Counts {
        let mut rest = self.all;
        for entry in self.entries.iter().take(most) {
            for (state, count) in entry.counts().iter() {
                // Every socket of an entry is one of all.
                rest.set(state, rest.get(state).saturating_sub(count));
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    type Truth = HashMap<u128, Counts>;

    fn weigh(counts: &Counts, weight: Weight) -> u64 {
        match weight {
            Weight::Total => counts.total(),
            Weight::State(state) => counts.get(state),
        }
    }

    /// Asserts what is promised of a table that has counted these sockets.
    fn check(ranking: &Ranking, truth: &Truth, kept: usize, weight: Weight) {
        let all: Counts = truth.values().copied().sum();
        assert_eq!(ranking.all, all);
        assert!(ranking.entries.len() <= kept);
        assert_eq!(ranking.exact, truth.len() <= kept);
        let mut listed = Counts::ZERO;
        for entry in &ranking.entries {
            let (counts, truth) = (entry.counts(), &truth[&entry.key]);
            for (state, count) in counts.iter() {
                assert!(count <= truth.get(state));
            }
            let weighed = weigh(&counts, weight);
            let error = u64::from(entry.error);
            assert!(
                weighed + error >= weigh(truth, weight),
                "{entry:?} {truth:?}"
            );
            // Each removal of keys takes as much from every key that stays.
            assert!(error <= all.total() / kept as u64, "{entry:?}");
            if ranking.exact {
                assert_eq!((counts, error), (*truth, 0));
            }
            listed = [listed, counts].into_iter().sum();
        }
        let weights = ranking.entries.iter().map(|entry| entry.weight(weight));
        assert!(weights.is_sorted_by(|a, b| a >= b));
        for most in [0, 1, usize::MAX] {
            let rest = ranking.rest(most);
            let entries = ranking.entries.iter().take(most);
            let listed: Counts = entries.map(Entry::counts).sum();
            for (state, count) in all.iter() {
                assert_eq!(rest.get(state) + listed.get(state), count);
            }
        }
    }

    fn count(sockets: &[(u128, State)]) -> Truth {
        let mut truth = Truth::new();
        for (key, state) in sockets {
            truth.entry(*key).or_insert(Counts::ZERO).add_one(*state);
        }
        truth
    }

    fn sockets(most: usize) -> impl Strategy<Value = Vec<(u128, State)>> {
        // Some keys are frequent.
        let key = prop_oneof![0u128..4, 0u128..20, 0u128..1000];
        prop::collection::vec((key, prop::sample::select(&State::ALL[..])), 0..most)
    }

    fn weights() -> impl Strategy<Value = Weight> {
        prop_oneof![
            Just(Weight::Total),
            prop::sample::select(&State::ALL[..]).prop_map(Weight::State)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn the_heaviest_stay_with_bounds(sockets in sockets(600), kept in 1usize..40, weight in weights()) {
            let mut table = Heavy::keeping(kept, weight);
            for (key, state) in &sockets {
                table.add(*key, *state);
            }
            check(&table.finish(), &count(&sockets), kept, weight);
        }

        #[test]
        fn tables_add_up(parts in prop::collection::vec(sockets(200), 1..5), kept in 1usize..40, weight in weights()) {
            let mut whole = Heavy::keeping(kept, weight);
            for part in &parts {
                let mut table = Heavy::keeping(kept, weight);
                for (key, state) in part {
                    table.add(*key, *state);
                }
                whole.merge(table);
            }
            let sockets = parts.concat();
            check(&whole.finish(), &count(&sockets), kept, weight);
        }

        #[test]
        fn counts_are_added_like_sockets(sockets in sockets(200), kept in 1usize..40) {
            let truth = count(&sockets);
            let mut table = Heavy::keeping(kept, Weight::Total);
            for (key, counts) in &truth {
                table.add_all(*key, counts);
            }
            check(&table.finish(), &truth, kept, Weight::Total);
        }
    }

    #[test]
    fn entries_are_lines_of_the_cache() {
        assert_eq!(size_of::<Entry>(), 64);
    }

    #[test]
    fn a_million_peers_and_the_heavy_ones_among_them() {
        // 1,000 peers with 100 to 1,099 connections between 1,000,000 with one or two.
        let key = |peer: u64| u128::from(peer.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut table = Heavy::new(Weight::Total);
        let mut truth = Truth::new();
        let mut add = |peer: u64, state: State| {
            table.add(key(peer), state);
            truth
                .entry(key(peer))
                .or_insert(Counts::ZERO)
                .add_one(state);
        };
        for round in 0..1_099u64 {
            for heavy in 0..1_000 {
                if round < 100 + heavy {
                    add(heavy, State::Established);
                }
            }
            for light in 0..1_000 {
                add(1_000 + round * 915 + light, State::TimeWait);
            }
        }
        assert!(truth.len() > 1_000_000, "{}", truth.len());
        let ranking = table.finish();
        check(&ranking, &truth, KEPT, Weight::Total);
        assert_eq!(ranking.entries.len(), KEPT);
        // Far fewer sockets than the heavy ones have could be missed: they come first, in order.
        let first = ranking.entries.iter().take(900).map(|entry| entry.key);
        assert!(first.eq((100..1_000).rev().map(key)));
        let allocated = ranking.entries.capacity() * size_of::<Entry>();
        assert!(allocated < 6 << 20, "{allocated}");
    }
}
