// SPDX-License-Identifier: MIT OR Apache-2.0

//! Netlink by difference: lists the states that are few, and takes ESTABLISHED and TIME_WAIT, where
//! they are many, from counters that the kernel keeps anyway.
//!
//! Of the sockets of a namespace, `inuse` are full sockets and `tw` are time-wait sockets; request
//! sockets are in neither. So a dump that leaves out a state still determines its number:
//!
//! - `ESTABLISHED` = `inuse` − the full sockets in all other states; and `CurrEstab`, which is
//!   counted at another place, is `ESTABLISHED`, with or without `CLOSE_WAIT`;
//! - `TIME_WAIT` = `tw` − the time-wait sockets listed in `FIN_WAIT2`.
//!
//! The counters are per namespace in every kernel that is supported. They count sockets of
//! `tcp_prot` and `tcpv6_prot`, and of the copies that MPTCP, TLS and BPF make of these (they share
//! `inuse_idx`): the same sockets that TCP's hash tables hold. Bound and closed sockets are in
//! neither.
//!
//! **What is left out.** A state is left out only if the counters say that it is more than one part
//! in [`MANY`] of all sockets: what is few must not be the difference of what is many. If the dump
//! finds that `CLOSE_WAIT` makes up `CurrEstab`, it starts again and leaves out that one.
//!
//! **What is accepted.** The counters are read before and after the dump.
//!
//! - `ESTABLISHED` is taken from `CurrEstab`, if what `inuse` leaves for it agrees with it up to
//!   the number of sockets that moved meanwhile. Whether `CurrEstab` counts `CLOSE_WAIT` (since a
//!   fix of 2024, which stable kernels have too) is decided by which of the two agrees. If both do,
//!   the nearer one is taken, provided that they differ by at most one part in [`STEADY`]. If it
//!   counts `CLOSE_WAIT`, the listed ones are subtracted: then the sockets of `CurrEstab` that may
//!   have come or gone since they were listed must be at most one part in [`STEADY`], too.
//! - `TIME_WAIT` is accepted if the sockets that may have entered or left `FIN_WAIT2` meanwhile are
//!   at most one part in [`STEADY`] of it.
//!
//! So a derived number is off by at most 1 % of itself and what the counters show to have entered
//! or left that state. A state whose number is not accepted is listed in a second dump, which costs
//! the kernel another walk of its table.
//!
//! **Listeners** that close before the dump and open after it leave no trace in any counter. They
//! are listed by themselves: before everything, and just before and just after the counters are
//! read the last time. Only if the same ones are there each time, none of them moved.

use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::netlink::dump::States;
use super::netlink::{List, Tally};
use super::sockstat::{Counters, ReadCounters};
use crate::error::Error;
use crate::snapshot::{Method, Reason, partner};

/// Up to this number of sockets, a full dump costs less than avoiding it.
pub(crate) const FEW: u64 = 1000;

/// A state is many if it has more than one part in `MANY` of all sockets.
const MANY: u64 = 8;

/// A derived number may be off by one part in `STEADY` of itself.
const STEADY: u64 = 100;

/// Counts by difference if that is cheaper and accurate. See the top of this file.
///
/// Up to `few` sockets, everything is listed.
pub(crate) fn count(
    netlink: &mut impl List,
    counters: Result<impl ReadCounters, Error>,
    few: u64,
) -> Result<(Counts, Method), Error> {
    Ok(match attempt(netlink, counters, few)? {
        Ok(answer) => answer,
        Err(reason) => (
            netlink.list(States::ALL, |_| true)?.counts,
            Method::Fallback(reason),
        ),
    })
}

/// What a dump leaves out, and when it ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    /// Which of the two states that `CurrEstab` counts is left out, if one is.
    established: Option<LeftOut>,
    /// Whether `TIME_WAIT` is left out.
    time_wait: bool,
}

/// One of the two states of `CurrEstab`, which a dump leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LeftOut {
    state: State,
    /// The most sockets of the other one that are listed before the dump is ended, to leave out
    /// that one instead.
    other_most: Option<u64>,
}

impl LeftOut {
    /// The other state.
    fn other(self) -> State {
        partner(self.state)
    }
}

impl Plan {
    /// The plans to follow, in this order, until a dump is not ended early; none if listing
    /// everything is as good.
    ///
    /// The counters do not tell which of `ESTABLISHED` and `CLOSE_WAIT` is many. If both are, it is
    /// still cheaper to list one of them than to list both.
    fn all(counters: &Counters, few: u64) -> Vec<Self> {
        let many = few.max(counters.sockets() / MANY);
        let time_wait = counters.tw > many;
        let plan = |established| Self {
            established,
            time_wait,
        };
        if counters.curr_estab > many {
            let most = Some(few.max(counters.curr_estab / MANY));
            [
                (State::Established, most),
                (State::CloseWait, most),
                (State::Established, None),
            ]
            .map(|(state, other_most)| plan(Some(LeftOut { state, other_most })))
            .to_vec()
        } else if time_wait {
            vec![plan(None)]
        } else {
            Vec::new()
        }
    }

    /// The states to list. The listeners are listed by themselves.
    fn asked(self) -> States {
        let mut states = States::ALL.without(State::Listen);
        if let Some(LeftOut { state, .. }) = self.established {
            states = states.without(state);
        }
        if self.time_wait {
            states = states.without(State::TimeWait);
        }
        states
    }

    /// Whether this is still the right plan after what was listed.
    fn holds(self, tally: &Tally) -> bool {
        self.established.is_none_or(|left_out| {
            let listed = tally.counts.get(left_out.other());
            left_out.other_most.is_none_or(|most| listed <= most)
        })
    }
}

/// Only an error of netlink itself is an error.
fn attempt(
    netlink: &mut impl List,
    counters: Result<impl ReadCounters, Error>,
    few: u64,
) -> Result<Result<(Counts, Method), Reason>, Error> {
    let first = counters.and_then(|mut counters| Ok((counters.read()?, counters)));
    let (first, mut counters) = match first {
        Ok(first) => first,
        Err(error) => return Ok(Err(Reason::NoCounters(error))),
    };
    let plans = Plan::all(&first, few);
    let first_listeners = match plans.is_empty() {
        true => Vec::new(),
        false => netlink.listener_cookies()?,
    };
    let mut before = first;
    for plan in plans {
        let tally = netlink.list(plan.asked(), |tally| plan.holds(tally))?;
        let was_listening = plan
            .holds(&tally)
            .then(|| netlink.listener_cookies())
            .transpose()?;
        let after = match counters.read() {
            Ok(after) => after,
            Err(error) => return Ok(Err(Reason::NoCounters(error))),
        };
        if let Some(was_listening) = was_listening {
            let listeners = netlink.listener_cookies()?;
            let dump = Dump {
                plan,
                before,
                after,
                tally,
                listeners: listeners.len() as u64,
                listeners_moved: symmetric_difference(&first_listeners, &listeners)
                    .max(symmetric_difference(&was_listening, &listeners)),
            };
            return dump.answer(netlink).map(Ok);
        }
        // As many would move while the other state is left out, in proportion to what is listed.
        let moved = after.entered_or_left_since(&before);
        let listed = tally.counts.total().max(1);
        let expected = moved.saturating_mul(after.sockets()) / listed;
        if expected > after.curr_estab / STEADY {
            return Ok(Err(Reason::Moved {
                state: plan.established.map_or(State::TimeWait, LeftOut::other),
                moved: expected,
                sockets: after.curr_estab,
            }));
        }
        before = after;
    }
    Ok(Err(first.why_not(few)))
}

/// How many are in one of two sorted lists only.
fn symmetric_difference(a: &[u64], b: &[u64]) -> u64 {
    let missing = |of: &[u64], from: &[u64]| {
        let missing = of.iter().filter(|one| from.binary_search(one).is_err());
        missing.count() as u64
    };
    missing(a, b) + missing(b, a)
}

impl Counters {
    /// All sockets without the request sockets.
    fn sockets(&self) -> u64 {
        self.inuse.saturating_add(self.tw)
    }

    /// The most sockets of `CurrEstab` that came or went since `before`.
    fn entered_or_left_since(&self, before: &Self) -> u64 {
        let opened = self.opens.wrapping_sub(before.opens);
        opened.saturating_add(self.curr_estab.abs_diff(before.curr_estab))
    }

    /// Why no state is left out.
    fn why_not(&self, few: u64) -> Reason {
        let sockets = self.sockets();
        if sockets <= few {
            Reason::Few { sockets }
        } else {
            let elsewhere = self.inuse.saturating_sub(self.curr_estab);
            Reason::Elsewhere { elsewhere, sockets }
        }
    }
}

/// A dump that was not ended early, and the counters around it.
struct Dump {
    plan: Plan,
    before: Counters,
    after: Counters,
    tally: Tally,
    listeners: u64,
    /// Listeners that were opened or closed while the counters were read.
    listeners_moved: u64,
}

impl Dump {
    /// Derives the states that were left out, and lists those that cannot be.
    fn answer(self, netlink: &mut impl List) -> Result<(Counts, Method), Error> {
        // A socket that has just changed to a state that is left out is listed in it, and derived.
        let mut counts = self.tally.counts;
        counts.set(State::Listen, self.listeners);
        let left_out = self.plan.established.map(|left_out| left_out.state);
        let time_wait = self.plan.time_wait.then_some(State::TimeWait);
        for state in [left_out, time_wait].into_iter().flatten() {
            counts.set(state, 0);
        }
        let listed = counts;

        let (mut derived, mut declined) = (Vec::new(), Vec::new());
        let mut more = States::NONE;
        let of_curr_estab = self
            .plan
            .established
            .map(|of| (of.state, self.curr_estab(of, &listed)));
        let of_tw = time_wait.map(|state| (state, self.time_wait()));
        for (state, number) in [of_curr_estab, of_tw].into_iter().flatten() {
            match number {
                Ok(number) => {
                    derived.push(state);
                    counts.set(state, number);
                }
                Err(reason) => {
                    declined.push(reason);
                    more = more.with(state);
                }
            }
        }
        if more != States::NONE {
            let tally = netlink.list(more, |_| true)?;
            for state in State::ALL.into_iter().filter(|&state| more.contains(state)) {
                counts.set(state, tally.counts.get(state));
            }
        }
        let method = if derived.is_empty() {
            Method::Fallback(declined.remove(0))
        } else {
            let mut listed = counts;
            derived.iter().for_each(|&state| listed.set(state, 0));
            Method::Difference {
                listed: listed.total(),
                derived,
                moved: self.moved(),
                declined,
            }
        };
        Ok((counts, method))
    }

    /// Full sockets that were opened since the counters were read before.
    fn opened(&self) -> u64 {
        self.after.opens.wrapping_sub(self.before.opens)
    }

    /// The most sockets that may have been opened, closed or expired, or changed between states.
    fn moved(&self) -> u64 {
        let (before, after) = (&self.before, &self.after);
        [
            // A socket that was opened and is not there was closed.
            self.opened(),
            self.opened(),
            after.inuse.abs_diff(before.inuse),
            after.tw.abs_diff(before.tw),
            after.curr_estab.abs_diff(before.curr_estab),
            self.listeners_moved,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// The number of the state of `CurrEstab` that was left out, by `CurrEstab`.
    fn curr_estab(&self, left_out: LeftOut, listed: &Counts) -> Result<u64, Reason> {
        let full = i128::from(listed.total())
            - i128::from(self.tally.request_sockets)
            - i128::from(self.tally.fin_wait2_timewait)
            - if self.plan.time_wait {
                0
            } else {
                i128::from(listed.get(State::TimeWait))
            };
        let rest = i128::from(self.after.inuse) - full;
        let other = listed.get(left_out.other());
        let curr_estab = i128::from(self.after.curr_estab);
        let most_moved = i128::from(self.moved());
        let fits = |number: &i128| *number >= 0 && (rest - number).abs() <= most_moved;

        let moved = |moved, sockets: i128| Reason::Moved {
            state: left_out.state,
            moved,
            sockets: u64::try_from(sockets).unwrap_or(0),
        };

        // Whether or not CurrEstab has CLOSE_WAIT in it. If not, it has nothing to say of
        // CLOSE_WAIT.
        let together = Some(curr_estab - i128::from(other)).filter(fits);
        let alone = match left_out.state {
            State::Established => Some(curr_estab).filter(fits),
            _ => Some(rest).filter(|_| (curr_estab - i128::from(other)).abs() <= most_moved),
        };
        let number = match (alone, together) {
            (Some(alone), Some(together)) => {
                let apart = (alone - together).abs();
                if apart > alone.min(together) / i128::from(STEADY) {
                    return Err(moved(self.moved(), rest));
                }
                [alone, together]
                    .into_iter()
                    .min_by_key(|number| (rest - number).abs())
            }
            (Some(alone), None) if left_out.state == State::Established => Some(alone),
            (_, Some(together)) => {
                // Those of the other state were listed before CurrEstab was read.
                let entered_or_left = self.after.entered_or_left_since(&self.before);
                let uncertain = match left_out.state {
                    State::Established => entered_or_left.min(other),
                    _ => entered_or_left,
                };
                if i128::from(uncertain) > together / i128::from(STEADY) {
                    return Err(moved(uncertain, together));
                }
                Some(together)
            }
            (_, None) => None,
        };
        let number = number.and_then(|number| u64::try_from(number).ok());
        number.ok_or(Reason::Contradiction {
            left_out: left_out.state,
            rest,
            other,
            curr_estab: self.after.curr_estab,
        })
    }

    /// The number of `TIME_WAIT`, by `tw`.
    fn time_wait(&self) -> Result<u64, Reason> {
        let Some(number) = self.after.tw.checked_sub(self.tally.fin_wait2_timewait) else {
            return Err(Reason::TimeWait {
                tw: self.after.tw,
                fin_wait2: self.tally.fin_wait2_timewait,
            });
        };
        // Time-wait sockets in FIN_WAIT2 come from full sockets that are closed.
        let moved = self
            .opened()
            .saturating_add(self.after.inuse.abs_diff(self.before.inuse));
        if moved > number / STEADY {
            return Err(Reason::Moved {
                state: State::TimeWait,
                moved,
                sockets: number,
            });
        }
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::mem::take;
    use std::path::Path;

    use super::*;

    /// Sockets that stay as they are, and the dumps that were made of them.
    struct Sockets {
        tally: Tally,
        asked: Vec<States>,
        /// The listeners of each listing, one after the other; the last one for ever.
        listeners: Vec<Vec<u64>>,
    }

    impl List for Sockets {
        fn list(&mut self, states: States, go_on: impl Fn(&Tally) -> bool) -> Result<Tally, Error> {
            self.asked.push(states);
            let mut tally = self.tally;
            for state in State::ALL
                .into_iter()
                .filter(|&state| !states.contains(state))
            {
                tally.counts.set(state, 0);
            }
            // The rest of a dump that ends early does not matter.
            if !go_on(&tally) {
                tally.counts.set(State::SynSent, 0);
            }
            Ok(tally)
        }

        fn listener_cookies(&mut self) -> Result<Vec<u64>, Error> {
            Ok(next(&mut self.listeners))
        }
    }

    /// The first of several, which is gone then; the last one for ever.
    fn next<T: Clone>(of: &mut Vec<T>) -> T {
        if of.len() > 1 {
            of.remove(0)
        } else {
            of[0].clone()
        }
    }

    const LISTED: States = States::ALL.without(State::Listen);
    const WITHOUT_ESTABLISHED: States = LISTED.without(State::Established).without(State::TimeWait);

    fn only(state: State) -> States {
        States::of(&[state])
    }

    fn sockets(counts: &[(State, u64)], request_sockets: u64, fin_wait2_timewait: u64) -> Sockets {
        let tally = Tally {
            counts: counts.iter().copied().collect(),
            request_sockets,
            fin_wait2_timewait,
        };
        Sockets {
            tally,
            asked: Vec::new(),
            listeners: vec![(0..tally.counts.get(State::Listen)).collect()],
        }
    }

    impl Sockets {
        /// The right values of the counters.
        fn counters(&self) -> Counters {
            let get = |state| self.tally.counts.get(state);
            let tw = get(State::TimeWait) + self.tally.fin_wait2_timewait;
            Counters {
                inuse: self.tally.counts.total() - tw - self.tally.request_sockets,
                tw,
                curr_estab: get(State::Established) + get(State::CloseWait),
                opens: 7,
            }
        }
    }

    /// Readings one after another; the last one for ever.
    struct Readings(Vec<Option<Counters>>);

    impl ReadCounters for Readings {
        fn read(&mut self) -> Result<Counters, Error> {
            next(&mut self.0).ok_or_else(no_counters)
        }
    }

    fn no_counters() -> Error {
        Error::open(
            Path::new("/proc/thread-self/net/sockstat"),
            io::Error::from_raw_os_error(2),
        )
    }

    /// Every state, most of them in the usual two.
    fn usual() -> Sockets {
        sockets(
            &[
                (State::Established, 100_000),
                (State::SynSent, 3),
                (State::SynRecv, 50),
                (State::FinWait1, 4),
                (State::FinWait2, 60),
                (State::TimeWait, 20_000),
                (State::Close, 1),
                (State::CloseWait, 70),
                (State::LastAck, 5),
                (State::Listen, 14),
                (State::Closing, 2),
            ],
            40,
            33,
        )
    }

    fn counted(sockets: &mut Sockets, readings: &[Counters]) -> (Counts, Method) {
        let readings = readings.iter().copied().map(Some).collect();
        count(sockets, Ok(Readings(readings)), FEW).unwrap()
    }

    /// Counts `sockets`, which must be right whatever the readings are. Returns the states that
    /// were derived, and why others were not.
    fn derived(sockets: &mut Sockets, readings: &[Counters]) -> (Vec<State>, Vec<Reason>) {
        let (counts, method) = counted(sockets, readings);
        assert_eq!(counts, sockets.tally.counts, "{method}");
        match method {
            Method::Difference {
                derived, declined, ..
            } => (derived, declined),
            Method::Fallback(reason) => (vec![], vec![reason]),
            other => panic!("netlink says how it counted: {other}"),
        }
    }

    /// Counts `sockets`, which must be right, by listing everything in one dump. Returns why.
    fn reason(sockets: &mut Sockets, readings: Vec<Option<Counters>>) -> Reason {
        let (counts, method) = count(sockets, Ok(Readings(readings)), FEW).unwrap();
        assert_eq!(counts, sockets.tally.counts);
        assert_eq!(take(&mut sockets.asked).pop(), Some(States::ALL));
        match method {
            Method::Fallback(reason) => reason,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_two_that_are_many_are_derived() {
        let mut sockets = usual();
        let good = sockets.counters();
        let (counts, method) = counted(&mut sockets, &[good]);
        assert_eq!(counts, sockets.tally.counts);
        assert_eq!(take(&mut sockets.asked), [WITHOUT_ESTABLISHED]);
        assert_eq!(
            method.to_string(),
            "counted by difference: ESTABLISHED and TIME_WAIT are from the kernel's counters, 209 other sockets \
             were listed; at most 0 moved meanwhile"
        );
    }

    #[test]
    fn what_is_few_is_listed_beside_what_is_many() {
        use State::{Established, Listen, TimeWait};
        for (counts, left_out) in [
            (
                [(Established, 100), (TimeWait, 60_000), (Listen, 5)],
                TimeWait,
            ),
            (
                [(Established, 7000), (TimeWait, 60_000), (Listen, 5)],
                TimeWait,
            ),
            (
                [(Established, 60_000), (TimeWait, 100), (Listen, 5)],
                Established,
            ),
            (
                [(Established, 60_000), (TimeWait, 7000), (Listen, 5)],
                Established,
            ),
        ] {
            let mut sockets = sockets(&counts, 0, 0);
            let good = sockets.counters();
            // Bursts of SYN_SENT that come and go.
            let before = Counters {
                inuse: good.inuse + 190,
                opens: good.opens.wrapping_sub(190),
                ..good
            };
            let (states, _) = derived(&mut sockets, &[before, good]);
            assert_eq!(states, [left_out]);
            assert_eq!(take(&mut sockets.asked), [LISTED.without(left_out)]);
        }
    }

    #[test]
    fn established_is_exact_while_others_come_and_go() {
        let mut sockets = sockets(&[(State::Established, 10_000), (State::CloseWait, 5)], 0, 0);
        let good = sockets.counters();
        for curr_estab in [good.curr_estab, 10_000] {
            let before = Counters {
                opens: good.opens.wrapping_sub(500),
                curr_estab,
                ..good
            };
            // 190 SYN_SENT that were opened after the dump.
            let after = Counters {
                inuse: good.inuse + 190,
                curr_estab,
                ..good
            };
            let (counts, method) = counted(&mut sockets, &[before, after]);
            assert!(
                counts.get(State::Established).abs_diff(10_000) <= 5,
                "{method}"
            );
            assert!(matches!(method, Method::Difference { .. }), "{method}");
        }
    }

    #[test]
    fn older_kernels_leave_close_wait_out_of_curr_estab() {
        let mut sockets = usual();
        let older = Counters {
            curr_estab: 100_000,
            ..sockets.counters()
        };
        let (states, _) = derived(&mut sockets, &[older]);
        assert_eq!(states, [State::Established, State::TimeWait]);
    }

    #[test]
    fn a_meaning_of_curr_estab_that_is_uncertain_is_not_used() {
        let mut sockets = sockets(
            &[(State::Established, 10_000), (State::CloseWait, 900)],
            0,
            0,
        );
        let good = sockets.counters();
        for (opened, is_derived) in [(0, true), (100, true), (600, false)] {
            for curr_estab in [good.curr_estab, 10_000] {
                let after = Counters { curr_estab, ..good };
                let before = Counters {
                    opens: good.opens.wrapping_sub(opened),
                    ..after
                };
                let (states, declined) = derived(&mut sockets, &[before, after]);
                assert_eq!(states == [State::Established], is_derived, "{declined:?}");
            }
        }
    }

    /// The number of this state by difference; `None` if it was listed.
    fn derived_number(sockets: &mut Sockets, readings: &[Counters], state: State) -> Option<u64> {
        match counted(sockets, readings) {
            (counts, Method::Difference { derived, .. }) if derived.contains(&state) => {
                Some(counts.get(state))
            }
            _ => None,
        }
    }

    #[test]
    fn what_moves_in_the_other_state_of_curr_estab_is_not_taken_for_this_one() {
        use State::{CloseWait, Established};
        for (state, left_out, listed, closed) in [
            (CloseWait, 2000, (Established, 900), 400),
            (Established, 2000, (CloseWait, 1000), 400),
            (Established, 2000, (CloseWait, 1000), 25),
        ] {
            let mut sockets = sockets(&[(state, left_out), listed], 0, 0);
            let before = sockets.counters();
            // Closed after they were listed.
            let after = Counters {
                inuse: before.inuse - closed,
                curr_estab: before.curr_estab - closed,
                ..before
            };
            // CLOSE_WAIT is left out after a first dump has found that it is many.
            let readings = match state {
                CloseWait => &[before, before, after][..],
                _ => &[before, after],
            };
            let number = derived_number(&mut sockets, readings, state);
            assert_eq!(number, None, "{state} with {closed} closed");
        }
    }

    #[test]
    fn the_part_that_may_be_wrong_is_of_the_number_and_not_of_what_inuse_leaves() {
        // Sockets in SYN_SENT that were opened after the dump had passed their places.
        for (close_wait, bursts) in [(190, 18_000), (38, 2000)] {
            let counts = [(State::Established, 2000), (State::CloseWait, close_wait)];
            let mut sockets = sockets(&counts, 0, 0);
            let before = sockets.counters();
            let after = Counters {
                inuse: before.inuse + bursts,
                opens: before.opens + bursts,
                ..before
            };
            let number = derived_number(&mut sockets, &[before, after], State::Established);
            assert!(
                number.is_none_or(|number| number.abs_diff(2000) <= 20),
                "{number:?}"
            );
        }
    }

    #[test]
    fn what_enters_fin_wait2_is_not_taken_for_time_wait() {
        let counts = [(State::Established, 5000), (State::TimeWait, 2000)];
        let mut sockets = sockets(&counts, 0, 0);
        let before = sockets.counters();
        // Closed here and not there, after the dump had passed their places.
        let after = Counters {
            inuse: before.inuse - 1500,
            tw: before.tw + 1500,
            curr_estab: before.curr_estab - 1500,
            ..before
        };
        let number = derived_number(&mut sockets, &[before, after], State::TimeWait);
        assert_eq!(number, None);
    }

    #[test]
    fn listeners_that_come_back_leave_no_trace_in_the_counters() {
        // 200 listeners are closed while the dump is made, and 200 are open when the counters are
        // read.
        let mut sockets = sockets(
            &[
                (State::Established, 2000),
                (State::CloseWait, 200),
                (State::Listen, 200),
            ],
            0,
            0,
        );
        let good = sockets.counters();
        sockets.tally.counts.set(State::Listen, 0);
        let (counts, _) = counted(&mut sockets, &[good]);
        assert_eq!(counts.get(State::Established), 2000);
        assert_eq!(counts.get(State::Listen), 200);
        // They are closed before the dump, just before the counters are read, or just after.
        let open: Vec<u64> = (0..200).collect();
        for listeners in [
            [vec![], vec![], open.clone()],
            [open.clone(), vec![], open.clone()],
            [open.clone(), open, vec![]],
        ] {
            sockets.listeners = listeners.to_vec();
            let (counts, method) = counted(&mut sockets, &[good]);
            assert_eq!(counts.get(State::Established), 2000, "{method}");
            assert!(matches!(method, Method::Fallback(_)), "{method}");
        }
    }

    #[test]
    fn few_sockets_are_listed() {
        let mut few = sockets(&[(State::Established, 900), (State::TimeWait, 100)], 0, 0);
        let counters = few.counters();
        let reason = reason(&mut few, vec![Some(counters)]);
        assert!(matches!(reason, Reason::Few { sockets: 1000 }), "{reason}");
        assert_eq!(reason.to_string(), "too few sockets: 1000 by the counters");
    }

    #[test]
    fn without_counters_everything_is_listed() {
        let mut sockets = usual();
        let good = sockets.counters();
        let (counts, method) = count(&mut sockets, Err::<Readings, _>(no_counters()), FEW).unwrap();
        assert_eq!(counts, sockets.tally.counts);
        assert_eq!(
            method.to_string(),
            "listed every socket: no counters: /proc/thread-self/net/sockstat: cannot open: \
             ENOENT: No such file or directory"
        );
        take(&mut sockets.asked);
        for readings in [vec![None], vec![Some(good), None]] {
            let reason = reason(&mut sockets, readings);
            assert!(matches!(reason, Reason::NoCounters(_)), "{reason}");
        }
    }

    #[test]
    fn if_most_are_in_other_states_everything_is_listed() {
        for state in [
            State::SynSent,
            State::FinWait1,
            State::LastAck,
            State::Listen,
            State::Closing,
        ] {
            let mut many = sockets(&[(State::Established, 1000), (state, 2000)], 0, 0);
            let counters = many.counters();
            let reason = reason(&mut many, vec![Some(counters)]);
            assert_eq!(
                reason.to_string(),
                "2000 of 3000 are in states that the counters do not distinguish"
            );
        }
        // Time-wait sockets have a counter of their own.
        let mut time_wait = sockets(&[(State::Listen, 100), (State::TimeWait, 5000)], 0, 0);
        let good = time_wait.counters();
        assert_eq!(derived(&mut time_wait, &[good]).0, [State::TimeWait]);
    }

    #[test]
    fn close_wait_is_left_out_if_it_is_the_one_that_is_many() {
        let counts = [
            (State::Established, 10),
            (State::CloseWait, 1_000_000),
            (State::Listen, 3),
        ];
        let mut sockets = sockets(&counts, 0, 0);
        let good = sockets.counters();
        assert_eq!(derived(&mut sockets, &[good]).0, [State::CloseWait]);
        assert_eq!(
            take(&mut sockets.asked),
            [
                LISTED.without(State::Established),
                LISTED.without(State::CloseWait)
            ]
        );
        // A CurrEstab without CLOSE_WAIT says nothing of it; most are elsewhere by the counters
        // then.
        let older = Counters {
            curr_estab: 10,
            ..good
        };
        let reason = reason(&mut sockets, vec![Some(older)]);
        assert!(matches!(reason, Reason::Elsewhere { .. }), "{reason}");
    }

    #[test]
    fn if_both_are_many_the_established_are_left_out() {
        let counts = [(State::Established, 600_000), (State::CloseWait, 400_000)];
        let mut sockets = sockets(&counts, 0, 0);
        let good = sockets.counters();
        for curr_estab in [good.curr_estab, 600_000] {
            let (states, _) = derived(&mut sockets, &[Counters { curr_estab, ..good }]);
            assert_eq!(states, [State::Established]);
            assert_eq!(
                take(&mut sockets.asked),
                [
                    LISTED.without(State::Established),
                    LISTED.without(State::CloseWait),
                    LISTED.without(State::Established)
                ]
            );
        }
    }

    #[test]
    fn counters_that_lie_are_not_believed() {
        let good = usual().counters();
        let with = |curr_estab, inuse| Counters {
            curr_estab,
            inuse,
            ..good
        };
        for lie in [
            with(good.curr_estab + 1, good.inuse),
            with(good.curr_estab - 1, good.inuse),
            with(good.curr_estab - 69, good.inuse),
            with(60_000, good.inuse),
            with(u64::MAX, good.inuse),
            with(good.curr_estab, good.inuse + 1),
            with(good.curr_estab, good.inuse - 1),
            with(good.curr_estab, good.inuse + 100_000),
            // The kernel prints 0 for a sum that is negative.
            with(good.curr_estab, 0),
            with(good.curr_estab, 100),
        ] {
            let mut sockets = usual();
            let (states, declined) = derived(&mut sockets, &[lie]);
            assert!(!states.contains(&State::Established), "{lie:?}");
            assert!(
                matches!(declined[..], [Reason::Contradiction { .. }, ..]),
                "{lie:?}: {declined:?}"
            );
            assert!(sockets.asked[1].contains(State::Established));
        }
        let (_, declined) = derived(&mut usual(), &[with(good.curr_estab, 100)]);
        assert_eq!(
            declined[0].to_string(),
            "the counters contradict each other: sockstat leaves -36 for ESTABLISHED, 70 CLOSE_WAIT are listed, \
             CurrEstab says 100070"
        );
        // CurrEstab does not count these.
        let many = [(State::Established, 0), (State::CloseWait, 2000)];
        let lie = Counters {
            inuse: 1990,
            tw: 3000,
            curr_estab: 1995,
            opens: 0,
        };
        let (_, declined) = counted_declined(&mut sockets(&many, 0, 0), lie);
        assert!(
            matches!(
                declined[..],
                [Reason::Contradiction {
                    left_out: State::CloseWait,
                    ..
                }]
            ),
            "{declined:?}"
        );
    }

    /// The counts, and why states were not derived; `TIME_WAIT` may be wrong.
    fn counted_declined(sockets: &mut Sockets, reading: Counters) -> (Counts, Vec<Reason>) {
        match counted(sockets, &[reading]) {
            (counts, Method::Difference { declined, .. }) => (counts, declined),
            (_, other) => panic!("{other}"),
        }
    }

    #[test]
    fn fewer_time_wait_sockets_than_are_listed_are_not_believed() {
        let mut sockets = sockets(&[(State::FinWait2, 3000), (State::TimeWait, 5)], 0, 3000);
        let lie = Counters {
            tw: 2999,
            ..sockets.counters()
        };
        let (states, declined) = derived(&mut sockets, &[lie]);
        assert!(states.is_empty());
        assert_eq!(
            declined[0].to_string(),
            "the counters contradict the dump: sockstat says 2999 time-wait sockets, 3000 are listed in FIN_WAIT2"
        );
        assert_eq!(
            take(&mut sockets.asked),
            [LISTED.without(State::TimeWait), only(State::TimeWait)]
        );
    }

    #[test]
    fn what_moved_a_little_is_answered() {
        let mut sockets = usual();
        let good = sockets.counters();
        let before = Counters {
            inuse: good.inuse - 50,
            tw: good.tw + 50,
            curr_estab: good.curr_estab - 40,
            opens: good.opens.wrapping_sub(150),
        };
        let (counts, method) = counted(&mut sockets, &[before, good]);
        assert!(
            matches!(
                method,
                Method::Difference {
                    moved: 440,
                    listed: 209,
                    ..
                }
            ),
            "{method}"
        );
        assert!(counts.get(State::Established).abs_diff(100_000) <= 70);
        assert_eq!(counts.get(State::TimeWait), 20_000);
        assert_eq!(take(&mut sockets.asked).len(), 1);
    }

    #[test]
    fn a_state_that_many_may_have_entered_is_listed() {
        let mut sockets = usual();
        let good = sockets.counters();
        let busy = Counters {
            // As many closed as opened, in which the other counters show nothing.
            opens: good.opens.wrapping_sub(700),
            ..good
        };
        let (states, declined) = derived(&mut sockets, &[busy, good]);
        assert_eq!(states, [State::Established]);
        assert!(
            matches!(
                declined[..],
                [Reason::Moved {
                    state: State::TimeWait,
                    moved: 700,
                    sockets: 20_000
                }]
            ),
            "{declined:?}"
        );
        assert_eq!(
            take(&mut sockets.asked),
            [WITHOUT_ESTABLISHED, only(State::TimeWait)]
        );
    }

    #[test]
    fn what_changed_to_a_state_that_was_not_asked_for_is_not_counted_twice() {
        struct Changed(Sockets);
        impl List for Changed {
            fn list(
                &mut self,
                states: States,
                go_on: impl Fn(&Tally) -> bool,
            ) -> Result<Tally, Error> {
                let mut tally = self.0.list(states, go_on)?;
                tally.counts.add_one(State::Established);
                tally.counts.add_one(State::TimeWait);
                Ok(tally)
            }

            fn listener_cookies(&mut self) -> Result<Vec<u64>, Error> {
                self.0.listener_cookies()
            }
        }
        let expected = usual();
        let counters = Ok(Readings(vec![Some(expected.counters())]));
        let (counts, method) = count(&mut Changed(usual()), counters, FEW).unwrap();
        assert!(
            matches!(method, Method::Difference { listed: 209, .. }),
            "{method}"
        );
        assert_eq!(counts, expected.tally.counts);
    }

    #[test]
    fn an_error_of_netlink_is_an_error() {
        struct Refused;
        impl List for Refused {
            fn list(&mut self, _: States, _: impl Fn(&Tally) -> bool) -> Result<Tally, Error> {
                Err(Error::Receive {
                    error: io::Error::from_raw_os_error(11),
                })
            }

            fn listener_cookies(&mut self) -> Result<Vec<u64>, Error> {
                Err(Error::Receive {
                    error: io::Error::from_raw_os_error(11),
                })
            }
        }
        for counters in [usual().counters(), Counters::default()] {
            let counters = Ok(Readings(vec![Some(counters)]));
            let error = count(&mut Refused, counters, FEW).unwrap_err();
            assert!(matches!(error, Error::Receive { .. }), "{error}");
        }
    }

    #[test]
    fn plans_leave_out_what_is_many_by_the_counters() {
        let plans = |inuse, tw, curr_estab| {
            let counters = Counters {
                inuse,
                tw,
                curr_estab,
                opens: 0,
            };
            let plans = Plan::all(&counters, FEW).into_iter();
            plans.map(Plan::asked).collect::<Vec<_>>()
        };
        let three = |left_out: States| {
            let without = |state| States::without(left_out, state);
            vec![
                without(State::Established),
                without(State::CloseWait),
                without(State::Established),
            ]
        };
        assert_eq!(plans(8000, 0, 8000), three(LISTED));
        assert_eq!(
            plans(8000, 2000, 8000),
            three(LISTED.without(State::TimeWait))
        );
        assert_eq!(plans(8000, 1000, 8000), three(LISTED));
        assert_eq!(plans(9000, 0, 1001), [] as [States; 0]);
        assert_eq!(plans(100, 60_000, 100), [LISTED.without(State::TimeWait)]);
        assert_eq!(plans(100, 900, 100), [] as [States; 0]);
    }
}
