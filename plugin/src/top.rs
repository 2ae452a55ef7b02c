//! State of the live view, as pure functions of events. Neither terminal nor cluster is used here.

pub(crate) mod view;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use crate::session::Session;

/// Time for which a confirmation ignores keys. Keys that are typed or pasted in one go were typed
/// before the user could read the question.
const MIN_READING_TIME: Duration = Duration::from_millis(300);

/// Limit of the warnings that are shown at once.
const MAX_WARNINGS: usize = 4;

/// The namespace and the name of a session.
pub(crate) type Key = (String, String);

/// An event that changes the view.
#[derive(Debug)]
pub(crate) enum Event {
    /// The user pressed a key.
    Press(Press),
    /// The complete list of sessions arrived.
    Listed(Vec<Value>),
    /// A session was added or modified.
    Changed(Value),
    /// A session was deleted.
    Deleted(Value),
    /// The watch failed and is retried.
    WatchFailed(String),
    /// The deletion of a session completed or failed.
    Stopped(Key, Result<(), String>),
    /// A warning of the cluster arrived.
    Warning(String),
    /// The clock advanced to this time.
    Time(Timestamp),
}

/// A key with a meaning in the view.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Press {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Enter,
    Escape,
    Backspace,
    Delete,
    Interrupt,
    Letter(char),
}

/// The mode of the view, which determines the meaning of keys.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Mode {
    /// The list of sessions.
    #[default]
    List,
    /// The filter is being typed.
    Filter,
    /// The details of one session.
    Details(Key),
    /// The confirmation before a session is stopped.
    Confirm(Key),
}

/// The order of the list.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Sort {
    /// The order of the API server.
    #[default]
    Id,
    Target,
    User,
    Duration,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Id => Self::Target,
            Self::Target => Self::User,
            Self::User => Self::Duration,
            Self::Duration => Self::Id,
        }
    }
}

/// A side action that the view requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Deletes a session, with its uid as a precondition.
    Stop(Key, Option<String>),
    /// Ends the command `top`.
    Quit,
}

/// The state of the view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Top {
    sessions: BTreeMap<Key, Session>,
    /// The scope of the list, for the title.
    scope: String,
    everywhere: bool,
    mode: Mode,
    sort: Sort,
    reversed: bool,
    filter: String,
    selected: Option<Key>,
    /// Whether the first list has arrived.
    is_read: bool,
    watch_error: Option<String>,
    message: Option<String>,
    /// The warnings since the last key.
    warnings: Vec<String>,
    now: Timestamp,
    /// The number of rows that the last drawn screen had room for.
    pub(crate) rows: usize,
    /// The requested side action, taken by the event loop.
    pub(crate) action: Option<Action>,
}

impl Top {
    /// Creates the view before the first list.
    pub(crate) fn new(namespace: Option<&str>, now: Timestamp) -> Self {
        Self {
            scope: namespace
                .map_or("all namespaces".to_owned(), |name| format!("namespace {name}")),
            everywhere: namespace.is_none(),
            now,
            rows: 10,
            ..Self::default()
        }
    }

    /// Returns the sessions that match the filter, in order.
    pub(crate) fn visible_sessions(&self) -> Vec<(&Key, &Session)> {
        let wanted = self.filter.to_lowercase();
        let mut shown: Vec<_> =
            self.sessions.iter().filter(|(_, session)| matches_filter(session, &wanted)).collect();
        // The sort is stable, so that equal rows keep the order of the API server.
        match self.sort {
            Sort::Id => {}
            Sort::Target => shown.sort_by(|(_, a), (_, b)| a.target.cmp(&b.target)),
            Sort::User => shown.sort_by(|(_, a), (_, b)| a.user.cmp(&b.user)),
            Sort::Duration => shown.sort_by_key(|(_, one)| one.start_time(self.now)),
        }
        if self.reversed {
            shown.reverse();
        }
        shown
    }

    fn position(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.visible_sessions().iter().position(|(key, _)| *key == selected)
    }

    /// Returns whether the selected session matches the filter.
    fn has_selection(&self) -> bool {
        let session = self.selected.as_ref().and_then(|key| self.sessions.get(key));
        session.is_some_and(|session| matches_filter(session, &self.filter.to_lowercase()))
    }

    /// Returns whether the event may remove the selected session.
    fn may_deselect(&self, event: &Event) -> bool {
        match event {
            Event::Listed(_) => true,
            Event::Changed(object) | Event::Deleted(object) => {
                Some(read(object).0) == self.selected
            }
            _ => false,
        }
    }

    /// Returns the session of the details or of the confirmation.
    fn focused_session(&self) -> Option<&Session> {
        match &self.mode {
            Mode::Details(key) | Mode::Confirm(key) => self.sessions.get(key),
            Mode::List | Mode::Filter => None,
        }
    }

    /// Returns whether a key answers a confirmation before the user could have read it.
    pub(crate) fn is_too_early(&self, event: &Event, shown_for: Duration) -> bool {
        matches!(self.mode, Mode::Confirm(_))
            && matches!(event, Event::Press(press) if *press != Press::Interrupt)
            && shown_for < MIN_READING_TIME
    }

    /// Returns whether the view shows a confirmation.
    pub(crate) fn is_confirming(&self) -> bool {
        matches!(self.mode, Mode::Confirm(_))
    }

    /// Selects the session at or near the previous position.
    fn select_near(&mut self, before: Option<usize>) {
        if self.has_selection() {
            return;
        }
        let shown = self.visible_sessions();
        let at = before.unwrap_or_default().min(shown.len().saturating_sub(1));
        self.selected = shown.get(at).map(|(key, _)| (*key).clone());
    }

    fn move_selection(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let shown = self.visible_sessions();
        let Some(last) = shown.len().checked_sub(1) else {
            return;
        };
        let at = to(self.position().unwrap_or_default(), last).min(last);
        self.selected = shown.get(at).map(|(key, _)| (*key).clone());
    }
}

fn matches_filter(session: &Session, wanted: &str) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let id = session.id().to_string();
    [Some(&id), Some(&session.namespace), session.target.as_ref(), session.user.as_ref()]
        .into_iter()
        .flatten()
        .any(|text| text.to_lowercase().contains(wanted))
}

fn read(object: &Value) -> (Key, Session) {
    let session = Session::from_object(object);
    ((session.namespace.clone(), session.name.clone()), session)
}

/// Returns the view after an event.
pub(crate) fn update(mut top: Top, event: Event) -> Top {
    // Finding the position scans all sessions, which is too slow for thousands of events at once.
    let before = if top.may_deselect(&event) { top.position() } else { None };
    let uid = top.focused_session().and_then(|session| session.uid.clone());
    match event {
        Event::Press(press) => return pressed(top, press),
        Event::Listed(objects) => {
            top.sessions = objects.iter().map(read).collect();
            top.is_read = true;
            top.watch_error = None;
        }
        Event::Changed(object) => {
            let (key, session) = read(&object);
            top.sessions.insert(key, session);
            top.watch_error = None;
        }
        Event::Deleted(object) => {
            let (key, _) = read(&object);
            top.sessions.remove(&key);
            top.watch_error = None;
        }
        Event::WatchFailed(why) => top.watch_error = Some(why),
        Event::Stopped((namespace, name), result) => {
            let id = mirrord_sessions_crds::SessionId::from_name(&name);
            top.message = Some(match result {
                Ok(()) => format!("stopped {id} in {namespace}"),
                Err(why) => why,
            });
        }
        Event::Warning(what) => {
            top.warnings.truncate(MAX_WARNINGS - 1);
            top.warnings.push(what);
        }
        Event::Time(now) => top.now = now,
    }
    top.select_near(before);
    // The session may have ended, and another may have its name.
    if matches!(top.mode, Mode::Details(_) | Mode::Confirm(_))
        && top.focused_session().is_none_or(|session| session.uid != uid)
    {
        top.message = Some("the session has ended".to_owned());
        top.mode = Mode::List;
    }
    top
}

fn pressed(mut top: Top, press: Press) -> Top {
    if press == Press::Interrupt {
        top.action = Some(Action::Quit);
        return top;
    }
    let before = top.position();
    if top.mode == Mode::List {
        // The message has been read.
        top.message = None;
        top.warnings.clear();
    }
    match (top.mode.clone(), press) {
        (Mode::Filter, Press::Letter(letter)) => top.filter.push(letter),
        (Mode::Filter, Press::Backspace) => {
            top.filter.pop();
        }
        (Mode::Filter, Press::Enter) => top.mode = Mode::List,
        (Mode::Filter, Press::Escape) => {
            top.filter.clear();
            top.mode = Mode::List;
        }
        (Mode::Confirm(key), Press::Letter('y' | 'Y')) => {
            let uid = top.sessions.get(&key).and_then(|session| session.uid.clone());
            top.message = Some(format!("stopping {} …", key.1));
            top.action = Some(Action::Stop(key, uid));
            top.mode = Mode::List;
        }
        (Mode::Confirm(_), _) => {
            top.message = Some("not stopped".to_owned());
            top.mode = Mode::List;
        }
        (Mode::Details(key), Press::Delete | Press::Letter('x')) => top.mode = Mode::Confirm(key),
        (Mode::Details(_), Press::Escape | Press::Enter | Press::Letter('q')) => {
            top.mode = Mode::List;
        }
        (Mode::List, press) => in_list(&mut top, press),
        (Mode::Filter | Mode::Details(_), _) => {}
    }
    top.select_near(before);
    top
}

fn in_list(top: &mut Top, press: Press) {
    let rows = top.rows.max(1);
    match press {
        Press::Up | Press::Letter('k') => top.move_selection(|at, _| at.saturating_sub(1)),
        Press::Down | Press::Letter('j') => top.move_selection(|at, _| at + 1),
        Press::PageUp => top.move_selection(|at, _| at.saturating_sub(rows)),
        Press::PageDown => top.move_selection(|at, _| at + rows),
        Press::First | Press::Letter('g') => top.move_selection(|_, _| 0),
        Press::Last | Press::Letter('G') => top.move_selection(|_, last| last),
        Press::Letter('/') => top.mode = Mode::Filter,
        Press::Letter('s') => top.sort = top.sort.next(),
        Press::Letter('r') => top.reversed = !top.reversed,
        Press::Letter('q') => top.action = Some(Action::Quit),
        Press::Escape => {
            top.filter.clear();
        }
        Press::Enter => {
            if let Some(key) = top.selected.clone() {
                top.mode = Mode::Details(key);
            }
        }
        Press::Delete | Press::Letter('x') => {
            if let Some(key) = top.selected.clone() {
                top.mode = Mode::Confirm(key);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "top/tests.rs"]
mod tests;
