// SPDX-License-Identifier: MIT OR Apache-2.0

//! The layout of a table: columns that are as wide as their widest cell.

use std::io::{self, Write};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Its heading.
    pub(crate) heading: &'static str,
    /// Its minimum width, in characters.
    least: usize,
    /// Whether cells are aligned to the right, as numbers are.
    pub(crate) is_number: bool,
}

impl Column {
    /// A column of numbers, at least `least` characters wide.
    pub(crate) const fn number(heading: &'static str, least: usize) -> Self {
        Self {
            heading,
            least,
            is_number: true,
        }
    }

    /// A column of text, at least `least` characters wide.
    pub(crate) const fn text(heading: &'static str, least: usize) -> Self {
        Self {
            heading,
            least,
            is_number: false,
        }
    }

    /// `text`, padded to `width` characters.
    pub(crate) fn padded(&self, text: &str, width: usize) -> String {
        if self.is_number {
            format!("{text:>width$}")
        } else {
            format!("{text:<width$}")
        }
    }
}

/// The width of each column, in characters, for all of these rows.
pub(crate) fn widths<'a, Row>(columns: &[Column], rows: impl IntoIterator<Item = Row>) -> Vec<usize>
where
    Row: IntoIterator<Item = &'a str>,
{
    let mut widths: Vec<usize> = columns
        .iter()
        .map(|column| column.least.max(column.heading.len()))
        .collect();
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = text.chars().count().max(*width);
        }
    }
    widths
}

/// The table as text: the headings, then the rows, each with its newline.
pub(crate) fn text(columns: &[Column], rows: &[Vec<String>]) -> String {
    let mut text = Vec::new();
    // Memory takes everything.
    let _ = write(&mut text, columns, rows.iter().cloned());
    String::from_utf8(text).unwrap_or_default()
}

/// Writes the table. The rows are made twice, so that they need not be in memory together.
pub(crate) fn write(
    to: &mut impl Write,
    columns: &[Column],
    rows: impl Iterator<Item = Vec<String>> + Clone,
) -> io::Result<()> {
    let mut widths = widths(columns, std::iter::empty::<[&str; 0]>());
    for row in rows.clone() {
        for (width, text) in widths.iter_mut().zip(&row) {
            *width = text.chars().count().max(*width);
        }
    }
    let headings = columns.iter().map(|column| column.heading.to_owned());
    for row in std::iter::once(headings.collect()).chain(rows) {
        let cells = columns.iter().zip(&widths).zip(&row);
        let cells: Vec<String> = cells
            .map(|((column, &width), cell)| column.padded(cell, width))
            .collect();
        writeln!(to, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
