// SPDX-License-Identifier: GPL-2.0-only

//! What is asked of a module on both architectures, apart from its machine code: sections,
//! relocations, and the text that `modinfo` prints.

use std::path::Path;

use super::Violations;
use super::config::Config;
use super::object::{Machine, Module};
use super::{arm64, x86};

/// Checks all of it.
pub(super) fn check(module: &Module, config: &Config, found: &mut Violations) {
    relocations(module, found);
    unwind_tables(module, config, found);
    if config.has("MODVERSIONS")
        && !["__versions", "__version_ext_crcs"].iter().any(|name| {
            module
                .section(name)
                .is_some_and(|section| !section.data.is_empty())
        })
    {
        found.add("there are no versions of what it imports (CONFIG_MODVERSIONS)".to_owned());
    }
}

/// The loader refuses a kind of relocation that it does not know, when the module is loaded.
fn relocations(module: &Module, found: &mut Violations) {
    let known = match module.machine {
        Machine::X86 => x86::RELOCATIONS,
        Machine::Arm64 => arm64::RELOCATIONS,
    };
    for (index, section) in module.sections.iter().enumerate() {
        for relocation in section.relocations.iter().filter(|_| section.allocated) {
            if !known.contains(&relocation.kind) {
                found.add(format!(
                    "the relocation at {} is of kind {}, which the kernel's loader does not know",
                    module.name_of((index, relocation.at)),
                    relocation.kind
                ));
            }
        }
    }
}

/// Unwind tables are there, of each function, exactly if they are asked for: they are memory, and
/// the dynamic shadow call stack of arm64 lives by them.
fn unwind_tables(module: &Module, config: &Config, found: &mut Violations) {
    let tables: Vec<_> = module
        .sections
        .iter()
        .filter(|section| matches!(section.name.as_str(), ".eh_frame" | ".init.eh_frame"))
        .collect();
    if !config.has("UNWIND_TABLES") {
        for table in tables {
            found.add(format!(
                "there are unwind tables ({}), and CONFIG_UNWIND_TABLES is not set",
                table.name
            ));
        }
        return;
    }
    let covered: Vec<_> = tables
        .iter()
        .flat_map(|table| &table.relocations)
        .filter_map(|relocation| module.target(relocation, 0))
        .collect();
    for function in module.functions() {
        if !covered.contains(&function.place) {
            found.add(format!(
                "{} has no unwind table (CONFIG_UNWIND_TABLES)",
                function.name
            ));
        }
    }
}

/// Types for BPF are there if the tree has those of the kernel, to which they refer.
pub(super) fn types(module: &Module, config: &Config, tree: &Path, found: &mut Violations) {
    if config.has("DEBUG_INFO_BTF_MODULES")
        && tree.join("vmlinux").exists()
        && module.section(".BTF").is_none()
    {
        found.add(
            "there is no .BTF, and the tree has vmlinux (CONFIG_DEBUG_INFO_BTF_MODULES)".to_owned(),
        );
    }
}

/// What `modinfo` prints, and the kernel compares: each once.
pub(super) fn information(module: &Module, config: &Config, release: &str, found: &mut Violations) {
    let data = module
        .section(".modinfo")
        .map_or(&[][..], |section| &section.data);
    let text = String::from_utf8_lossy(data);
    let mut expected = vec![
        ("license", "GPL v2".to_owned()),
        ("name", "tcpstat".to_owned()),
        ("vermagic", format!("{release} ")),
    ];
    if config.mitigates("RETPOLINE") {
        expected.push(("retpoline", "Y".to_owned()));
    }
    for (key, value) in expected {
        let values: Vec<_> = text
            .split('\0')
            .filter_map(|entry| entry.strip_prefix(key)?.strip_prefix('='))
            .collect();
        if !matches!(values[..], [one] if one.starts_with(&value)) {
            found.add(format!(
                "modinfo has for {key} {values:?}, and it must be '{}'",
                value.trim()
            ));
        }
    }
}
