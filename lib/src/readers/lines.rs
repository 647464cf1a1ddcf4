// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text as procfs has it: the lines of a file of any length, through one buffer that does not grow;
//! their words and numbers.

use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use super::interrupted::retried;
use crate::error::{BadLine, Error};

/// The size of a buffer for lines, in bytes: four of the largest pages that a kernel has. The
/// kernel gives at most a page a read of a table.
pub(crate) const BUFFER: usize = 1 << 18;

/// Reads lines. Each must fit into `buffer`.
#[derive(Debug)]
pub(crate) struct Lines<R, B> {
    file: R,
    buffer: B,
    /// The bytes that were read and not used yet are between these two.
    start: usize,
    end: usize,
    /// Where the line is that was read last, without its end.
    line: Range<usize>,
    /// How many lines were read.
    read: u64,
    /// A read of fewer bytes than this, with room for more, is the last.
    full: usize,
    /// How many reads there were.
    fills: u64,
    ended: bool,
}

/// A line without its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// Its number, from 1.
    pub(crate) number: u64,
    pub(crate) text: &'a [u8],
}

impl Line<'_> {
    pub(crate) fn bad(&self, problem: impl Into<String>) -> BadLine {
        BadLine::new(self.number, problem, self.text)
    }
}

/// The words of a line, with blanks between them. The line may end with a newline.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\n'))
        .filter(|word| !word.is_empty())
}

/// A count in decimal digits, without a sign: a negative number is not a count.
pub(crate) fn decimal(word: &[u8]) -> Option<u64> {
    let digits = word.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(word)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()
}

/// Why there is no line.
#[derive(Debug)]
pub(crate) enum Failure {
    Read(io::Error),
    Line(BadLine),
}

impl Failure {
    pub(crate) fn of(self, path: &Path) -> Error {
        match self {
            Self::Read(error) => Error::read(path, error),
            Self::Line(bad) => bad.of(path),
        }
    }
}

impl From<BadLine> for Failure {
    fn from(bad: BadLine) -> Self {
        Self::Line(bad)
    }
}

impl<R: Read, B: AsRef<[u8]> + AsMut<[u8]>> Lines<R, B> {
    pub(crate) fn new(file: R, buffer: B) -> Self {
        Self {
            file,
            buffer,
            start: 0,
            end: 0,
            line: 0..0,
            read: 0,
            full: 1,
            fills: 0,
            ended: false,
        }
    }

    /// Ends after a read of fewer than `full` bytes, without another read.
    pub(crate) fn ending_below(mut self, full: usize) -> Self {
        self.full = full;
        self
    }

    /// The next line, or `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>, Failure> {
        Ok(self.advance()?.then(|| self.line()))
    }

    /// Reads the next line. Returns whether there was one. A last line that does not end is an
    /// error: the file is cut.
    pub(crate) fn advance(&mut self) -> Result<bool, Failure> {
        let mut searched = self.start;
        let newline = loop {
            let unused = &self.buffer.as_ref()[searched..self.end];
            if let Some(at) = memchr::memchr(b'\n', unused) {
                break searched + at;
            }
            let without_end = self.end - self.start;
            if !self.fill()? {
                return match &self.buffer.as_ref()[self.start..self.end] {
                    [] => Ok(false),
                    rest => Err(self.bad("the line is cut", rest)),
                };
            }
            searched = self.start + without_end;
        };
        self.line = self.start..newline;
        self.start = newline + 1;
        self.read += 1;
        Ok(true)
    }

    /// The line that was read last.
    pub(crate) fn line(&self) -> Line<'_> {
        Line {
            number: self.read,
            text: &self.buffer.as_ref()[self.line.clone()],
        }
    }

    /// Reads more after the unused bytes. Returns whether there was more.
    fn fill(&mut self) -> Result<bool, Failure> {
        if self.ended {
            return Ok(false);
        }
        let buffer = self.buffer.as_mut();
        buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == buffer.len() {
            return Err(self.bad("the line does not end", self.buffer.as_ref()));
        }
        let room = &mut self.buffer.as_mut()[self.end..];
        let read = retried(|| self.file.read(room)).map_err(Failure::Read)?;
        self.ended = read < self.full.min(room.len());
        self.fills += 1;
        self.end += read;
        Ok(read > 0)
    }

    /// Ends here: there are no more lines.
    pub(crate) fn end(&mut self) {
        self.start = self.end;
        self.ended = true;
    }

    /// Whether nothing more is read.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The number of reads, of which the line that was read last came with the last.
    pub(crate) fn fills(&self) -> u64 {
        self.fills
    }

    /// What is wrong with the line after those that were read.
    pub(crate) fn bad(&self, problem: impl Into<String>, text: &[u8]) -> Failure {
        BadLine::new(self.read + 1, problem, text).into()
    }

    /// The buffer, for the lines of another file.
    pub(crate) fn into_buffer(self) -> B {
        self.buffer
    }

    /// How many lines were read.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }
}
