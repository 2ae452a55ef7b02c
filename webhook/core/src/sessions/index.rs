//! Every tracker in order, and the latest changes.
//!
//! Versions are the API server's own resource versions of Sessions, so that they mean the same on
//! every replica. The history is bounded: who asks for something older is told that it is gone.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::tracker::{Ending, Key, Tracker};
use crate::apiserver::{
    error::Failure,
    filter::Filter,
    options::{ListOptions, Match, Version},
    page::{self, Position},
};
use crate::policy::Viewer;

#[path = "ended.rs"]
mod ended;
#[path = "state.rs"]
mod state;

pub use ended::{MAX_ENDED, Restored};
pub use state::State;

/// How many changes are kept.
pub const HISTORY: usize = 8192;

/// One tracker before and after.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version that it happened at.
    pub version: u64,
    /// The tracker before; none if it was created.
    pub before: Option<Arc<Tracker>>,
    /// The tracker after; none if it was deleted.
    pub after: Option<Arc<Tracker>>,
    /// Not a change of a Session: it has no version of its own, and came after all of this version.
    late: bool,
}

impl Change {
    fn key(&self) -> Option<&Key> {
        let tracker = self.after.as_ref().or(self.before.as_ref());
        tracker.map(|tracker| &tracker.key)
    }
}

/// The trackers and their latest changes.
#[derive(Debug, Default)]
pub struct Index {
    trackers: BTreeMap<Key, Arc<Tracker>>,
    version: u64,
    history: VecDeque<Change>,
    /// The number of the history's first change.
    first: u64,
    /// The history holds every change after this version.
    floor: u64,
    synced: bool,
    /// Those of sessions that have ended, the oldest first.
    ended: BTreeSet<(i64, Key)>,
}

/// What a list answers.
#[derive(Debug)]
pub struct Page {
    /// The version of the state that is shown.
    pub version: u64,
    /// The trackers, and whether with their secrets.
    pub items: Vec<(Arc<Tracker>, bool)>,
    /// The token of the next page.
    pub next: Option<String>,
    /// How many there are after this page, where that costs nothing to know.
    pub remaining: Option<usize>,
}

impl Index {
    /// The version of the current state.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether it was filled.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// How many trackers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.trackers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trackers.is_empty()
    }

    /// The tracker at a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Arc<Tracker>> {
        self.trackers.get(key)
    }

    /// The trackers of one namespace.
    pub fn of_namespace<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Tracker>> {
        let first = Key { namespace: namespace.into(), name: "".into() };
        let from_there = self.trackers.range(first..);
        from_there
            .map(|(_, tracker)| tracker)
            .take_while(move |tracker| *tracker.key.namespace == *namespace)
    }

    /// Every tracker, in order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Tracker>> {
        self.trackers.values()
    }

    /// The changes from this number on; none if some of them are gone.
    #[must_use]
    pub fn changes(&self, from: u64) -> Option<impl Iterator<Item = &Change>> {
        let skip = usize::try_from(from.checked_sub(self.first)?).ok()?;
        Some(self.history.iter().skip(skip))
    }

    /// The number that the next change will have.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.first + self.history.len() as u64
    }

    /// The number of the first change after a version.
    ///
    /// # Errors
    /// Some of the changes after it are gone.
    pub fn after(&self, version: u64) -> Result<u64, Failure> {
        if version < self.floor {
            return Err(Failure::watch_expired(version, self.floor));
        }
        // Late changes of that very version are told again, rather than not at all.
        let known = self.history.partition_point(|change| {
            change.version < version || (change.version == version && !change.late)
        });
        Ok(self.first + known as u64)
    }

    /// A Session was created or changed.
    pub fn apply(&mut self, tracker: Arc<Tracker>) {
        let before = self.trackers.get(&tracker.key).cloned();
        if before.as_ref().is_some_and(|old| old.version >= tracker.version) {
            return;
        }
        self.put(&tracker);
        let version = tracker.version;
        match before {
            // Of the same name and another session: nobody may take one for the other.
            Some(old) if old.uid != tracker.uid => {
                self.record(version, Some(old), None);
                self.record(version, None, Some(tracker));
            }
            before => self.record(version, before, Some(tracker)),
        }
    }

    /// A Session was deleted, at this version, and nothing is to be seen of it.
    pub fn remove(&mut self, key: &Key, version: u64) {
        if let Some(before) = self.take(key) {
            self.record(version, Some(before), None);
        }
    }

    /// Nothing happened up to this version.
    pub fn advance(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// All Sessions were listed anew, at this version.
    pub fn replace(&mut self, trackers: Vec<Arc<Tracker>>, version: u64) {
        self.replace_closing(trackers, version, |_| None);
    }

    /// The same. Those that are gone ended so, and are shown on where that is told: these as they
    /// are now.
    pub fn replace_closing(
        &mut self,
        trackers: Vec<Arc<Tracker>>,
        version: u64,
        mut ending: impl FnMut(&Tracker) -> Option<Ending>,
    ) -> Vec<Arc<Tracker>> {
        let mut closed = Vec::new();
        if !self.synced {
            for tracker in trackers {
                self.put(&tracker);
            }
            self.version = version;
            self.floor = version;
            self.synced = true;
            return closed;
        }
        let mut listed = BTreeMap::new();
        for tracker in trackers {
            listed.insert(tracker.key.clone(), tracker);
        }
        let gone: Vec<Arc<Tracker>> = self
            .trackers
            .values()
            .filter(|tracker| tracker.ended.is_none() && !listed.contains_key(&tracker.key))
            .cloned()
            .collect();
        let mut changed: Vec<_> = listed.into_values().collect();
        changed.sort_by_key(|tracker| tracker.version);
        for tracker in changed {
            self.apply(tracker);
        }
        for tracker in gone {
            match ending(&tracker) {
                Some(ending) => closed.extend(self.close(&tracker.key, version, &ending)),
                None => self.remove(&tracker.key, version),
            }
        }
        self.advance(version);
        closed
    }

    fn put(&mut self, tracker: &Arc<Tracker>) {
        self.take(&tracker.key);
        if let Some(ended) = tracker.ended {
            self.ended.insert((ended, tracker.key.clone()));
        }
        self.trackers.insert(tracker.key.clone(), Arc::clone(tracker));
    }

    fn take(&mut self, key: &Key) -> Option<Arc<Tracker>> {
        let tracker = self.trackers.remove(key)?;
        if let Some(ended) = tracker.ended {
            self.ended.remove(&(ended, key.clone()));
        }
        Some(tracker)
    }

    fn record(&mut self, version: u64, before: Option<Arc<Tracker>>, after: Option<Arc<Tracker>>) {
        // Monotone whatever comes: readers search by it.
        self.version = self.version.max(version);
        self.push(before, after, false);
    }

    fn push(&mut self, before: Option<Arc<Tracker>>, after: Option<Arc<Tracker>>, late: bool) {
        if self.history.len() == HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.first += 1;
            self.floor = oldest.version;
        }
        self.history.push_back(Change { version: self.version, before, after, late });
    }

    /// Whether the state is at least as new as is asked for.
    ///
    /// # Errors
    /// It isn't yet.
    pub fn reached(&self, version: Version) -> Result<(), Failure> {
        match version {
            Version::At(asked) if asked > self.version => {
                Err(Failure::too_large(asked, self.version))
            }
            _ => Ok(()),
        }
    }

    /// Lists what the requester sees.
    ///
    /// # Errors
    /// The token is none of this list's, or the state that is asked for is gone or to come.
    pub fn list(
        &self,
        filter: &Filter,
        options: &ListOptions,
        viewer: &Viewer,
    ) -> Result<Page, Failure> {
        let id = page::list_id(filter.namespace.as_deref(), &options.selectors);
        let position = options.continue_.as_deref();
        let position = position.map(|token| page::decode(token, id)).transpose()?;
        self.reached(options.version)?;
        let exact = match (options.version, options.version_match) {
            (Version::At(version), Some(Match::Exact)) => Some(version),
            // The oldest clients mean this by it.
            (Version::At(version), None) if options.limit > 0 => Some(version),
            _ => None,
        };
        let version = match &position {
            Some(position) => position.version.unwrap_or(self.version),
            None => exact.unwrap_or(self.version),
        };
        if version > self.version {
            return Err(Failure::too_large(version, self.version));
        }
        let after = position.map(|position| position.after);
        let Some(state) = self.at(version) else {
            return Err(match after {
                Some(after) => {
                    Failure::continue_expired(&page::encode(&Position { after, version: None }, id))
                }
                None => Failure::expired("The resourceVersion for the provided list is too old."),
            });
        };
        let mut page = Page { version, items: Vec::new(), next: None, remaining: None };
        let mut more = 0;
        for tracker in state.iter(filter.namespace.as_deref(), after.as_ref()) {
            let Some(revealed) = filter.sees(tracker, viewer) else {
                continue;
            };
            if options.limit == 0 || page.items.len() < options.limit {
                page.items.push((Arc::clone(tracker), revealed));
                continue;
            }
            more += 1;
            // Kubernetes tells how many are left only of a list without selectors.
            if !filter.is_plain() {
                break;
            }
        }
        if more > 0
            && let Some((last, _)) = page.items.last()
        {
            let position = Position { after: last.key.clone(), version: Some(version) };
            page.next = Some(page::encode(&position, id));
            page.remaining = filter.is_plain().then_some(more);
        }
        Ok(page)
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
