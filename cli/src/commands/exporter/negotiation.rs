// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a request asks for by its headers and its query: format, compression, time, collectors.

use std::time::Duration;

use super::collectors::{Collector, Collectors};
use super::exposition::Exposition;

/// The quality of a member of a list such as `gzip;q=0.5`, and its other parameters.
fn members(list: &str) -> impl Iterator<Item = (String, Vec<(String, String)>, f32)> + '_ {
    list.split(',').map(|member| {
        let mut parts = member.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut quality = 1.0;
        let mut parameters = Vec::new();
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let (key, value) = (
                key.trim().to_ascii_lowercase(),
                value.trim().trim_matches('"'),
            );
            match key.as_str() {
                // What is no number accepts nothing.
                "q" => quality = value.parse().unwrap_or(0.0),
                _ => parameters.push((key, value.to_owned())),
            }
        }
        (name, parameters, quality)
    })
}

/// The format that an `Accept` header likes best: text unless OpenMetrics is named.
pub(super) fn exposition(accept: &str) -> Exposition {
    let mut best = (0.0, Exposition::Text);
    let mut text: f32 = 0.0;
    for (name, parameters, quality) in members(accept) {
        let version = parameters.iter().find(|(key, _)| key == "version");
        let version = version.map(|(_, version)| version.as_str());
        match name.as_str() {
            "application/openmetrics-text"
                if matches!(version, None | Some("1.0.0" | "0.0.1")) && quality > best.0 =>
            {
                best = (quality, Exposition::OpenMetrics);
            }
            "text/plain" if matches!(version, None | Some("0.0.4")) => text = text.max(quality),
            _ => {}
        }
    }
    match best {
        (quality, format) if quality >= text && quality > 0.0 => format,
        _ => Exposition::Text,
    }
}

/// Whether an `Accept-Encoding` header allows gzip.
pub(super) fn accepts_gzip(accept_encoding: &str) -> bool {
    let mut any = false;
    for (name, _, quality) in members(accept_encoding) {
        match name.as_str() {
            "gzip" | "x-gzip" => return quality > 0.0,
            "*" => any = quality > 0.0,
            _ => {}
        }
    }
    any
}

/// The time that is left for an answer, by the header in which Prometheus sends its timeout.
pub(super) fn time_left(header: &str, offset: Duration) -> Option<Duration> {
    let seconds: f64 = header.trim().parse().ok().filter(|&one| one > 0.0)?;
    let timeout = Duration::try_from_secs_f64(seconds).ok()?;
    // A timeout that is shorter than the offset is used as it is.
    Some(
        timeout
            .checked_sub(offset)
            .filter(|left| !left.is_zero())
            .unwrap_or(timeout),
    )
}

/// The collectors of a query such as `collect[]=totals&collect[]=services`: those that are on, if
/// it names none.
pub(super) fn collectors(query: &str, on: Collectors) -> Result<Collectors, String> {
    let mut asked = Collectors::default();
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if decoded(key) != "collect[]" {
            continue;
        }
        let value = decoded(value);
        let found = Collector::ALL.into_iter().find(|one| one.name() == value);
        match found {
            Some(collector) if on.has(collector) => asked = asked.with(collector),
            Some(collector) => {
                return Err(format!("the collector {} is off", collector.name()));
            }
            // The name itself is not repeated: the answer may be shown by a browser.
            None => return Err("collect[] names an unknown collector".into()),
        }
    }
    Ok(if asked.is_empty() { on } else { asked })
}

/// The text of a part of a query.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        let hexadecimal = tail
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = hexadecimal.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = tail;
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => bytes.push(b' '),
            (&byte, _) => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_chosen_as_prometheus_asks() {
        for (accept, expected) in [
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Exposition::OpenMetrics,
            ),
            (
                "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.2",
                Exposition::Text,
            ),
            (
                "application/openmetrics-text; version=2.0.0",
                Exposition::Text,
            ),
            ("application/openmetrics-text;q=0", Exposition::Text),
            ("Application/OpenMetrics-Text", Exposition::OpenMetrics),
            ("*/*", Exposition::Text),
            ("text/html, */*;q=0.8", Exposition::Text),
            (";;q=,,=", Exposition::Text),
            ("", Exposition::Text),
        ] {
            assert_eq!(exposition(accept), expected, "{accept}");
        }
    }

    #[test]
    fn gzip_may_be_refused() {
        for (accept, expected) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("gzip;q=0, *", false),
            ("*", true),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(accepts_gzip(accept), expected, "{accept}");
        }
    }

    #[test]
    fn the_offset_is_subtracted_from_the_timeout() {
        let offset = Duration::from_millis(250);
        let left = |header| time_left(header, offset).map(|left| left.as_millis());
        assert_eq!(left("10"), Some(9750));
        assert_eq!(left("0.1"), Some(100));
        for header in ["", "0", "-1", "nan", "inf", "1e300", "ten"] {
            assert_eq!(left(header), None, "{header}");
        }
    }

    #[test]
    fn queries_narrow_to_what_is_on() {
        let on: Collectors = [Collector::Totals, Collector::PeerPorts]
            .into_iter()
            .collect();
        let totals = Collectors::default().with(Collector::Totals);
        assert_eq!(collectors("", on), Ok(on));
        assert_eq!(collectors("x=1&collect[]=totals", on), Ok(totals));
        assert_eq!(
            collectors("collect%5B%5D=totals&collect%5b%5d=totals", on),
            Ok(totals)
        );
        assert_eq!(
            collectors("collect[]=totals&collect[]=peer%2dports", on),
            Ok(on)
        );
        assert!(
            collectors("collect[]=units", on)
                .unwrap_err()
                .contains("units is off")
        );
        assert!(!collectors("collect[]=<b>", on).unwrap_err().contains('<'));
        assert_eq!(decoded("%4"), "%4");
        assert_eq!(decoded("%zz%ff"), "%zz\u{fffd}");
    }
}
