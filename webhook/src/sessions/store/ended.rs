//! Ended sessions, which stay visible for some minutes.

use std::sync::Arc;

use mirrord_sessions_core::sessions::{
    Ending, RestoreOutcome, Tracker, TrackerKey, index::ListedTrackers,
};
use tokio::sync::mpsc;

use super::Store;
use crate::clock::unix_now;

/// Settings for ended sessions.
#[derive(Debug)]
pub(super) struct Retention {
    /// Time for which ended sessions are shown.
    pub(super) seconds: i64,
    /// Receives the tracker of each session that ends, to be stored as a record.
    pub(super) ended: mpsc::UnboundedSender<Arc<Tracker>>,
}

impl Store {
    /// Returns for how many seconds ended sessions are shown; `None` if they are not shown.
    pub(crate) fn retention_seconds(&self) -> Option<i64> {
        self.retention.as_ref().map(|retention| retention.seconds)
    }

    /// Processes the deletion of a Session at a version.
    pub(crate) fn apply_deletion(&self, key: &TrackerKey, version: u64) {
        let Some(retention) = &self.retention else {
            return self.update(|index| index.remove(key, version));
        };
        let mut terminated = None;
        self.update(|index| {
            let Some(tracker) = index.get(key) else {
                return;
            };
            let ending = self.pending_deletions().take(&tracker.uid, unix_now());
            terminated = index.terminate(key, version, &ending);
        });
        if let Some(tracker) = terminated {
            retention.send(tracker);
        }
    }

    /// Replaces all live sessions by a list of the Sessions, and restores the recorded ended ones.
    #[cfg(test)]
    pub(crate) fn replace(
        &self,
        trackers: Vec<Arc<Tracker>>,
        recorded: &[Arc<Tracker>],
        version: u64,
    ) {
        self.replace_sessions(trackers, false, recorded, version);
    }

    /// Replaces all live sessions by a list of the Sessions, and restores the recorded ended ones.
    pub(crate) fn replace_listed(
        &self,
        listed: ListedTrackers,
        recorded: &[Arc<Tracker>],
        version: u64,
    ) {
        let incomplete = listed.is_incomplete();
        self.replace_sessions(listed.into_trackers(), incomplete, recorded, version);
    }

    fn replace_sessions(
        &self,
        trackers: Vec<Arc<Tracker>>,
        incomplete: bool,
        recorded: &[Arc<Tracker>],
        version: u64,
    ) {
        let mut terminated = Vec::new();
        let mut disputed = Vec::new();
        let now = unix_now();
        let is_retained = |tracker: &&Arc<Tracker>| {
            let retention = self.retention.as_ref();
            retention.is_some_and(|retention| retention.retained_ending(tracker, now).is_some())
        };
        self.update(|index| {
            for tracker in recorded.iter().filter(is_retained) {
                if let RestoreOutcome::Disputed(tracker) = index.restore(tracker) {
                    disputed.push(tracker);
                }
            }
            terminated = index.replace_and_terminate(trackers, version, |tracker| {
                self.retention.as_ref()?;
                // A session that was left out of the list has not ended.
                if incomplete {
                    return None;
                }
                Some(self.pending_deletions().take(&tracker.uid, now))
            });
            if incomplete {
                index.mark_short_of_memory();
            }
        });
        if let Some(retention) = &self.retention {
            for tracker in terminated.into_iter().chain(disputed) {
                retention.send(tracker);
            }
        }
    }

    /// Restores an ended session from its record.
    pub(crate) fn restore(&self, tracker: &Arc<Tracker>) {
        let Some(retention) = &self.retention else {
            return;
        };
        let now = unix_now();
        let Some(ending) = retention.retained_ending(tracker, now) else {
            return;
        };
        let is_live = {
            let index = self.index();
            let current = index.get(&tracker.key);
            current.is_some_and(|current| current.ended_at.is_none() && current.uid == tracker.uid)
        };
        if is_live {
            // The watch of this replica has not received the deletion yet.
            let expires_at = ending.at + retention.seconds;
            self.pending_deletions().insert(&tracker.uid, ending, expires_at, now);
        }
        let mut outcome = RestoreOutcome::Ignored;
        self.update(|index| outcome = index.restore(tracker));
        if let RestoreOutcome::Disputed(tracker) = outcome {
            retention.send(tracker);
        }
    }

    /// Removes an ended session whose record is gone.
    pub(crate) fn remove_ended(&self, key: &TrackerKey, uid: &str) {
        self.update(|index| index.remove_ended(key, uid));
    }

    /// Removes the ended sessions whose retention has expired.
    pub(crate) fn remove_expired(&self) {
        let Some(retention) = &self.retention else {
            return;
        };
        let before = unix_now() - retention.seconds;
        let has_expired = self.index().has_ended_before(before);
        if has_expired {
            self.update(|index| {
                index.remove_ended_before(before);
            });
        }
    }
}

impl Retention {
    /// Returns how a session ended, or `None` if its retention has expired.
    fn retained_ending(&self, tracker: &Tracker, now: i64) -> Option<Ending> {
        let ending = tracker.ending()?;
        (ending.at.saturating_add(self.seconds) >= now).then_some(ending)
    }

    fn send(&self, tracker: Arc<Tracker>) {
        // Sending fails only while the process stops, after the receiver was dropped.
        let _ = self.ended.send(tracker);
    }
}
