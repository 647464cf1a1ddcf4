// SPDX-License-Identifier: GPL-2.0-only

//! What a module takes from the kernel and what it gives: the list of its imports is kept in
//! `tests/data/module-imports`.

use super::Violations;
use super::config::Config;
use super::object::{Machine, Module};

/// Compares what a module imports with the kept list.
///
/// A line of the list is a symbol (or the start of several, and `*`), and when it must be imported:
/// conditions that must all be true, separated by commas. They are `always`; `may`, never; `x86`,
/// `arm64`; `own`, with the module's own Rust; an option of the kernel, `CONFIG_…`, of which a
/// mitigation has its name of before Linux 6.9. With the kernel's own Rust, symbols of Rust and for
/// Rust are the kernel's affair.
pub(super) fn imports(module: &Module, config: &Config, list: &str, found: &mut Violations) {
    let own = is_own(module);
    let imported: Vec<&str> = module
        .symbols
        .iter()
        .filter(|symbol| symbol.is_undefined && !symbol.name.is_empty())
        .map(|symbol| symbol.name.as_str())
        .collect();
    let matches = |pattern: &str, symbol: &str| match pattern.strip_suffix('*') {
        Some(start) => symbol.starts_with(start),
        None => symbol == pattern,
    };
    let mut allowed = Vec::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let Some((pattern, when)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let when = when.trim();
        allowed.push(pattern);
        let must = when.split(',').all(|one| match one {
            "always" => true,
            "x86" => module.machine == Machine::X86,
            "arm64" => module.machine == Machine::Arm64,
            "own" => own,
            one => one
                .strip_prefix("CONFIG_")
                .is_some_and(|option| config.mitigates(option)),
        });
        if must && !imported.iter().any(|symbol| matches(pattern, symbol)) {
            found.add(format!(
                "it does not import {pattern}, which tests/data/module-imports says ({when})"
            ));
        }
    }
    for symbol in imported {
        let is_rust = symbol.starts_with("_R") || symbol.starts_with("rust_");
        if !allowed.iter().any(|pattern| matches(pattern, symbol)) && (own || !is_rust) {
            found.add(format!(
                "it imports {symbol}, which is not in tests/data/module-imports"
            ));
        }
    }
}

/// Whether the module was built with its own `kernel` crate.
fn is_own(module: &Module) -> bool {
    module
        .symbols
        .iter()
        .any(|symbol| symbol.name == "tcpstat_own_init")
}

/// Nothing is global but what C and Rust call of each other, and what the kernel's build adds: a
/// symbol of Rust could be that of another crate too. With the kernel's own Rust, its compiler
/// decides.
pub(super) fn globals(module: &Module, found: &mut Violations) {
    if !is_own(module) {
        return;
    }
    for symbol in module.symbols.iter().filter(|symbol| symbol.is_global) {
        let name = symbol.name.strip_prefix("__pfx_").unwrap_or(&symbol.name);
        let known = matches!(name, "init_module" | "cleanup_module" | "__this_module")
            || name.starts_with("tcpstat_")
            // Of the kernel's linker script for modules.
            || name.starts_with("__start_")
            || name.starts_with("__stop_");
        if !known {
            found.add(format!(
                "{name} is global, and nothing outside its file needs it"
            ));
        }
    }
}
