//! Trackers of ended sessions, which stay visible for some minutes.
//!
//! The deletion of a Session has a resource version, so its tracker becomes `terminated` at the
//! same version on every replica. Later changes have no version: for instance the user that stopped
//! the session becomes known, or its retention expires. Giving such a change a version of the API
//! server would hide the write that the version belongs to. Unversioned changes are therefore sent
//! to every open watch, and to every watch that starts at the version they followed.

use std::sync::Arc;

use super::{Ending, Index, Tracker, TrackerKey};

/// The maximum number of ended sessions in the index. Beyond it the oldest are evicted.
pub const MAX_ENDED: usize = 10_000;

/// Outcome of restoring the tracker of an ended session.
#[derive(Debug)]
pub enum RestoreOutcome {
    /// The index does not show the ended session: its name belongs to a live session, or to one
    /// that ended later.
    Ignored,
    /// The index shows the ended session, with at least as much information as the restored
    /// tracker.
    Shown,
    /// The restored tracker contradicts the index. The index now shows this tracker, which must
    /// replace the stored record.
    Disputed(Arc<Tracker>),
}

impl Index {
    /// Marks the session of a deleted Session as terminated at a version.
    ///
    /// Returns the new tracker, or `None` if the index has no live session of this key.
    pub fn terminate(
        &mut self,
        key: &TrackerKey,
        version: u64,
        ending: &Ending,
    ) -> Option<Arc<Tracker>> {
        let before = self.trackers.get(key)?.clone();
        if before.ended_at.is_some() {
            return None;
        }
        let Ok(after) = before.terminated(ending, version) else {
            self.remove(key, version);
            return None;
        };
        let Some(after) = self.admit(Arc::new(after)) else {
            self.remove(key, version);
            return None;
        };
        self.insert(&after);
        self.record_versioned(version, Some(before), Some(Arc::clone(&after)));
        self.evict_excess_ended();
        Some(after)
    }

    /// Restores the tracker of an ended session from its record.
    ///
    /// A live session of the same name takes precedence, and so does a session that ended later.
    pub fn restore(&mut self, tracker: &Arc<Tracker>) -> RestoreOutcome {
        let before = self.trackers.get(&tracker.key).cloned();
        let replaces = match &before {
            None => true,
            Some(old) if old.ended_at.is_none() => false,
            Some(old) if old.uid == tracker.uid => {
                let (Some(current), Some(restored)) = (old.ending(), tracker.ending()) else {
                    return RestoreOutcome::Ignored;
                };
                // Replicas differ if one of them accepted an admission review that the API server
                // did not send.
                if current.is_known() && restored.is_known() && !current.agrees(&restored) {
                    return self.mark_disputed(old, current.at.min(restored.at), tracker);
                }
                // A known reason is never replaced by an unknown one.
                restored != current && (restored.is_known() || !current.is_known())
            }
            Some(old) => old.ended_at < tracker.ended_at,
        };
        if !replaces {
            let is_same = |old: Arc<Tracker>| old.ended_at.is_some() && old.uid == tracker.uid;
            return if before.is_some_and(is_same) {
                RestoreOutcome::Shown
            } else {
                RestoreOutcome::Ignored
            };
        }
        self.show_ended(before, tracker);
        RestoreOutcome::Shown
    }

    fn show_ended(&mut self, before: Option<Arc<Tracker>>, tracker: &Arc<Tracker>) {
        let Some(tracker) = &self.admit(Arc::clone(tracker)) else {
            return;
        };
        self.insert(tracker);
        match before {
            // No client has read the index before the initial list, so there is no change to
            // record.
            _ if !self.synced => {}
            Some(old) if old.uid != tracker.uid => {
                self.record_unversioned(Some(old), None);
                self.record_unversioned(None, Some(Arc::clone(tracker)));
            }
            before => self.record_unversioned(before, Some(Arc::clone(tracker))),
        }
        self.evict_excess_ended();
    }

    /// Shows an ending as disputed, since two replicas recorded different reasons. All replicas
    /// arrive at the same tracker.
    fn mark_disputed(&mut self, old: &Arc<Tracker>, at: i64, restored: &Tracker) -> RestoreOutcome {
        let ending = Ending::disputed(at);
        let is_recorded = restored.ending().as_ref() == Some(&ending);
        if old.ending().as_ref() == Some(&ending) {
            return if is_recorded {
                RestoreOutcome::Shown
            } else {
                RestoreOutcome::Disputed(Arc::clone(old))
            };
        }
        let Ok(disputed) = old.terminated(&ending, old.version) else {
            return RestoreOutcome::Ignored;
        };
        let disputed = Arc::new(disputed);
        self.show_ended(Some(Arc::clone(old)), &disputed);
        if is_recorded { RestoreOutcome::Shown } else { RestoreOutcome::Disputed(disputed) }
    }

    /// Removes the ended session with this key and uid, since its record is gone.
    pub fn remove_ended(&mut self, key: &TrackerKey, uid: &str) {
        let current = self.trackers.get(key);
        if current.is_some_and(|tracker| tracker.ended_at.is_some() && tracker.uid == uid)
            && let Some(before) = self.take(key)
        {
            self.record_unversioned(Some(before), None);
        }
    }

    /// Returns whether any session ended before a time in seconds since 1970.
    #[must_use]
    pub fn has_ended_before(&self, time: i64) -> bool {
        self.ended.first().is_some_and(|(ended_at, _)| *ended_at < time)
    }

    /// Removes the sessions that ended before a time in seconds since 1970.
    ///
    /// Returns whether there were any.
    pub fn remove_ended_before(&mut self, time: i64) -> bool {
        let mut any = false;
        while let Some((ended_at, key)) = self.ended.first().cloned()
            && ended_at < time
        {
            let tracker = self.take(&key);
            self.record_unversioned(tracker, None);
            any = true;
        }
        any
    }

    /// Returns the ended sessions that have one of these names, the latest first.
    pub fn ended_with_names<'a>(
        &'a self,
        names: &'a [String],
    ) -> impl Iterator<Item = &'a Arc<Tracker>> {
        self.ended
            .iter()
            .rev()
            .filter(|(_, key)| names.iter().any(|name| **name == *key.name))
            .filter_map(|(_, key)| self.trackers.get(key))
    }

    fn evict_excess_ended(&mut self) {
        while self.ended.len() > MAX_ENDED
            && let Some((_, key)) = self.ended.first().cloned()
        {
            let tracker = self.take(&key);
            self.record_unversioned(tracker, None);
        }
    }
}

#[cfg(test)]
#[path = "ended_tests.rs"]
mod tests;
