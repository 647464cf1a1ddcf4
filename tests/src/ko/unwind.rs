// SPDX-License-Identifier: GPL-2.0-only

//! The unwind tables of arm64, read as the kernel reads them to find what it patches
//! (`arch/arm64/kernel/pi/patch-scs.c`): it knows one kind of header and a part of the operations.

use super::object::{Module, Place};

/// The bytes that are left.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*first))
    }

    /// A number in LEB128, of which only small ones that are not negative are used here.
    fn leb128(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    }
}

/// The instructions that, by the unwind tables, sign or authenticate the return address.
pub(super) fn signing_places(module: &Module) -> Result<Vec<Place>, String> {
    let Some(section) = [".init.eh_frame", ".eh_frame"]
        .iter()
        .find_map(|name| module.section(name))
    else {
        return Err("there are no unwind tables (.init.eh_frame)".to_owned());
    };
    let mut places = Vec::new();
    let mut offset = 0;
    // That of the last header, as the kernel takes it.
    let mut alignment = 1;
    while let Some(entry) = section.data.get(offset..) {
        let mut bytes = Bytes(entry);
        let Some(length) = bytes.word().filter(|&length| length != 0) else {
            break;
        };
        let cut = || format!("the unwind table at {offset:#x} is cut");
        let rest = bytes.0.get(..length as usize).ok_or_else(cut)?;
        let mut bytes = Bytes(rest);
        if bytes.word().ok_or_else(cut)? == 0 {
            alignment = header(bytes).ok_or_else(|| {
                format!("the kernel does not know the header of the unwind table at {offset:#x}")
            })?;
        } else {
            // The address of the function is 8 bytes from the start.
            let start = section
                .relocations
                .iter()
                .find(|relocation| relocation.at == offset as u64 + 8)
                .and_then(|relocation| module.target(relocation, 0))
                .ok_or_else(|| format!("the unwind table at {offset:#x} is of no function"))?;
            let signing = operations(bytes, start.1, alignment)
                .ok_or_else(|| format!("the kernel does not know an operation at {offset:#x}"))?;
            places.extend(signing.into_iter().map(|address| (start.0, address)));
        }
        offset += 4 + length as usize;
    }
    Ok(places)
}

/// Checks a header, and gives the code's alignment, in which operations count: 1 or 4.
fn header(mut bytes: Bytes<'_>) -> Option<u64> {
    let version = bytes.byte()?;
    let augmentation = [bytes.byte()?, bytes.byte()?, bytes.byte()?];
    let code_alignment = bytes.leb128()?;
    let _data_alignment = bytes.leb128()?;
    let (return_register, augmentation_length) = (bytes.leb128()?, bytes.leb128()?);
    // Addresses are relative to their place, in 32 bits.
    let encoding = bytes.byte()?;
    (version == 1
        && augmentation == *b"zR\0"
        && matches!(code_alignment, 1 | 4)
        && (return_register, augmentation_length, encoding) == (30, 1, 0x1b))
        .then_some(code_alignment)
}

/// The addresses of the instructions that sign or authenticate a return address.
fn operations(mut bytes: Bytes<'_>, start: u64, alignment: u64) -> Option<Vec<u64>> {
    let _ = (bytes.word()?, bytes.word()?);
    let augmentation = usize::try_from(bytes.leb128()?).ok()?;
    bytes.0 = bytes.0.get(augmentation..)?;
    let mut address = start;
    let mut places = Vec::new();
    while let Some(operation) = bytes.byte() {
        match operation {
            // nop, remember_state, restore_state, restore
            0x00 | 0x0a | 0x0b | 0xc0..=0xff => {}
            // advance_loc, advance_loc1, advance_loc2
            0x40..=0x7f => address += u64::from(operation & 0x3f) * alignment,
            0x02 => address += u64::from(bytes.byte()?) * alignment,
            0x03 => {
                let step = u16::from_le_bytes([bytes.byte()?, bytes.byte()?]);
                address += u64::from(step) * alignment;
            }
            // offset_extended, def_cfa
            0x05 | 0x0c => {
                bytes.leb128()?;
                bytes.leb128()?;
            }
            // restore_extended, same_value, def_cfa_register, def_cfa_offset, def_cfa_offset_sf,
            // offset
            0x06 | 0x08 | 0x0d | 0x0e | 0x13 | 0x80..=0xbf => {
                bytes.leb128()?;
            }
            // negate_ra_state, after the instruction
            0x2d => places.push(address.checked_sub(4)?),
            _ => return None,
        }
    }
    Some(places)
}
