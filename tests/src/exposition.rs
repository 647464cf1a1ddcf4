// SPDX-License-Identifier: GPL-2.0-only

//! Strict parsers of what Prometheus reads: OpenMetrics 1.0 and text format 0.0.4. They share no
//! code with the encoder.

use std::collections::{BTreeMap, BTreeSet};

/// The format of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// Samples by name and labels, the labels sorted: `name{a="b",c="d"}`.
pub type Samples = BTreeMap<String, f64>;

/// A family while its lines are read.
#[derive(Default)]
struct Family {
    name: String,
    kind: Option<String>,
    help: bool,
    samples: bool,
}

/// Parses a whole text.
///
/// # Errors
/// What is wrong, and in which line, if it is not exactly what the format asks for.
pub fn parse(text: &str, format: Format) -> Result<Samples, String> {
    let body = match format {
        Format::Text => text,
        Format::OpenMetrics => text
            .strip_suffix("# EOF\n")
            .ok_or("it does not end with # EOF")?,
    };
    if !body.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    let mut samples = Samples::new();
    let mut names = BTreeSet::new();
    let mut family = Family::default();
    for (at, line) in body[..body.len() - 1].split('\n').enumerate() {
        let failed = |problem: &str| format!("line {}: {problem}: {line}", at + 1);
        if line.is_empty() || line.contains('\r') {
            return Err(failed("an empty line, or a carriage return"));
        }
        if let Some(rest) = line.strip_prefix("# ") {
            let (what, rest) = rest.split_once(' ').ok_or_else(|| failed("a comment"))?;
            let (name, value) = rest.split_once(' ').ok_or_else(|| failed("no value"))?;
            if family.name != name {
                if !family.name.is_empty() && !family.samples {
                    return Err(failed(&format!("{} has no samples", family.name)));
                }
                if !is_name(name) || !names.insert(name.to_owned()) {
                    return Err(failed("a bad name, or one that was there before"));
                }
                family = Family {
                    name: name.into(),
                    ..Family::default()
                };
            } else if family.samples {
                return Err(failed("it comes after the samples"));
            }
            match what {
                "HELP" if !family.help && !value.trim().is_empty() => {
                    unescaped(value, format == Format::OpenMetrics)
                        .ok_or_else(|| failed("a bad escape"))?;
                    family.help = true;
                }
                "TYPE" if family.kind.is_none() => {
                    if !["counter", "gauge"].contains(&value) {
                        return Err(failed("neither counter nor gauge"));
                    }
                    let total = name.ends_with("_total");
                    if total != (format == Format::Text && value == "counter") {
                        return Err(failed("_total at the wrong place"));
                    }
                    family.kind = Some(value.into());
                }
                _ => return Err(failed("a comment that may not be here")),
            }
            continue;
        }
        let kind = family.kind.as_deref().ok_or_else(|| failed("no TYPE"))?;
        if !family.help {
            return Err(failed("no HELP"));
        }
        let (name, labels, value) = sample(line).ok_or_else(|| failed("no sample"))?;
        let expected = match (format, kind) {
            (Format::OpenMetrics, "counter") => format!("{}_total", family.name),
            _ => family.name.clone(),
        };
        if name != expected {
            return Err(failed("a sample of another metric"));
        }
        if kind == "counter" && value.is_nan() || value < 0.0 {
            return Err(failed("a bad value"));
        }
        family.samples = true;
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value:?}"))
            .collect();
        let key = match labels.is_empty() {
            true => name,
            false => format!("{name}{{{}}}", labels.join(",")),
        };
        if samples.insert(key, value).is_some() {
            return Err(failed("the same sample twice"));
        }
    }
    if !family.samples {
        return Err(format!("{} has no samples", family.name));
    }
    Ok(samples)
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|char| char.is_ascii_alphabetic() || char == '_' || char == ':')
        && chars.all(|char| char.is_ascii_alphanumeric() || char == '_' || char == ':')
}

/// The name, the labels by name, and the value of a line. There is no timestamp.
fn sample(line: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let end = line.find(['{', ' '])?;
    let name = &line[..end];
    let mut labels = BTreeMap::new();
    let mut rest = &line[end..];
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inside.split_once("=\"")?;
            if !is_name(label) || label.contains(':') || label.starts_with("__") {
                return None;
            }
            let mut escaped = false;
            let close = after.find(|char| {
                let closes = char == '"' && !escaped;
                escaped = char == '\\' && !escaped;
                closes
            })?;
            let value = unescaped(&after[..close], true)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            inside = &after[close + 1..];
            if let Some(after) = inside.strip_prefix('}') {
                rest = after;
                break;
            }
            inside = inside.strip_prefix(',')?;
        }
    }
    let value = rest.strip_prefix(' ')?;
    let is_number = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".e+-".contains(&byte));
    (is_name(name) && is_number).then_some(())?;
    Some((name.into(), labels, value.parse().ok()?))
}

/// The text without escapes.
fn unescaped(text: &str, quotes: bool) -> Option<String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => plain.push(match chars.next()? {
                'n' => '\n',
                '\\' => '\\',
                '"' if quotes => '"',
                _ => return None,
            }),
            '"' if quotes => return None,
            char => plain.push(char),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_formats_ask_for_is_read() {
        let text = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"\\\\\\\"\\n\",b=\"}\"} 1e3\n\
                    # HELP b B.\n# TYPE b gauge\nb 0.5\n";
        let samples = parse(text, Format::Text).unwrap();
        assert_eq!(samples["a_total{b=\"}\",x=\"\\\\\\\"\\n\"}"], 1000.0);
        assert_eq!(samples["b"], 0.5);
        let metrics = "# HELP a A.\n# TYPE a counter\na_total 1\n# EOF\n";
        assert_eq!(parse(metrics, Format::OpenMetrics).unwrap()["a_total"], 1.0);
    }

    #[test]
    fn what_they_do_not_allow_is_an_error() {
        let gauge = "# HELP a A.\n# TYPE a gauge\n";
        for (rest, expected) in [
            ("", "no samples"),
            ("a 1", "no end"),
            ("a 1\n\n", "empty line"),
            ("a 1\na 1\n", "twice"),
            ("a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 1\n", "twice"),
            ("b 1\n", "another metric"),
            ("a 1 1000\n", "no sample"),
            ("a NaN\n", "no sample"),
            ("a -1\n", "bad value"),
            ("a{x=\"1\",} 1\n", "no sample"),
            ("a{x=\"\\t\"} 1\n", "no sample"),
            ("a{x=\"1\",x=\"1\"} 1\n", "no sample"),
            ("a 1\n# HELP a A.\n", "after the samples"),
            ("a 1\n# HELP a A.\n", "after the samples"),
            (
                "a 1\n# HELP b B.\n# TYPE b gauge\nb 1\n# TYPE a gauge\n",
                "before",
            ),
            ("a 1\n# EOF\n", "comment"),
        ] {
            let error = parse(&format!("{gauge}{rest}"), Format::Text).unwrap_err();
            assert!(error.contains(expected), "{rest}: {error}");
        }
        for (text, format) in [
            ("# HELP a A.\n# TYPE a counter\na 1\n", Format::Text),
            (
                "# HELP a A.\n# TYPE a counter\na 1\n# EOF\n",
                Format::OpenMetrics,
            ),
            ("# HELP a A.\n# TYPE a gauge\na 1\n", Format::OpenMetrics),
            ("a 1\n", Format::Text),
            ("# TYPE a gauge\na 1\n", Format::Text),
            ("# HELP a A.\n# TYPE a untyped\na 1\n", Format::Text),
        ] {
            assert!(parse(text, format).is_err(), "{text}");
        }
    }
}
