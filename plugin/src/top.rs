//! A live view of sessions, as values: what is shown, and what a key or a change makes of it. No
//! terminal and no cluster in here.

pub(crate) mod view;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use crate::session::Session;

/// How long a question stands before a key answers it: what is typed or pasted at one go was typed
/// before anybody could read it.
const READING: Duration = Duration::from_millis(300);

/// Namespace and name.
pub(crate) type Key = (String, String);

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// Somebody pressed a key.
    Press(Press),
    /// This is all there is.
    Listed(Vec<Value>),
    /// A session came, or is another now.
    Changed(Value),
    /// A session went.
    Gone(Value),
    /// The cluster can't be followed; it is tried again.
    Trouble(String),
    /// What became of stopping a session.
    Stopped(Key, Result<(), String>),
    /// Something that is to be known.
    Told(String),
    /// Time has passed.
    Time(Timestamp),
}

/// A key, as far as it means something here.
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

/// What the keys are for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Mode {
    /// Going through the list.
    #[default]
    List,
    /// Typing a filter.
    Filter,
    /// Looking at one session.
    Details(Key),
    /// Being asked whether to stop one.
    Confirm(Key),
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Sort {
    /// The API server's order.
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

/// What is to be done outside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Wish {
    /// Stop this session.
    Stop(Key, Option<String>),
    /// End.
    Quit,
}

/// All that is known and shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Top {
    sessions: BTreeMap<Key, Session>,
    /// Where the sessions are from, for the title.
    place: String,
    everywhere: bool,
    mode: Mode,
    sort: Sort,
    reversed: bool,
    filter: String,
    selected: Option<Key>,
    /// Whether the list has been read once.
    is_read: bool,
    trouble: Option<String>,
    told: Option<String>,
    now: Timestamp,
    /// How many rows of the list there was room for when it was last drawn.
    pub(crate) rows: usize,
    /// To be taken by whoever acts.
    pub(crate) wish: Option<Wish>,
}

impl Top {
    /// Before anything is known.
    pub(crate) fn new(namespace: Option<&str>, now: Timestamp) -> Self {
        Self {
            place: namespace
                .map_or("all namespaces".to_owned(), |name| format!("namespace {name}")),
            everywhere: namespace.is_none(),
            now,
            rows: 10,
            ..Self::default()
        }
    }

    /// The sessions that fit the filter, in order.
    pub(crate) fn shown(&self) -> Vec<(&Key, &Session)> {
        let wanted = self.filter.to_lowercase();
        let mut shown: Vec<_> =
            self.sessions.iter().filter(|(_, session)| fits(session, &wanted)).collect();
        // Stable, so that what is the same keeps the API server's order.
        match self.sort {
            Sort::Id => {}
            Sort::Target => shown.sort_by(|(_, a), (_, b)| a.target.cmp(&b.target)),
            Sort::User => shown.sort_by(|(_, a), (_, b)| a.user.cmp(&b.user)),
            Sort::Duration => shown.sort_by_key(|(_, one)| one.began(self.now)),
        }
        if self.reversed {
            shown.reverse();
        }
        shown
    }

    fn position(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.shown().iter().position(|(key, _)| *key == selected)
    }

    /// Whether what is selected is among the sessions that fit the filter.
    fn has_selection(&self) -> bool {
        let session = self.selected.as_ref().and_then(|key| self.sessions.get(key));
        session.is_some_and(|session| fits(session, &self.filter.to_lowercase()))
    }

    /// Whether the event may take away what is selected.
    fn may_deselect(&self, event: &Event) -> bool {
        match event {
            Event::Listed(_) => true,
            Event::Changed(object) | Event::Gone(object) => Some(read(object).0) == self.selected,
            _ => false,
        }
    }

    /// The session that somebody is asked about, or looks at.
    fn in_question(&self) -> Option<&Session> {
        match &self.mode {
            Mode::Details(key) | Mode::Confirm(key) => self.sessions.get(key),
            Mode::List | Mode::Filter => None,
        }
    }

    /// Whether a key that was pressed answers a question that nobody can have read yet.
    pub(crate) fn is_too_early(&self, event: &Event, shown_for: Duration) -> bool {
        matches!(self.mode, Mode::Confirm(_))
            && matches!(event, Event::Press(press) if *press != Press::Interrupt)
            && shown_for < READING
    }

    /// Whether it asks something.
    pub(crate) fn asks(&self) -> bool {
        matches!(self.mode, Mode::Confirm(_))
    }

    /// Keeps something selected, near where the selection was.
    fn select_near(&mut self, before: Option<usize>) {
        if self.has_selection() {
            return;
        }
        let shown = self.shown();
        let at = before.unwrap_or_default().min(shown.len().saturating_sub(1));
        self.selected = shown.get(at).map(|(key, _)| (*key).clone());
    }

    fn go(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let shown = self.shown();
        let Some(last) = shown.len().checked_sub(1) else {
            return;
        };
        let at = to(self.position().unwrap_or_default(), last).min(last);
        self.selected = shown.get(at).map(|(key, _)| (*key).clone());
    }
}

fn fits(session: &Session, wanted: &str) -> bool {
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
    let session = Session::of_object(object);
    ((session.namespace.clone(), session.name.clone()), session)
}

/// What an event makes of the view.
pub(crate) fn update(mut top: Top, event: Event) -> Top {
    // A look at all there is, which thousands of changes at once can't all have.
    let before = if top.may_deselect(&event) { top.position() } else { None };
    let uid = top.in_question().and_then(|session| session.uid.clone());
    match event {
        Event::Press(press) => return pressed(top, press),
        Event::Listed(objects) => {
            top.sessions = objects.iter().map(read).collect();
            top.is_read = true;
            top.trouble = None;
        }
        Event::Changed(object) => {
            let (key, session) = read(&object);
            top.sessions.insert(key, session);
            top.trouble = None;
        }
        Event::Gone(object) => {
            let (key, _) = read(&object);
            top.sessions.remove(&key);
            top.trouble = None;
        }
        Event::Trouble(why) => top.trouble = Some(why),
        Event::Stopped((namespace, name), result) => {
            let id = mirrord_sessions_crds::SessionId::of_name(&name);
            top.told = Some(match result {
                Ok(()) => format!("stopped {id} in {namespace}"),
                Err(why) => why,
            });
        }
        Event::Told(what) => top.told = Some(what),
        Event::Time(now) => top.now = now,
    }
    top.select_near(before);
    // What somebody looks at may be gone meanwhile, and another may have its name.
    if matches!(top.mode, Mode::Details(_) | Mode::Confirm(_))
        && top.in_question().is_none_or(|session| session.uid != uid)
    {
        top.told = Some("the session is over".to_owned());
        top.mode = Mode::List;
    }
    top
}

fn pressed(mut top: Top, press: Press) -> Top {
    if press == Press::Interrupt {
        top.wish = Some(Wish::Quit);
        return top;
    }
    let before = top.position();
    if top.mode == Mode::List {
        // It has been read.
        top.told = None;
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
            top.told = Some(format!("stopping {} …", key.1));
            top.wish = Some(Wish::Stop(key, uid));
            top.mode = Mode::List;
        }
        (Mode::Confirm(_), _) => {
            top.told = Some("not stopped".to_owned());
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
        Press::Up | Press::Letter('k') => top.go(|at, _| at.saturating_sub(1)),
        Press::Down | Press::Letter('j') => top.go(|at, _| at + 1),
        Press::PageUp => top.go(|at, _| at.saturating_sub(rows)),
        Press::PageDown => top.go(|at, _| at + rows),
        Press::First | Press::Letter('g') => top.go(|_, _| 0),
        Press::Last | Press::Letter('G') => top.go(|_, last| last),
        Press::Letter('/') => top.mode = Mode::Filter,
        Press::Letter('s') => top.sort = top.sort.next(),
        Press::Letter('r') => top.reversed = !top.reversed,
        Press::Letter('q') => top.wish = Some(Wish::Quit),
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
