// SPDX-License-Identifier: GPL-2.0-only

//! A kernel's configuration, from `include/config/auto.conf`.

use std::collections::HashMap;

/// The options that are set, without `CONFIG_`.
pub struct Config(HashMap<String, String>);

impl Config {
    /// The options of the text of an `auto.conf`.
    pub fn parse(text: &str) -> Self {
        let options = text.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('"').to_owned()))
        });
        Self(options.collect())
    }

    /// Whether the option is `y`.
    pub fn has(&self, option: &str) -> bool {
        self.0.get(option).is_some_and(|value| value == "y")
    }

    /// Whether the option is `y` by either of its names: mitigations were renamed in Linux 6.9.
    pub fn mitigates(&self, option: &str) -> bool {
        self.has(option) || self.has(&format!("MITIGATION_{option}"))
    }

    /// The number that the option is set to.
    pub fn number(&self, option: &str) -> Option<u64> {
        self.0.get(option)?.parse().ok()
    }
}
