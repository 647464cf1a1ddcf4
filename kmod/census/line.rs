// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A line of the module's files.

use core::fmt;
use core::str;

/// The most numbers of a line.
pub(super) const NUMBERS: usize = 18;

/// The most bytes of a line: numbers of up to 20 digits, each after a space, and the newline.
const MOST: usize = NUMBERS * 21 + 1;

/// Writes a line of `name`, which may be empty, and `numbers`, separated by single spaces.
///
/// All at once, from the last digit to the first: number by number, `core::fmt` takes 250
/// instructions for each, and a file may have a hundred thousand numbers.
///
/// # Errors
/// That of `f`, or the line is too long.
pub(super) fn write_line(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    numbers: impl DoubleEndedIterator<Item = u64>,
) -> fmt::Result {
    let mut bytes = [0; MOST];
    let mut free = bytes.iter_mut().rev();
    let mut put = |byte| {
        *free.next().ok_or(fmt::Error)? = byte;
        Ok(())
    };
    put(b'\n')?;
    for mut number in numbers.rev() {
        while number > 9 {
            put(b'0' + (number % 10) as u8)?;
            number /= 10;
        }
        put(b'0' + number as u8)?;
        put(b' ')?;
    }
    let start = free.len();
    let text = bytes.get(start..).unwrap_or_default();
    let text = str::from_utf8(text).map_err(|_| fmt::Error)?;
    f.write_str(name)?;
    f.write_str(match name {
        "" => text.strip_prefix(' ').unwrap_or(text),
        _ => text,
    })
}
