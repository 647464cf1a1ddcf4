// SPDX-License-Identifier: MIT OR Apache-2.0

//! The output of `watch`: the lines of the screen, or the lines printed without a screen.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use tcpstat::{Service, State};

use super::figures::{Change, Figures, Row};
use super::line::{Line, Style, bar, wrapped};
use crate::format::ratio;
use crate::table::{self, Column};

/// The content of the screen.
pub(crate) struct View {
    /// The last reading that succeeded.
    pub(crate) figures: Figures,
    /// The error of the last reading, if it failed.
    pub(crate) failure: Option<String>,
    /// The time between two readings.
    pub(crate) interval: Duration,
    /// The state that each row lists first; the others follow in kernel order, and may not fit.
    pub(crate) first_state: Option<State>,
    /// The number of rows of services above the first one on the screen.
    pub(crate) above: usize,
    /// Whether keys can be read.
    pub(crate) keys: bool,
    /// Whether the terminal shows UTF-8.
    pub(crate) utf8: bool,
}

/// A move through the rows of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scroll {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

/// The parts of a screen of a given size.
struct Layout {
    /// The lines above the services.
    totals: Vec<Line>,
    /// The rows of services that are on the screen.
    rows: Range<usize>,
    /// The number of rows, of states or services, that are not on the screen.
    hidden: usize,
}

/// The minimum number of lines for services: the heading and one row.
const LEAST_OF_SERVICES: usize = 2;

/// The number of lines for the status.
const STATUS: usize = 1;

/// The maximum number of lines for an error.
const ERROR_LINES: usize = 4;

/// The maximum width of the bar of a share, in columns.
const SHARE_BAR: usize = 40;

/// The width of the bars of the accept queues, in columns.
const QUEUE_BAR: usize = 5;

impl View {
    /// The lines of a screen of this size, from the top: never more, and never wider.
    pub(crate) fn lines(&self, width: usize, height: usize) -> Vec<Line> {
        let Layout {
            totals: mut lines,
            rows,
            hidden,
        } = self.layout(width, height);
        if !rows.is_empty() {
            lines.extend(self.services(width, rows));
        }
        let mut below = self.error(width, height);
        below.push(self.status(width, hidden));
        lines.resize_with(height.saturating_sub(below.len()), || Line::new(width));
        lines.extend(below);
        lines.truncate(height);
        lines
    }

    /// Scrolls the rows, at most until the last one is on a screen of this size.
    pub(crate) fn scroll(&mut self, to: Scroll, width: usize, height: usize) {
        let rows = self.layout(width, height).rows;
        let last = self.figures.rows.len() - rows.len();
        let above = match to {
            Scroll::Up => rows.start.saturating_sub(1),
            Scroll::Down => rows.start + 1,
            Scroll::PageUp => rows.start.saturating_sub(rows.len()),
            Scroll::PageDown => rows.end,
            Scroll::First => 0,
            Scroll::Last => last,
        };
        self.above = above.min(last);
    }

    /// Lays out a screen of this size: all states, a blank line, the services. If this leaves no
    /// room for a service, the blank line and the states without sockets are left out, then the
    /// other states from the last one on.
    fn layout(&self, width: usize, height: usize) -> Layout {
        let room = height.saturating_sub(self.error(width, height).len() + STATUS);
        let all = self.figures.rows.len();
        let mut totals = self.totals(width, &State::ALL);
        let mut most = room;
        if all > 0 {
            totals.push(Line::new(width));
            most = room.saturating_sub(LEAST_OF_SERVICES);
        }
        let mut hidden = 0;
        if totals.len() > most {
            let states = states(&self.figures.totals).map(|(state, _)| state);
            let mut states: Vec<_> = states.collect();
            let rows = states.len() + 1;
            // Less the heading and the total, which are shown if both fit.
            states.truncate(most.saturating_sub(2));
            totals = self.totals(width, &states);
            if totals.len() > most {
                totals.clear();
            }
            hidden = rows - totals.len().saturating_sub(1);
        }
        let shown = room.saturating_sub(totals.len() + 1).min(all);
        let above = self.above.min(all - shown);
        Layout {
            totals,
            rows: above..above + shown,
            hidden: hidden + all - shown,
        }
    }

    /// The heading, these states, and the total.
    fn totals(&self, width: usize, states: &[State]) -> Vec<Line> {
        let Change { now, before } = self.figures.totals;
        let row = |name: &str, count: u64, before: Option<u64>| {
            let share = format!("{:.1} %", 100.0 * ratio(count, now.total()));
            [
                (Style::Plain, name.to_owned()),
                (Style::Plain, count.to_string()),
                (Style::Plain, change(count, before)),
                (Style::Plain, share),
            ]
        };
        let sum_before = before.map(|before| before.total());
        let mut rows: Vec<_> = states
            .iter()
            .map(|&state| {
                let before = before.map(|before| before.get(state));
                row(state.name(), now.get(state), before)
            })
            .collect();
        rows.push(row("total", now.total(), sum_before));

        let widths = widths(&STATE_COLUMNS, &rows);
        let mut lines = vec![heading(&STATE_COLUMNS, &widths, width)];
        let shares = states
            .iter()
            .map(|&state| ratio(now.get(state), now.total()));
        for (row, share) in rows.iter().zip(shares.chain([0.0])) {
            let mut line = self.row(&STATE_COLUMNS, &widths, row, width);
            let bar = bar(share, line.room().min(SHARE_BAR), self.utf8);
            line.whole(self.unless_old(Style::Bar), bar);
            lines.push(line);
        }
        lines
    }

    /// The heading, and these rows of services.
    fn services(&self, width: usize, shown: Range<usize>) -> Vec<Line> {
        let rows = &self.figures.rows;
        let cells: Vec<_> = rows.iter().map(|row| self.cells(row)).collect();
        // Use the widths of all rows, so that the columns do not move on scrolling.
        let widths = widths(&SERVICE_COLUMNS, &cells);
        let mut first = heading(&SERVICE_COLUMNS, &widths, width);
        first.whole(Style::Heading, "STATES");
        let mut lines = vec![first];
        for index in shown {
            let mut line = self.row(&SERVICE_COLUMNS, &widths, &cells[index], width);
            // LISTEN has a column of its own.
            let (mut states, others): (Vec<_>, Vec<_>) = states(&rows[index].counts)
                .filter(|&(state, _)| state != State::Listen)
                .partition(|&(state, _)| Some(state) == self.first_state);
            states.extend(others);
            let states: Vec<_> = states.into_iter().map(|(_, item)| item).collect();
            line.list(self.unless_old(Style::Plain), &states);
            lines.push(line);
        }
        lines
    }

    fn cells(&self, row: &Row) -> [Cell; SERVICE_COLUMNS.len()] {
        let plain = |text: String| (Style::Plain, text);
        let alarm_if = |alarm, text| (if alarm { Style::Alarm } else { Style::Plain }, text);
        let Change { now, before } = row.counts;
        let total = plain(now.total().to_string());
        let total_change = plain(change(now.total(), before.map(|before| before.total())));
        let nothing = || plain(String::new());
        let Some(service) = &row.service else {
            let port = plain("other".to_owned());
            return [
                port,
                nothing(),
                nothing(),
                nothing(),
                nothing(),
                nothing(),
                nothing(),
                total,
                total_change,
            ];
        };
        let in_use = service.accept_queue_ratio();
        let is_full = in_use.is_some_and(|in_use| in_use >= 1.0);
        let drops_change = service
            .drops
            .map_or(String::new(), |drops| change(drops, row.drops_before));
        let bar = in_use.map_or(String::new(), |in_use| bar(in_use, QUEUE_BAR, self.utf8));
        let in_use = in_use.map_or(UNKNOWN.to_owned(), |in_use| {
            format!("{:.0} %", 100.0 * in_use)
        });
        [
            plain(service.port.to_string()),
            plain(service.listeners.to_string()),
            plain(queue(service)),
            (Style::Bar, bar),
            alarm_if(is_full, in_use),
            plain(number_or_unknown(service.drops)),
            alarm_if(drops_change.starts_with('+'), drops_change),
            total,
            total_change,
        ]
    }

    /// The line of a row, as far as it fits.
    fn row<const N: usize>(
        &self,
        columns: &[Column; N],
        widths: &[usize],
        cells: &[Cell; N],
        width: usize,
    ) -> Line {
        let mut line = Line::new(width);
        for ((column, &width), (style, text)) in columns.iter().zip(widths).zip(cells) {
            line.whole(self.unless_old(*style), column.padded(text, width) + " ");
        }
        line
    }

    /// The error, in at most `ERROR_LINES` lines.
    fn error(&self, width: usize, height: usize) -> Vec<Line> {
        let room = height.saturating_sub(LEAST_OF_SERVICES + STATUS);
        let failure = self.failure.as_ref();
        failure.map_or(Vec::new(), |failure| {
            wrapped(
                Style::Alarm,
                &format!("error: {failure}"),
                width,
                room.clamp(1, ERROR_LINES),
            )
        })
    }

    /// The status: the number of rows not on the screen, the source, the time, and the interval.
    fn status(&self, width: usize, hidden: usize) -> Line {
        let figures = &self.figures;
        let plural = |count| if count == 1 { "" } else { "s" };
        let mut line = Line::new(width);
        if hidden > 0 {
            let rows = format!("{hidden} row{} not shown; ", plural(hidden));
            line.whole(Style::Plain, rows);
        }
        if self.failure.is_some() {
            line.whole(Style::Alarm, "OLD: ");
        }
        line.whole(Style::Heading, figures.source.to_string());
        line.whole(Style::Heading, format!(", {}", utc(figures.at)));
        line.whole(Style::Plain, format!(", every {:?}", self.interval));
        let services = figures.services();
        let plural = plural(services);
        line.whole(Style::Plain, format!(", {services} service{plural}"));
        if self.keys {
            line.whole(Style::Plain, "; q: quit");
        }
        line
    }

    fn unless_old(&self, style: Style) -> Style {
        match self.failure {
            None => style,
            Some(_) => Style::Old,
        }
    }
}

/// A cell of a table, before it is padded.
type Cell = (Style, String);

const STATE_COLUMNS: [Column; 4] = [
    Column::text("STATE", 11),
    Column::number("COUNT", 9),
    Column::number("CHANGE", 8),
    Column::number("SHARE", 7),
];

const SERVICE_COLUMNS: [Column; 9] = [
    Column::text("PORT", 5),
    Column::number("LISTEN", 0),
    Column::number("QUEUE/MAX", 0),
    Column::text("", QUEUE_BAR),
    Column::number("USE", 5),
    Column::number("DROPS", 5),
    Column::number("", 3),
    Column::number("TOTAL", 6),
    Column::number("", 4),
];

/// The width of each column for all of these rows.
fn widths<const N: usize>(columns: &[Column; N], rows: &[[Cell; N]]) -> Vec<usize> {
    let rows = rows.iter();
    table::widths(
        columns,
        rows.map(|row| row.iter().map(|(_, text)| text.as_str())),
    )
}

fn heading(columns: &[Column], widths: &[usize], width: usize) -> Line {
    let mut line = Line::new(width);
    for (column, &width) in columns.iter().zip(widths) {
        line.whole(Style::Heading, column.padded(column.heading, width) + " ");
    }
    line
}

/// Shown for a number that the source does not know.
const UNKNOWN: &str = "?";

fn number_or_unknown(number: Option<u64>) -> String {
    number.map_or(UNKNOWN.to_owned(), |number| number.to_string())
}

/// The length of the accept queues, and its limit.
fn queue(service: &Service) -> String {
    format!(
        "{}/{}",
        service.accept_queue,
        number_or_unknown(service.backlog)
    )
}

/// `+3` or `-2`; empty if nothing changed, or if there is no number to compare with.
fn change(now: u64, before: Option<u64>) -> String {
    match before {
        Some(before) if before < now => format!("+{}", now - before),
        Some(before) if before > now => format!("-{}", before - now),
        _ => String::new(),
    }
}

/// The states that have sockets, or had some at the previous reading, in kernel order.
fn states(counts: &Change) -> impl Iterator<Item = (State, [String; 2])> + '_ {
    let states = counts.now.iter().map(|(state, now)| {
        let before = counts.before.map(|before| before.get(state));
        (state, now, before)
    });
    states
        .filter(|&(_, now, before)| now > 0 || before.is_some_and(|before| before > 0))
        .map(|(state, now, before)| (state, changed(state.name(), now, before)))
}

/// `NAME 5`, and ` +1` if it was 4.
fn changed(name: &str, now: u64, before: Option<u64>) -> [String; 2] {
    let change = change(now, before);
    let space = if change.is_empty() { "" } else { " " };
    [format!("{name} {now}"), format!("{space}{change}")]
}

/// RFC 3339, in seconds.
fn utc(timestamp: Timestamp) -> String {
    format!("{timestamp:.0}")
}

/// The lines of a reading without a screen: the totals, then each service that has connections, a
/// non-empty accept queue, or drops since the previous reading. With `all_services`, every service.
///
/// `2026-01-02T03:04:05.678Z module: total 20 +1, ESTABLISHED 6 +1, LISTEN 14`
///
/// `... module: port 443: total 9, ESTABLISHED 6, LISTEN 3, accept queue 0/128, drops 0`
pub(crate) fn plain_lines(figures: &Figures, all_services: bool) -> String {
    let of = |counts: &Change| {
        let before = counts.before.map(|before| before.total());
        let mut items = vec![changed("total", counts.now.total(), before)];
        items.extend(states(counts).map(|(_, item)| item));
        items
    };
    let line = |whose: &str, items: &[[String; 2]]| {
        let items: Vec<_> = items.iter().map(|item| item.concat()).collect();
        let items = items.join(", ");
        format!("{:.3} {}: {whose}{items}\n", figures.at, figures.source)
    };
    let mut lines = line("", &of(&figures.totals));
    for row in &figures.rows {
        let Some(service) = &row.service else {
            continue;
        };
        let drops = match service.drops {
            Some(drops) => changed("drops", drops, row.drops_before),
            None => [format!("drops {UNKNOWN}"), String::new()],
        };
        let has_connections = states(&row.counts).any(|(state, _)| state != State::Listen);
        let has_changed_drops = !drops[1].is_empty();
        if all_services || has_connections || service.accept_queue > 0 || has_changed_drops {
            let mut items = of(&row.counts);
            items.push([format!("accept queue {}", queue(service)), String::new()]);
            items.push(drops);
            lines += &line(&format!("port {}: ", service.port), &items);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tcpstat::{Counts, Services, Source};

    use super::*;
    use crate::commands::watch::figures::Reading;
    use crate::format::{self, counts};

    fn service(port: u16, drops: Option<u64>, established: u64) -> Service {
        let states = [(State::Listen, 2), (State::Established, established)];
        format::service(port, 2, (3, drops.map(|_| 4)), drops, &states)
    }

    fn reading(totals: Counts, rows: Vec<Service>) -> Reading {
        let mut services = Services::new(Source::Module);
        services.services = rows;
        services.other = Some(counts(&[(State::SynSent, 7)]));
        Reading {
            at: Timestamp::from_millisecond(1_700_000_000_120).unwrap(),
            totals,
            services,
        }
    }

    fn view(figures: Figures) -> View {
        View {
            figures,
            failure: None,
            interval: Duration::from_secs(2),
            first_state: None,
            above: 0,
            keys: true,
            utf8: true,
        }
    }

    /// Two readings. The second has one more connection, and one more service with a full queue and
    /// drops.
    fn two_readings() -> View {
        let ssh = |established| service(22, None, established);
        let totals = |established| counts(&[(State::Established, established), (State::Listen, 4)]);
        let first = Figures::new(&reading(totals(5), vec![ssh(5)]), None);
        let mut full = service(443, Some(1), 1);
        full.accept_queue = 5;
        full.fullest = Some(format::fullest(5, 4));
        view(Figures::new(
            &reading(totals(6), vec![ssh(5), full]),
            Some(&first),
        ))
    }

    /// This number of services, without connections.
    fn many(services: u16) -> View {
        let services = (1..=services).map(|port| service(port, Some(0), 0));
        view(Figures::new(
            &reading(Counts::ZERO, services.collect()),
            None,
        ))
    }

    /// The screen as text.
    fn text(view: &View, width: usize, height: usize) -> String {
        let mut text = String::new();
        for line in view.lines(width, height) {
            for (_, piece) in line.pieces() {
                text += piece;
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }

    fn pieces(view: &View) -> Vec<(Style, String)> {
        let lines = view.lines(100, 30);
        lines
            .iter()
            .flat_map(|line| line.pieces().to_vec())
            .collect()
    }

    #[test]
    fn a_screen_has_states_services_and_status() {
        assert_eq!(
            text(&two_readings(), 80, 20),
            "\
STATE           COUNT   CHANGE   SHARE
ESTABLISHED         6       +1  60.0 % ████████████████████████
SYN_SENT            0            0.0 %
SYN_RECV            0            0.0 %
FIN_WAIT1           0            0.0 %
FIN_WAIT2           0            0.0 %
TIME_WAIT           0            0.0 %
CLOSE               0            0.0 %
CLOSE_WAIT          0            0.0 %
LAST_ACK            0            0.0 %
LISTEN              4           40.0 % ████████████████
CLOSING             0            0.0 %
total              10       +1 100.0 %

PORT  LISTEN QUEUE/MAX         USE DROPS      TOTAL      STATES
22         2       3/?           ?     ?          7      ESTABLISHED 5
443        2       5/4 █████ 125 %     1  +1      3   +3 ESTABLISHED 1 +1
other                                             7      SYN_SENT 7

module, 2023-11-14T22:13:20Z, every 2s, 2 services; q: quit
"
        );
    }

    #[test]
    fn a_low_screen_has_the_states_with_sockets_and_the_services() {
        assert_eq!(
            text(&two_readings(), 80, 10),
            "\
STATE           COUNT   CHANGE   SHARE
ESTABLISHED         6       +1  60.0 % ████████████████████████
LISTEN              4           40.0 % ████████████████
total              10       +1 100.0 %
PORT  LISTEN QUEUE/MAX         USE DROPS      TOTAL      STATES
22         2       3/?           ?     ?          7      ESTABLISHED 5
443        2       5/4 █████ 125 %     1  +1      3   +3 ESTABLISHED 1 +1
other                                             7      SYN_SENT 7

module, 2023-11-14T22:13:20Z, every 2s, 2 services; q: quit
"
        );
    }

    #[test]
    fn the_lowest_screens_have_the_number_of_hidden_rows() {
        assert_eq!(
            text(&two_readings(), 40, 6),
            "\
STATE           COUNT   CHANGE   SHARE
ESTABLISHED         6       +1  60.0 % ▌
total              10       +1 100.0 %
PORT  LISTEN QUEUE/MAX         USE
22         2       3/?           ?
3 rows not shown; module
"
        );
        assert_eq!(
            text(&two_readings(), 80, 3),
            "\
PORT  LISTEN QUEUE/MAX         USE DROPS      TOTAL      STATES
22         2       3/?           ?     ?          7      ESTABLISHED 5
5 rows not shown; module, 2023-11-14T22:13:20Z, every 2s, 2 services; q: quit
"
        );
    }

    #[test]
    fn a_state_that_went_to_zero_is_on_a_low_screen() {
        let mut view = two_readings();
        let closing = counts(&[(State::Closing, 1)]);
        view.figures.totals.before = Some(closing);
        let text = text(&view, 80, 10);
        assert!(text.contains("\nCLOSING             0       -1 "), "{text}");
    }

    #[test]
    fn every_screen_with_room_has_a_service() {
        for failure in [None, Some("x".repeat(10_000))] {
            let mut view = many(50);
            view.failure = failure;
            let all = State::ALL.map(|state| (state, 1));
            view.figures.totals.now = counts(&all);
            // Below it the status, and the error if there is one.
            let least = if view.failure.is_some() { 4 } else { 3 };
            for height in least..40 {
                let text = text(&view, 80, height);
                assert!(text.contains("\n1          2 "), "{height}: {text}");
                assert!(text.contains(" rows not shown; "), "{height}: {text}");
            }
        }
    }

    #[test]
    fn the_state_that_is_sorted_by_is_seen_on_a_narrow_screen() {
        let mut view = many(1);
        let counts = &mut view.figures.rows[0].counts.now;
        counts.set(State::Established, 12_345);
        counts.set(State::CloseWait, 678);
        assert!(text(&view, 80, 24).contains(" ESTABLISHED 12345 ...\n"));
        view.first_state = Some(State::CloseWait);
        assert!(text(&view, 80, 24).contains(" CLOSE_WAIT 678 ...\n"));
        assert!(text(&view, 100, 24).contains(" CLOSE_WAIT 678, ESTABLISHED 12345\n"));
    }

    #[test]
    fn a_first_reading_has_no_changes() {
        let text = text(&many(2), 80, 24);
        assert!(!text.contains('+') && !text.contains(" -"), "{text}");
    }

    #[test]
    fn an_error_is_shown_and_the_figures_are_called_old() {
        let mut view = two_readings();
        let fine = pieces(&view);
        assert!(
            fine.iter()
                .any(|(style, text)| *style == Style::Bar && text.contains('█'))
        );
        assert!(
            fine.iter()
                .any(|(style, text)| *style == Style::Alarm && text.contains("125 %"))
        );
        assert!(
            fine.iter()
                .any(|(style, text)| *style == Style::Alarm && text.contains("+1"))
        );
        view.failure = Some("no source:\n  module: gone\x1b[2J".into());
        let failing = text(&view, 80, 24);
        assert!(
            failing.contains("\nerror: no source:\n  module: gone\\u{1b}[2J\nOLD: module, 2023-"),
            "{failing}"
        );
        assert!(failing.contains("\nESTABLISHED         6 "), "{failing}");
        let styles: Vec<Style> = pieces(&view).into_iter().map(|(style, _)| style).collect();
        assert!(!styles.contains(&Style::Bar) && styles.contains(&Style::Old));
    }

    #[test]
    fn a_long_error_leaves_room_for_the_figures() {
        let mut view = two_readings();
        view.failure = Some("x".repeat(10_000));
        let text = text(&view, 80, 24);
        assert!(text.contains("xxx...\nOLD: module"), "{text}");
        assert!(text.contains("\nother "), "{text}");
    }

    #[test]
    fn numbers_are_never_cut() {
        let view = two_readings();
        let full = text(&view, 200, 40);
        let numbers = |text: &str| -> Vec<String> {
            let is_digit = |c: char| c.is_ascii_digit();
            text.split(|c| !is_digit(c)).map(str::to_owned).collect()
        };
        let known = numbers(&full);
        for width in 0..200 {
            for number in numbers(&text(&view, width, 40)) {
                assert!(known.contains(&number), "{number} at a width of {width}");
            }
        }
    }

    #[test]
    fn rows_are_scrolled_to_the_last_one_and_no_further() {
        // 24 lines less 13 of states, 2 above the services, and the status.
        let mut view = many(20);
        let shown = |view: &View| view.layout(80, 24).rows;
        assert_eq!(shown(&view), 0..8);
        for (to, expected) in [
            (Scroll::Up, 0..8),
            (Scroll::Down, 1..9),
            (Scroll::PageDown, 9..17),
            (Scroll::PageDown, 13..21),
            (Scroll::Down, 13..21),
            (Scroll::Up, 12..20),
            (Scroll::PageUp, 4..12),
            (Scroll::PageUp, 0..8),
            (Scroll::Last, 13..21),
            (Scroll::First, 0..8),
            (Scroll::Last, 13..21),
        ] {
            view.scroll(to, 80, 24);
            assert_eq!(shown(&view), expected, "{to:?}");
        }
        assert!(text(&view, 80, 24).contains("\nother "));
        assert!(text(&view, 80, 24).contains("\n13 rows not shown; module, "));
        // On a higher screen there is nothing above the first row, and all is shown.
        assert_eq!(view.layout(80, 60).rows, 0..21);
        assert!(text(&view, 80, 60).contains("\nmodule, "));
        // Services that are gone do not leave an empty screen behind.
        view.figures = many(3).figures;
        assert_eq!(shown(&view), 0..4);
    }

    #[test]
    fn every_size_is_filled_and_not_exceeded() {
        let mut views = [two_readings(), two_readings(), many(0), many(50)];
        views[1].failure = Some("an error of some length, which does not fit".into());
        for view in &mut views {
            for width in (0..40).chain([60, 80, 200]) {
                for height in (0..20).chain([24, 50]) {
                    for to in [Scroll::Down, Scroll::PageDown, Scroll::Last, Scroll::PageUp] {
                        view.scroll(to, width, height);
                    }
                    let lines = view.lines(width, height);
                    assert_eq!(lines.len(), height);
                    for line in lines {
                        let columns: usize = line
                            .pieces()
                            .iter()
                            .map(|(_, text)| text.chars().count())
                            .sum();
                        // The free columns are cleared.
                        assert_eq!(columns + line.room(), width);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_figures_are_too_large(numbers: [u64; 6], width in 0usize..200) {
            let [now, before, queue, backlog, drops, listeners] = numbers;
            let all = |count| {
                let mut service = service(65535, Some(drops), count);
                (service.accept_queue, service.backlog, service.listeners) = (queue, Some(backlog), listeners);
                reading(counts(&State::ALL.map(|state| (state, count))), vec![service])
            };
            let first = Figures::new(&all(before), None);
            let view = view(Figures::new(&all(now), Some(&first)));
            prop_assert_eq!(view.lines(width, 24).len(), 24);
            let lines = plain_lines(&view.figures, true);
            let closing = format!("CLOSING {now}");
            prop_assert!(lines.contains(&closing) || now + before == 0, "{}", lines);
        }
    }

    #[test]
    fn lines_are_printed_without_a_screen() {
        let figures = two_readings().figures;
        assert_eq!(
            plain_lines(&figures, false),
            "\
2023-11-14T22:13:20.120Z module: total 10 +1, ESTABLISHED 6 +1, LISTEN 4
2023-11-14T22:13:20.120Z module: port 22: total 7, ESTABLISHED 5, LISTEN 2, accept queue 3/?, drops ?
2023-11-14T22:13:20.120Z module: port 443: total 3 +3, ESTABLISHED 1 +1, LISTEN 2 +2, accept queue 5/4, drops 1 +1
"
        );
    }

    #[test]
    fn services_have_a_line_when_something_is_there_or_happens() {
        let mut idle = service(80, Some(3), 0);
        idle.accept_queue = 0;
        let has_line = |before: Service, now: Service| {
            let first = Figures::new(&reading(Counts::ZERO, vec![before]), None);
            let second = Figures::new(&reading(Counts::ZERO, vec![now]), Some(&first));
            assert!(plain_lines(&second, true).contains(": port 80: "));
            plain_lines(&second, false).contains(": port 80: ")
        };
        let [mut connected, mut waiting, mut dropping] = [idle; 3];
        connected.counts = counts(&[(State::Listen, 2), (State::CloseWait, 1)]);
        waiting.accept_queue = 1;
        dropping.drops = Some(4);
        assert!(!has_line(idle, idle));
        for busy in [connected, waiting, dropping] {
            assert!(has_line(idle, busy));
        }
        assert!(has_line(connected, idle), "the last connections are gone");
        assert!(!has_line(dropping, dropping), "what was dropped long ago");
        assert!(!has_line(waiting, idle));
    }
}
