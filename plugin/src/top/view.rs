//! Rendering of the live view.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::Line,
    widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState, Wrap},
};

use super::{Key, Mode, Sort, Top};
use crate::{render::escape::visible, session::Session};

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const INVERSE: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Returns the number of list rows that fit a screen of this height.
pub(crate) fn rows(height: u16) -> usize {
    // The title, the header and the line of keys take three lines.
    usize::from(height.saturating_sub(3))
}

/// Draws the view on the terminal. All text is escaped, because names are chosen by other users.
pub(crate) fn render(top: &Top, frame: &mut Frame<'_>) {
    let [title, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
            .areas(frame.area());
    let shown = top.visible_sessions();
    let heading = Paragraph::new(heading(top, shown.len()));
    frame.render_widget(heading.style(BOLD), title);
    match &top.mode {
        Mode::Details(key) => details(top, key, frame, body),
        Mode::List | Mode::Filter | Mode::Confirm(_) => list(top, &shown, frame, body),
    }
    if let Mode::Confirm(key) = &top.mode {
        question(top, key, frame, body);
    }
    frame.render_widget(Paragraph::new(footer(top)), foot);
}

fn heading(top: &Top, shown: usize) -> String {
    let all = top.sessions.len();
    let count = if shown == all { format!("{all}") } else { format!("{shown} of {all}") };
    let order = match (top.sort, top.reversed) {
        (_, false) => String::new(),
        (_, true) => ", reversed".to_owned(),
    };
    let by = match top.sort {
        Sort::Id => "ID",
        Sort::Target => "target",
        Sort::User => "user",
        Sort::Duration => "duration",
    };
    let filter = if top.filter.is_empty() {
        String::new()
    } else {
        format!(", filter: {}", visible(&top.filter))
    };
    let noun = if all == 1 { "session" } else { "sessions" };
    format!("{count} {noun} in {}, by {by}{order}{filter}", top.scope)
}

fn footer(top: &Top) -> Line<'static> {
    let keys = match &top.mode {
        Mode::Filter => {
            return Line::from(format!("/{}_   Enter: keep   Esc: clear", visible(&top.filter)));
        }
        Mode::Details(_) => "Esc: back   x: stop it",
        Mode::Confirm(_) => "y: stop it   any other key: leave it",
        Mode::List if !top.filter.is_empty() => {
            "q: quit   ↑↓: move   Enter: details   Esc: all   s: sort   r: reverse   x: stop"
        }
        Mode::List => {
            "q: quit   ↑↓: move   Enter: details   /: filter   s: sort   r: reverse   x: stop"
        }
    };
    // Messages have priority over the line of keys.
    let message: Vec<&str> = top
        .message
        .iter()
        .chain(&top.warnings)
        .chain(&top.watch_error)
        .map(String::as_str)
        .collect();
    if message.is_empty() {
        return Line::from(keys);
    }
    Line::from(visible(&message.join("; ")).into_owned()).style(INVERSE)
}

fn list(top: &Top, shown: &[(&Key, &Session)], frame: &mut Frame<'_>, area: Rect) {
    if shown.is_empty() {
        let text = if !top.is_read {
            "Reading …"
        } else if top.sessions.is_empty() {
            "No sessions found"
        } else {
            "No session matches the filter"
        };
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let mut header = vec!["SESSION ID", "TARGET", "USER", "PORTS", "STATE", "DURATION"];
    let mut widths = vec![
        Constraint::Length(17),
        Constraint::Fill(3),
        Constraint::Fill(4),
        Constraint::Fill(4),
        Constraint::Length(10),
        Constraint::Length(9),
    ];
    if top.everywhere {
        header.insert(1, "NAMESPACE");
        widths.insert(1, Constraint::Length(14));
    }
    let selected = shown.iter().position(|(key, _)| Some(*key) == top.selected.as_ref());
    // Only visible rows are built.
    let room = usize::from(area.height).saturating_sub(1).max(1);
    let first = selected.map_or(0, |selected| (selected + 1).saturating_sub(room));
    let rows = shown.iter().skip(first).take(room);
    let rows = rows.map(|(_, session)| row(top, session));
    let table =
        Table::new(rows, widths).header(Row::new(header).style(BOLD)).row_highlight_style(INVERSE);
    let selected = selected.map(|selected| selected - first);
    let mut state = TableState::default().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut state);
}

fn row(top: &Top, session: &Session) -> Row<'static> {
    let text = |text: Option<&str>| visible(text.unwrap_or("<none>")).into_owned();
    let ports = session.port_line();
    let mut cells = vec![
        text(Some(&session.id().to_string())),
        text(session.target.as_deref()),
        text(session.user.as_deref()),
        text(ports.as_deref()),
        text(session.state.as_deref()),
        session.age(top.now),
    ];
    if top.everywhere {
        cells.insert(1, text(Some(&session.namespace)));
    }
    Row::new(cells.into_iter().map(Cell::from))
}

fn details(top: &Top, key: &Key, frame: &mut Frame<'_>, area: Rect) {
    let Some(session) = top.sessions.get(key) else {
        return;
    };
    let id = session.id().to_string();
    let age = session.age(top.now);
    let agent = session.agent.as_ref();
    let mut lines: Vec<(&str, Option<String>)> = vec![
        ("Session ID", Some(id)),
        ("Namespace", Some(session.namespace.clone())),
        ("Target", session.target.clone()),
        ("State", session.state.clone()),
        ("User", session.user.clone()),
        ("Owner", session.owner.clone()),
        ("Client", session.client_user.clone()),
        ("Hostname", session.client_host.clone()),
        ("Version", session.version.clone()),
        ("Duration", Some(age)),
        ("Agent", agent.and_then(|agent| agent.name.clone())),
        ("Node", agent.and_then(|agent| agent.node.clone())),
    ];
    let several = |all: Vec<String>| {
        if all.is_empty() { vec!["<none>".to_owned()] } else { all }
    };
    let ports = session.ports.iter().map(|port| port.line.clone()).collect();
    for (label, values) in [("Ports", ports), ("Participants", session.participants.clone())] {
        for (n, value) in several(values).into_iter().enumerate() {
            lines.push((if n == 0 { label } else { "" }, Some(value)));
        }
    }
    let line = |(label, value): (&str, Option<String>)| {
        let label = if label.is_empty() { String::new() } else { format!("{label}:") };
        let value = value.unwrap_or_else(|| "<none>".to_owned());
        Line::from(format!("{label:<14}{}", visible(&value)))
    };
    let text: Vec<Line<'_>> = lines.into_iter().map(line).collect();
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), area);
}

fn question(top: &Top, key: &Key, frame: &mut Frame<'_>, area: Rect) {
    let Some(session) = top.sessions.get(key) else {
        return;
    };
    let none = || "<none>".to_owned();
    let text = format!(
        "Stop {} of {} on {}/{}?\nIt ends the agent, and the user's process with it. (y/N)",
        session.id(),
        visible(&session.user.clone().unwrap_or_else(none)),
        visible(&session.namespace),
        visible(&session.target.clone().unwrap_or_else(none)),
    );
    let width = area.width.min(76);
    let height = area.height.min(5);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    let question = Paragraph::new(text).wrap(Wrap { trim: false }).block(Block::bordered());
    frame.render_widget(question, place);
}
