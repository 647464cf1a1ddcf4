// SPDX-License-Identifier: MIT OR Apache-2.0

//! Netlink by difference: lists the sockets in rare states only, and takes the two common states
//! from counters that the kernel keeps anyway.
//!
//! `inuse` counts the full sockets of a namespace, and `tw` its time-wait sockets; request sockets
//! are in neither. So the sockets that a dump lists give the number of those that it leaves out:
//!
//! - `ESTABLISHED` = `inuse` − the full sockets listed in all other states;
//! - `TIME_WAIT` = `tw` − the time-wait sockets listed in `FIN_WAIT2`;
//! - and `CurrEstab`, which the kernel counts elsewhere, must be `ESTABLISHED`, with or without
//!   `CLOSE_WAIT`.
//!
//! The counters are per namespace in every supported kernel. They count only sockets of `tcp_prot`
//! and `tcpv6_prot`, and of the copies of these that MPTCP, TLS and BPF make (they share
//! `inuse_idx`): all that TCP's hash tables hold. Sockets that are bound or closed are in neither.
//! There is no second counter to check `tw` against.
//!
//! **The rule.** The counters are read before and after the dump. The result is accepted if at most
//! 1 % of all sockets changed between the two readings (opened, closed or expired; `ActiveOpens`
//! and `PassiveOpens` also count those that came and went), and if `CurrEstab` disagrees by at most
//! the number that changed. Otherwise it is tried again, three times in all. Then every socket is
//! listed: slower, but correct. That is also done if the counters cannot be read, or show that
//! there are few sockets, or that most are in the states to be listed. If the dump finds that
//! `CLOSE_WAIT` is the common state, that is left out instead of `ESTABLISHED`.

use super::netlink::dump::States;
use super::netlink::{List, Tally};
use super::sockstat::{Counters, ReadCounters};
use crate::error::Error;
use crate::snapshot::{Method, Reason, partner};
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// Up to this many sockets, a full dump costs less than counting by difference.
pub(crate) const FEW: u64 = 1000;

/// How often counting by difference is tried.
const ATTEMPTS: usize = 3;

/// Accept a result only if at most 1/STEADY of all sockets changed during the dump.
const STEADY: u64 = 100;

/// Stop a dump that has listed more than 1/MANY of `CurrEstab`, and try with the other state left
/// out.
const MANY: u64 = 8;

/// Counts by difference if that is cheaper and safe, and lists every socket if not. See the top of
/// this file.
///
/// With at most `few` sockets, it is not cheaper.
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

/// Fails only if netlink does. Anything wrong with the counters is a reason to list every socket.
fn attempt(
    netlink: &mut impl List,
    counters: Result<impl ReadCounters, Error>,
    few: u64,
) -> Result<Result<(Counts, Method), Reason>, Error> {
    let first = counters.and_then(|mut counters| Ok((counters.read()?, counters)));
    let (mut before, mut counters) = match first {
        Ok(first) => first,
        Err(error) => return Ok(Err(Reason::NoCounters(error))),
    };
    if let Some(reason) = before.not_worth_it(few) {
        return Ok(Err(reason));
    }

    // The counters do not say which of the two states is common. A dump that turns out to list it
    // is stopped, and begun again with that one left out. If both are common, ESTABLISHED is left
    // out: one of them is less than both.
    let too_many = few.max(before.curr_estab / MANY);
    let mut left_out = State::Established;
    let mut most = too_many;
    let mut attempts = 0;
    loop {
        let go_on = |tally: &Tally| tally.counts.get(partner(left_out)) <= most;
        let asked = States::ALL.without(left_out).without(State::TimeWait);
        let tally = netlink.list(asked, go_on)?;
        let after = match counters.read() {
            Ok(after) => after,
            Err(error) => return Ok(Err(Reason::NoCounters(error))),
        };
        if !go_on(&tally) {
            (left_out, most) = match left_out {
                State::Established => (State::CloseWait, too_many),
                _ => (State::Established, u64::MAX),
            };
        } else {
            match judge(left_out, &before, &tally, &after) {
                Ok(answer) => return Ok(Ok(answer)),
                Err(reason) => {
                    attempts += 1;
                    if attempts == ATTEMPTS {
                        return Ok(Err(reason));
                    }
                }
            }
        }
        before = after;
    }
}

impl Counters {
    /// All but the request sockets.
    fn sockets(&self) -> u64 {
        self.inuse.saturating_add(self.tw)
    }

    fn not_worth_it(&self, few: u64) -> Option<Reason> {
        let sockets = self.sockets();
        let elsewhere = self.inuse.saturating_sub(self.curr_estab);
        if sockets <= few {
            Some(Reason::Few { sockets })
        } else if elsewhere > sockets / 2 {
            Some(Reason::Elsewhere { elsewhere, sockets })
        } else {
            None
        }
    }

    /// How many sockets may have been opened, closed or expired, or changed between states, since
    /// `before`.
    fn moved(&self, before: &Self) -> u64 {
        let opened = self.opens.wrapping_sub(before.opens);
        // Each socket that was opened may have been closed again.
        [
            opened,
            self.inuse.abs_diff(before.inuse),
            self.tw.abs_diff(before.tw),
            self.curr_estab.abs_diff(before.curr_estab),
        ]
        .into_iter()
        .fold(opened, u64::saturating_add)
    }
}

/// The answer, if the counters before and after the dump confirm it.
fn judge(
    left_out: State,
    before: &Counters,
    tally: &Tally,
    after: &Counters,
) -> Result<(Counts, Method), Reason> {
    // A socket that changed to a left-out state during the dump is listed in it, but counted by
    // difference.
    let mut counts = tally.counts;
    counts.set(left_out, 0);
    counts.set(State::TimeWait, 0);
    let listed = counts.total();
    let full = i128::from(listed)
        - i128::from(tally.request_sockets)
        - i128::from(tally.fin_wait2_timewait);
    let rest = i128::from(after.inuse) - full;
    let time_wait = i128::from(after.tw) - i128::from(tally.fin_wait2_timewait);
    let other = counts.get(partner(left_out));

    let (moved, sockets) = (after.moved(before), after.sockets());
    if moved > sockets / STEADY {
        return Err(Reason::Moved { moved, sockets });
    }
    let contradiction = Reason::Contradiction {
        left_out,
        rest,
        time_wait,
        other,
        curr_estab: after.curr_estab,
    };
    let agrees =
        |counted: i128| counted.abs_diff(i128::from(after.curr_estab)) <= u128::from(moved);
    // On older kernels, CurrEstab is ESTABLISHED alone, and does not confirm CLOSE_WAIT.
    let confirmed =
        agrees(rest + i128::from(other)) || (left_out == State::Established && agrees(rest));
    match (u64::try_from(rest), u64::try_from(time_wait)) {
        (Ok(rest), Ok(time_wait)) if confirmed => {
            counts.set(left_out, rest);
            counts.set(State::TimeWait, time_wait);
            Ok((
                counts,
                Method::Difference {
                    left_out,
                    listed,
                    moved,
                },
            ))
        }
        _ => Err(contradiction),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::mem::take;
    use std::path::Path;

    use super::*;

    /// Sockets that stay as they are, and how often they were listed.
    struct Sockets {
        tally: Tally,
        asked: Vec<States>,
    }

    impl List for Sockets {
        fn list(&mut self, states: States, go_on: impl Fn(&Tally) -> bool) -> Result<Tally, Error> {
            self.asked.push(states);
            let mut tally = self.tally;
            for state in State::ALL {
                if states.without(state) == states {
                    tally.counts.set(state, 0);
                }
            }
            // A dump that is stopped has an incomplete tally.
            if !go_on(&tally) {
                tally.counts.set(State::Listen, 0);
            }
            Ok(tally)
        }
    }

    const WITHOUT_ESTABLISHED: States = States::ALL
        .without(State::Established)
        .without(State::TimeWait);
    const WITHOUT_CLOSE_WAIT: States = States::ALL
        .without(State::CloseWait)
        .without(State::TimeWait);

    fn sockets(counts: &[(State, u64)], request_sockets: u64, fin_wait2_timewait: u64) -> Sockets {
        let mut tally = Tally {
            request_sockets,
            fin_wait2_timewait,
            ..Tally::default()
        };
        for &(state, count) in counts {
            tally.counts.set(state, count);
        }
        Sockets {
            tally,
            asked: Vec::new(),
        }
    }

    impl Sockets {
        /// The counters of a correct kernel.
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

    /// Readings one after another; the last one is repeated.
    struct Readings(Vec<Option<Counters>>);

    impl ReadCounters for Readings {
        fn read(&mut self) -> Result<Counters, Error> {
            let reading = if self.0.len() > 1 {
                self.0.remove(0)
            } else {
                self.0[0]
            };
            reading.ok_or_else(no_counters)
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

    fn counted(sockets: &mut Sockets, readings: Vec<Option<Counters>>) -> (Counts, Method) {
        count(sockets, Ok(Readings(readings)), FEW).unwrap()
    }

    /// Counts `sockets`, which must be right whatever the readings are. Returns why every socket
    /// was listed.
    fn reason(sockets: &mut Sockets, readings: Vec<Option<Counters>>) -> (Reason, usize) {
        let (counts, method) = counted(sockets, readings);
        assert_eq!(counts, sockets.tally.counts);
        let mut asked = take(&mut sockets.asked);
        assert_eq!(asked.pop(), Some(States::ALL));
        match method {
            Method::Fallback(reason) => (reason, asked.len()),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_two_that_are_many_are_the_difference() {
        let mut sockets = usual();
        let good = sockets.counters();
        let (counts, method) = counted(&mut sockets, vec![Some(good)]);
        assert_eq!(counts, sockets.tally.counts);
        assert_eq!(take(&mut sockets.asked), [WITHOUT_ESTABLISHED]);
        assert_eq!(
            method.to_string(),
            "counted by difference: ESTABLISHED and TIME_WAIT are from sockstat, 209 other sockets were listed; \
             at most 0 moved meanwhile"
        );
    }

    #[test]
    fn older_kernels_leave_close_wait_out_of_curr_estab() {
        let mut sockets = usual();
        let counters = Counters {
            curr_estab: 100_000,
            ..sockets.counters()
        };
        let (counts, method) = counted(&mut sockets, vec![Some(counters)]);
        assert_eq!(counts, sockets.tally.counts);
        assert!(matches!(method, Method::Difference { .. }), "{method}");
    }

    #[test]
    fn few_sockets_are_listed() {
        let mut few = sockets(&[(State::Established, 900), (State::TimeWait, 100)], 0, 0);
        let counters = few.counters();
        let (reason, tried) = reason(&mut few, vec![Some(counters)]);
        assert!(matches!(reason, Reason::Few { sockets: 1000 }), "{reason}");
        assert_eq!(tried, 0);
        assert_eq!(reason.to_string(), "there are few, 1000 by the counters");
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
            let (reason, _) = reason(&mut sockets, readings);
            assert!(matches!(reason, Reason::NoCounters(_)), "{reason}");
        }
    }

    #[test]
    fn where_most_are_in_other_states_everything_is_listed() {
        for state in [
            State::SynSent,
            State::FinWait1,
            State::LastAck,
            State::Listen,
            State::Closing,
        ] {
            let mut many = sockets(&[(State::Established, 1000), (state, 2000)], 0, 0);
            let counters = many.counters();
            let (reason, tried) = reason(&mut many, vec![Some(counters)]);
            assert_eq!(tried, 0);
            assert_eq!(
                reason.to_string(),
                "2000 of 3000 are in states that the counters do not tell apart"
            );
        }
        // Time-wait sockets are told apart, so a few of the others do not matter.
        let mut time_wait = sockets(&[(State::Listen, 100), (State::TimeWait, 5000)], 0, 0);
        let good = time_wait.counters();
        let (counts, method) = counted(&mut time_wait, vec![Some(good)]);
        assert_eq!(counts, time_wait.tally.counts);
        assert!(matches!(method, Method::Difference { .. }), "{method}");
    }

    #[test]
    fn close_wait_is_left_out_where_it_is_the_one_that_is_many() {
        let mut sockets = sockets(
            &[
                (State::Established, 10),
                (State::CloseWait, 1_000_000),
                (State::Listen, 3),
            ],
            0,
            0,
        );
        let good = sockets.counters();
        let (counts, method) = counted(&mut sockets, vec![Some(good)]);
        assert_eq!(counts, sockets.tally.counts);
        assert_eq!(
            take(&mut sockets.asked),
            [WITHOUT_ESTABLISHED, WITHOUT_CLOSE_WAIT]
        );
        assert!(
            method
                .to_string()
                .contains("CLOSE_WAIT and TIME_WAIT are from sockstat, 13 other"),
            "{method}"
        );
        // If CurrEstab does not count CLOSE_WAIT, it cannot confirm it; by the counters, most are
        // elsewhere then.
        let old = Counters {
            curr_estab: 10,
            ..good
        };
        let (reason, _) = reason(&mut sockets, vec![Some(old)]);
        assert!(matches!(reason, Reason::Elsewhere { .. }), "{reason}");
    }

    #[test]
    fn where_both_are_many_the_established_are_left_out() {
        let mut sockets = sockets(
            &[(State::Established, 600_000), (State::CloseWait, 400_000)],
            0,
            0,
        );
        let good = sockets.counters();
        for curr_estab in [good.curr_estab, 600_000] {
            let readings = vec![Some(Counters { curr_estab, ..good })];
            let (counts, method) = counted(&mut sockets, readings);
            assert_eq!(counts, sockets.tally.counts);
            assert_eq!(
                take(&mut sockets.asked),
                [WITHOUT_ESTABLISHED, WITHOUT_CLOSE_WAIT, WITHOUT_ESTABLISHED]
            );
            assert!(matches!(method, Method::Difference { .. }), "{method}");
        }
    }

    #[test]
    fn counters_that_lie_are_not_believed() {
        let good = usual().counters();
        for lie in [
            Counters {
                curr_estab: good.curr_estab + 1,
                ..good
            },
            Counters {
                curr_estab: good.curr_estab - 1,
                ..good
            },
            Counters {
                curr_estab: good.curr_estab - 69,
                ..good
            },
            Counters {
                curr_estab: 60_000,
                ..good
            },
            Counters {
                curr_estab: u64::MAX,
                ..good
            },
            Counters {
                inuse: good.inuse + 1,
                ..good
            },
            Counters {
                inuse: good.inuse - 1,
                ..good
            },
            Counters {
                inuse: good.inuse + 100_000,
                ..good
            },
            // The kernel prints 0 for a sum that is negative.
            Counters { inuse: 0, ..good },
            Counters { inuse: 100, ..good },
            // Fewer than the time-wait sockets in FIN_WAIT2.
            Counters { tw: 32, ..good },
        ] {
            let (reason, tried) = reason(&mut usual(), vec![Some(lie)]);
            assert!(
                matches!(reason, Reason::Contradiction { .. }),
                "{lie:?}: {reason}"
            );
            assert_eq!(tried, ATTEMPTS);
        }
        let lie = Counters { inuse: 100, ..good };
        assert_eq!(
            reason(&mut usual(), vec![Some(lie)]).0.to_string(),
            "the counters contradict each other: sockstat leaves -36 for ESTABLISHED and 20000 for TIME_WAIT, \
             70 CLOSE_WAIT are listed, CurrEstab says 100070"
        );
        // Nothing confirms the sockets that CurrEstab does not count.
        let many = [(State::Established, 0), (State::CloseWait, 2000)];
        let lie = Counters {
            inuse: 1990,
            tw: 3000,
            curr_estab: 1995,
            opens: 0,
        };
        let (reason, _) = reason(&mut sockets(&many, 0, 0), vec![Some(lie)]);
        assert!(
            matches!(
                reason,
                Reason::Contradiction {
                    left_out: State::CloseWait,
                    ..
                }
            ),
            "{reason}"
        );
    }

    #[test]
    fn what_moved_a_little_is_answered() {
        let mut sockets = usual();
        let good = sockets.counters();
        let before = Counters {
            inuse: good.inuse - 100,
            tw: good.tw + 50,
            curr_estab: good.curr_estab - 90,
            opens: good.opens.wrapping_sub(400),
        };
        // It disagrees, but by less than the number that changed.
        let after = Counters {
            curr_estab: good.curr_estab + 80,
            ..good
        };
        let (counts, method) = counted(&mut sockets, vec![Some(before), Some(after)]);
        assert_eq!(counts, sockets.tally.counts);
        assert!(
            matches!(
                method,
                Method::Difference {
                    moved: 1120,
                    listed: 209,
                    ..
                }
            ),
            "{method}"
        );
        assert_eq!(take(&mut sockets.asked).len(), 1);
    }

    #[test]
    fn what_moved_a_lot_is_tried_again() {
        let mut sockets = usual();
        let good = sockets.counters();
        for busy in [
            // As many were closed as opened: the other counters show nothing.
            Counters {
                opens: good.opens.wrapping_sub(700),
                ..good
            },
            Counters {
                inuse: good.inuse - 1300,
                ..good
            },
            Counters {
                tw: good.tw + 1300,
                ..good
            },
            Counters {
                curr_estab: good.curr_estab - 1300,
                ..good
            },
        ] {
            let (counts, method) = counted(&mut sockets, vec![Some(busy), Some(good)]);
            assert_eq!(counts, sockets.tally.counts);
            assert!(
                matches!(method, Method::Difference { moved: 0, .. }),
                "{method}"
            );
            assert_eq!(
                take(&mut sockets.asked).len(),
                2,
                "the second time nothing moved"
            );

            let back_and_forth = [busy, good].repeat(4).into_iter().map(Some).collect();
            let (reason, tried) = reason(&mut sockets, back_and_forth);
            assert!(matches!(reason, Reason::Moved { .. }), "{reason}");
            assert_eq!(tried, ATTEMPTS);
        }
    }

    #[test]
    fn what_changed_to_a_state_that_was_not_asked_for_is_not_counted_twice() {
        struct ChangingSockets(Sockets);
        impl List for ChangingSockets {
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
        }
        let expected = usual();
        let counters = Ok(Readings(vec![Some(expected.counters())]));
        let (counts, method) = count(&mut ChangingSockets(usual()), counters, FEW).unwrap();
        assert!(
            matches!(method, Method::Difference { listed: 209, .. }),
            "{method}"
        );
        assert_eq!(counts, expected.tally.counts);
    }

    #[test]
    fn what_netlink_says_wrong_is_an_error() {
        struct BrokenNetlink;
        impl List for BrokenNetlink {
            fn list(&mut self, _: States, _: impl Fn(&Tally) -> bool) -> Result<Tally, Error> {
                Err(Error::Receive {
                    error: io::Error::from_raw_os_error(11),
                })
            }
        }
        for counters in [usual().counters(), Counters::default()] {
            let counters = Ok(Readings(vec![Some(counters)]));
            let error = count(&mut BrokenNetlink, counters, FEW).unwrap_err();
            assert!(matches!(error, Error::Receive { .. }), "{error}");
        }
    }
}
