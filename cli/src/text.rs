// SPDX-License-Identifier: MIT OR Apache-2.0

//! Lines of text that fit the width of the screen, in which no number is cut.

use std::iter::repeat_n;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::format::ratio;

/// A piece of text and its style.
pub(crate) type Cell = (Style, String);

/// The most lines of an error.
const MOST_LINES: usize = 4;

/// A line that is never wider than its limit.
pub(crate) struct Text {
    spans: Vec<Span<'static>>,
    room: usize,
    /// Set when a piece did not fit: later pieces must not take its place.
    is_closed: bool,
}

impl Text {
    /// An empty line for `width` columns.
    pub(crate) fn new(width: usize) -> Self {
        Self {
            spans: Vec::new(),
            room: width,
            is_closed: false,
        }
    }

    /// The number of free columns.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// The line with `text`, if all of it fits but for spaces at its end, since part of a number
    /// would be a wrong number. Otherwise the line is closed.
    pub(crate) fn with(mut self, style: Style, text: impl AsRef<str>) -> Self {
        let text = escaped(text.as_ref());
        self.is_closed |= text.trim_end().chars().count() > self.room;
        if !self.is_closed {
            self.room = self.room.saturating_sub(text.chars().count());
            self.spans.push(Span::styled(text, style));
        }
        self
    }

    /// The line with as many items as fit, with `between` between them. Dots stand for the rest.
    pub(crate) fn with_list(mut self, items: &[Cell], between: &str) -> Self {
        const REST: &str = " ...";
        for (index, (style, item)) in items.iter().enumerate() {
            let before = if index == 0 { "" } else { between };
            let is_last = index + 1 == items.len();
            let reserved = if is_last { 0 } else { REST.len() };
            if before.len() + escaped(item).len() + reserved > self.room {
                return self.with(Style::new(), REST);
            }
            self = self.with(Style::new(), before).with(*style, item);
        }
        self
    }

    pub(crate) fn line(self) -> Line<'static> {
        Line::from(self.spans)
    }
}

/// `text` in lines of `width` columns, of which there are few.
pub(crate) fn wrapped(style: Style, text: &str, width: usize) -> Vec<Line<'static>> {
    let text: Vec<String> = text.lines().map(escaped).collect();
    let text: Vec<char> = cut(&text.join(" "), width * MOST_LINES).chars().collect();
    let lines = text.chunks(width.max(1));
    let line = |line: &[char]| Text::new(width).with(style, line.iter().collect::<String>());
    lines.map(|chars| line(chars).line()).collect()
}

/// `text` in at most `width` columns. Dots stand for the rest.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let text = escaped(text);
    if text.chars().count() <= width {
        return text;
    }
    let kept = text.chars().take(width.saturating_sub(3));
    kept.chain("...".chars()).take(width).collect()
}

/// `text` with escapes for all characters that may not be one column wide on some terminal.
fn escaped(text: &str) -> String {
    let is_shown = |c: char| c == ' ' || c.is_ascii_graphic() || LEVELS.contains(&c);
    text.chars().fold(String::new(), |mut shown, c| {
        if is_shown(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
        shown
    })
}

/// The levels of a sparkline on a terminal with UTF-8, above a space for 0.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The same for other terminals, in ASCII.
const SIGNS: [char; 8] = ['_', '_', '.', '.', '-', '=', '*', '#'];

/// The last `width` of these values, from 0 to the largest of them.
pub(crate) fn sparkline(values: &[u64], width: usize, utf8: bool) -> String {
    let shown = &values[values.len().saturating_sub(width)..];
    let most = shown.iter().max().copied().unwrap_or(0);
    let levels = if utf8 { LEVELS } else { SIGNS };
    let level = |&value: &u64| match value {
        0 => ' ',
        _ => levels[((ratio(value, most) * 8.0).ceil() as usize).clamp(1, 8) - 1],
    };
    let empty = repeat_n(' ', width - shown.len());
    empty.chain(shown.iter().map(level)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_and_numbers_are_whole() {
        let text = |line: Text| -> String {
            let line = line.line();
            line.spans.iter().map(|span| &*span.content).collect()
        };
        let line = |width| Text::new(width).with(Style::new(), "12345");
        let line = line(8).with(Style::new(), " 678").with(Style::new(), "9");
        assert_eq!(text(line), "12345");
        let items = ["A 10", "B 20"].map(|item| (Style::new(), item.to_owned()));
        for (width, expected) in [(10, "A 10, B 20"), (9, "A 10 ..."), (7, " ..."), (3, "")] {
            assert_eq!(text(Text::new(width).with_list(&items, ", ")), expected);
        }
        assert_eq!(cut("\x1b[2J\u{9b}é█", 40), "\\u{1b}[2J\\u{9b}\\u{e9}█");
        assert_eq!(
            ["", "..", "a ..."],
            [0, 2, 5].map(|width| cut("a text", width))
        );
        assert_eq!(sparkline(&[0, 1, 4, 8], 5, true), "  ▁▄█");
        assert_eq!(sparkline(&[8, 0, 8], 2, false), " #");
    }
}
