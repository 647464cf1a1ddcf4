// SPDX-License-Identifier: GPL-2.0-only

//! A module as an object file: sections, symbols, relocations, instructions.

use std::fs;
use std::ops::Range;
use std::path::Path;

use object::read::elf::{ElfFile64, FileHeader as _};
use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags,
    RelocationTarget, SectionFlags, SymbolKind, elf,
};

use super::disassembly::{self, Instruction};

/// A module, or another object file that the kernel could load.
pub struct Module {
    pub(super) machine: Machine,
    pub(super) sections: Vec<Section>,
    pub(super) symbols: Vec<Symbol>,
}

/// The architectures of the module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    X86,
    Arm64,
}

pub(super) struct Section {
    pub(super) name: String,
    pub(super) allocated: bool,
    pub(super) executable: bool,
    pub(super) data: Vec<u8>,
    pub(super) relocations: Vec<Relocation>,
    pub(super) instructions: Vec<Instruction>,
}

pub(super) struct Symbol {
    pub(super) name: String,
    /// Its index in [`Module::sections`]; without one it is undefined or absolute.
    pub(super) section: Option<usize>,
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) is_function: bool,
    pub(super) is_global: bool,
    pub(super) is_undefined: bool,
}

pub(super) struct Relocation {
    pub(super) at: u64,
    pub(super) kind: elf::RelocationType,
    /// Its index in [`Module::symbols`].
    pub(super) symbol: usize,
    pub(super) addend: i64,
}

/// A place: the index of a section, and an address in it.
pub(super) type Place = (usize, u64);

/// A function and its instructions.
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    pub(super) place: Place,
    pub(super) code: &'a [Instruction],
}

impl Module {
    /// Reads an object file, and disassembles it by objdump.
    pub fn read(file: &Path) -> Result<Self, String> {
        let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let wrong = |error: object::Error| format!("{}: {error}", file.display());
        let elf = ElfFile64::<LittleEndian>::parse(&*bytes).map_err(wrong)?;
        let (machine, gnu) = match elf.elf_header().e_machine(LittleEndian) {
            elf::EM_X86_64 => (Machine::X86, "x86_64"),
            elf::EM_AARCH64 => (Machine::Arm64, "aarch64"),
            other => return Err(format!("{}: machine {other} is unknown", file.display())),
        };

        // In the file, both are counted from 1.
        let mut symbols = Vec::new();
        for symbol in elf.symbols() {
            symbols.push(Symbol {
                name: symbol.name().map_err(wrong)?.to_owned(),
                section: symbol.section_index().map(|index| index.0 - 1),
                address: symbol.address(),
                size: symbol.size(),
                is_function: symbol.kind() == SymbolKind::Text && symbol.size() != 0,
                is_global: symbol.is_global() && !symbol.is_undefined(),
                is_undefined: symbol.is_undefined(),
            });
        }

        let mut disassembly = disassembly::disassemble(file, gnu)?;
        let mut sections = Vec::new();
        for section in elf.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
                return Err(format!("{} is no ELF file", file.display()));
            };
            let name = section.name().map_err(wrong)?.to_owned();
            let executable = sh_flags.contains(elf::SHF_EXECINSTR);
            let mut instructions = Vec::new();
            if executable {
                instructions = disassembly.remove(&name).unwrap_or_default();
                if let Some(last) = instructions.last_mut() {
                    last.end = section.size();
                }
                if instructions.is_empty() && section.size() != 0 {
                    return Err(format!("objdump prints nothing of the section {name}"));
                }
            }
            let mut relocations = Vec::new();
            for (at, relocation) in section.relocations() {
                let (RelocationFlags::Elf { r_type }, RelocationTarget::Symbol(symbol)) =
                    (relocation.flags(), relocation.target())
                else {
                    // One of the kind NONE has no symbol.
                    continue;
                };
                relocations.push(Relocation {
                    at,
                    kind: r_type,
                    symbol: symbol.0 - 1,
                    addend: relocation.addend(),
                });
            }
            sections.push(Section {
                name,
                allocated: sh_flags.contains(elf::SHF_ALLOC),
                executable,
                data: section.data().map_err(wrong)?.to_vec(),
                relocations,
                instructions,
            });
        }
        if let Some(unknown) = disassembly.keys().next() {
            return Err(format!(
                "objdump prints a section {unknown}, which is not executable"
            ));
        }
        Ok(Self {
            machine,
            sections,
            symbols,
        })
    }

    /// The section of this name.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The executable sections, with their indices.
    pub(super) fn executable(&self) -> impl Iterator<Item = (usize, &Section)> {
        self.sections
            .iter()
            .enumerate()
            .filter(|(_, section)| section.executable)
    }

    /// The functions, each once, although it may have several names.
    pub(super) fn functions(&self) -> Vec<Function<'_>> {
        let mut functions: Vec<Function<'_>> = Vec::new();
        for symbol in self.symbols.iter().filter(|symbol| symbol.is_function) {
            let Some(index) = symbol.section else {
                continue;
            };
            let place = (index, symbol.address);
            // objtool gives the padding before a function a symbol of its own.
            if symbol.name.starts_with("__pfx_") || functions.iter().any(|f| f.place == place) {
                continue;
            }
            functions.push(Function {
                name: &symbol.name,
                place,
                code: self.sections[index].between(symbol.address..symbol.address + symbol.size),
            });
        }
        functions
    }

    /// The name of the symbol that an instruction calls, jumps to, or refers to.
    pub(super) fn symbol_of(&self, section: &Section, instruction: &Instruction) -> &str {
        section
            .relocations_of(instruction)
            .next()
            .map_or("", |relocation| &self.symbols[relocation.symbol].name)
    }

    /// The place whose address a relocation stands for, if it is in the module. `bias` is added.
    pub(super) fn target(&self, relocation: &Relocation, bias: i64) -> Option<Place> {
        let symbol = &self.symbols[relocation.symbol];
        let address = symbol
            .address
            .checked_add_signed(relocation.addend + bias)?;
        Some((symbol.section?, address))
    }

    /// The places that instructions of a kind refer to by themselves: an assembler needs no
    /// relocation within a section.
    pub(super) fn taken_without_relocation(&self, of: fn(&Instruction) -> bool) -> Vec<Place> {
        let mut places = Vec::new();
        for (index, section) in self.executable() {
            for instruction in section.instructions.iter().filter(|i| of(i)) {
                let from = (index, instruction.address);
                let to = instruction.refers.map(|address| (index, address));
                let related = section.relocations_of(instruction).next().is_some();
                places.extend(to.filter(|&to| !related && !self.is_within(from, to)));
            }
        }
        places
    }

    /// The places that a table of addresses refers to, such as `.return_sites`.
    pub(super) fn places_in(&self, table: &str) -> Vec<Place> {
        self.section(table)
            .into_iter()
            .flat_map(|section| &section.relocations)
            .filter_map(|relocation| self.target(relocation, 0))
            .collect()
    }

    /// The function that a place is in.
    fn function_at(&self, (section, address): Place) -> Option<&Symbol> {
        self.symbols.iter().find(|symbol| {
            symbol.is_function
                && symbol.section == Some(section)
                && (symbol.address..symbol.address + symbol.size).contains(&address)
        })
    }

    /// Whether `to` is inside the function that `from` is in: its address is for a message
    /// (`_THIS_IP_`), and nothing jumps there.
    pub(super) fn is_within(&self, from: Place, to: Place) -> bool {
        let function = self.function_at(to);
        function.is_some_and(|function| {
            function.address != to.1
                && self.function_at(from).is_some_and(|other| {
                    (other.section, other.address) == (Some(to.0), function.address)
                })
        })
    }

    /// A place in words: the function and the offset in it.
    pub(super) fn name_of(&self, place: Place) -> String {
        match self.function_at(place) {
            Some(symbol) if symbol.address == place.1 => symbol.name.clone(),
            Some(symbol) => format!("{}+{:#x}", symbol.name, place.1 - symbol.address),
            None => format!("{}+{:#x}", self.sections[place.0].name, place.1),
        }
    }
}

impl Section {
    /// The instruction at an address.
    pub(super) fn at(&self, address: u64) -> Option<&Instruction> {
        let index = self
            .instructions
            .binary_search_by_key(&address, |i| i.address);
        index.ok().map(|index| &self.instructions[index])
    }

    /// The instructions of a range of addresses.
    pub(super) fn between(&self, range: Range<u64>) -> &[Instruction] {
        let from = self
            .instructions
            .partition_point(|i| i.address < range.start);
        let to = self.instructions.partition_point(|i| i.address < range.end);
        &self.instructions[from..to.max(from)]
    }

    /// The relocations of an instruction.
    pub(super) fn relocations_of<'a>(
        &'a self,
        instruction: &'a Instruction,
    ) -> impl Iterator<Item = &'a Relocation> {
        self.relocations
            .iter()
            .filter(|relocation| (instruction.address..instruction.end).contains(&relocation.at))
    }

    /// The instruction that has a relocation.
    pub(super) fn instruction_of(&self, relocation: &Relocation) -> Option<&Instruction> {
        let after = self
            .instructions
            .partition_point(|i| i.address <= relocation.at);
        self.instructions.get(after.checked_sub(1)?)
    }
}
