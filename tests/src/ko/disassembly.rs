// SPDX-License-Identifier: GPL-2.0-only

//! The instructions of a module, as `objdump` prints them.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// One instruction.
pub(super) struct Instruction {
    pub(super) address: u64,
    /// The address after it.
    pub(super) end: u64,
    /// Without prefixes, such as `lock` and `notrack`.
    pub(super) mnemonic: String,
    /// Without comments, symbols and addresses in this file.
    pub(super) operands: String,
    /// An address in this section that it refers to, unless a relocation says what it refers to.
    pub(super) refers: Option<u64>,
}

impl Instruction {
    /// The operands that are registers, or parts of an address.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.operands
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
            .filter(|word| !word.is_empty())
    }

    /// As in an assembler's source.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.mnemonic, self.operands)
            .trim()
            .to_owned()
    }
}

/// The instructions of each executable section, by its name.
pub(super) type Disassembly = HashMap<String, Vec<Instruction>>;

/// Disassembles a module for `machine`, the first part of a GNU target.
pub(super) fn disassemble(file: &Path, machine: &str) -> Result<Disassembly, String> {
    let arguments = ["-d", "-z", "-w", "--no-show-raw-insn"];
    let cross = format!("{machine}-linux-gnu-objdump");
    let mut said = String::new();
    // A machine's own has either name.
    for objdump in [cross.as_str(), "objdump"] {
        match Command::new(objdump).args(arguments).arg(file).output() {
            Ok(output) if output.status.success() => {
                return parse(&String::from_utf8_lossy(&output.stdout));
            }
            Ok(output) => said = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => said = format!("{objdump}: {error}"),
        }
    }
    Err(format!(
        "cannot disassemble {}: {said} (install {cross}, which is in the package binutils-{})",
        file.display(),
        machine.replace('_', "-") + "-linux-gnu"
    ))
}

/// Prefixes of x86-64, which objdump prints before the mnemonic.
const PREFIXES: [&str; 14] = [
    "addr32", "bnd", "cs", "data16", "ds", "es", "fs", "gs", "lock", "notrack", "rep", "repnz",
    "repz", "ss",
];

/// The text that objdump prints with `-d -z -w --no-show-raw-insn`.
fn parse(text: &str) -> Result<Disassembly, String> {
    let mut sections = Disassembly::new();
    let mut section: Option<&mut Vec<Instruction>> = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("Disassembly of section ") {
            let name = name.trim_end_matches(':').to_owned();
            if sections.contains_key(&name) {
                return Err(format!("there are two sections of the name {name}"));
            }
            section = Some(sections.entry(name).or_default());
            continue;
        }
        let Some((address, code)) = line.split_once(":\t") else {
            continue;
        };
        let (Some(section), Ok(address)) =
            (section.as_mut(), u64::from_str_radix(address.trim(), 16))
        else {
            continue;
        };
        if let Some(previous) = section.last_mut() {
            previous.end = address;
        }
        section.push(instruction(address, code));
    }
    Ok(sections)
}

/// An instruction; where it ends is known from the next one.
fn instruction(address: u64, code: &str) -> Instruction {
    // `# 24 <foo+0x4>` and `// #4` are comments; `#4` is a number.
    let starts = [" # ", "//"].map(|mark| code.find(mark).unwrap_or(code.len()));
    let (code, comment) = code.split_at(starts.into_iter().min().unwrap_or(code.len()));
    // An address has its symbol behind it, as in `call 24 <foo+0x24>`.
    let address_of = |text: &str| {
        let (before, _) = text.split_once(" <")?;
        let start = before
            .rfind(|c: char| !c.is_ascii_hexdigit())
            .map_or(0, |at| at + 1);
        let address = u64::from_str_radix(&before[start..], 16).ok()?;
        Some((before[..start].len(), address))
    };
    let refers = address_of(code).or_else(|| address_of(comment));
    let code = &code[..address_of(code).map_or(code.len(), |(start, _)| start)];
    let mut rest = code.trim();
    loop {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if (PREFIXES.contains(&word) || word.starts_with("rex")) && !after.is_empty() {
            rest = after.trim_start();
            continue;
        }
        return Instruction {
            address,
            end: address,
            mnemonic: word.to_owned(),
            operands: after.trim().to_owned(),
            refers: refers.map(|(_, address)| address),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_comments_and_symbols_are_no_part_of_an_instruction() {
        let text = "
x.ko:     file format elf64-x86-64


Disassembly of section .text:

0000000000000000 <foo>:
   0:\tlock xadd %eax,(%rdi)
   4:\tnotrack jmp *%rax
   7:\tlea    0x0(%rip),%rax        # e <foo+0xe>
   e:\tcall   13 <foo+0x13>
  13:\tint3

Disassembly of section .init.text:

0000000000000000 <bar>:
   0:\tldr\tx0, [x1, #8]
   4:\tmov\tw0, #0x2a                  \t// #42
   8:\tcbz\tw0, d4 <bar+0xd4>
   c:\tb.eq\td4 <bar+0xd4>  // b.none
";
        let sections = parse(text).unwrap();
        let read = |name: &str| -> Vec<(u64, u64, String)> {
            sections[name]
                .iter()
                .map(|i| (i.address, i.end, i.text()))
                .collect()
        };
        assert_eq!(
            read(".text"),
            [
                (0, 4, "xadd %eax,(%rdi)".to_owned()),
                (4, 7, "jmp *%rax".to_owned()),
                (7, 14, "lea 0x0(%rip),%rax".to_owned()),
                (14, 19, "call".to_owned()),
                (19, 19, "int3".to_owned()),
            ]
        );
        assert_eq!(
            read(".init.text"),
            [
                (0, 4, "ldr x0, [x1, #8]".to_owned()),
                (4, 8, "mov w0, #0x2a".to_owned()),
                (8, 12, "cbz w0,".to_owned()),
                (12, 12, "b.eq".to_owned()),
            ]
        );
    }
}
