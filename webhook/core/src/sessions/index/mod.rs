//! An ordered index of all trackers with a bounded history of changes.
//!
//! Versions are the API server's own resource versions of Sessions, so they mean the same on every
//! replica. A reader that asks for a version older than the history gets [`HistoryExpired`].

mod budget;
mod ended;
mod join_secrets;
mod snapshot;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

pub use budget::{HISTORY_BUDGET, ListedTrackers, TRACKER_BUDGET};
pub use ended::{MAX_ENDED, RestoreOutcome};
pub use snapshot::Snapshot;

use super::tracker::{Ending, Tracker, TrackerKey};
use budget::Memory;

/// The maximum number of changes in the history.
pub const HISTORY: usize = 8192;

/// The memory of a change without its trackers.
const CHANGE: usize = 64;

/// The history no longer holds every change after the requested version.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("resource version {requested} is older than {oldest}, the oldest in the history")]
pub struct HistoryExpired {
    /// The requested version.
    pub requested: u64,
    /// The oldest version that the history can resume from.
    pub oldest: u64,
}

/// The index has not reached the requested version yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("resource version {requested} is newer than {current}, the version of the index")]
pub struct VersionNotReached {
    /// The requested version.
    pub requested: u64,
    /// The version of the index.
    pub current: u64,
}

/// A tracker before and after one change.
#[derive(Clone, Debug)]
pub struct Change {
    /// The resource version of the change.
    pub version: u64,
    /// The tracker before the change; `None` if the change created it.
    pub before: Option<Arc<Tracker>>,
    /// The tracker after the change; `None` if the change removed it.
    pub after: Option<Arc<Tracker>>,
    /// The change is not a write to a Session, so it has no resource version of its own. It
    /// happened after every write of `version`.
    unversioned: bool,
}

impl Change {
    /// Returns the memory of the tracker that only the history holds, in bytes.
    fn retained(&self) -> usize {
        CHANGE + self.before.as_ref().map_or(0, |tracker| tracker.size())
    }

    fn key(&self) -> Option<&TrackerKey> {
        let tracker = self.after.as_ref().or(self.before.as_ref());
        tracker.map(|tracker| &tracker.key)
    }
}

/// All trackers by namespace and name, and their latest changes.
#[derive(Debug, Default)]
pub struct Index {
    trackers: BTreeMap<TrackerKey, Arc<Tracker>>,
    version: u64,
    history: VecDeque<Change>,
    /// The sequence number of the first change in `history`.
    first_sequence: u64,
    /// `history` holds every change after this version.
    oldest_version: u64,
    synced: bool,
    /// The trackers of ended sessions by time of their end, the oldest first.
    ended: BTreeSet<(i64, TrackerKey)>,
    memory: Memory,
}

impl Index {
    /// Returns the resource version of the current state.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns whether the initial list has been stored.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Returns the number of trackers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.trackers.len()
    }

    /// Returns whether the index holds no tracker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trackers.is_empty()
    }

    /// Returns the tracker at a key.
    #[must_use]
    pub fn get(&self, key: &TrackerKey) -> Option<&Arc<Tracker>> {
        self.trackers.get(key)
    }

    /// Returns the trackers of one namespace in order of their names.
    pub fn in_namespace<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Tracker>> {
        let first = TrackerKey { namespace: namespace.into(), name: "".into() };
        self.trackers
            .range(first..)
            .map(|(_, tracker)| tracker)
            .take_while(move |tracker| *tracker.key.namespace == *namespace)
    }

    /// Returns every tracker in order of namespace and name.
    pub fn trackers(&self) -> impl Iterator<Item = &Arc<Tracker>> {
        self.trackers.values()
    }

    /// Returns the changes from a sequence number on, or `None` if the history has dropped some of
    /// them.
    #[must_use]
    pub fn changes_from(&self, sequence: u64) -> Option<impl Iterator<Item = &Change>> {
        let skip = usize::try_from(sequence.checked_sub(self.first_sequence)?).ok()?;
        Some(self.history.iter().skip(skip))
    }

    /// Returns the sequence number of the next change.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.first_sequence + self.history.len() as u64
    }

    /// Returns the sequence number of the first change after a version.
    ///
    /// Unversioned changes that followed this version are included: a client that resumes from it
    /// may receive them twice, but never misses them.
    ///
    /// # Errors
    /// Returns an error if the history has dropped changes after the version.
    pub fn sequence_after(&self, version: u64) -> Result<u64, HistoryExpired> {
        if version < self.oldest_version {
            return Err(HistoryExpired { requested: version, oldest: self.oldest_version });
        }
        let known = self.history.partition_point(|change| {
            change.version < version || (change.version == version && !change.unversioned)
        });
        Ok(self.first_sequence + known as u64)
    }

    /// Checks that the index has reached a version.
    ///
    /// # Errors
    /// Returns an error if the version is newer than the index.
    pub fn check_reached(&self, version: u64) -> Result<(), VersionNotReached> {
        if version > self.version {
            return Err(VersionNotReached { requested: version, current: self.version });
        }
        Ok(())
    }

    /// Stores the tracker of a created or updated Session, unless the index has a newer one.
    pub fn apply(&mut self, tracker: Arc<Tracker>) {
        let before = self.trackers.get(&tracker.key).cloned();
        if before.as_ref().is_some_and(|old| old.version >= tracker.version) {
            return;
        }
        let version = tracker.version;
        let Some(tracker) = self.admit(tracker) else {
            // The previous state must not be shown any longer.
            if let Some(old) = before {
                self.remove(&old.key, version);
            }
            return self.advance(version);
        };
        self.insert(&tracker);
        match before {
            // Another session has taken the name. With two changes, clients receive a deletion and
            // a creation instead of a modification.
            Some(old) if old.uid != tracker.uid => {
                self.record_versioned(version, Some(old), None);
                self.record_versioned(version, None, Some(tracker));
            }
            before => self.record_versioned(version, before, Some(tracker)),
        }
    }

    /// Stores the tracker of a listed Session, also if the index has a shortened one of its version.
    fn apply_listed(&mut self, tracker: Arc<Tracker>) {
        let shown = self.trackers.get(&tracker.key);
        let restored = shown.is_some_and(|shown| {
            shown.version == tracker.version && shown.is_shortened() && shown.uid == tracker.uid
        });
        if !restored {
            return self.apply(tracker);
        }
        let before = shown.cloned();
        if let Some(tracker) = self.admit(tracker).filter(|tracker| !tracker.is_shortened()) {
            self.insert(&tracker);
            self.record_unversioned(before, Some(tracker));
        }
    }

    /// Removes the tracker of a Session that was deleted at a version.
    pub fn remove(&mut self, key: &TrackerKey, version: u64) {
        if let Some(before) = self.take(key) {
            self.record_versioned(version, Some(before), None);
        }
    }

    /// Advances the version of the index without a change.
    pub fn advance(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// Replaces the trackers of all live sessions by those of a list, and removes the others.
    pub fn replace(&mut self, trackers: Vec<Arc<Tracker>>, version: u64) {
        self.replace_and_terminate(trackers, version, |_| None);
    }

    /// Replaces the trackers of all live sessions by those of a list.
    ///
    /// A session missing from the list becomes `terminated` if `ending` returns how it ended, and
    /// is removed otherwise. Returns the trackers that became `terminated`.
    pub fn replace_and_terminate(
        &mut self,
        trackers: Vec<Arc<Tracker>>,
        version: u64,
        mut ending: impl FnMut(&Tracker) -> Option<Ending>,
    ) -> Vec<Arc<Tracker>> {
        let mut terminated = Vec::new();
        if !self.synced {
            for tracker in trackers {
                if let Some(tracker) = self.admit(tracker) {
                    self.insert(&tracker);
                }
            }
            self.version = version;
            self.oldest_version = version;
            self.synced = true;
            return terminated;
        }
        self.begin_list();
        let mut listed = BTreeMap::new();
        for tracker in trackers {
            listed.insert(tracker.key.clone(), tracker);
        }
        let missing: Vec<Arc<Tracker>> = self
            .trackers
            .values()
            .filter(|tracker| tracker.ended_at.is_none() && !listed.contains_key(&tracker.key))
            .cloned()
            .collect();
        let mut changed: Vec<_> = listed.into_values().collect();
        changed.sort_by_key(|tracker| tracker.version);
        for tracker in changed {
            self.apply_listed(tracker);
        }
        for tracker in missing {
            match ending(&tracker) {
                Some(ending) => terminated.extend(self.terminate(&tracker.key, version, &ending)),
                None => self.remove(&tracker.key, version),
            }
        }
        self.advance(version);
        terminated
    }

    fn insert(&mut self, tracker: &Arc<Tracker>) {
        self.take(&tracker.key);
        self.memory.trackers += tracker.size();
        if let Some(ended_at) = tracker.ended_at {
            self.ended.insert((ended_at, tracker.key.clone()));
        }
        self.trackers.insert(tracker.key.clone(), Arc::clone(tracker));
    }

    fn take(&mut self, key: &TrackerKey) -> Option<Arc<Tracker>> {
        let tracker = self.trackers.remove(key)?;
        self.memory.trackers -= tracker.size();
        if let Some(ended_at) = tracker.ended_at {
            self.ended.remove(&(ended_at, key.clone()));
        }
        Some(tracker)
    }

    fn record_versioned(
        &mut self,
        version: u64,
        before: Option<Arc<Tracker>>,
        after: Option<Arc<Tracker>>,
    ) {
        // The history must stay sorted by version: readers search it by bisection.
        self.version = self.version.max(version);
        self.record(before, after, false);
    }

    fn record_unversioned(&mut self, before: Option<Arc<Tracker>>, after: Option<Arc<Tracker>>) {
        self.record(before, after, true);
    }

    fn record(
        &mut self,
        before: Option<Arc<Tracker>>,
        after: Option<Arc<Tracker>>,
        unversioned: bool,
    ) {
        let change = Change { version: self.version, before, after, unversioned };
        self.memory.history += change.retained();
        self.history.push_back(change);
        while (self.history.len() > HISTORY || self.memory.exceeds_history())
            && let Some(oldest) = self.history.pop_front()
        {
            self.memory.history -= oldest.retained();
            self.first_sequence += 1;
            self.oldest_version = oldest.version;
        }
    }
}

#[cfg(test)]
mod tests;
