// SPDX-License-Identifier: GPL-2.0-only

//! Whether a built module is as the configuration of its kernel asks.
//!
//! The flags with which the module's Rust is compiled are kept by hand (`kmod/own/Makefile`). What
//! they must bring about is read here off the file that the kernel loads, so that a flag that is
//! missing, or that a compiler takes no notice of, is seen.

mod arm64;
mod common;
mod config;
mod disassembly;
mod interface;
mod object;
mod unwind;
mod x86;

use std::fs;
use std::path::Path;

pub use config::Config;
pub use object::Module;

use object::Machine;

/// What is wrong, in sentences.
#[derive(Default)]
struct Violations(Vec<String>);

impl Violations {
    fn add(&mut self, sentence: String) {
        self.0.push(sentence);
    }
}

/// The symbols that the module may import, and those that it must.
const IMPORTS: &str = include_str!("../../data/module-imports");

/// What is wrong with the built module `file` for the kernel of `tree`.
pub fn violations(file: &Path, tree: &Path) -> Result<Vec<String>, String> {
    let read = |name: &str| {
        let file = tree.join(name);
        fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
    };
    let config = Config::parse(&read("include/config/auto.conf")?);
    // Not kernel.release, which is another in the headers of Debian 12.
    let header = read("include/generated/utsrelease.h")?;
    let release = header.split('"').nth(1).unwrap_or_default();
    let module = Module::read(file)?;
    let mut found = Violations(code_violations(&module, &config));
    common::types(&module, &config, tree, &mut found);
    common::information(&module, &config, release, &mut found);
    interface::imports(&module, &config, IMPORTS, &mut found);
    interface::globals(&module, &mut found);
    Ok(found.0)
}

/// What is wrong with any object file that a kernel of this configuration could load.
pub fn code_violations(module: &Module, config: &Config) -> Vec<String> {
    let mut found = Violations::default();
    common::check(module, config, &mut found);
    match module.machine {
        Machine::X86 => x86::check(module, config, &mut found),
        Machine::Arm64 => arm64::check(module, config, &mut found),
    }
    found.0
}

/// The warnings in the log of a module's build, but for those that are about the tree or the
/// compiler, and that any module has.
pub fn warnings(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.to_lowercase().contains("warning:"))
        .filter(|line| !line.contains("warning: the compiler differs from the one used to build"))
        .collect()
}
