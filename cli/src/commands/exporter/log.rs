// SPDX-License-Identifier: MIT OR Apache-2.0

//! The log of the exporter: a line on standard error for each event, as node_exporter writes it.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};

use clap::ValueEnum;
use jiff::Timestamp;

use crate::format::rfc3339;

/// The values of `--log.level`, from the most lines to the fewest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

/// The values of `--log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Logfmt,
    Json,
}

/// Where events go, and which.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    pub(super) level: Level,
    pub(super) format: LogFormat,
}

/// What an event is about: names and values.
pub(super) type Fields<'a> = &'a [(&'static str, &'a dyn Display)];

impl Log {
    pub(super) fn debug(self, message: &str, fields: Fields<'_>) {
        self.write(Level::Debug, message, fields);
    }

    pub(super) fn info(self, message: &str, fields: Fields<'_>) {
        self.write(Level::Info, message, fields);
    }

    pub(super) fn warn(self, message: &str, fields: Fields<'_>) {
        self.write(Level::Warn, message, fields);
    }

    pub(super) fn error(self, message: &str, fields: Fields<'_>) {
        self.write(Level::Error, message, fields);
    }

    fn write(self, level: Level, message: &str, fields: Fields<'_>) {
        if level < self.level {
            return;
        }
        let line = self.line(Timestamp::now(), level, message, fields);
        // A log that cannot be written must not end the exporter.
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn line(self, now: Timestamp, level: Level, message: &str, fields: Fields<'_>) -> String {
        let time = rfc3339(now);
        match self.format {
            LogFormat::Logfmt => {
                let mut line = format!("time={time} level={} msg={message:?}", level.name());
                for (name, value) in fields {
                    let value = value.to_string();
                    let is_word = |char: char| char.is_ascii_graphic() && !"\"=\\".contains(char);
                    // Writing to a string does not fail.
                    let _ = match !value.is_empty() && value.chars().all(is_word) {
                        true => write!(line, " {name}={value}"),
                        false => write!(line, " {name}={value:?}"),
                    };
                }
                line + "\n"
            }
            LogFormat::Json => {
                let text = |value: &str| serde_json::Value::from(value).to_string();
                let mut line = format!(
                    "{{\"time\":\"{time}\",\"level\":\"{}\",\"msg\":{}",
                    level.name(),
                    text(message)
                );
                for (name, value) in fields {
                    let _ = write!(line, ",\"{name}\":{}", text(&value.to_string()));
                }
                line + "}\n"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_forge_a_line() {
        let log = |format| Log {
            level: Level::Info,
            format,
        };
        let line = |format| {
            let fields: Fields<'_> = &[("address", &"[::]:1"), ("error", &"a \"b\"\nlevel=ERROR")];
            log(format).line(Timestamp::UNIX_EPOCH, Level::Warn, "it failed", fields)
        };
        assert_eq!(
            line(LogFormat::Logfmt),
            "time=1970-01-01T00:00:00.000Z level=WARN msg=\"it failed\" address=[::]:1 \
             error=\"a \\\"b\\\"\\nlevel=ERROR\"\n"
        );
        let json = line(LogFormat::Json);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["error"], "a \"b\"\nlevel=ERROR");
        assert_eq!(json.matches('\n').count(), 1);
    }
}
