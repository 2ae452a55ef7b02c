//! Memory budgets of the index in bytes.
//!
//! Any user who may create Sessions can make them many and large. Over budget, the index drops the
//! oldest ended sessions, then shows new ones shortened, and finally leaves sessions out until there
//! is room again. A shorter history makes slow watches list again.

use std::sync::Arc;

use super::{Index, Tracker};

/// The memory budget of all trackers.
pub const TRACKER_BUDGET: usize = 24 << 20;
/// The memory budget of superseded trackers in the history.
pub const HISTORY_BUDGET: usize = 8 << 20;

/// The memory that the index takes, and its budgets.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) trackers: usize,
    pub(super) history: usize,
    tracker_budget: usize,
    history_budget: usize,
    /// Set while sessions are shortened or left out for lack of memory.
    short: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            trackers: 0,
            history: 0,
            tracker_budget: TRACKER_BUDGET,
            history_budget: HISTORY_BUDGET,
            short: false,
        }
    }
}

impl Memory {
    pub(super) fn exceeds_history(&self) -> bool {
        self.history > self.history_budget
    }
}

/// The trackers of a list of Sessions in progress, within the budget of the index.
///
/// A tracker that the index has already costs no memory.
#[derive(Debug, Default)]
pub struct ListedTrackers {
    trackers: Vec<Arc<Tracker>>,
    size: usize,
    /// Set if a Session was left out, so that the list does not show which Sessions are gone.
    incomplete: bool,
}

impl ListedTrackers {
    /// Adds a listed Session, shortened or not at all if there is no memory.
    pub fn push(&mut self, index: &Index, tracker: Tracker) {
        let known = index.get(&tracker.key).filter(|known| {
            known.version == tracker.version && known.uid == tracker.uid && !known.is_shortened()
        });
        let tracker = known.map_or_else(|| Arc::new(tracker), Arc::clone);
        let fits = |tracker: &Tracker| self.size + tracker.size() <= index.memory.tracker_budget;
        let listed = if fits(&tracker) {
            Some(tracker)
        } else {
            tracker.shortened().ok().filter(|short| fits(short)).map(Arc::new)
        };
        match listed {
            Some(tracker) => {
                self.size += tracker.size();
                self.trackers.push(tracker);
            }
            None => self.incomplete = true,
        }
    }

    /// Returns the number of trackers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.trackers.len()
    }

    /// Returns whether there is no tracker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trackers.is_empty()
    }

    /// Returns whether Sessions were left out.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// Returns the trackers in the order of the list.
    #[must_use]
    pub fn into_trackers(self) -> Vec<Arc<Tracker>> {
        self.trackers
    }
}

impl Index {
    /// Creates an empty index with other budgets, in bytes.
    #[must_use]
    pub fn with_budgets(trackers: usize, history: usize) -> Self {
        let memory =
            Memory { tracker_budget: trackers, history_budget: history, ..Memory::default() };
        Self { memory, ..Self::default() }
    }

    /// Returns the memory of all trackers and of the history, in bytes.
    #[must_use]
    pub fn memory(&self) -> (usize, usize) {
        (self.memory.trackers, self.memory.history)
    }

    /// Returns whether sessions are shortened or left out, since there are too many.
    #[must_use]
    pub fn is_short_of_memory(&self) -> bool {
        self.memory.short
    }

    /// Returns whether a list would show sessions that were shortened or left out.
    #[must_use]
    pub fn has_room_again(&self) -> bool {
        self.memory.short && self.memory.trackers < self.memory.tracker_budget / 4 * 3
    }

    /// Marks that sessions were left out of a list.
    pub fn mark_short_of_memory(&mut self) {
        self.memory.short = true;
    }

    /// Starts a list of all Sessions, which are admitted again.
    pub(super) fn begin_list(&mut self) {
        self.memory.short = false;
    }

    /// Returns the tracker as it fits into the budget, or `None` if it must be left out.
    pub(super) fn admit(&mut self, tracker: Arc<Tracker>) -> Option<Arc<Tracker>> {
        let replaced = self.trackers.get(&tracker.key).map_or(0, |replaced| replaced.size());
        let fits = |index: &Self, tracker: &Tracker| {
            index.memory.trackers - replaced + tracker.size() <= index.memory.tracker_budget
        };
        if fits(self, &tracker) {
            return Some(tracker);
        }
        if tracker.ended_at.is_none() {
            while let Some((_, oldest)) = self.ended.first().cloned() {
                if oldest == tracker.key {
                    break;
                }
                let ended = self.take(&oldest);
                self.record_unversioned(ended, None);
                if fits(self, &tracker) {
                    return Some(tracker);
                }
            }
        }
        self.memory.short = true;
        let short = tracker.shortened().ok()?;
        fits(self, &short).then(|| Arc::new(short))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::{
        Ending, TrackerKey,
        fixtures::{Fixture, session},
    };

    fn large(name: usize) -> Fixture {
        session("shop", &format!("s{name:0>3}")).owned_by("alice").port(80, Some(&"x".repeat(4096)))
    }

    fn key(name: usize) -> TrackerKey {
        TrackerKey { namespace: "shop".into(), name: format!("s{name:0>3}").into() }
    }

    #[test]
    fn shortens_and_leaves_out_sessions_over_budget() {
        let (full, short) = {
            let tracker = large(0).tracker(1);
            (tracker.size(), tracker.shortened().unwrap().size())
        };
        let budget = 10 * full + 2 * short;
        let mut index = Index::with_budgets(budget, usize::MAX);
        index.replace(Vec::new(), 1);
        for n in 0..100 {
            index.apply(large(n).tracker(n as u64 + 2));
            assert!(index.memory().0 <= budget);
        }
        assert_eq!(index.version(), 101, "sessions that are left out advance the version");
        let mut shown: Vec<_> = (0..100)
            .map(|n| index.get(&key(n)).map(|tracker| !tracker.status.ports.is_empty()))
            .collect();
        shown.dedup();
        assert_eq!(shown, [Some(true), Some(false), None], "full, then short, then left out");
        assert!(index.is_short_of_memory() && !index.has_room_again());
        for n in 0..9 {
            index.remove(&key(n), 200);
        }
        assert!(index.has_room_again());
        index.replace((50..55).map(|n| large(n).tracker(n as u64 + 2)).collect(), 300);
        assert!(!index.is_short_of_memory());
        assert_eq!(index.len(), 5);
        assert_eq!(index.memory().0, index.trackers().map(|tracker| tracker.size()).sum::<usize>());
    }

    #[test]
    fn lists_within_budget() {
        let full = large(0).tracker(1).size();
        let mut index = Index::with_budgets(5 * full + full / 2, usize::MAX);
        index.replace((0..3).map(|n| large(n).tracker(7)).collect(), 10);
        let mut listed = ListedTrackers::default();
        for n in 0..100 {
            listed.push(&index, Tracker::new(&large(n).session(7)).unwrap());
        }
        assert!(listed.is_incomplete() && !listed.is_empty() && listed.size <= 6 * full);
        let trackers = listed.into_trackers();
        assert!(Arc::ptr_eq(&trackers[0], index.get(&key(0)).unwrap()), "shared with the index");
        assert!(trackers.last().unwrap().is_shortened());
    }

    #[test]
    fn prefers_live_sessions_to_ended_ones() {
        let full = large(0).tracker(1).size();
        let mut index = Index::with_budgets(3 * full + 100, usize::MAX);
        index.replace((0..3).map(|n| large(n).tracker(n as u64 + 1)).collect(), 10);
        for n in 0..2 {
            let at = i64::try_from(n).unwrap();
            index.terminate(&key(n), 11 + n as u64, &Ending::unknown(at)).unwrap();
        }
        for n in 3..5 {
            index.apply(large(n).tracker(n as u64 + 20));
        }
        let shown: Vec<&str> = index.trackers().map(|tracker| &*tracker.key.name).collect();
        assert_eq!(shown, ["s002", "s003", "s004"]);
        assert!(!index.is_short_of_memory());
    }

    #[test]
    fn bounds_history_in_bytes() {
        let full = large(0).tracker(1).size();
        let mut index = Index::with_budgets(usize::MAX, 10 * full);
        index.replace(Vec::new(), 1);
        for version in 2..102 {
            index.apply(large(0).tracker(version));
            assert!(index.memory().1 <= 10 * full);
        }
        assert!(index.sequence_after(100).is_ok(), "the latest changes are held");
        assert_eq!(index.sequence_after(50).unwrap_err().requested, 50);
    }
}
