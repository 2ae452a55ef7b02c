//! A watch: what one requester is told of changes, step by step.
//!
//! A watch holds no queue of its own. It remembers how far in the shared history it is, and is
//! asked for the next events when its client has taken the last ones. Whoever is so slow that the
//! history moved on is told that their version is gone, and starts again. What is there at the
//! start, and what other policies hide or show, isn't queued either: both are a way through the
//! index, of which a key is remembered.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    error::Failure,
    filter::Filter,
    options::{ListOptions, Version},
    render::{self, Look, Shown},
};
use crate::policy::{Verb, Viewer};
use crate::sessions::{
    index::Index,
    tracker::{Key, Tracker},
};

const ADDED: &str = "ADDED";
const MODIFIED: &str = "MODIFIED";
const DELETED: &str = "DELETED";

/// A tracker, and whether with its secrets.
type Seen<'a> = (&'a Arc<Tracker>, bool);

/// A watch of one requester.
#[derive(Debug)]
pub struct Watch {
    filter: Filter,
    viewer: Viewer,
    /// The number of the next change to look at.
    next: u64,
    /// The client doesn't yet hold what it is to at `next`.
    sweep: Option<Sweep>,
    /// The client was told everything up to this version.
    told: u64,
    /// A bookmark ends the initial events.
    initial_end: bool,
    /// Namespaces of sessions that were told without their secrets.
    withheld: BTreeSet<Box<str>>,
}

/// The way, key by key, from what the client holds to what it is to hold: nothing at first, what it
/// saw by other policies or rights later.
#[derive(Debug)]
struct Sweep {
    /// How far it is: up to this key, the client holds what it is to.
    done: Option<Key>,
    /// What it holds after that, in order of keys.
    held: VecDeque<Held>,
    /// The version of the state that it is to hold.
    version: u64,
}

/// What the client holds of a range of keys.
#[derive(Debug)]
struct Held {
    /// Where the range ends; none is everything else.
    upto: Option<Key>,
    /// Who saw it; none if nothing of it was told.
    viewer: Option<Viewer>,
    /// It was seen before the change of this number.
    before: u64,
    /// All up to this version was told. The client may come back at a version that it was told: it
    /// mustn't be a newer one, before all of this is told.
    told: u64,
}

/// How often who decides may change, while a client takes in what it has come to.
const MAX_HELD: usize = 8;

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
    /// A watch as somebody asked for it. Where it starts at a version, that may have been told by
    /// these others: as they saw it; none if that isn't known any more.
    ///
    /// # Errors
    /// What it starts at is gone or to come.
    pub fn start(
        index: &Index,
        filter: Filter,
        options: &ListOptions,
        viewer: Viewer,
        told_by: &[Option<Viewer>],
    ) -> Result<Self, Failure> {
        // What a watch without a version has always meant.
        let legacy = !matches!(options.version, Version::At(_));
        let initial = options.send_initial.unwrap_or(legacy);
        let mut watch = Self {
            filter,
            viewer,
            next: index.head(),
            sweep: None,
            told: index.version(),
            initial_end: false,
            withheld: BTreeSet::new(),
        };
        if initial {
            index.reached(options.version)?;
            let nothing = Held { upto: None, viewer: None, before: watch.next, told: u64::MAX };
            watch.sweep = Some(Sweep { done: None, held: [nothing].into(), version: watch.told });
            watch.initial_end = options.send_initial == Some(true) && options.bookmarks;
        } else if let Version::At(version) = options.version {
            watch.next = index.after(version)?;
            watch.told = version;
            let same = |other: &Option<Viewer>| {
                let other = other.as_ref();
                other.is_some_and(|other| {
                    // What this replica doesn't know yet may be seen otherwise too.
                    *other == watch.viewer
                        || (version <= index.version()
                            && index.alike_since(version, &watch.filter, &watch.viewer, other))
                })
            };
            // What is hidden now may be held, or never have been seen: a list tells.
            if !told_by.iter().all(same) {
                return Err(Failure::seen_otherwise(version));
            }
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
            let advanced = if self.sweep.is_some() {
                self.sweep(index, out, limit).map(|()| true)
            } else if std::mem::take(&mut self.initial_end) {
                out.bookmark(self.told, true);
                Ok(true)
            } else {
                self.advance(index, out)
            };
            match advanced {
                Ok(true) => {}
                Ok(false) if out.bytes.len() > before => return Step::More,
                Ok(false) => return Step::Idle,
                Err(gone) => return Step::Gone(gone),
            }
        }
    }

    /// Looks at changes until one was told, or there are no more.
    fn advance(&mut self, index: &Index, out: &mut Events) -> Result<bool, Failure> {
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
            let (before, after) = (sees(&change.before), sees(&change.after));
            if let Some((tracker, false)) = &after
                && !self.withheld.contains(&tracker.key.namespace)
                && self.viewer.may(Verb::Join, &tracker.view())
            {
                self.withheld.insert(tracker.key.namespace.clone());
            }
            match (before, after) {
                (None, None) => continue,
                (None, Some((tracker, revealed))) => out.event(ADDED, &tracker, revealed, None),
                (Some(_), Some((tracker, revealed))) => {
                    out.event(MODIFIED, &tracker, revealed, None);
                }
                (Some((tracker, revealed)), None) => {
                    out.event(DELETED, &tracker, revealed, Some(change.version));
                }
            }
            return Ok(true);
        }
        self.told = self.told.max(index.version());
        Ok(false)
    }

    /// Goes on with what the client holds, until there are `limit` bytes.
    fn sweep(&mut self, index: &Index, out: &mut Events, limit: usize) -> Result<(), Failure> {
        let Some(mut sweep) = self.sweep.take() else {
            return Ok(());
        };
        let gone = || Failure::watch_expired(self.told, index.version());
        let state = |number| index.before(number).ok_or_else(gone);
        let to = state(self.next)?;
        let mut held = VecDeque::new();
        for part in &sweep.held {
            held.push_back(state(part.before)?);
        }
        // The first came last: the last knows of all keys that there have been.
        let oldest = state(sweep.held.back().map_or(self.next, |part| part.before))?;
        let mut last: Option<&Key> = None;
        for key in oldest.keys(self.filter.namespace.as_deref(), sweep.done.as_ref()) {
            if out.bytes.len() >= limit {
                sweep.done = last.cloned().or(sweep.done);
                self.sweep = Some(sweep);
                return Ok(());
            }
            let ends_before = |part: &Held| part.upto.as_ref().is_some_and(|upto| upto < key);
            while sweep.held.front().is_some_and(ends_before) {
                sweep.held.pop_front();
                held.pop_front();
            }
            let part = sweep.held.front().zip(held.front());
            let was = part.and_then(|(part, state)| {
                let tracker = state.get(key)?;
                let revealed = self.filter.sees(tracker, part.viewer.as_ref()?)?;
                Some((tracker, revealed))
            });
            let is = to.get(key).and_then(|tracker| {
                let revealed = self.filter.sees(tracker, &self.viewer)?;
                Some((tracker, revealed))
            });
            let told = part.map_or(u64::MAX, |(part, _)| part.told);
            out.difference(was, is, told);
            last = Some(key);
        }
        self.told = self.told.max(sweep.version);
        Ok(())
    }

    /// From now on, the viewer sees by other policies or rights. What becomes hidden is told as
    /// deleted, what becomes visible as added. What waited to be told is told by the new ones
    /// alone: so of what has changed since, nothing that is hidden by now.
    ///
    /// # Errors
    /// The watch is too far behind, or ahead of this replica.
    pub fn decide_anew(&mut self, index: &Index, viewer: Viewer) -> Result<(), Failure> {
        if viewer == self.viewer {
            return Ok(());
        }
        if self.told > index.version() {
            // The client may hold what isn't known here yet.
            return Err(Failure::seen_otherwise(self.told));
        }
        let before = std::mem::replace(&mut self.viewer, viewer);
        let seen = |upto| Held { upto, viewer: Some(before), before: self.next, told: self.told };
        let held = match self.sweep.take() {
            None => [seen(None)].into(),
            Some(Sweep { done: Some(done), mut held, .. }) => {
                held.push_front(seen(Some(done)));
                held
            }
            Some(Sweep { held, .. }) => held,
        };
        if index.changes(self.next).is_none() || held.len() > MAX_HELD {
            return Err(Failure::watch_expired(self.told, index.version()));
        }
        self.next = index.head();
        self.sweep = Some(Sweep { done: None, held, version: index.version() });
        Ok(())
    }

    /// The namespaces of sessions that changed and were told without their secrets, since this was
    /// asked last: there a right to join would tell more.
    pub fn take_withheld(&mut self) -> BTreeSet<Box<str>> {
        std::mem::take(&mut self.withheld)
    }

    /// The version of a bookmark: everything up to it was told. None if something is still to be.
    #[must_use]
    pub fn bookmark(&self) -> Option<u64> {
        (self.sweep.is_none() && !self.initial_end).then_some(self.told)
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
        Self { bytes: Vec::new(), look, columns_sent: false }
    }

    /// The time by which ages are told.
    pub fn set_now(&mut self, now: i64) {
        self.look.now = now;
    }

    fn event(&mut self, kind: &str, tracker: &Tracker, revealed: bool, version: Option<u64>) {
        let shown = Shown { tracker, revealed, version };
        self.start(kind);
        // Columns go with the first event alone.
        let columns = !std::mem::replace(&mut self.columns_sent, true);
        render::one(&mut self.bytes, shown, self.look, columns);
        self.end();
    }

    /// What has become of a tracker, at a version that isn't newer than `told`.
    fn difference(&mut self, was: Option<Seen<'_>>, is: Option<Seen<'_>>, told: u64) {
        let version = |tracker: &Tracker| (tracker.version > told).then_some(told);
        match (was, is) {
            (None, None) => {}
            (Some((was, shown)), Some((is, revealed))) if was.uid == is.uid => {
                if !Arc::ptr_eq(was, is) || shown != revealed {
                    self.event(MODIFIED, is, revealed, version(is));
                }
            }
            (was, is) => {
                if let Some((was, _)) = was {
                    self.event(DELETED, was, false, version(was));
                }
                if let Some((is, revealed)) = is {
                    self.event(ADDED, is, revealed, version(is));
                }
            }
        }
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
