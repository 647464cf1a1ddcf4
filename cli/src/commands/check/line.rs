// SPDX-License-Identifier: MIT OR Apache-2.0

//! The output line of `tcpstat check`: the status, the reasons, and the numbers for graphs
//! (perfdata), in the format of the guidelines of the Monitoring Plugins.

use std::cmp::Reverse;

use super::expression::{Expression, Measure, Op, Quantity, Scope, Subject};
use super::judge::{Comparison, Status, Value};

/// What is known of the network namespaces, with `--all-namespaces`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Namespaces {
    /// How many were read.
    pub(super) read: usize,
    /// Whether there may be others, which cannot be seen.
    pub(super) hidden: bool,
}

/// The worst status, and the line for it, without the newline.
///
/// If all numbers are OK, the line has all of them, or the number of namespaces; otherwise only the
/// others, the worst first.
pub(super) fn answer(
    comparisons: &[Comparison],
    namespaces: Option<Namespaces>,
) -> (Status, String) {
    let mut named: Vec<(Status, String)> = Vec::new();
    for one in comparisons {
        let (status, limit) = one.status();
        if let Ok(value) = &one.value {
            named.push((status, sentence(one, value, limit)));
        }
    }
    named.extend(unknowns(comparisons).map(|text| (Status::Unknown, text)));
    if namespaces.is_some_and(|namespaces| namespaces.hidden) {
        let hidden = "some network namespaces cannot be seen: run it as root (CAP_SYS_PTRACE)";
        named.push((Status::Unknown, hidden.to_owned()));
    }
    // The sort is stable: equal statuses stay in order.
    named.sort_by_key(|(status, _)| Reverse(*status));
    let worst = named.first().map_or(Status::Ok, |(status, _)| *status);
    let text = match (worst, namespaces) {
        (Status::Ok, Some(Namespaces { read: 1, .. })) => "1 network namespace".to_owned(),
        (Status::Ok, Some(Namespaces { read, .. })) => format!("{read} network namespaces"),
        _ => {
            let parts = named
                .into_iter()
                .filter(|(status, _)| *status == worst || *status > Status::Ok)
                .map(|(status, text)| match status == worst {
                    true => text,
                    false => format!("{} {text}", status.name()),
                });
            parts.collect::<Vec<_>>().join("; ")
        }
    };
    let data: Vec<String> = comparisons.iter().map(perfdata).collect();
    let line = format!("{} | {}", head(worst, &text), data.join(" "));
    (worst, line)
}

/// The line of a check that could not compare anything.
pub(crate) fn unknown(problem: &str) -> String {
    head(Status::Unknown, problem)
}

fn head(status: Status, text: &str) -> String {
    // Keep it on one line, without a `|`, which would begin perfdata.
    let text: String = text
        .chars()
        .map(|character| match character {
            '|' => '/',
            character if character.is_control() => ' ',
            character => character,
        })
        .collect();
    format!("TCP {} - {text}", status.name())
}

/// `443: accept_queue 91.0% of 4096 (> 80%)`
fn sentence(comparison: &Comparison, value: &Value, limit: Option<&Expression>) -> String {
    let namespace = comparison
        .namespace
        .as_ref()
        .map_or(String::new(), |name| format!("netns {name}: "));
    let scope = match (&comparison.subject.scope, value.port) {
        (Scope::Namespace | Scope::Service(_), Some(port)) => format!("{port}: "),
        (Scope::Namespace | Scope::Service(_), None) => String::new(),
        (scope, _) => format!("{scope} "),
    };
    let what = comparison.subject.what.name();
    let (number, unit) = (number(comparison, value), unit(comparison));
    let of = value
        .whole
        .filter(|_| match comparison.subject.measure {
            Measure::Share => true,
            Measure::Count => comparison.subject.what == Quantity::AcceptQueue,
            Measure::Rate => false,
        })
        .map_or(String::new(), |of| format!(" of {of}"));
    let limit = limit.map_or(String::new(), |limit| {
        format!(" ({} {}{unit})", limit.op, limit.limit)
    });
    format!("{namespace}{scope}{what} {number}{unit}{of}{limit}")
}

/// `443:accept_queue% is not known: procfs does not know the backlog`. Numbers with the same reason
/// share a text.
fn unknowns(comparisons: &[Comparison]) -> impl Iterator<Item = String> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for one in comparisons {
        if let Err(reason) = &one.value {
            let name = name(one);
            match reasons.iter_mut().find(|(other, _)| other == reason) {
                Some((_, names)) => names.push(name),
                None => reasons.push((reason, vec![name])),
            }
        }
    }
    reasons.into_iter().map(|(reason, names)| {
        let verb = if names.len() == 1 { "is" } else { "are" };
        // The reason has a line for each source that was tried.
        let reason: Vec<&str> = reason.lines().map(str::trim).collect();
        format!(
            "{} {verb} not known: {}",
            names.join(", "),
            reason.join("; ")
        )
    })
}

/// `web:443:accept_queue%`: the namespace, the subject, and its sign.
fn name(comparison: &Comparison) -> String {
    let namespace = comparison
        .namespace
        .as_ref()
        .map_or(String::new(), |name| format!("{name}:"));
    let percent = match comparison.subject.measure {
        Measure::Share => "%",
        Measure::Count | Measure::Rate => "",
    };
    format!("{namespace}{}{percent}", comparison.subject)
}

/// `'443:accept_queue%'=91.0%;80;90;0`. A number that only grows has the unit `c`.
fn perfdata(comparison: &Comparison) -> String {
    let subject = &comparison.subject;
    let value = match &comparison.value {
        Ok(value) => {
            let unit = match (subject.measure, subject.what) {
                (Measure::Share, _) => "%",
                (Measure::Count, Quantity::Drops | Quantity::Counter(_)) => "c",
                _ => "",
            };
            format!("{}{unit}", number(comparison, value))
        }
        // "The actual value could not be determined."
        Err(_) => "U".into(),
    };
    let (warn, crit) = (range(&comparison.warn), range(&comparison.crit));
    let least = if may_fall(subject) { "" } else { "0" };
    // A label has no quote, which would end it, and no equals sign.
    let label = name(comparison).replace(['\'', '=', '|'], ":");
    let label = label.replace(char::is_control, " ");
    format!("'{label}'={value};{warn};{crit};{least}")
}

/// What follows the number in the text.
fn unit(comparison: &Comparison) -> &'static str {
    match comparison.subject.measure {
        Measure::Count => "",
        Measure::Share => "%",
        Measure::Rate => "/s",
    }
}

/// Whether the number may be negative. The drops at a listener and the kernel's counters only grow.
fn may_fall(subject: &Subject) -> bool {
    subject.is_rate() && !matches!(subject.what, Quantity::Drops | Quantity::Counter(_))
}

/// The limits as a range: values outside it, or with an `@` inside it, cross the limit. Empty if
/// one range cannot express the limits.
fn range(limits: &[Expression]) -> String {
    match limits {
        [one] => match (one.op, may_fall(&one.subject)) {
            (Op::Above, false) => one.limit.to_string(),
            (Op::Above, true) => format!("~:{}", one.limit),
            (Op::AtLeast, _) => format!("@{}:", one.limit),
            (Op::Below, _) => format!("{}:", one.limit),
            (Op::AtMost, false) => format!("@0:{}", one.limit),
            (Op::AtMost, true) => format!("@~:{}", one.limit),
        },
        [low, high] | [high, low]
            if (low.op, high.op) == (Op::Below, Op::Above) && low.limit <= high.limit =>
        {
            format!("{}:{}", low.limit, high.limit)
        }
        _ => String::new(),
    }
}

/// The number; a share in per cent, or a change per second, with one decimal. If rounding would
/// move it to the other side of a limit, it has up to six decimals.
fn number(comparison: &Comparison, value: &Value) -> String {
    // How much of the unit `amount` / `of` is.
    let (factor, of) = match (comparison.subject.measure, value.whole) {
        (Measure::Count, _) | (_, None) => return value.amount.to_string(),
        (Measure::Share, Some(of)) => (100, of.max(1)),
        (Measure::Rate, Some(micros)) => (1_000_000, micros.max(1)),
    };
    let sign = value.amount.signum();
    let (amount, divisor) = (value.amount.abs() * factor, i128::from(of));
    let tenths = (amount * 10 + divisor / 2) / divisor;
    let below = amount * 1_000_000 / divisor;
    let is_true = |millionths: i128| {
        let mut limits = comparison.warn.iter().chain(&comparison.crit);
        // The same fraction of a whole that makes the unit a millionth.
        let whole = Some(factor as u64 * 1_000_000);
        limits.all(|Expression { limit, .. }| {
            limit.compare(sign * millionths, whole) == limit.compare(value.amount, Some(of))
        })
    };
    let shown = [tenths * 100_000, below]
        .into_iter()
        .find(|&shown| is_true(shown));
    let shown = shown.unwrap_or(below + 1);
    let sign = if sign < 0 && shown > 0 { "-" } else { "" };
    let (whole, rest) = (shown / 1_000_000, shown % 1_000_000);
    let rest = format!("{rest:06}");
    let (first, more) = rest.split_at(1);
    format!("{sign}{whole}.{first}{}", more.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(texts: &[&str]) -> Vec<Expression> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// `amount` of `of`, compared with these limits.
    fn compared(amount: u64, of: Option<u64>, warn: &[&str], crit: &[&str]) -> Comparison {
        let (warn, crit) = (limits(warn), limits(crit));
        let subject = warn.first().or(crit.first()).unwrap().subject.clone();
        let port = subject.scope.service();
        Comparison {
            namespace: None,
            subject,
            value: Ok(Value {
                port,
                amount: amount.into(),
                whole: of,
            }),
            warn,
            crit,
        }
    }

    fn unknown(limit: &str, reason: &str) -> Comparison {
        Comparison {
            value: Err(reason.into()),
            ..compared(0, None, &[limit], &[])
        }
    }

    /// A change by `amount` in `micros` microseconds.
    fn rate(amount: i128, micros: u64, warn: &[&str], crit: &[&str]) -> Comparison {
        let value = Value::rate(amount, Duration::from_micros(micros));
        Comparison {
            value: Ok(value),
            ..compared(0, None, warn, crit)
        }
    }

    fn answer(comparisons: &[Comparison]) -> (Status, String) {
        super::answer(comparisons, None)
    }

    #[test]
    fn the_worst_comes_first_and_ok_only_if_all_are_ok() {
        let well = || {
            compared(
                3,
                Some(9),
                &["8080:CLOSE_WAIT>100"],
                &["8080:CLOSE_WAIT>200"],
            )
        };
        let full = || compared(3727, Some(4096), &[], &["443:accept_queue>80%"]);
        let high = || compared(7, None, &["total>=7"], &["total>8"]);
        assert_eq!(
            answer(&[well()]),
            (
                Status::Ok,
                "TCP OK - 8080: CLOSE_WAIT 3 | '8080:CLOSE_WAIT'=3;100;200;0".into()
            )
        );
        assert_eq!(
            answer(&[well(), high(), full()]),
            (
                Status::Critical,
                "TCP CRITICAL - 443: accept_queue 91.0% of 4096 (> 80%); WARNING total 7 (>= 7) | \
                 '8080:CLOSE_WAIT'=3;100;200;0 'total'=7;@7:;8;0 '443:accept_queue%'=91.0%;;80;0"
                    .into()
            )
        );
        let closed = |limit| unknown(limit, "nothing\n  listens | there");
        assert_eq!(
            answer(&[closed("443:drops>1"), high(), closed("443:CLOSE_WAIT>1%"), well()]),
            (
                Status::Warning,
                "TCP WARNING - total 7 (>= 7); UNKNOWN 443:drops, 443:CLOSE_WAIT% are not known: nothing; listens / there | \
                 '443:drops'=U;1;;0 'total'=7;@7:;8;0 '443:CLOSE_WAIT%'=U;1;;0 '8080:CLOSE_WAIT'=3;100;200;0"
                    .into()
            )
        );
        let (status, line) = answer(&[closed("443:drops>1"), well()]);
        assert_eq!(status, Status::Unknown);
        assert!(
            line.starts_with("TCP UNKNOWN - 443:drops is not known: nothing; "),
            "{line}"
        );
    }

    #[test]
    fn ranges_are_those_of_monitoring_plugins() {
        for (texts, expected) in [
            (&["total>5"][..], "5"),
            (&["total<5"], "5:"),
            (&["total>=5"], "@5:"),
            (&["total<=5"], "@0:5"),
            (&["total<2", "total>4"], "2:4"),
            (&["total>4", "total<2"], "2:4"),
            (&["LISTEN>12.50%"], "12.5"),
            (&["total>=4", "total<2"], ""),
            (&["total>4", "total>5"], ""),
            // Always true, which no range says.
            (&["total<5", "total>2"], ""),
            (&["total>4", "total<5"], ""),
            (&["total<5", "total>5"], "5:5"),
            (&["LISTEN<5.5%", "LISTEN>5.45%"], ""),
            // A number that may be negative.
            (&["total/s>5"], "~:5"),
            (&["total/s<=5"], "@~:5"),
            (&["total/s<-5"], "-5:"),
            (&["total/s>=-5"], "@-5:"),
            (&["total/s<-5", "total/s>5.5"], "-5:5.5"),
            (&["drops/s>5"], "5"),
            (&["drops/s<=5"], "@0:5"),
            (&[], ""),
        ] {
            assert_eq!(range(&limits(texts)), expected, "{texts:?}");
        }
        assert_eq!(
            perfdata(&compared(3, None, &["drops>0"], &[])),
            "'drops'=3c;0;;0"
        );
    }

    #[test]
    fn rates_are_shown_per_second() {
        assert_eq!(
            answer(&[
                rate(12, 5_000_000, &["drops/s>2"], &["drops/s>100"]),
                rate(-7, 2_000_000, &["local-port=5432:ESTABLISHED/s<-3"], &[]),
            ]),
            (
                Status::Warning,
                "TCP WARNING - drops 2.4/s (> 2/s); local-port=5432: ESTABLISHED -3.5/s (< -3/s) | \
                 'drops/s'=2.4;2;100;0 'local-port:5432:ESTABLISHED/s'=-3.5;-3:;;"
                    .into()
            )
        );
        for (amount, micros, limit, expected) in [
            (0, 5_000_000, "total/s>1", "0.0"),
            (1, 3_000_000, "total/s>1", "0.3"),
            (-2, 3_000_000, "total/s>1", "-0.7"),
            (-1, 1_000_000_000, "total/s>1", "0.0"),
            // On its side of the limit.
            (-1, 1_000_000_000, "total/s<0", "-0.001"),
            (1_000_001, 1_000_000, "total/s>1000000", "1000001.0"),
            (10_000, 9_999_000, "total/s>1000", "1000.1"),
            (10_001, 10_000_000, "total/s>1000", "1000.1"),
            (100_001, 100_000_000, "total/s>1000", "1000.01"),
            (
                i128::from(u64::MAX),
                0,
                "total/s>1",
                "18446744073709551615000000.0",
            ),
        ] {
            let comparison = rate(amount, micros, &[limit], &[]);
            let value = comparison.value.as_ref().unwrap();
            assert_eq!(number(&comparison, value), expected, "{amount} in {micros}");
        }
    }

    #[test]
    fn namespaces_are_named_and_the_worst_decides() {
        let in_namespace = |name: &str, comparison| Comparison {
            namespace: Some(name.into()),
            ..comparison
        };
        let full = || compared(91, Some(100), &[], &["443:accept_queue>80%"]);
        let empty = || compared(0, Some(100), &[], &["443:accept_queue>80%"]);
        let read = |read, hidden| Some(Namespaces { read, hidden });
        let web = in_namespace("web", full());
        let other = in_namespace("4026532733", empty());
        let strange = in_namespace("it's=a|b", unknown("drops>1", "no answer"));
        assert_eq!(
            super::answer(&[other, web, strange], read(3, true)),
            (
                Status::Critical,
                "TCP CRITICAL - netns web: 443: accept_queue 91.0% of 100 (> 80%); \
                 UNKNOWN it's=a/b:drops is not known: no answer; \
                 UNKNOWN some network namespaces cannot be seen: run it as root (CAP_SYS_PTRACE) | \
                 '4026532733:443:accept_queue%'=0.0%;;80;0 'web:443:accept_queue%'=91.0%;;80;0 \
                 'it:s:a:b:drops'=U;1;;0"
                    .into()
            )
        );
        let well = [in_namespace("web", empty()), in_namespace("db", empty())];
        let (status, line) = super::answer(&well, read(2, false));
        assert_eq!(status, Status::Ok);
        assert!(
            line.starts_with("TCP OK - 2 network namespaces | 'web:443"),
            "{line}"
        );
        let (status, _) = super::answer(&well, read(2, true));
        assert_eq!(status, Status::Unknown);
    }

    #[test]
    fn a_rounded_share_stays_on_its_side_of_the_limit() {
        for (amount, of, limit, expected) in [
            (1, 3, "LISTEN>50%", "33.3"),
            (2, 3, "LISTEN>50%", "66.7"),
            // 80.04 % and 79.96 % would both be 80.0 %.
            (8004, 10_000, "LISTEN>80%", "80.04"),
            (7996, 10_000, "LISTEN>80%", "79.96"),
            (800_001, 1_000_000, "LISTEN>80%", "80.0001"),
            (8, 10, "LISTEN>80%", "80.0"),
            (129, 128, "accept_queue>100%", "100.8"),
            (4097, 4096, "accept_queue>100%", "100.024414"),
            (0, 0, "LISTEN>1%", "0.0"),
            (u64::MAX, u64::MAX, "LISTEN>99.99%", "100.0"),
            (u64::MAX - 1, u64::MAX, "LISTEN>=100%", "99.999999"),
            (9_000_000_001, 18_000_000_000, "LISTEN>50%", "50.000001"),
            (u64::MAX, 1, "accept_queue>1%", "1844674407370955161500.0"),
        ] {
            let comparison = compared(amount, Some(of), &[limit], &[]);
            let value = comparison.value.as_ref().unwrap();
            assert_eq!(
                number(&comparison, value),
                expected,
                "{amount} of {of}, {limit}"
            );
        }
    }
}
