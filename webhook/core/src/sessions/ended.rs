//! Sessions that have ended, and are shown for a while longer; and whose secrets are whose.
//!
//! A Session's deletion has a version, so a tracker that becomes `terminated` with it does at the
//! same version on every replica. What is learnt later, who stopped it for instance, and that its
//! time is up, has none: no version that the API server gave could be taken for it without hiding
//! the change that it belongs to. Such a late change is told to every watch that is open, and to
//! each that starts at the version that it came after.

use std::{collections::BTreeSet, ops::Bound, sync::Arc};

use super::{Ending, Index, Key, Tracker};
use crate::policy::{Verb, Viewer};

/// How many sessions that have ended are shown; the latest, where more have.
pub const MAX_ENDED: usize = 10_000;

/// What became of a tracker that somebody kept.
#[derive(Debug)]
pub enum Restored {
    /// It isn't shown.
    Hidden,
    /// It is, or what says more of the same session.
    Shown,
    /// Neither it nor what was shown is believed: this is shown, and to be kept in its place.
    Disputed(Arc<Tracker>),
}

impl Index {
    /// A Session was deleted, at this version, and ended so: the tracker as it is from now on, if
    /// there was one.
    pub fn close(&mut self, key: &Key, version: u64, ending: &Ending) -> Option<Arc<Tracker>> {
        let before = self.trackers.get(key)?.clone();
        if before.ended.is_some() {
            return None;
        }
        let Ok(after) = before.ended(ending, version) else {
            self.remove(key, version);
            return None;
        };
        let after = Arc::new(after);
        self.put(&after);
        self.record(version, Some(before), Some(Arc::clone(&after)));
        self.shed();
        Some(after)
    }

    /// Somebody kept the tracker of a session that has ended. A live session of that name goes
    /// first, and so does one that ended later.
    pub fn restore(&mut self, tracker: &Arc<Tracker>) -> Restored {
        let before = self.trackers.get(&tracker.key).cloned();
        let shown = match &before {
            None => true,
            Some(old) if old.ended.is_none() => false,
            Some(old) if old.uid == tracker.uid => {
                let (Some(said), Some(new)) = (old.ending(), tracker.ending()) else {
                    return Restored::Hidden;
                };
                // Replicas differ where one of them was told something by somebody else than the
                // API server.
                if said.is_known() && new.is_known() && !said.agrees(&new) {
                    return self.dispute(old, said.at.min(new.at), tracker);
                }
                // What says more stays, whoever says it.
                new != said && (new.is_known() || !said.is_known())
            }
            Some(old) => old.ended < tracker.ended,
        };
        if !shown {
            let same = |old: Arc<Tracker>| old.ended.is_some() && old.uid == tracker.uid;
            return if before.is_some_and(same) { Restored::Shown } else { Restored::Hidden };
        }
        self.show(before, tracker);
        Restored::Shown
    }

    fn show(&mut self, before: Option<Arc<Tracker>>, tracker: &Arc<Tracker>) {
        self.put(tracker);
        match before {
            // Nobody has seen anything yet.
            _ if !self.synced => {}
            Some(old) if old.uid != tracker.uid => {
                self.push(Some(old), None, true);
                self.push(None, Some(Arc::clone(tracker)), true);
            }
            before => self.push(before, Some(Arc::clone(tracker)), true),
        }
        self.shed();
    }

    /// Two replicas tell different things of an end: so it is shown, and by all of them in the same
    /// way.
    fn dispute(&mut self, old: &Arc<Tracker>, at: i64, kept: &Tracker) -> Restored {
        let ending = Ending::disputed(at);
        let is_kept = kept.ending().as_ref() == Some(&ending);
        if old.ending().as_ref() == Some(&ending) {
            return if is_kept { Restored::Shown } else { Restored::Disputed(Arc::clone(old)) };
        }
        let Ok(disputed) = old.ended(&ending, old.version) else {
            return Restored::Hidden;
        };
        let disputed = Arc::new(disputed);
        self.show(Some(Arc::clone(old)), &disputed);
        if is_kept { Restored::Shown } else { Restored::Disputed(disputed) }
    }

    /// Nobody shows the session of that identifier any more.
    pub fn forget(&mut self, key: &Key, uid: &str) {
        let shown = self.trackers.get(key);
        if shown.is_some_and(|tracker| tracker.ended.is_some() && tracker.uid == uid)
            && let Some(before) = self.take(key)
        {
            self.push(Some(before), None, true);
        }
    }

    /// Whether there are any that ended before this time, in seconds since 1970.
    #[must_use]
    pub fn lapses(&self, before: i64) -> bool {
        self.ended.first().is_some_and(|(at, _)| *at < before)
    }

    /// Those that ended before this time, in seconds since 1970, are shown no more. Says whether
    /// there were any.
    pub fn lapse(&mut self, before: i64) -> bool {
        let mut any = false;
        while let Some((at, key)) = self.ended.first().cloned()
            && at < before
        {
            let tracker = self.take(&key);
            self.push(tracker, None, true);
            any = true;
        }
        any
    }

    /// Those that have ended and have one of these names, the latest first.
    pub fn ended_as<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a Arc<Tracker>> {
        self.ended
            .iter()
            .rev()
            .filter(|(_, key)| names.iter().any(|name| **name == *key.name))
            .filter_map(|(_, key)| self.trackers.get(key))
    }

    fn shed(&mut self) {
        while self.ended.len() > MAX_ENDED
            && let Some((_, key)) = self.ended.first().cloned()
        {
            let tracker = self.take(&key);
            self.push(tracker, None, true);
        }
    }

    /// The namespaces in which a right to join would show this viewer, who has none, a key or a
    /// filter.
    #[must_use]
    pub fn withheld(&self, namespace: Option<&str>, viewer: &Viewer) -> BTreeSet<Box<str>> {
        let mut found = BTreeSet::new();
        if viewer.refuses(Verb::Join).is_some() {
            return found;
        }
        let mut from = Bound::Included(Key {
            namespace: namespace.unwrap_or_default().into(),
            name: "".into(),
        });
        loop {
            let next = self
                .trackers
                .range((from, Bound::Unbounded))
                .take_while(|(key, _)| {
                    namespace.is_none_or(|namespace| *key.namespace == *namespace)
                })
                .find(|(_, tracker)| {
                    tracker.has_secrets() && {
                        let view = tracker.view();
                        !viewer.reveals(&view)
                            && viewer.may(Verb::Join, &view)
                            && (viewer.may(Verb::List, &view) || viewer.may(Verb::Read, &view))
                    }
                });
            let Some((key, _)) = next else {
                return found;
            };
            // One is enough: on to the next namespace, whose name is greater in the same order.
            from = Bound::Excluded(Key {
                namespace: key.namespace.clone(),
                name: "\u{10ffff}".into(),
            });
            found.insert(key.namespace.clone());
        }
    }
}

#[cfg(test)]
#[path = "ended_tests.rs"]
mod tests;
