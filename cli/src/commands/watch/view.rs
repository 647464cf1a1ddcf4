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
use super::text::{Cell, Text, cut, sparkline, wrapped};
use crate::commands::services::formats::{known, percent};
use crate::commands::services::sort::SortBy;
use crate::format::ratio;
use crate::opened::Opened;
use crate::symptoms::Symptom;
use crate::table::{Column, widths};

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
        (KEYS.lines().map(|line| help(line, width)).collect(), 0)
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

/// A line of the help.
fn help(line: &str, width: usize) -> Line<'static> {
    let style = if line.ends_with(':') { HEADING } else { PLAIN };
    Text::new(width).with(style, cut(line, width)).line()
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
        let above = self
            .above
            .clamp(least, place.max(least))
            .min(rows.len() - shown);
        let table = self
            .table(&rows[above..above + shown], width)
            .into_iter()
            .enumerate();
        let table = table.map(|(index, line)| match above + index == place + 1 {
            true => line.patch_style(Modifier::REVERSED),
            false => line,
        });
        lines.extend(table.skip(1 - headings));
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
        let columns = [
            (0, Column::text("", 1)),
            (
                1,
                Column::text(self.figures.reading.query.by.map_or("PORT", heading), 5),
            ),
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
        let wide = widths(
            &all,
            cells.iter().map(|row| row.iter().map(|(_, text)| &**text)),
        );
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
        let named = SortBy::NAMED.iter().find(|(_, one)| *one == self.sort);
        let sort = match self.sort {
            SortBy::State(state) => state.name(),
            _ => named.map_or("", |(name, _)| name),
        };
        let by = self.settings.query.by.map_or("port", Key::name);
        let order = if self.reversed { ", reversed" } else { "" };
        let at = reading.at.to_zoned(self.zone.clone());
        let host = self
            .host
            .as_ref()
            .map_or(String::new(), |host| format!("{host} "));
        let pieces = [
            (
                self.keys && width >= 14,
                HEADING,
                "? help  q quit".to_owned(),
            ),
            (self.keys && width < 14, HEADING, "? q".to_owned()),
            (self.failure.is_some(), ALARM, "OLD".to_owned()),
            (self.settings.paused, WARNING, "PAUSED".to_owned()),
            (hidden > 0, PLAIN, format!("+{hidden} rows")),
            (true, PLAIN, format!("{host}{}", at.strftime("%H:%M:%S %Z"))),
            (
                !self.filter.is_empty(),
                WARNING,
                format!("/{}", self.filter),
            ),
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

/// The heading of a key.
fn heading(key: Key) -> &'static str {
    match key {
        Key::Unit => "UNIT",
        Key::Process => "PROCESS",
        _ => "PEER",
    }
}

/// The style of what has one symptom, an alarm, or another, a warning.
fn style(one: &Figure, alarm: Symptom, warning: Symptom) -> Style {
    match () {
        () if one.symptoms.contains(&alarm) => ALARM,
        () if one.symptoms.contains(&warning) => WARNING,
        () => PLAIN,
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
    let had = |&state: &State| history.counts.iter().any(|counts| counts.get(state) > 0);
    State::ALL.into_iter().filter(had).collect()
}

/// A table of rows below their headings. The last cell of a row is cut if it has to be, if it is
/// text; a line has room for more.
fn grid(columns: &[Column], rows: &[Vec<Cell>], width: usize) -> Vec<Text> {
    let wide = widths(
        columns,
        rows.iter().map(|row| row.iter().map(|(_, text)| &**text)),
    );
    let headings = columns
        .iter()
        .map(|column| (HEADING, column.heading.to_owned()));
    let headings: Vec<Cell> = headings.collect();
    let lines = [&headings].into_iter().chain(rows).map(|row| {
        let cells = columns.iter().zip(&wide).zip(row);
        cells.fold(
            Text::new(width),
            |line, ((column, &wide), (style, text))| {
                line.with(*style, column.padded(text, wide) + " ")
            },
        )
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
        let past: Vec<u64> = history.counts.iter().map(|one| count(one, state)).collect();
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
        let text = format!("{listeners} listeners, {queue} wait for accept, drops {drops}");
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
    const LISTENERS: [Column; 3] = [
        Column::text("LISTENER", 0),
        Column::number("QUEUE/MAX", 0),
        Column::number("DROPS", 0),
    ];
    const PEERS: [Column; 2] = [Column::text("PEER", 0), Column::number("CONNECTIONS", 0)];
    // What is long goes last, as far as it fits.
    let table = |columns: &[Column], rows: &[Vec<Cell>], heading: &str, last: Vec<String>| {
        let last = [heading.to_owned()].into_iter().chain(last);
        let lines = grid(columns, rows, width).into_iter().zip(last);
        let lines = lines.map(|(line, last)| {
            let style = if last == heading { HEADING } else { PLAIN };
            let last = cut(&last, line.room());
            line.with(style, last).line()
        });
        [Line::default()]
            .into_iter()
            .chain(lines)
            .collect::<Vec<_>>()
    };
    let listeners = opened.listeners.iter().map(|(listener, _)| {
        let is_full = listener.queue().is_some_and(|queue| queue.ratio() >= 1.0);
        let queue = format!("{}/{}", listener.accept_queue, known(listener.backlog));
        let cells = [listener.local.to_string(), queue, known(listener.drops)];
        cells
            .map(|text| (if is_full { ALARM } else { PLAIN }, text))
            .to_vec()
    });
    let owners = opened
        .listeners
        .iter()
        .zip(processes)
        .map(|((_, unit), processes)| {
            format!("{processes} {}", unit.as_deref().unwrap_or_default())
        });
    let rows: Vec<_> = listeners.collect();
    let mut lines = table(&LISTENERS, &rows, "PROCESSES, UNIT", owners.collect());
    let peers = opened.peers.groups.iter();
    let rows = peers.clone().map(|(peer, counts)| {
        [peer.clone(), counts.total().to_string()]
            .map(|text| (PLAIN, text))
            .to_vec()
    });
    let states = peers.map(|(_, counts)| {
        let mut states: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
        states.sort_by_key(|&(state, count)| (abnormal(state), Reverse(count)));
        let states = states
            .iter()
            .map(|(state, count)| format!("{state} {count}"));
        states.collect::<Vec<_>>().join(", ")
    });
    let rows: Vec<_> = rows.collect();
    lines.extend(table(&PEERS, &rows, "STATES", states.collect()));
    if opened.peers.others > 0 {
        let others = format!("and {} other peers", opened.peers.others);
        lines.extend(wrapped(PLAIN, &others, width));
    }
    lines
}
