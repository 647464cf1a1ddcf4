// SPDX-License-Identifier: MIT OR Apache-2.0

//! Draws the screen: what is wrong, the totals, the rows or an opened service, and the footer.

use std::cmp::Reverse;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use tcpstat::{AcceptQueue, Counts, Key, State};

use super::figures::{Figure, abnormal};
use super::history::{History, POINTS};
use super::screen::Screen;
use crate::commands::services::formats::{known, percent};
use crate::commands::services::sort::SortBy;
use crate::format::ratio;
use crate::opened::Opened;
use crate::symptoms::Symptom;
use crate::table::{Column, widths};
use crate::text::{Cell, Text, cut, sparkline, wrapped};

/// The looks of text. It is complete without them, for terminals without colours.
const PLAIN: Style = Style::new();
const HEADING: Style = Style::new().add_modifier(Modifier::BOLD);
const GRAPH: Style = Style::new().fg(Color::Cyan);
const WARNING: Style = Style::new().fg(Color::Yellow);
const OLD: Style = Style::new().fg(Color::Reset).add_modifier(Modifier::DIM);
const ALARM: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

/// The keys, for `--help` and for the key `?`.
pub(super) const KEYS: &str = "\
Keys:
  arrows, j, k, PgUp, PgDn, Home, End, wheel   select a row, or scroll
  Enter       open a service: states over time, listeners, processes, peers
  Esc         go back; from the first screen, leave
  b           group by port, systemd unit, process or peer
  s or >, <   sort by the next column, by the previous one; r: reverse
  /           show only the rows with this text: a port, a unit, ...
  Space       pause, and go on
  +, -        read less often, more often
  ?           help
  q, Ctrl-C   leave

Colours:
  red, and !  a full accept queue, handshakes refused since the last reading,
              or CLOSE_WAIT that grows. These rows are first
  yellow      an accept queue that is more than half full, or a tenth of the
              connections in CLOSE_WAIT
";

/// The least room for the states of a row, beside its columns.
const STATES_ROOM: usize = 24;

/// The most columns for the name of a unit or a namespace.
const NAME: usize = 24;

/// Draws all of the screen. The last line is the footer.
pub(super) fn draw(screen: &mut Screen, area: Rect, buffer: &mut Buffer) {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let mut below = Vec::new();
    if let Some(failure) = &screen.failure {
        below = wrapped(ALARM, &format!("error: {failure}"), width);
    }
    let notes = screen.figures.reading.notes.iter();
    below.extend(notes.flat_map(|note| wrapped(WARNING, note, width)));
    if screen.typing {
        let prompt = format!("/{}_  Enter: keep, Esc: all rows", screen.filter);
        below.extend(wrapped(HEADING, &prompt, width));
    }
    below.truncate((height / 2).saturating_sub(1));
    let room = height.saturating_sub(below.len() + 1);
    let (mut lines, hidden) = if screen.help {
        let look = |line: &str| if line.ends_with(':') { HEADING } else { PLAIN };
        let line = |line| Text::new(width).with(look(line), cut(line, width)).line();
        (KEYS.lines().map(line).collect(), 0)
    } else if screen.settings.query.opened.is_some() {
        screen.opened_lines(width, room)
    } else {
        screen.main_lines(width, room)
    };
    lines.resize(room, Line::default());
    lines.extend(below);
    lines.truncate(height.saturating_sub(1));
    lines.push(screen.footer(width, hidden));
    for (line, row) in lines.iter().zip(area.rows()) {
        buffer.set_line(row.x, row.y, line, row.width);
    }
    if screen.failure.is_some() && !screen.help {
        let figures = Rect::new(area.x, area.y, area.width, room as u16);
        buffer.set_style(figures, OLD);
    }
    if !screen.colours {
        buffer.set_style(area, Style::new().fg(Color::Reset));
    }
}

impl Screen {
    /// What is wrong, the totals and the rows, and the number of rows that are not shown.
    fn main_lines(&mut self, width: usize, room: usize) -> (Vec<Line<'static>>, usize) {
        let rows = self.rows();
        let mut lines = Vec::new();
        if room >= 5 {
            lines.extend(wrong(&self.figures.services, width));
        }
        lines.extend(self.totals_that_fit(width, room - lines.len(), rows.len()));
        let left = room - lines.len();
        let headings = usize::from(left >= 2);
        let shown = (left - headings).min(rows.len());
        // The selected row is on the screen.
        let place = self.place(&rows);
        let least = (place + 1).saturating_sub(shown);
        let above = self.above.clamp(least, place.max(least));
        let above = above.min(rows.len() - shown);
        let mut table = self.table(&rows[above..above + shown], width);
        if let Some(selected) = table.get_mut(place + 1 - above) {
            *selected = std::mem::take(selected).patch_style(Modifier::REVERSED);
        }
        lines.extend(table.into_iter().skip(1 - headings));
        let hidden = rows.len() - shown;
        (self.above, self.rows_shown) = (above, shown);
        (lines, hidden)
    }

    /// The totals in as many lines as fit beside `rows` rows. States without sockets give way
    /// first, then the table gives way to one line.
    fn totals_that_fit(&self, width: usize, room: usize, rows: usize) -> Vec<Line<'static>> {
        let totals = &self.figures.totals;
        let mut table = states(totals, &State::ALL, width, self.utf8);
        // Below it an empty line, the headings, and every row.
        if table.len() + 2 + rows > room {
            table = states(totals, &seen(&totals.history), width, self.utf8);
        }
        let least = (rows + 1).min(5);
        if table.len() + least <= room {
            let empty = (table.len() + least < room).then(Line::default);
            return table.into_iter().chain(empty).collect();
        }
        let total = format!("total {} ", totals.row.counts.total());
        let line = Text::new(width)
            .with(HEADING, total)
            .with_list(&state_items(totals, None), ", ");
        (room >= 3).then(|| line.line()).into_iter().collect()
    }

    /// The headings and these rows, with the columns that fit beside the states.
    fn table(&self, rows: &[&Figure], width: usize) -> Vec<Line<'static>> {
        // In their order on the screen, with their order in getting room.
        let first = match self.figures.reading.query.by {
            None => "PORT",
            Some(Key::Unit) => "UNIT",
            Some(Key::Process) => "PROCESS",
            Some(_) => "PEER",
        };
        let columns = [
            (0, Column::text("", 1)),
            (1, Column::text(first, 5)),
            (7, Column::text("NETNS", 0)),
            (8, Column::text("UNIT", 0)),
            (5, Column::number("QUEUE/MAX", 0)),
            (2, Column::number("USE", 7)),
            (4, Column::number("DROPS/S", 8)),
            (3, Column::number("TOTAL", 6)),
            (6, Column::number("RATE", 8)),
        ];
        let mut cells: Vec<Vec<Cell>> = rows.iter().map(|one| cells(one, width)).collect();
        let all = columns.map(|(_, column)| column);
        let wide = widths_of(&all, &cells);
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by_key(|&index| columns[index].0);
        let mut taken = STATES_ROOM.min(width / 3);
        order.retain(|&index| {
            let is_used = columns[index].0 < 2 || cells.iter().any(|row| !row[index].1.is_empty());
            let fits = is_used && (columns[index].0 < 3 || taken + wide[index] < width);
            taken += if fits { wide[index] + 1 } else { 0 };
            fits
        });
        order.sort_unstable();
        cells = cells
            .iter()
            .map(|row| order.iter().map(|&index| row[index].clone()).collect())
            .collect();
        let fitting: Vec<Column> = order.iter().map(|&index| all[index]).collect();
        let mut lines = grid(&fitting, &cells, width).into_iter();
        let headings = lines.next().map(|line| line.with(HEADING, "STATES").line());
        let sorted_by = match self.sort {
            SortBy::State(state) => Some(state),
            _ => None,
        };
        let with_states = |(line, one): (Text, &&Figure)| {
            line.with_list(&state_items(one, sorted_by), ", ").line()
        };
        headings
            .into_iter()
            .chain(lines.zip(rows).map(with_states))
            .collect()
    }

    /// All of an opened service, scrolled, and the number of its lines that are not shown.
    fn opened_lines(&mut self, width: usize, room: usize) -> (Vec<Line<'static>>, usize) {
        let mut lines = match self.opened() {
            Some(one) => service(one, width, self.utf8),
            None => wrapped(WARNING, "Nothing listens there any more. Esc: back", width),
        };
        let reading = &self.figures.reading;
        let is_of_this = reading.query.opened == self.settings.query.opened;
        if let Some((opened, processes)) = reading.opened.as_ref().filter(|_| is_of_this) {
            lines.extend(who(opened, processes, width));
        }
        let hidden = lines.len().saturating_sub(room);
        (self.above, self.rows_shown) = (self.above.min(hidden), room);
        (lines.split_off(self.above), hidden)
    }

    /// The keys to begin with, then what there is room for.
    fn footer(&self, width: usize, hidden: usize) -> Line<'static> {
        let reading = &self.figures.reading;
        let sort = self.sort.name();
        let by = self.settings.query.by.map_or("port", Key::name);
        let order = if self.reversed { ", reversed" } else { "" };
        let at = reading.at.to_zoned(self.zone.clone());
        let host = cut(self.host.as_deref().unwrap_or_default(), NAME);
        let keys = if width >= 14 { "? help  q quit" } else { "? q" };
        let time = format!("{host} {}", at.strftime("%H:%M:%S %Z"));
        let filter = format!("/{}", self.filter);
        let pieces = [
            (self.keys, HEADING, keys.to_owned()),
            (self.failure.is_some(), ALARM, "OLD".to_owned()),
            (self.settings.paused, WARNING, "PAUSED".to_owned()),
            (hidden > 0, PLAIN, format!("+{hidden} rows")),
            (filter.len() > 1, WARNING, filter),
            (true, PLAIN, time.trim_start().to_owned()),
            (true, PLAIN, format!("by {by}, sort: {sort}{order}")),
            (true, PLAIN, reading.source.to_string()),
            (true, PLAIN, format!("every {:?}", self.settings.interval)),
            (true, PLAIN, at.strftime("%Y-%m-%d %:z").to_string()),
        ];
        let pieces = pieces.into_iter().filter(|(is_shown, ..)| *is_shown);
        let mut line = Text::new(width);
        for (index, (_, style, text)) in pieces.enumerate() {
            let between = if index == 0 { "" } else { "  " };
            line = line.with(style, format!("{between}{text}"));
        }
        line.line()
    }
}

/// The services with which something is wrong, in words; `None` if there are none.
fn wrong(services: &[Figure], width: usize) -> Option<Line<'static>> {
    let mut wrong: Vec<_> = services.iter().filter(|one| one.is_alarm()).collect();
    // The first symptom is the worst.
    wrong.sort_by_key(|one| one.symptoms.first().copied());
    let items = wrong.iter().map(|one| {
        let alarms = one.symptoms.iter().filter(|symptom| symptom.is_alarm());
        let alarms: Vec<_> = alarms.map(|&symptom| words(symptom, one)).collect();
        let netns = one.row.namespace.as_ref();
        let netns = netns.map_or(String::new(), |(_, name)| format!(" in {name}"));
        let text = format!("{}{netns} {}", one.label(), alarms.join(", "));
        let fits = text.len() + "!  ...".len() <= width;
        (ALARM, if fits { text } else { one.label() })
    });
    let items: Vec<Cell> = items.collect();
    let line = Text::new(width).with(ALARM, "! ").with_list(&items, "; ");
    (!items.is_empty()).then(|| line.line())
}

/// What is wrong with a row.
fn words(symptom: Symptom, one: &Figure) -> String {
    let queue = one.row.service.and_then(|service| service.fullest);
    let AcceptQueue { length, backlog } = queue.unwrap_or(AcceptQueue::EMPTY);
    let close_wait = one.row.counts.get(State::CloseWait);
    match symptom {
        Symptom::QueueFull => format!("accept queue full {length}/{backlog}"),
        Symptom::QueueFilling => format!("accept queue fills {length}/{backlog}"),
        Symptom::Drops => format!("drops {}", one.history.drops.text()),
        Symptom::CloseWaitGrowing => format!("CLOSE_WAIT grows: {close_wait}"),
        Symptom::CloseWait => format!("{close_wait} in CLOSE_WAIT"),
    }
}

/// The style of what has one symptom, an alarm, or another, a warning.
fn style(one: &Figure, alarm: Symptom, warning: Symptom) -> Style {
    let found = |symptom| one.symptoms.contains(&symptom);
    match (found(alarm), found(warning)) {
        (true, _) => ALARM,
        (_, true) => WARNING,
        _ => PLAIN,
    }
}

/// The style of a state in a row.
fn state_style(one: &Figure, state: Option<State>) -> Style {
    match state {
        Some(State::CloseWait) => style(one, Symptom::CloseWaitGrowing, Symptom::CloseWait),
        _ => PLAIN,
    }
}

/// The cells of a row, but for its states.
fn cells(one: &Figure, width: usize) -> Vec<Cell> {
    let (row, service) = (&one.row, one.row.service.as_ref());
    let of_queue = style(one, Symptom::QueueFull, Symptom::QueueFilling);
    let queue = service.map(|service| match service.fullest {
        Some(AcceptQueue { length, backlog }) => format!("{length}/{backlog}"),
        None => format!("{}/{}", service.accept_queue, known(service.backlog)),
    });
    let (mark, of_row) = if one.is_alarm() {
        ("!", ALARM)
    } else {
        ("", PLAIN)
    };
    let netns = row.namespace.as_ref().map_or("", |(_, name)| name);
    vec![
        (ALARM, mark.to_owned()),
        (of_row, cut(&one.label(), NAME.max(width / 3))),
        (PLAIN, cut(netns, NAME)),
        (PLAIN, cut(row.unit.as_deref().unwrap_or_default(), NAME)),
        (of_queue, queue.unwrap_or_default()),
        (
            of_queue,
            service.map_or(String::new(), |one| percent(one.accept_queue_ratio())),
        ),
        (
            style(one, Symptom::Drops, Symptom::Drops),
            one.history.drops.text(),
        ),
        (PLAIN, row.counts.total().to_string()),
        (PLAIN, one.history.total.text()),
    ]
}

/// `CLOSE_WAIT 300 +1.2/s`, and so on, what is abnormal first; before it the state to sort by.
fn state_items(one: &Figure, sorted_by: Option<State>) -> Vec<Cell> {
    let item = |state: State| {
        let rate = one.history.rate(state).text();
        let text = format!("{state} {} {rate}", one.row.counts.get(state));
        (state_style(one, Some(state)), text.trim_end().to_owned())
    };
    one.states(sorted_by).into_iter().map(item).collect()
}

/// The states that have sockets, or had some in the last minutes.
fn seen(history: &History) -> Vec<State> {
    let had = |&state: &State| history.counts().any(|counts| counts.get(state) > 0);
    State::ALL.into_iter().filter(had).collect()
}

fn widths_of(columns: &[Column], rows: &[Vec<Cell>]) -> Vec<usize> {
    let texts = rows.iter().map(|row| row.iter().map(|(_, text)| &**text));
    widths(columns, texts)
}

/// A table of rows below their headings, in lines that have room for more. Texts in the last column
/// are as long as there is room for.
fn grid(columns: &[Column], rows: &[Vec<Cell>], width: usize) -> Vec<Text> {
    let wide = widths_of(columns, rows);
    let headings = columns
        .iter()
        .map(|column| (HEADING, column.heading.to_owned()));
    let headings: Vec<Cell> = headings.collect();
    let lines = [&headings].into_iter().chain(rows).map(|row| {
        let mut line = Text::new(width);
        for (index, (column, (style, text))) in columns.iter().zip(row).enumerate() {
            let text = match index + 1 == columns.len() && !column.is_number {
                true => cut(text, line.room()),
                false => column.padded(text, wide[index]) + " ",
            };
            line = line.with(*style, text);
        }
        line
    });
    lines.collect()
}

/// A row for each of these states and the total, each with a line of the last minutes.
fn states(one: &Figure, states: &[State], width: usize, utf8: bool) -> Vec<Line<'static>> {
    const COLUMNS: [Column; 4] = [
        Column::text("STATE", 11),
        Column::number("COUNT", 6),
        Column::number("RATE", 8),
        Column::number("SHARE", 7),
    ];
    let (history, counts) = (&one.history, &one.row.counts);
    let states: Vec<_> = states
        .iter()
        .map(|&state| Some(state))
        .chain([None])
        .collect();
    let count = |counts: &Counts, state: Option<State>| {
        state.map_or_else(|| counts.total(), |state| counts.get(state))
    };
    let row = |&state: &Option<State>| {
        let cells = [
            state.map_or("total", State::name).to_owned(),
            count(counts, state).to_string(),
            state
                .map_or(history.total, |state| history.rate(state))
                .text(),
            percent(Some(ratio(count(counts, state), counts.total()))),
        ];
        cells.map(|text| (state_style(one, state), text)).to_vec()
    };
    let rows: Vec<_> = states.iter().map(row).collect();
    let mut lines = grid(&COLUMNS, &rows, width).into_iter();
    let headings = lines.next().map(Text::line);
    let with_past = |(line, &state): (Text, &Option<State>)| {
        let past: Vec<u64> = history.counts().map(|one| count(one, state)).collect();
        let past = sparkline(&past, line.room().min(POINTS), utf8);
        line.with(GRAPH, past).line()
    };
    headings
        .into_iter()
        .chain(lines.zip(&states).map(with_past))
        .collect()
}

/// The title of an opened service, what is wrong with it, and its states over time.
fn service(one: &Figure, width: usize, utf8: bool) -> Vec<Line<'static>> {
    let unit = one.row.unit.as_deref().unwrap_or_default();
    let netns = one.row.namespace.as_ref().map_or("", |(_, name)| name);
    let title = format!("port {}  {unit}  {netns}", one.label());
    let mut lines = wrapped(HEADING, title.trim_end(), width);
    for &symptom in &one.symptoms {
        let style = if symptom.is_alarm() { ALARM } else { WARNING };
        lines.extend(wrapped(style, &words(symptom, one), width));
    }
    if let Some(service) = &one.row.service {
        let (listeners, queue) = (service.listeners, service.accept_queue);
        let drops = format!("{} {}", known(service.drops), one.history.drops.text());
        let text = format!("{listeners} listening, {queue} wait for accept, drops {drops}");
        lines.extend(wrapped(PLAIN, text.trim_end(), width));
    }
    let mut shown = seen(&one.history);
    shown.sort_by_key(|&state| abnormal(state));
    lines.push(Line::default());
    lines.extend(states(one, &shown, width, utf8));
    lines
}

/// The listeners with their processes, and the peers of an opened service.
fn who(opened: &Opened, processes: &[String], width: usize) -> Vec<Line<'static>> {
    const LISTENERS: [Column; 4] = [
        Column::text("LISTENER", 0),
        Column::number("QUEUE/MAX", 0),
        Column::number("DROPS", 0),
        Column::text("PROCESSES, UNIT", 0),
    ];
    const PEERS: [Column; 3] = [
        Column::text("PEER", 0),
        Column::number("CONNECTIONS", 0),
        Column::text("STATES", 0),
    ];
    let listeners = opened.listeners.iter().zip(processes);
    let listeners = listeners.map(|((listener, unit), processes)| {
        let is_full = listener.queue().is_some_and(|queue| queue.ratio() >= 1.0);
        let style = if is_full { ALARM } else { PLAIN };
        let queue = format!("{}/{}", listener.accept_queue, known(listener.backlog));
        let owner = format!("{processes} {}", unit.as_deref().unwrap_or_default());
        let local = listener.local.to_string();
        let cells = [local, queue, known(listener.drops), owner];
        cells.map(|text| (style, text)).to_vec()
    });
    let peers = opened.peers.groups.iter().map(|(peer, counts)| {
        let mut states: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
        states.sort_by_key(|&(state, count)| (abnormal(state), Reverse(count)));
        let states = states
            .iter()
            .map(|(state, count)| format!("{state} {count}"));
        let states = states.collect::<Vec<_>>().join(", ");
        let cells = [peer.clone(), counts.total().to_string(), states];
        cells.map(|text| (PLAIN, text)).to_vec()
    });
    let (listeners, peers): (Vec<_>, Vec<_>) = (listeners.collect(), peers.collect());
    let mut lines = Vec::new();
    for table in [
        grid(&LISTENERS, &listeners, width),
        grid(&PEERS, &peers, width),
    ] {
        lines.push(Line::default());
        lines.extend(table.into_iter().map(Text::line));
    }
    if opened.peers.others > 0 {
        let others = format!("and {} other peers", opened.peers.others);
        lines.extend(wrapped(PLAIN, &others, width));
    }
    lines
}
