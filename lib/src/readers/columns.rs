// SPDX-License-Identifier: MIT OR Apache-2.0

//! The columns of a file of the module, which are known by their names: an older or newer module
//! may have others.

use super::lines::{Line, words};
use crate::error::BadLine;

/// The place of the column `name`; `None` if there is no such column.
pub(crate) fn find(header: Line<'_>, name: &str) -> Result<Option<usize>, BadLine> {
    let mut places = words(header.text)
        .enumerate()
        .filter(|(_, word)| *word == name.as_bytes())
        .map(|(place, _)| place);
    match (places.next(), places.next()) {
        (Some(_), Some(_)) => Err(header.bad(format!("the column {name} is there twice"))),
        (place, _) => Ok(place),
    }
}

/// The place of the column `name`, which must be there.
pub(crate) fn place(header: Line<'_>, name: &str) -> Result<usize, BadLine> {
    find(header, name)?.ok_or_else(|| header.bad(format!("the column {name} is missing")))
}

/// The words of a line, of which there must be `number`, as many as in the header.
pub(crate) fn split(line: Line<'_>, number: usize) -> Result<Vec<&[u8]>, BadLine> {
    let words: Vec<&[u8]> = words(line.text).collect();
    match words.len() {
        found if found == number => Ok(words),
        found => Err(line.bad(format!("{found} columns, and the header has {number}"))),
    }
}
