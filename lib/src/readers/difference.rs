// SPDX-License-Identifier: MIT OR Apache-2.0

//! Netlink by difference: asks only for the states that are few, and takes the two that are many from the
//! counters that the kernel keeps anyway.
//!
//! Of the sockets of a namespace, `inuse` of them are full and `tw` are time-wait sockets; request sockets are in
//! neither. So what a dump leaves out is known by what it lists:
//!
//! - `ESTABLISHED` = `inuse` − the full sockets listed in all other states;
//! - `TIME_WAIT` = `tw` − the time-wait sockets listed in `FIN_WAIT2`;
//! - and `CurrEstab`, which is counted at another place, must be `ESTABLISHED`, with or without `CLOSE_WAIT`.
//!
//! The counters are per namespace in every kernel that is supported, and know only sockets of `tcp_prot` and
//! `tcpv6_prot`, and of the copies of these that MPTCP, TLS and BPF make (they share `inuse_idx`): all that TCP's hash
//! tables hold. Sockets that are bound or closed are in neither. For `tw` there is no second witness.
//!
//! **The rule.** The counters are read before and after the dump. The answer is taken if no more sockets moved
//! between the two readings (opened, closed, expired: `ActiveOpens` and `PassiveOpens` tell those too that came and
//! went) than 1 % of all, and if `CurrEstab` disagrees by no more than moved: exactly, where nothing did. If not, it
//! is tried again, three times in all; then, or when the counters cannot be read, or say that the states asked for
//! are the many or that all are few, every socket is asked for. `CLOSE_WAIT` takes the place of `ESTABLISHED`
//! where the dump finds it the one that is many.

use super::netlink::{List, States, Tally};
use super::sockstat::{Counters, ReadCounters};
use crate::error::Error;
use crate::snapshot::{Method, Reason, partner};
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// Up to so many sockets, a full dump costs less than looking for a way round it.
pub(crate) const FEW: u64 = 1000;

/// How often counting by difference is tried.
const ATTEMPTS: usize = 3;

/// So much of the whole may move while it is counted: one part in so many.
const STEADY: u64 = 100;

/// So much of `CurrEstab` is not listed as long as the other of its two states might be less: one part in so many.
const MANY: u64 = 8;

/// Counts by difference if that is cheaper and safe, and everything if not. See the top of this file.
///
/// Up to `few` sockets, it is not cheaper.
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

/// Only what netlink itself says wrong is an error for good.
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

    // The counters do not tell which of these two is many, so a dump that finds out begins again with the other.
    // If both are, the first it is: to list one of them is still less than to list both.
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

    /// How many sockets may have been opened, closed or expired, or changed between states, since `before`.
    fn moved(&self, before: &Self) -> u64 {
        let opened = self.opens.wrapping_sub(before.opens);
        // What was opened and is not there was closed.
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

/// The answer, if the counters before and after the dump bear it out.
fn judge(
    left_out: State,
    before: &Counters,
    tally: &Tally,
    after: &Counters,
) -> Result<(Counts, Method), Reason> {
    // A socket that just changed to a state that is left out is listed in it, and counted by difference.
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
    // Before 6.11, CurrEstab is ESTABLISHED alone, and does not vouch for CLOSE_WAIT.
    let vouched =
        agrees(rest + i128::from(other)) || (left_out == State::Established && agrees(rest));
    match (u64::try_from(rest), u64::try_from(time_wait)) {
        (Ok(rest), Ok(time_wait)) if vouched => {
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

    use tcpstat_tests::netns;
    use tcpstat_tests::sockets::{Family, Mix};

    use super::*;
    use crate::readers::netlink::Netlink;
    use crate::readers::procfs::Procfs;
    use crate::readers::sockstat::Sockstat;

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
            // What was found so far does not matter any more.
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
        /// What a kernel that does not lie says of them.
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

    /// Counts `sockets`, which must be right whatever the readings are, and says why everything was listed.
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
                "2000 of 3000 are in states that the counters do not distinguish"
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
        // There is no vouching for it where CurrEstab does not count it; most are elsewhere by the counters then.
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
        // Whom CurrEstab does not count, nobody vouches for.
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
        // It disagrees, but by less than moved.
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
            // As many closed as opened, in which the other counters show nothing.
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
    fn what_netlink_says_wrong_is_an_error() {
        struct Refused;
        impl List for Refused {
            fn list(&mut self, _: States, _: impl Fn(&Tally) -> bool) -> Result<Tally, Error> {
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

    fn here() -> Result<Sockstat, Error> {
        Sockstat::open(Path::new("/proc/thread-self/net"))
    }

    /// By difference, by the full dump, and by procfs, in the namespace of this thread.
    fn three_ways(expected: Counts, what: &str) -> Method {
        let mut netlink = Netlink::default();
        let (counts, method) = count(&mut netlink, here(), 0).unwrap();
        let procfs = Procfs::default()
            .sample(&Path::new("/proc/thread-self").into())
            .unwrap();
        assert_eq!(procfs, expected, "procfs, {what}");
        assert_eq!(netlink.sample().unwrap(), expected, "full, {what}");
        assert_eq!(counts, expected, "{method}, {what}");
        method
    }

    /// On the kernel that runs the tests; needs `CAP_SYS_ADMIN` for the namespace, as all below.
    #[test]
    fn agrees_with_the_full_dump_and_procfs_in_every_mix() {
        for family in Family::ALL {
            for mix in [
                Mix::of_each(family, 3),
                Mix {
                    syn_recv_request: 20,
                    ..Mix::of_each(family, 1)
                },
                Mix {
                    syn_recv_fastopen: 20,
                    ..Mix::of_each(family, 1)
                },
                Mix {
                    fin_wait2_full: 20,
                    ..Mix::of_each(family, 1)
                },
                Mix {
                    fin_wait2_timewait: 20,
                    ..Mix::of_each(family, 1)
                },
                Mix {
                    family,
                    ..Mix::random(u64::from(family as u8), 6)
                },
            ] {
                // Enough of the two that most are not elsewhere.
                let mix = Mix {
                    established: 100,
                    time_wait: 20,
                    ..mix
                };
                netns::in_new(|| {
                    let fixture = mix.make().unwrap();
                    let method = three_ways(fixture.expected(), &mix.to_string());
                    assert!(
                        matches!(
                            method,
                            Method::Difference {
                                left_out: State::Established,
                                moved: 0,
                                ..
                            }
                        ),
                        "{method}, {mix}"
                    );
                })
                .unwrap();
            }
        }
    }

    #[test]
    fn agrees_where_other_states_are_the_many() {
        for family in Family::ALL {
            let close_wait = Mix {
                family,
                established: 20,
                fin_wait2_timewait: 400,
                listen: 3,
                ..Mix::default()
            };
            let listen = Mix {
                family,
                established: 20,
                listen: 200,
                ..Mix::default()
            };
            let time_wait = Mix {
                family,
                time_wait: 200,
                ..Mix::default()
            };
            for (mix, by) in [
                (close_wait, "CLOSE_WAIT and TIME_WAIT are from sockstat"),
                (listen, "in states that the counters do not distinguish"),
                (time_wait, "ESTABLISHED and TIME_WAIT are from sockstat"),
                (Mix::default(), "too few sockets: 0 by the counters"),
            ] {
                netns::in_new(|| {
                    let fixture = mix.make().unwrap();
                    let method = three_ways(fixture.expected(), &mix.to_string()).to_string();
                    assert!(method.contains(by), "{method}, {mix}");
                })
                .unwrap();
            }
        }
    }
}
