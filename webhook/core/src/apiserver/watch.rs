//! Watches: the events that one requester receives, computed step by step.
//!
//! A watch has no queue of its own. It stores its position in the shared history, and computes the
//! next events when its client has taken the last ones. A client too slow for the history receives
//! an expiry error, and lists again. Initial events and changes of policies are not queued either:
//! both are a resync, a walk through the index that stores the last key it has sent.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    ApiError,
    filter::Filter,
    options::{ListOptions, Version},
    watch_events::{ADDED, DELETED, EventBuffer, MODIFIED},
};
use crate::{
    policy::{Verb, Viewer},
    sessions::{Index, Tracker, TrackerKey},
};

/// The maximum number of policy changes during one resync.
const MAX_HELD_RANGES: usize = 8;

/// A watch of one requester.
#[derive(Debug)]
pub struct Watch {
    filter: Filter,
    viewer: Viewer,
    /// The sequence number of the next change to process.
    next_sequence: u64,
    /// Set while the client does not hold the state at `next_sequence` yet.
    resync: Option<Resync>,
    /// The client has received everything up to this version.
    sent_version: u64,
    /// True until a bookmark has ended the initial events.
    initial_bookmark_due: bool,
    /// Namespaces of changed sessions that were sent without their secrets.
    withheld_namespaces: BTreeSet<Box<str>>,
}

/// Walk through the keys from what the client holds to what it should hold.
///
/// A new client holds nothing. After a change of policies or rights, the client holds the trackers
/// that it saw before.
#[derive(Debug)]
struct Resync {
    /// The client is up to date for keys up to this one.
    last_key: Option<TrackerKey>,
    /// The ranges that the client holds after `last_key`, in order of keys.
    held: VecDeque<HeldRange>,
    /// The version of the state that the resync ends at.
    version: u64,
}

/// State of a range of keys that the client holds.
#[derive(Debug)]
struct HeldRange {
    /// The last key of the range; `None` if it has no end.
    last_key: Option<TrackerKey>,
    /// The viewer under which the range was sent; `None` if it was not sent.
    viewer: Option<Viewer>,
    /// The client holds the state before the change with this sequence number.
    before_sequence: u64,
    /// The client has received everything up to this version. It may resume from any version in an
    /// event, so no event may have a newer one until the resync is complete.
    sent_version: u64,
}

/// Outcome of one step of a watch.
#[derive(Debug, PartialEq)]
pub enum StepOutcome {
    /// The step appended events, and more may follow at once.
    More,
    /// The client is up to date.
    Idle,
    /// The watch has ended with this error.
    Ended(ApiError),
}

impl Watch {
    /// Starts a watch of a requester.
    ///
    /// If it starts at a version, `viewers_at_version` are the requester under each other policy
    /// set that was active there. An unknown set is `None`.
    ///
    /// # Errors
    /// Returns an error if the version has expired or has not been reached yet, or if the requester
    /// saw other trackers at this version than the current policies allow.
    pub fn start(
        index: &Index,
        filter: Filter,
        options: &ListOptions,
        viewer: Viewer,
        viewers_at_version: &[Option<Viewer>],
    ) -> Result<Self, ApiError> {
        // In the API server, a watch without a version begins with the current state.
        let is_legacy = !matches!(options.version, Version::At(_));
        let sends_initial_events = options.send_initial_events.unwrap_or(is_legacy);
        let mut watch = Self {
            filter,
            viewer,
            next_sequence: index.next_sequence(),
            resync: None,
            sent_version: index.version(),
            initial_bookmark_due: false,
            withheld_namespaces: BTreeSet::new(),
        };
        if sends_initial_events {
            index.check_reached(options.version.minimum())?;
            let nothing = HeldRange {
                last_key: None,
                viewer: None,
                before_sequence: watch.next_sequence,
                sent_version: u64::MAX,
            };
            watch.resync = Some(Resync {
                last_key: None,
                held: [nothing].into(),
                version: watch.sent_version,
            });
            watch.initial_bookmark_due =
                options.send_initial_events == Some(true) && options.bookmarks;
        } else if let Version::At(version) = options.version {
            watch.next_sequence = index.sequence_after(version)?;
            watch.sent_version = version;
            let sees_same = |other: &Option<Viewer>| {
                let other = other.as_ref();
                other.is_some_and(|other| {
                    // Changes that this replica has not received yet may be seen differently too.
                    *other == watch.viewer
                        || (version <= index.version()
                            && sees_same_since(index, version, &watch.filter, &watch.viewer, other))
                })
            };
            // It is unknown which of the now hidden trackers the client holds, so the client has to
            // list again.
            if !viewers_at_version.iter().all(sees_same) {
                return Err(ApiError::visibility_changed(version));
            }
        }
        Ok(watch)
    }

    /// Appends the next events to `out`, about `limit` bytes of them.
    pub fn step(&mut self, index: &Index, out: &mut EventBuffer, limit: usize) -> StepOutcome {
        let before = out.bytes.len();
        loop {
            if out.bytes.len() >= limit {
                return StepOutcome::More;
            }
            let progressed = if self.resync.is_some() {
                self.resync(index, out, limit).map(|()| true)
            } else if std::mem::take(&mut self.initial_bookmark_due) {
                out.push_bookmark(self.sent_version, true);
                Ok(true)
            } else {
                self.advance(index, out)
            };
            match progressed {
                Ok(true) => {}
                Ok(false) if out.bytes.len() > before => return StepOutcome::More,
                Ok(false) => return StepOutcome::Idle,
                Err(error) => return StepOutcome::Ended(error),
            }
        }
    }

    /// Processes changes until one yields an event; returns false if none is left.
    fn advance(&mut self, index: &Index, out: &mut EventBuffer) -> Result<bool, ApiError> {
        let changes = index
            .changes_from(self.next_sequence)
            .ok_or_else(|| ApiError::watch_expired(self.sent_version, index.version()))?;
        for change in changes {
            self.next_sequence += 1;
            // A watch may start at a version that this replica has not reached yet.
            if change.version < self.sent_version {
                continue;
            }
            self.sent_version = change.version;
            let visible = |tracker: &Option<Arc<Tracker>>| {
                let tracker = tracker.as_ref()?;
                let revealed = self.filter.visibility(tracker, &self.viewer)?;
                Some((Arc::clone(tracker), revealed))
            };
            let (before, after) = (visible(&change.before), visible(&change.after));
            if let Some((tracker, false)) = &after
                && !self.withheld_namespaces.contains(&tracker.key.namespace)
                && self.viewer.may(Verb::Join, &tracker.view())
            {
                self.withheld_namespaces.insert(tracker.key.namespace.clone());
            }
            match (before, after) {
                (None, None) => continue,
                (None, Some((tracker, revealed))) => out.push(ADDED, &tracker, revealed, None),
                (Some(_), Some((tracker, revealed))) => {
                    out.push(MODIFIED, &tracker, revealed, None);
                }
                (Some((tracker, revealed)), None) => {
                    out.push(DELETED, &tracker, revealed, Some(change.version));
                }
            }
            return Ok(true);
        }
        self.sent_version = self.sent_version.max(index.version());
        Ok(false)
    }

    /// Continues the resync until it is complete or `out` has `limit` bytes.
    fn resync<'a>(
        &mut self,
        index: &'a Index,
        out: &mut EventBuffer,
        limit: usize,
    ) -> Result<(), ApiError> {
        let Some(mut resync) = self.resync.take() else {
            return Ok(());
        };
        let expired = || ApiError::watch_expired(self.sent_version, index.version());
        let snapshot = |sequence| index.snapshot_before(sequence).ok_or_else(expired);
        let target = snapshot(self.next_sequence)?;
        let mut held_snapshots = VecDeque::new();
        for range in &resync.held {
            held_snapshots.push_back(snapshot(range.before_sequence)?);
        }
        // Ranges are pushed to the front, so the last one is the oldest. Its snapshot knows every
        // key that has existed since.
        let oldest =
            snapshot(resync.held.back().map_or(self.next_sequence, |range| range.before_sequence))?;
        let mut last_key: Option<&TrackerKey> = None;
        for key in oldest.keys(self.filter.namespace.as_deref(), resync.last_key.as_ref()) {
            if out.bytes.len() >= limit {
                resync.last_key = last_key.cloned().or(resync.last_key);
                self.resync = Some(resync);
                return Ok(());
            }
            let ends_before =
                |range: &HeldRange| range.last_key.as_ref().is_some_and(|last| last < key);
            while resync.held.front().is_some_and(ends_before) {
                resync.held.pop_front();
                held_snapshots.pop_front();
            }
            let visible = |tracker: Option<&'a Arc<Tracker>>, viewer: &Viewer| {
                let tracker = tracker?;
                let revealed = self.filter.visibility(tracker, viewer)?;
                Some((tracker, revealed))
            };
            let range = resync.held.front().zip(held_snapshots.front());
            let old = range
                .and_then(|(range, snapshot)| visible(snapshot.get(key), range.viewer.as_ref()?));
            let new = visible(target.get(key), &self.viewer);
            let max_version = range.map_or(u64::MAX, |(range, _)| range.sent_version);
            out.push_difference(old, new, max_version);
            last_key = Some(key);
        }
        self.sent_version = self.sent_version.max(resync.version);
        Ok(())
    }

    /// Replaces the viewer after a change of policies or of the right to join.
    ///
    /// Trackers that become hidden yield DELETED events, and those that become visible yield ADDED
    /// events. Pending changes are filtered by the new viewer only, so pending changes of a tracker
    /// that has become hidden yield no event.
    ///
    /// # Errors
    /// Returns an error if the watch is ahead of this replica, or if it is too far behind.
    pub fn set_viewer(&mut self, index: &Index, viewer: Viewer) -> Result<(), ApiError> {
        if viewer == self.viewer {
            return Ok(());
        }
        if self.sent_version > index.version() {
            // The client may hold trackers that this replica has not received yet.
            return Err(ApiError::visibility_changed(self.sent_version));
        }
        let previous = std::mem::replace(&mut self.viewer, viewer);
        let up_to_date = |last_key| HeldRange {
            last_key,
            viewer: Some(previous),
            before_sequence: self.next_sequence,
            sent_version: self.sent_version,
        };
        let held = match self.resync.take() {
            None => [up_to_date(None)].into(),
            Some(Resync { last_key: Some(last_key), mut held, .. }) => {
                held.push_front(up_to_date(Some(last_key)));
                held
            }
            Some(Resync { held, .. }) => held,
        };
        if index.changes_from(self.next_sequence).is_none() || held.len() > MAX_HELD_RANGES {
            return Err(ApiError::watch_expired(self.sent_version, index.version()));
        }
        self.next_sequence = index.next_sequence();
        self.resync = Some(Resync { last_key: None, held, version: index.version() });
        Ok(())
    }

    /// Drains the namespaces of changed sessions that were sent without their secrets.
    ///
    /// In these namespaces the right to join would reveal more.
    pub fn take_withheld_namespaces(&mut self) -> BTreeSet<Box<str>> {
        std::mem::take(&mut self.withheld_namespaces)
    }

    /// Returns the version for a bookmark, or `None` while earlier events are pending.
    #[must_use]
    pub fn bookmark_version(&self) -> Option<u64> {
        (self.resync.is_none() && !self.initial_bookmark_due).then_some(self.sent_version)
    }
}

/// Returns whether two viewers see the same of all current trackers and of all changes since a
/// version.
fn sees_same_since(
    index: &Index,
    version: u64,
    filter: &Filter,
    viewer: &Viewer,
    other: &Viewer,
) -> bool {
    let is_same = |tracker: &Arc<Tracker>| {
        filter.visibility(tracker, viewer) == filter.visibility(tracker, other)
    };
    // If the history has dropped changes since, the watch fails with an expiry error anyway.
    let since = index.sequence_after(version).ok().and_then(|from| index.changes_from(from));
    viewer == other
        || (index.trackers().all(is_same)
            && since.into_iter().flatten().all(|change| {
                let both = change.before.iter().chain(&change.after);
                both.into_iter().all(is_same)
            }))
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
