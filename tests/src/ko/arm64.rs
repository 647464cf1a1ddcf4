// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel's configuration asks of machine code for arm64.

use object::elf;

use super::Violations;
use super::config::Config;
use super::disassembly::Instruction;
use super::object::{Function, Module, Place};
use super::unwind;

/// The kinds of relocations that the kernel's loader knows (`arch/arm64/kernel/module.c`).
pub(super) const RELOCATIONS: &[elf::RelocationType] = &[
    elf::R_AARCH64_NONE,
    elf::R_AARCH64_ABS64,
    elf::R_AARCH64_ABS32,
    elf::R_AARCH64_ABS16,
    elf::R_AARCH64_PREL64,
    elf::R_AARCH64_PREL32,
    elf::R_AARCH64_PREL16,
    elf::R_AARCH64_MOVW_UABS_G0,
    elf::R_AARCH64_MOVW_UABS_G0_NC,
    elf::R_AARCH64_MOVW_UABS_G1,
    elf::R_AARCH64_MOVW_UABS_G1_NC,
    elf::R_AARCH64_MOVW_UABS_G2,
    elf::R_AARCH64_MOVW_UABS_G2_NC,
    elf::R_AARCH64_MOVW_UABS_G3,
    elf::R_AARCH64_MOVW_SABS_G0,
    elf::R_AARCH64_MOVW_SABS_G1,
    elf::R_AARCH64_MOVW_SABS_G2,
    elf::R_AARCH64_LD_PREL_LO19,
    elf::R_AARCH64_ADR_PREL_LO21,
    elf::R_AARCH64_ADR_PREL_PG_HI21,
    elf::R_AARCH64_ADR_PREL_PG_HI21_NC,
    elf::R_AARCH64_ADD_ABS_LO12_NC,
    elf::R_AARCH64_LDST8_ABS_LO12_NC,
    elf::R_AARCH64_LDST16_ABS_LO12_NC,
    elf::R_AARCH64_LDST32_ABS_LO12_NC,
    elf::R_AARCH64_LDST64_ABS_LO12_NC,
    elf::R_AARCH64_LDST128_ABS_LO12_NC,
    elf::R_AARCH64_TSTBR14,
    elf::R_AARCH64_CONDBR19,
    elf::R_AARCH64_JUMP26,
    elf::R_AARCH64_CALL26,
];

/// Checks all of it.
pub(super) fn check(module: &Module, config: &Config, found: &mut Violations) {
    let functions = module.functions();
    registers(module, config, found);
    if config.has("ARM64_BTI_KERNEL") {
        landing(module, found);
    }
    if config.has("ARM64_PTR_AUTH_KERNEL") {
        signed_returns(module, &functions, found);
    }
    if config.has("SHADOW_CALL_STACK") && !config.has("DYNAMIC_SCS") {
        shadow_stack(module, &functions, found);
    }
    if config.has("FRAME_POINTER") {
        frame_pointers(&functions, found);
    }
    if config.has("DYNAMIC_SCS") {
        patchable(module, found);
    }
    if let Some(most) = config.number("FRAME_WARN").filter(|&most| most != 0) {
        frames(module, &functions, most, found);
    }
}

/// `str x30, [x18], #8` and `ldr x30, [x18, #-8]!`.
fn is_shadow(instruction: &Instruction) -> bool {
    matches!(
        (instruction.mnemonic.as_str(), instruction.operands.as_str()),
        ("str", "x30, [x18], #8") | ("ldr", "x30, [x18, #-8]!")
    )
}

/// Whether an operand is a register of floating point or of vectors: d0, v31.16b, p0.
fn is_vector(word: &str) -> bool {
    let name = word.split('.').next().unwrap_or_default();
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|letter| "bdhpqsvz".contains(letter))
        && matches!(letters.as_str().parse::<u8>(), Ok(0..32))
}

/// The kernel may use neither vectors nor what is below the stack's pointer, and has a use of its
/// own for x18.
fn registers(module: &Module, config: &Config, found: &mut Violations) {
    for (index, section) in module.executable() {
        for instruction in &section.instructions {
            let operands = instruction.operands.as_str();
            let complaint = if instruction.words().any(is_vector) {
                "uses a register of floating point or of vectors"
            } else if config.has("SHADOW_CALL_STACK")
                && instruction
                    .words()
                    .any(|word| matches!(word, "x18" | "w18"))
                && !is_shadow(instruction)
            {
                "uses x18, which has the shadow call stack (CONFIG_SHADOW_CALL_STACK)"
            } else if operands.contains("[sp, #-") && !operands.ends_with('!') {
                "uses the stack below its pointer (a red zone)"
            } else if instruction.mnemonic == "undefined" {
                "is no instruction"
            } else {
                continue;
            };
            found.add(format!(
                "{} {complaint}: {}",
                module.name_of((index, instruction.address)),
                instruction.text()
            ));
        }
    }
}

/// Tables of places that nothing jumps to by their address.
const NO_POINTERS: &[&str] = &[
    ".altinstructions",
    ".eh_frame",
    ".init.eh_frame",
    ".smp_locks",
    "__bug_table",
    "__ex_table",
    "__jump_table",
    "__mcount_loc",
    "__patchable_function_entries",
];

/// Branch target identification: what an indirect branch may reach begins with an instruction that
/// says so.
fn landing(module: &Module, found: &mut Violations) {
    let mut taken = module.taken_without_relocation(|i| i.mnemonic == "adr");
    for (index, section) in module.sections.iter().enumerate() {
        if !section.allocated || NO_POINTERS.contains(&section.name.as_str()) {
            continue;
        }
        for relocation in &section.relocations {
            let of_instruction = matches!(
                relocation.kind,
                elf::R_AARCH64_ADD_ABS_LO12_NC | elf::R_AARCH64_ADR_PREL_LO21
            );
            if section.executable && !of_instruction {
                continue;
            }
            let from = (index, relocation.at);
            taken.extend(module.target(relocation, 0).filter(|&to| {
                module.sections[to.0].executable
                    && !(section.executable && module.is_within(from, to))
            }));
        }
    }
    taken.sort_unstable();
    taken.dedup();
    for place in taken {
        let name = module.name_of(place);
        let lands = module.sections[place.0]
            .at(place.1)
            .is_some_and(|first| matches!(first.text().as_str(), "bti c" | "bti jc" | "paciasp"));
        if !lands {
            found.add(format!(
                "the address of {name} is taken, and it begins neither with bti c nor with paciasp \
                 (CONFIG_ARM64_BTI_KERNEL)"
            ));
        }
    }
}

/// Whether an instruction has x30 and an address on the stack among its operands.
fn has_link(instruction: &Instruction, mnemonics: [&str; 2]) -> bool {
    mnemonics.contains(&instruction.mnemonic.as_str())
        && instruction
            .operands
            .split('[')
            .next()
            .is_some_and(|registers| registers.contains("x30"))
        && instruction.operands.contains("[sp")
}

fn saves_link(instruction: &Instruction) -> bool {
    has_link(instruction, ["stp", "str"])
}

fn loads_link(instruction: &Instruction) -> bool {
    has_link(instruction, ["ldp", "ldr"])
}

/// A return address that was in memory is signed before, and authenticated after.
fn signed_returns(module: &Module, functions: &[Function<'_>], found: &mut Violations) {
    for function in functions {
        let signs = |i: &Instruction| i.mnemonic == "paciasp";
        // A part of a function is jumped to, when the function has signed.
        let saved = function.code.iter().position(saves_link);
        if !function.name.contains(".cold")
            && saved.is_some_and(|save| !function.code[..save].iter().any(signs))
        {
            found.add(format!(
                "{} saves its return address without having signed it: there is no paciasp \
                 (CONFIG_ARM64_PTR_AUTH_KERNEL)",
                function.name
            ));
        }
        for address in returns_without(function, |i| i.mnemonic == "autiasp") {
            found.add(format!(
                "{} returns to an address that it loaded and did not authenticate: there is no \
                 autiasp (CONFIG_ARM64_PTR_AUTH_KERNEL)",
                module.name_of((function.place.0, address))
            ));
        }
    }
}

/// Where a function returns to an address that it loaded from the stack, without `check` after
/// that.
fn returns_without(function: &Function<'_>, check: fn(&Instruction) -> bool) -> Vec<u64> {
    let mut addresses = Vec::new();
    for (n, instruction) in function.code.iter().enumerate() {
        // Back to where the straight line begins.
        let line = function.code[..n]
            .iter()
            .rev()
            .take_while(|i| !i.mnemonic.starts_with('b') && i.mnemonic != "ret");
        if instruction.mnemonic == "ret" && line.take_while(|i| !check(i)).any(loads_link) {
            addresses.push(instruction.address);
        }
    }
    addresses
}

/// A return address that is saved is saved on the shadow call stack too, and taken from there.
fn shadow_stack(module: &Module, functions: &[Function<'_>], found: &mut Violations) {
    for function in functions {
        let saved = function.code.iter().position(saves_link);
        if !function.name.contains(".cold")
            && saved.is_some_and(|save| !function.code[..save].iter().any(is_shadow))
        {
            found.add(format!(
                "{} does not save its return address on the shadow call stack \
                 (CONFIG_SHADOW_CALL_STACK)",
                function.name
            ));
        }
        for address in returns_without(function, is_shadow) {
            found.add(format!(
                "{} returns to an address that is not from the shadow call stack \
                 (CONFIG_SHADOW_CALL_STACK)",
                module.name_of((function.place.0, address))
            ));
        }
    }
}

/// Functions that call others keep the chain of frames.
fn frame_pointers(functions: &[Function<'_>], found: &mut Violations) {
    for function in functions {
        let calls = |i: &Instruction| matches!(i.mnemonic.as_str(), "bl" | "blr");
        if function.name.contains(".cold") || !function.code.iter().any(calls) {
            continue;
        }
        let saves =
            |i: &Instruction| i.mnemonic == "stp" && i.operands.starts_with("x29, x30, [sp");
        let points = |i: &Instruction| {
            matches!(i.mnemonic.as_str(), "mov" | "add") && i.operands.starts_with("x29, sp")
        };
        let mut code = function.code.iter();
        if !(code.any(saves) && code.any(points)) {
            found.add(format!(
                "{} calls without having set the frame's pointer (CONFIG_FRAME_POINTER)",
                function.name
            ));
        }
    }
}

/// With the dynamic shadow call stack, the kernel finds by the unwind tables what it must replace:
/// each paciasp and autiasp must be in them. Where they name another instruction, it takes no
/// notice.
fn patchable(module: &Module, found: &mut Violations) {
    let patched = match unwind::signing_places(module) {
        Ok(patched) => patched,
        Err(error) => {
            found.add(format!("{error} (CONFIG_DYNAMIC_SCS)"));
            return;
        }
    };
    let mut signing: Vec<Place> = Vec::new();
    for (index, section) in module.executable() {
        signing.extend(
            section
                .instructions
                .iter()
                .filter(|i| matches!(i.mnemonic.as_str(), "paciasp" | "autiasp"))
                .map(|i| (index, i.address)),
        );
    }
    for place in signing.iter().filter(|place| !patched.contains(place)) {
        found.add(format!(
            "the unwind tables do not say that {} signs or authenticates (CONFIG_DYNAMIC_SCS)",
            module.name_of(*place)
        ));
    }
}

/// Frames are no larger than the compiler of C warns of.
fn frames(module: &Module, functions: &[Function<'_>], most: u64, found: &mut Violations) {
    let number = |text: &str| -> u64 {
        // `#0x1, lsl #12` is 4096.
        let (text, shift) = match text.split_once(", lsl #") {
            Some((text, shift)) => (text, shift.parse().unwrap_or(0)),
            None => (text, 0),
        };
        let digits = text.trim_start_matches(['#', '-']);
        let number = match digits.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        number.unwrap_or(0) << shift
    };
    for function in functions {
        for instruction in function.code {
            let operands = instruction.operands.as_str();
            let size = match instruction.mnemonic.as_str() {
                "sub" => operands.strip_prefix("sp, sp, ").map(number),
                "stp" | "str" => operands
                    .split_once("[sp, ")
                    .and_then(|(_, offset)| offset.strip_suffix("]!"))
                    .map(number),
                _ => None,
            };
            if let Some(size) = size.filter(|&size| size > most) {
                found.add(format!(
                    "{} takes {size} bytes of the stack (CONFIG_FRAME_WARN={most})",
                    module.name_of((function.place.0, instruction.address))
                ));
            }
        }
    }
}
