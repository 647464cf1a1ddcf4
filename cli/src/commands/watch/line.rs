// SPDX-License-Identifier: MIT OR Apache-2.0

//! A line of the screen: pieces of text that fit its width, each in a style.

/// The style of a piece of text. The text is complete without it, for terminals without colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Heading,
    Bar,
    /// Needs attention.
    Alarm,
    /// Out of date.
    Old,
}

/// A line that is never wider than its limit.
#[derive(Debug)]
pub(crate) struct Line {
    pieces: Vec<(Style, String)>,
    room: usize,
    /// Set when a piece did not fit: later pieces must not take its place.
    is_closed: bool,
}

impl Line {
    /// An empty line for `width` columns.
    pub(crate) fn new(width: usize) -> Self {
        Self {
            pieces: Vec::new(),
            room: width,
            is_closed: false,
        }
    }

    /// Adds `text` if all of it fits, since part of a number would be a wrong number. Otherwise
    /// closes the line. Returns whether the text was added.
    pub(crate) fn whole(&mut self, style: Style, text: impl Into<String>) -> bool {
        let text = shown(&text.into());
        self.is_closed |= text.chars().count() > self.room;
        if !self.is_closed {
            self.push(style, text);
        }
        !self.is_closed
    }

    /// Adds `text`; if it is too long, cuts it and ends it with dots.
    fn cut(&mut self, style: Style, text: &str) {
        let text = shown(text);
        if text.chars().count() <= self.room {
            self.push(style, text);
        } else {
            let kept = self.room.saturating_sub(DOTS.len());
            let text = text.chars().take(kept).chain(DOTS.chars());
            let text = text.take(self.room).collect();
            self.push(style, text);
        }
    }

    /// Adds `items`, separated by commas, each with its addition, as far as they fit. Dots stand
    /// for the rest.
    pub(crate) fn list(&mut self, style: Style, items: &[[String; 2]]) {
        let mut comma = "";
        let mut pieces = Vec::new();
        for [item, addition] in items {
            pieces.push(format!("{comma}{item}"));
            pieces.push(addition.clone());
            comma = ", ";
        }
        pieces.retain(|piece| !piece.is_empty());
        for (index, piece) in pieces.iter().enumerate() {
            let reserved = if index + 1 < pieces.len() {
                REST.len()
            } else {
                0
            };
            if piece.len() + reserved > self.room {
                self.whole(style, REST);
                return;
            }
            self.whole(style, piece);
        }
    }

    fn push(&mut self, style: Style, text: String) {
        self.room -= text.chars().count();
        self.pieces.push((style, text));
    }

    /// The number of free columns.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// The pieces, from left to right.
    pub(crate) fn pieces(&self) -> &[(Style, String)] {
        &self.pieces
    }
}

const DOTS: &str = "...";

/// Stands for the rest of a list.
const REST: &str = " ...";

/// `text` wrapped to `width` columns, in at most `most` lines.
pub(crate) fn wrapped(style: Style, text: &str, width: usize, most: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for text in text.lines().map(shown) {
        let mut rest = text.as_str();
        while !rest.is_empty() && width > 0 && lines.len() < most {
            let end = rest
                .char_indices()
                .nth(width)
                .map_or(rest.len(), |(end, _)| end);
            let is_cut = lines.len() + 1 == most;
            let mut line = Line::new(width);
            line.cut(style, if is_cut { rest } else { &rest[..end] });
            lines.push(line);
            rest = &rest[end..];
        }
    }
    lines
}

/// `text` with escapes for all characters that may not be one column wide on some terminal.
fn shown(text: &str) -> String {
    let is_shown = |c: char| c == ' ' || c.is_ascii_graphic() || BLOCKS.contains(&c);
    text.chars().fold(String::new(), |mut shown, c| {
        if is_shown(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
        shown
    })
}

/// The characters of bars on a terminal with UTF-8: a whole column, and half a column.
const BLOCKS: [char; 2] = ['█', '▌'];

/// The same for other terminals, in ASCII.
const SIGNS: [char; 2] = ['#', '-'];

/// A bar for `share`, 0 to 1, of at most `width` columns. A share above 0 has at least half a
/// column.
pub(crate) fn bar(share: f64, width: usize, utf8: bool) -> String {
    let [whole, half] = if utf8 { BLOCKS } else { SIGNS };
    let mut halves = (share.min(1.0) * 2.0 * width as f64).round() as usize;
    if share > 0.0 && width > 0 {
        halves = halves.max(1);
    }
    let bar = std::iter::repeat_n(whole, halves / 2);
    bar.chain(std::iter::repeat_n(half, halves % 2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &Line) -> String {
        line.pieces.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn numbers_are_whole_or_left_out() {
        let mut line = Line::new(8);
        assert!(line.whole(Style::Plain, "12345"));
        assert!(!line.whole(Style::Plain, " 678"));
        assert!(!line.whole(Style::Plain, "9"));
        assert_eq!((text(&line).as_str(), line.room()), ("12345", 3));
    }

    #[test]
    fn texts_are_cut() {
        for (width, expected) in [
            (0, ""),
            (2, ".."),
            (5, "a ..."),
            (7, "a te..."),
            (8, "a text\\n"),
        ] {
            let mut line = Line::new(width);
            line.cut(Style::Plain, "a text\n");
            assert_eq!(text(&line), expected);
            assert!(text(&line).len() <= width);
        }
    }

    #[test]
    fn lists_that_are_cut_end_with_dots() {
        let items = [["A 10", " +1"], ["B 20", ""]].map(|item| item.map(str::to_owned));
        for (width, expected) in [
            (13, "A 10 +1, B 20"),
            (12, "A 10 +1 ..."),
            (10, "A 10 ..."),
            (7, " ..."),
            (3, ""),
        ] {
            let mut line = Line::new(width);
            line.list(Style::Plain, &items);
            assert_eq!(text(&line), expected);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut line = Line::new(40);
        line.cut(Style::Alarm, "\x1b[2J\u{9b}é█");
        assert_eq!(text(&line), "\\u{1b}[2J\\u{9b}\\u{e9}█");
    }

    #[test]
    fn bars_are_as_long_as_the_share() {
        for (share, expected) in [
            (0.0, ""),
            (0.001, "▌"),
            (0.5, "██"),
            (0.6, "██▌"),
            (1.0, "████"),
            (7.0, "████"),
        ] {
            assert_eq!(bar(share, 4, true), expected, "{share}");
        }
        assert_eq!(bar(0.6, 4, false), "##-");
        assert_eq!(bar(0.6, 0, false), "");
    }
}
