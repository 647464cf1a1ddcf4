// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel's configuration asks of machine code for x86-64.

use std::collections::HashSet;

use object::elf;

use super::Violations;
use super::config::Config;
use super::disassembly::Instruction;
use super::object::{Function, Module, Place, Section};

/// The kinds of relocations that the kernel's loader knows (`arch/x86/kernel/module.c`).
pub(super) const RELOCATIONS: &[elf::RelocationType] = &[
    elf::R_X86_64_NONE,
    elf::R_X86_64_64,
    elf::R_X86_64_32,
    elf::R_X86_64_32S,
    elf::R_X86_64_PC32,
    elf::R_X86_64_PLT32,
    elf::R_X86_64_PC64,
];

const RETURN_THUNK: &str = "__x86_return_thunk";
const INDIRECT_THUNK: &str = "__x86_indirect_thunk_";

/// Checks all of it.
pub(super) fn check(module: &Module, config: &Config, found: &mut Violations) {
    let functions = module.functions();
    registers(module, found);
    red_zone(module, &functions, found);
    branches(module, config, found);
    sites(module, config, found);
    if config.has("X86_KERNEL_IBT") {
        landing(module, &functions, found);
    }
    if config.has("CALL_PADDING") {
        padding(module, config, &functions, found);
    }
    if config.has("FRAME_POINTER") {
        frame_pointers(module, &functions, found);
    }
    if config.has("UNWINDER_ORC") {
        for section in [".orc_unwind", ".orc_unwind_ip"] {
            if module
                .section(section)
                .is_none_or(|section| section.data.is_empty())
            {
                found.add(format!(
                    "there is no {section}: objtool did not run (CONFIG_UNWINDER_ORC)"
                ));
            }
        }
    }
    if let Some(most) = config.number("FRAME_WARN").filter(|&most| most != 0) {
        frames(module, &functions, most, found);
    }
}

fn is_call(instruction: &Instruction) -> bool {
    instruction.mnemonic.starts_with("call")
}

fn is_jump(instruction: &Instruction) -> bool {
    instruction.mnemonic.starts_with("jmp")
}

/// A call or a jump, conditional ones too, to an address that is in the instruction.
fn is_direct(instruction: &Instruction) -> bool {
    (is_call(instruction) || instruction.mnemonic.starts_with('j'))
        && !instruction.operands.starts_with('*')
}

fn is_return(instruction: &Instruction) -> bool {
    instruction.mnemonic.starts_with("ret")
}

/// The kernel may not use the registers of floating point and of vectors.
fn registers(module: &Module, found: &mut Violations) {
    for (index, section) in module.executable() {
        for instruction in &section.instructions {
            let mnemonic = instruction.mnemonic.as_str();
            let place = || module.name_of((index, instruction.address));
            if mnemonic == "(bad)" {
                found.add(format!("{} is no instruction", place()));
            }
            let vector = ["%xmm", "%ymm", "%zmm", "%mm", "%st"];
            if vector
                .iter()
                .any(|name| instruction.operands.contains(name))
                || mnemonic.starts_with('f')
                || mnemonic == "emms"
            {
                found.add(format!(
                    "{} uses a register of floating point or of vectors: {}",
                    place(),
                    instruction.text()
                ));
            }
        }
    }
}

/// A number of an operand, such as `-0x8` of `-0x8(%rsp)`, or `0x20` of `$0x20`.
fn number(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let value = i64::from_str_radix(digits.strip_prefix("0x")?, 16).ok()?;
    Some(sign * value)
}

/// The offset of an operand that is an address relative to a register.
fn offset_from(operands: &str, register: &str) -> Option<i64> {
    let (before, _) = operands.split_once(&format!("({register})"))?;
    let from = before.rfind([',', ' ']).map_or(0, |comma| comma + 1);
    number(before[from..].trim_start_matches('*'))
}

/// How much an instruction moves the stack's pointer down.
fn moves_down(instruction: &Instruction) -> i64 {
    match instruction.mnemonic.as_str() {
        mnemonic if mnemonic.starts_with("push") => 8,
        mnemonic if mnemonic.starts_with("sub") => instruction
            .operands
            .strip_suffix(",%rsp")
            .and_then(|from| number(from.trim_start_matches('$')))
            .unwrap_or(0),
        mnemonic if mnemonic.starts_with("add") => instruction
            .operands
            .strip_suffix(",%rsp")
            .and_then(|from| number(from.trim_start_matches('$')))
            .filter(|&moved| moved < 0)
            .map_or(0, |moved| -moved),
        mnemonic if mnemonic.starts_with("lea") && instruction.operands.ends_with(",%rsp") => {
            offset_from(&instruction.operands, "%rsp").map_or(0, |moved| (-moved).max(0))
        }
        _ => 0,
    }
}

/// Interrupts overwrite what is below the stack's pointer.
///
/// Relative to the frame's pointer, the most that the function has of the stack is allowed
/// everywhere in it.
fn red_zone(module: &Module, functions: &[Function<'_>], found: &mut Violations) {
    for function in functions {
        let framed = function
            .code
            .iter()
            .position(|i| i.mnemonic == "mov" && i.operands == "%rsp,%rbp");
        let mut own: i64 = function.code[framed.unwrap_or(0)..]
            .iter()
            .map(moves_down)
            .sum();
        if function.code.iter().any(|i| {
            let operands = i.operands.as_str();
            i.mnemonic.starts_with("sub")
                && operands.starts_with("%r")
                && operands.ends_with(",%rsp")
                || i.mnemonic.starts_with("and") && operands.ends_with(",%rsp")
        }) {
            // By a number that is not known here.
            own = i64::MAX;
        }
        for instruction in function.code {
            if instruction.mnemonic.starts_with("lea") || instruction.mnemonic.starts_with("nop") {
                continue;
            }
            let operands = instruction.operands.as_str();
            let below = offset_from(operands, "%rsp").is_some_and(|offset| offset < 0)
                || framed.is_some()
                    && offset_from(operands, "%rbp").is_some_and(|offset| -offset > own);
            if below {
                found.add(format!(
                    "{} uses the stack below its pointer (a red zone): {}",
                    module.name_of((function.place.0, instruction.address)),
                    instruction.text()
                ));
            }
        }
    }
}

/// Retpolines, return thunks, and what follows an instruction that the processor might run past.
fn branches(module: &Module, config: &Config, found: &mut Violations) {
    let (retpoline, rethunk) = (config.mitigates("RETPOLINE"), config.mitigates("RETHUNK"));
    let sls = config.mitigates("SLS");
    for (index, section) in module.executable() {
        for instruction in &section.instructions {
            let place = || module.name_of((index, instruction.address));
            let indirect = (is_call(instruction) || is_jump(instruction))
                && instruction.operands.starts_with('*');
            if retpoline && indirect {
                found.add(format!(
                    "{} branches to an address that is not known before, without a retpoline \
                     (CONFIG_MITIGATION_RETPOLINE): {}",
                    place(),
                    instruction.text()
                ));
            }
            if rethunk && is_return(instruction) {
                found.add(format!(
                    "{} returns without the return thunk (CONFIG_MITIGATION_RETHUNK)",
                    place()
                ));
            }
            // The kernel patches jumps to thunks, and then adds an int3 itself.
            let straight = is_return(instruction) || is_jump(instruction) && indirect;
            let trapped = section
                .at(instruction.end)
                .is_some_and(|next| next.mnemonic == "int3");
            if sls && straight && !trapped {
                found.add(format!(
                    "no int3 follows the return or the indirect jump at {} (CONFIG_MITIGATION_SLS)",
                    place()
                ));
            }
        }
    }
}

/// Which of a section's instructions a table of sites lists.
type IsSite = fn(&Module, &Section, &Instruction) -> bool;

/// The lists by which the kernel patches branches when it boots or loads a module: all of them must
/// be there, or some would stay as slow, or as vulnerable, as they are in the file.
fn sites(module: &Module, config: &Config, found: &mut Violations) {
    let tables: [(bool, &str, IsSite); 3] = [
        (
            config.mitigates("RETHUNK"),
            ".return_sites",
            |module, section, i| is_jump(i) && module.symbol_of(section, i) == RETURN_THUNK,
        ),
        (
            config.mitigates("RETPOLINE"),
            ".retpoline_sites",
            |module, section, i| module.symbol_of(section, i).starts_with(INDIRECT_THUNK),
        ),
        (
            config.has("CALL_THUNKS"),
            ".call_sites",
            |module, section, i| {
                // Code that runs once, at the start, is left alone.
                is_call(i)
                    && is_direct(i)
                    && !section.name.starts_with(".init")
                    && !["__fentry__", "__SCT__"]
                        .iter()
                        .any(|other| module.symbol_of(section, i).starts_with(other))
                    && !module.symbol_of(section, i).starts_with(INDIRECT_THUNK)
            },
        ),
    ];
    for (asked, table, is_site) in tables {
        if !asked {
            continue;
        }
        let listed: HashSet<Place> = module.places_in(table).into_iter().collect();
        for (index, section) in module.executable() {
            for instruction in &section.instructions {
                let place = (index, instruction.address);
                if is_site(module, section, instruction) && !listed.contains(&place) {
                    found.add(format!(
                        "{table} lacks {}: {}",
                        module.name_of(place),
                        instruction.text()
                    ));
                }
            }
        }
    }
}

/// Tables of places that nothing jumps to by their address; those of objtool, `validate_ibt`.
const NO_POINTERS: &[&str] = &[
    ".altinstructions",
    ".call_sites",
    ".eh_frame",
    ".ibt_endbr_seal",
    ".orc_unwind_ip",
    ".parainstructions",
    ".retpoline_sites",
    ".return_sites",
    ".smp_locks",
    ".static_call_sites",
    "__bug_table",
    "__ex_table",
    "__jump_table",
    "__kcfi_traps",
    "__mcount_loc",
    "__patchable_function_entries",
];

/// The places in the module whose address is taken.
fn taken(module: &Module) -> Vec<Place> {
    let mut taken = module.taken_without_relocation(|i| !is_direct(i));
    for (index, section) in module.sections.iter().enumerate() {
        if !section.allocated || NO_POINTERS.contains(&section.name.as_str()) {
            continue;
        }
        for relocation in &section.relocations {
            let mut bias = 0;
            if section.executable {
                let Some(instruction) = section.instruction_of(relocation) else {
                    continue;
                };
                if is_direct(instruction) {
                    continue;
                }
                // Such a number is relative to the end of the instruction.
                if matches!(relocation.kind, elf::R_X86_64_PC32 | elf::R_X86_64_PLT32) {
                    bias = (instruction.end - relocation.at) as i64;
                }
            }
            let Some(place) = module.target(relocation, bias) else {
                continue;
            };
            let from = (index, relocation.at);
            if module.sections[place.0].executable
                && !(section.executable && module.is_within(from, place))
            {
                taken.push(place);
            }
        }
    }
    taken.sort_unstable();
    taken.dedup();
    taken
}

/// Indirect branch tracking: what an indirect branch may reach begins with endbr64, and the others
/// are listed, so that the kernel overwrites theirs.
fn landing(module: &Module, functions: &[Function<'_>], found: &mut Violations) {
    let taken = taken(module);
    let sealed = module.places_in(".ibt_endbr_seal");
    let lands = |place: Place| {
        module.sections[place.0]
            .at(place.1)
            .is_some_and(|instruction| instruction.mnemonic == "endbr64")
    };
    for &place in &taken {
        let name = module.name_of(place);
        if !lands(place) {
            found.add(format!(
                "the address of {name} is taken, and it does not begin with endbr64 \
                 (CONFIG_X86_KERNEL_IBT)"
            ));
        }
        if sealed.contains(&place) {
            found.add(format!(
                "the address of {name} is taken, and its endbr64 is to be removed"
            ));
        }
    }
    for function in functions {
        if lands(function.place)
            && !taken.contains(&function.place)
            && !sealed.contains(&function.place)
        {
            found.add(format!(
                "{} keeps its endbr64 although its address is not taken (.ibt_endbr_seal lacks it)",
                function.name
            ));
        }
    }
}

/// The bytes before each function, into which the kernel may write code that counts calls.
fn padding(module: &Module, config: &Config, functions: &[Function<'_>], found: &mut Violations) {
    let bytes = config.number("FUNCTION_PADDING_BYTES").unwrap_or(0);
    for function in functions {
        // A part of a function is jumped to, and not called.
        if function.name.contains(".cold") {
            continue;
        }
        let (section, address) = function.place;
        let before = address
            .checked_sub(bytes)
            .map(|start| module.sections[section].between(start..address));
        let padded = before.is_some_and(|before| {
            before
                .first()
                .is_some_and(|first| first.address + bytes == address)
                && before
                    .iter()
                    .all(|i| i.mnemonic.starts_with("nop") || i.text() == "xchg %ax,%ax")
        });
        if !padded {
            found.add(format!(
                "before {} there are not {bytes} bytes of nop (CONFIG_CALL_PADDING)",
                function.name
            ));
        }
    }
}

/// Functions that call others keep the chain of frames.
fn frame_pointers(module: &Module, functions: &[Function<'_>], found: &mut Violations) {
    for function in functions {
        if function.name.contains(".cold") {
            continue;
        }
        let section = &module.sections[function.place.0];
        let calls = |i: &&Instruction| is_call(i) && module.symbol_of(section, i) != "__fentry__";
        let Some(call) = function.code.iter().find(calls) else {
            continue;
        };
        let mut before = function
            .code
            .iter()
            .take_while(|i| i.address < call.address);
        let framed = before.any(|i| i.mnemonic == "push" && i.operands == "%rbp")
            && before.any(|i| i.mnemonic == "mov" && i.operands == "%rsp,%rbp");
        if !framed {
            found.add(format!(
                "{} calls without having set the frame's pointer (CONFIG_FRAME_POINTER)",
                function.name
            ));
        }
    }
}

/// Frames are no larger than the compiler of C warns of.
fn frames(module: &Module, functions: &[Function<'_>], most: u64, found: &mut Violations) {
    for function in functions {
        for instruction in function.code {
            let size = moves_down(instruction).unsigned_abs();
            if size > most {
                found.add(format!(
                    "{} takes {size} bytes of the stack (CONFIG_FRAME_WARN={most})",
                    module.name_of((function.place.0, instruction.address))
                ));
            }
        }
    }
}
