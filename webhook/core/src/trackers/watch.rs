//! A watch: what one requester is told of changes, step by step.
//!
//! A watch holds no queue of its own. It remembers how far in the shared history it is, and is asked
//! for the next events when its client has taken the last ones. Whoever is so slow that the history
//! moved on is told that their version is gone, and starts again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    failure::Failure,
    filter::Filter,
    index::Index,
    options::{ListOptions, Version},
    render::{self, Look, Shown},
    tracker::{Key, Tracker},
};
use crate::policy::Viewer;

/// A watch of one requester.
#[derive(Debug)]
pub struct Watch {
    filter: Filter,
    viewer: Viewer,
    /// The number of the next change to look at.
    next: u64,
    /// What is there at the start, or became visible or hidden by another cause than a change.
    pending: VecDeque<Event>,
    /// The client was told everything up to this version.
    told: u64,
    /// A bookmark ends the initial events.
    initial_end: bool,
    /// Namespaces of sessions that were told without their secrets.
    withheld: BTreeSet<Box<str>>,
}

#[derive(Clone, Debug)]
enum Event {
    Added(Arc<Tracker>, bool),
    Modified(Arc<Tracker>, bool),
    Deleted(Arc<Tracker>, bool, Option<u64>),
}

/// What a step came to.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// There was something to tell; maybe there is more.
    More,
    /// The client knows everything.
    Idle,
    /// The watch is over, for this reason.
    Gone(Failure),
}

impl Watch {
    /// A watch as somebody asked for it.
    ///
    /// # Errors
    /// What it starts at is gone or to come.
    pub fn start(
        index: &Index,
        filter: Filter,
        options: &ListOptions,
        viewer: Viewer,
    ) -> Result<Self, Failure> {
        // What a watch without a version has always meant.
        let legacy = !matches!(options.version, Version::At(_));
        let initial = options.send_initial.unwrap_or(legacy);
        let mut watch = Self {
            filter,
            viewer,
            next: index.head(),
            pending: VecDeque::new(),
            told: index.version(),
            initial_end: false,
            withheld: BTreeSet::new(),
        };
        if initial {
            index.reached(options.version)?;
            watch.pending = index
                .all()
                .filter_map(|tracker| {
                    let revealed = watch.filter.sees(tracker, &watch.viewer)?;
                    Some(Event::Added(Arc::clone(tracker), revealed))
                })
                .collect();
            watch.initial_end = options.send_initial == Some(true) && options.bookmarks;
        } else if let Version::At(version) = options.version {
            watch.next = index.after(version)?;
            watch.told = version;
        }
        Ok(watch)
    }

    /// Appends the next events to `out`, some `limit` bytes of them.
    pub fn step(&mut self, index: &Index, out: &mut Events, limit: usize) -> Step {
        let before = out.bytes.len();
        loop {
            if out.bytes.len() >= limit {
                return Step::More;
            }
            if let Some(event) = self.pending.pop_front() {
                out.event(&event);
                continue;
            }
            if self.initial_end {
                self.initial_end = false;
                out.bookmark(self.told, true);
                continue;
            }
            match self.advance(index) {
                Ok(true) => {}
                Ok(false) if out.bytes.len() > before => return Step::More,
                Ok(false) => return Step::Idle,
                Err(gone) => return Step::Gone(gone),
            }
        }
    }

    /// Looks at changes until one is of interest, or there are no more.
    fn advance(&mut self, index: &Index) -> Result<bool, Failure> {
        let changes = index
            .changes(self.next)
            .ok_or_else(|| Failure::watch_expired(self.told, index.version()))?;
        for change in changes {
            self.next += 1;
            // A watch may start in the future of this replica.
            if change.version < self.told {
                continue;
            }
            self.told = change.version;
            let sees = |tracker: &Option<Arc<Tracker>>| {
                let tracker = tracker.as_ref()?;
                let revealed = self.filter.sees(tracker, &self.viewer)?;
                Some((Arc::clone(tracker), revealed))
            };
            if let Some((tracker, false)) = sees(&change.after)
                && !self.withheld.contains(&tracker.key.namespace)
            {
                self.withheld.insert(tracker.key.namespace.clone());
            }
            let event = match (sees(&change.before), sees(&change.after)) {
                (None, None) => continue,
                (None, Some((tracker, revealed))) => Event::Added(tracker, revealed),
                (Some(_), Some((tracker, revealed))) => Event::Modified(tracker, revealed),
                (Some((tracker, revealed)), None) => {
                    Event::Deleted(tracker, revealed, Some(change.version))
                }
            };
            self.pending.push_back(event);
            return Ok(true);
        }
        self.told = self.told.max(index.version());
        Ok(false)
    }

    /// From now on, the viewer sees by other policies or rights. What becomes hidden is told as deleted, what becomes
    /// visible as added.
    ///
    /// # Errors
    /// The watch is too far behind.
    pub fn decide_anew(&mut self, index: &Index, viewer: Viewer) -> Result<(), Failure> {
        // First to the present, by what decided until now: then the client holds exactly that.
        let held = self.held(index);
        let mut queue = std::mem::take(&mut self.pending);
        while self.advance(index)? {
            queue.append(&mut self.pending);
        }
        for tracker in index.all() {
            let was = self.filter.sees(tracker, &self.viewer);
            let is = self.filter.sees(tracker, &viewer);
            let tracker = || Arc::clone(tracker);
            match (was, is) {
                (None, Some(revealed)) => queue.push_back(Event::Added(tracker(), revealed)),
                (Some(_), None) => queue.push_back(Event::Deleted(tracker(), false, None)),
                (Some(was), Some(is)) if was != is => {
                    queue.push_back(Event::Modified(tracker(), is));
                }
                _ => {}
            }
        }
        self.viewer = viewer;
        self.withdraw(&mut queue, &held);
        self.pending = queue;
        Ok(())
    }

    /// The trackers that have changed since the client was told, as they were then.
    fn held(&self, index: &Index) -> BTreeMap<Key, Option<Arc<Tracker>>> {
        let mut held = BTreeMap::new();
        for change in index.changes(self.next).into_iter().flatten() {
            if let Some(tracker) = change.before.as_ref().or(change.after.as_ref()) {
                held.entry(tracker.key.clone())
                    .or_insert_with(|| change.before.clone());
            }
        }
        held
    }

    /// Takes from the events that aren't sent yet all that is hidden by now: the trackers, and of those
    /// that the client holds, what has become of them since.
    fn withdraw(&self, queue: &mut VecDeque<Event>, held: &BTreeMap<Key, Option<Arc<Tracker>>>) {
        let mut never_told = BTreeSet::new();
        queue.retain_mut(|event| {
            let (Event::Added(tracker, _)
            | Event::Modified(tracker, _)
            | Event::Deleted(tracker, _, _)) = &*event;
            let key = tracker.key.clone();
            let is = self.filter.sees(tracker, &self.viewer);
            match (event, is) {
                (Event::Added(..), None) => {
                    never_told.insert(key);
                    false
                }
                (Event::Modified(..), None) => false,
                (Event::Deleted(tracker, revealed, _), is) => {
                    if is.is_none()
                        && let Some(Some(held)) = held.get(&key)
                    {
                        *tracker = Arc::clone(held);
                    }
                    *revealed &= is.unwrap_or_default();
                    !never_told.remove(&key)
                }
                (Event::Added(_, revealed), Some(is)) => {
                    never_told.remove(&key);
                    *revealed &= is;
                    true
                }
                (event @ Event::Modified(..), Some(is)) => {
                    if let Event::Modified(tracker, revealed) = event {
                        *revealed &= is;
                        if never_told.remove(&key) {
                            *event = Event::Added(Arc::clone(tracker), *revealed);
                        }
                    }
                    true
                }
            }
        });
    }

    /// The namespaces of sessions that changed and were told without their secrets, since this was asked
    /// last: there a right to join would tell more.
    pub fn take_withheld(&mut self) -> BTreeSet<Box<str>> {
        std::mem::take(&mut self.withheld)
    }

    /// The version of a bookmark: everything up to it was told. None if something is still to be.
    #[must_use]
    pub fn bookmark(&self) -> Option<u64> {
        (self.pending.is_empty() && !self.initial_end).then_some(self.told)
    }
}

/// Events as bytes, one JSON object a line.
#[derive(Debug)]
pub struct Events {
    /// The bytes.
    pub bytes: Vec<u8>,
    look: Look,
    columns_sent: bool,
}

impl Events {
    /// None yet.
    #[must_use]
    pub fn new(look: Look) -> Self {
        Self {
            bytes: Vec::new(),
            look,
            columns_sent: false,
        }
    }

    /// The time by which ages are told.
    pub fn set_now(&mut self, now: i64) {
        self.look.now = now;
    }

    fn event(&mut self, event: &Event) {
        let (kind, tracker, revealed, version) = match event {
            Event::Added(tracker, revealed) => ("ADDED", tracker, revealed, None),
            Event::Modified(tracker, revealed) => ("MODIFIED", tracker, revealed, None),
            Event::Deleted(tracker, revealed, version) => ("DELETED", tracker, revealed, *version),
        };
        let shown = Shown {
            tracker,
            revealed: *revealed,
            version,
        };
        self.start(kind);
        // Columns go with the first event alone.
        let columns = !std::mem::replace(&mut self.columns_sent, true);
        render::one(&mut self.bytes, shown, self.look, columns);
        self.end();
    }

    /// Appends a bookmark.
    pub fn bookmark(&mut self, version: u64, initial_end: bool) {
        self.start("BOOKMARK");
        render::bookmark(&mut self.bytes, version, initial_end, self.look);
        self.end();
    }

    /// Appends the end of a watch that can't go on.
    pub fn error(&mut self, failure: &Failure) {
        self.start("ERROR");
        let status = failure.status().to_string();
        self.bytes.extend_from_slice(status.as_bytes());
        self.end();
    }

    fn start(&mut self, kind: &str) {
        let start = format!(r#"{{"type":"{kind}","object":"#);
        self.bytes.extend_from_slice(start.as_bytes());
    }

    fn end(&mut self) {
        self.bytes.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
