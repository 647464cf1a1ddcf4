// SPDX-License-Identifier: MIT OR Apache-2.0

//! The output line of `tcpstat check`: the status, the reasons, and the numbers for graphs
//! (perfdata), in the format of the guidelines of the Monitoring Plugins.

use std::cmp::Reverse;

use super::expression::{Expression, Limit, Op, Quantity};
use super::judge::{Comparison, Status, Value};

/// The worst status, and the line for it, without the newline.
///
/// If all numbers are OK, the line has all of them; otherwise only the others, the worst first.
pub(crate) fn answer(comparisons: &[Comparison]) -> (Status, String) {
    let mut named: Vec<(Status, String)> = Vec::new();
    for one in comparisons {
        let (status, limit) = one.status();
        if let Ok(value) = &one.value {
            named.push((status, sentence(one, value, limit)));
        }
    }
    named.extend(unknowns(comparisons).map(|text| (Status::Unknown, text)));
    // The sort is stable: equal statuses stay in order.
    named.sort_by_key(|(status, _)| Reverse(*status));
    let worst = named.first().map_or(Status::Ok, |(status, _)| *status);
    let parts: Vec<String> = named
        .into_iter()
        .filter(|(status, _)| *status == worst || *status > Status::Ok)
        .map(|(status, text)| match status == worst {
            true => text,
            false => format!("{} {text}", status.name()),
        })
        .collect();
    let data: Vec<String> = comparisons.iter().map(perfdata).collect();
    let line = format!("{} | {}", head(worst, &parts.join("; ")), data.join(" "));
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
    let port = value.port.map_or(String::new(), |port| format!("{port}: "));
    let what = comparison.subject.what.name();
    let (number, percent) = (number(comparison, value), percent_sign(comparison));
    let of = value
        .whole
        .filter(|_| comparison.subject.share || comparison.subject.what == Quantity::AcceptQueue)
        .map_or(String::new(), |of| format!(" of {of}"));
    let limit = limit.map_or(String::new(), |limit| {
        format!(" ({} {}{percent})", limit.op, limit.limit)
    });
    format!("{port}{what} {number}{percent}{of}{limit}")
}

/// `443:accept_queue% is not known: procfs does not know the backlog`. Numbers with the same reason
/// share a text.
fn unknowns(comparisons: &[Comparison]) -> impl Iterator<Item = String> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for one in comparisons {
        if let Err(reason) = &one.value {
            let name = format!("{}{}", one.subject, percent_sign(one));
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

/// `'443:accept_queue%'=91.0%;80;90;0`
fn perfdata(comparison: &Comparison) -> String {
    let percent = percent_sign(comparison);
    let value = match &comparison.value {
        Ok(value) => format!("{}{percent}", number(comparison, value)),
        // "The actual value could not be determined."
        Err(_) => "U".into(),
    };
    let (warn, crit) = (range(&comparison.warn), range(&comparison.crit));
    format!("'{}{percent}'={value};{warn};{crit};0", comparison.subject)
}

fn percent_sign(comparison: &Comparison) -> &'static str {
    if comparison.subject.share { "%" } else { "" }
}

/// The limits as a range: values outside it, or with an `@` inside it, cross the limit. Empty if
/// one range cannot express the limits.
fn range(limits: &[Expression]) -> String {
    match limits {
        [one] => match one.op {
            Op::Above => one.limit.to_string(),
            Op::AtLeast => format!("@{}:", one.limit),
            Op::Below => format!("{}:", one.limit),
            Op::AtMost => format!("@0:{}", one.limit),
        },
        [low, high] | [high, low] if (low.op, high.op) == (Op::Below, Op::Above) => {
            format!("{}:{}", low.limit, high.limit)
        }
        _ => String::new(),
    }
}

/// The number; a share in per cent, with one decimal. If rounding would move the share to the other
/// side of a limit, it has up to six decimals.
fn number(comparison: &Comparison, value: &Value) -> String {
    let (true, Some(of)) = (comparison.subject.share, value.whole) else {
        return value.amount.to_string();
    };
    let of = u128::from(of.max(1));
    let amount = u128::from(value.amount);
    let tenths = (amount * 1000 + of / 2) / of;
    // In millionths of a per cent.
    let below = amount * 100_000_000 / of;
    let is_true = |millionths: u128| {
        let mut limits = comparison.warn.iter().chain(&comparison.crit);
        limits.all(|limit| match limit.limit {
            Limit::Count(_) => true,
            Limit::Share(share) => {
                share.compare(millionths, 100_000_000) == share.compare(amount, of)
            }
        })
    };
    let shown = [tenths * 100_000, below]
        .into_iter()
        .find(|&shown| is_true(shown));
    let shown = shown.unwrap_or(below + 1);
    let (whole, rest) = (shown / 1_000_000, shown % 1_000_000);
    let rest = format!("{rest:06}");
    let (first, more) = rest.split_at(1);
    format!("{whole}.{first}{}", more.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(texts: &[&str]) -> Vec<Expression> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// `amount` of `of`, compared with these limits.
    fn compared(amount: u64, of: Option<u64>, warn: &[&str], crit: &[&str]) -> Comparison {
        let (warn, crit) = (limits(warn), limits(crit));
        let subject = warn.first().or(crit.first()).unwrap().subject;
        let port = subject.port;
        Comparison {
            subject,
            value: Ok(Value {
                port,
                amount,
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
            (&[], ""),
        ] {
            assert_eq!(range(&limits(texts)), expected, "{texts:?}");
        }
        assert_eq!(
            perfdata(&compared(3, None, &["drops>0"], &[])),
            "'drops'=3;0;;0"
        );
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
