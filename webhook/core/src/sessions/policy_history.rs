//! History of the policy sets that were active at each resource version.
//!
//! A resource version identifies the Sessions that a client has seen, but not the policies that
//! filtered them. A watch that resumes from a version under other policies would report neither
//! what has become hidden nor what has become visible. Replaced policy sets are therefore retained
//! until the index reaches a version that no client received under them. That is the version of a
//! list of the Sessions that began after every replica had time to activate the new set. A replaced
//! set is settled once this version is known.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::policy::PolicySet;

/// Time within which every replica activates policies that one of them has read.
pub const PROPAGATION: Duration = Duration::from_secs(1);
/// The maximum number of retained sets. Older ones count as unknown.
const MAX: usize = 16;

/// Tracks which replaced policy sets were active at each resource version.
#[derive(Debug, Default)]
pub struct PolicyHistory {
    replaced: VecDeque<ReplacedSet>,
}

#[derive(Debug)]
struct ReplacedSet {
    /// The policy set, or `None` if it is unknown.
    set: Option<Arc<PolicySet>>,
    /// The version of the index at the replacement.
    version: u64,
    /// Time of the replacement, or of the last list that was too early to settle it.
    at: Instant,
    /// The first version that no client received under this set; `None` while unknown.
    inactive_from: Option<u64>,
}

impl PolicyHistory {
    /// Records that a policy set was replaced while the index was at `version`.
    ///
    /// `set` is `None` if the replaced set is unknown. `version` is 0 before the initial list.
    pub fn record_replaced(&mut self, set: Option<Arc<PolicySet>>, version: u64, now: Instant) {
        self.replaced.push_back(ReplacedSet { set, version, at: now, inactive_from: None });
        if self.replaced.len() > MAX {
            self.replaced.pop_front();
            // The oldest entry now stands for all evicted ones as well, so its set is unknown.
            if let Some(oldest) = self.replaced.front_mut() {
                oldest.set = None;
            }
        }
    }

    /// Returns when to list the Sessions again in order to settle a replaced set.
    #[must_use]
    pub fn next_list_due(&self) -> Option<Instant> {
        let unsettled = self.replaced.iter().filter(|replaced| replaced.inactive_from.is_none());
        unsettled.map(|replaced| replaced.at + PROPAGATION).min()
    }

    /// Settles replaced sets after a list of the Sessions that began at `began` and returned
    /// `version`.
    pub fn record_list(&mut self, began: Instant, version: u64, now: Instant) {
        for replaced in &mut self.replaced {
            if replaced.inactive_from.is_some() || replaced.at + PROPAGATION > began {
                continue;
            }
            if version > replaced.version {
                replaced.inactive_from = Some(version);
            } else {
                // No Session was written since, so the version does not distinguish the sets.
                replaced.at = now;
            }
        }
    }

    /// Returns the replaced sets under which a client may have received a version.
    ///
    /// Unknown sets are `None`. The current set is not included.
    pub fn active_at(&self, version: u64) -> impl Iterator<Item = Option<&Arc<PolicySet>>> {
        self.replaced
            .iter()
            .filter(move |replaced| replaced.inactive_from.is_none_or(|from| version < from))
            .map(|replaced| replaced.set.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> Arc<PolicySet> {
        Arc::new(PolicySet::new(name, []))
    }

    fn active_at(history: &PolicyHistory, version: u64) -> Vec<Option<Arc<PolicySet>>> {
        history.active_at(version).map(Option::<&_>::cloned).collect()
    }

    #[test]
    fn replaced_set_is_active_until_newer_list() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut history = PolicyHistory::default();
        assert_eq!((history.next_list_due(), active_at(&history, 5)), (None, vec![]));
        history.record_replaced(Some(set("a")), 10, start);
        assert_eq!(history.next_list_due(), Some(start + PROPAGATION));
        // The list began before the new set had propagated.
        history.record_list(after(500), 15, after(600));
        assert_eq!(active_at(&history, 99), [Some(set("a"))]);
        // Another replacement while the next list is in flight.
        history.record_replaced(Some(set("b")), 12, after(1100));
        history.record_list(after(1000), 20, after(1200));
        for (version, expected) in [
            (9, vec![Some(set("a")), Some(set("b"))]),
            (19, vec![Some(set("a")), Some(set("b"))]),
            (20, vec![Some(set("b"))]),
            (99, vec![Some(set("b"))]),
        ] {
            assert_eq!(active_at(&history, version), expected, "{version}");
        }
        history.record_list(after(2100), 30, after(2200));
        assert_eq!((active_at(&history, 30), history.next_list_due()), (vec![], None));
    }

    #[test]
    fn lists_again_if_no_session_was_written() {
        let start = Instant::now();
        let mut history = PolicyHistory::default();
        history.record_replaced(Some(set("a")), 10, start);
        let later = start + PROPAGATION;
        history.record_list(later, 10, later);
        assert_eq!(active_at(&history, 10), [Some(set("a"))]);
        assert_eq!(history.next_list_due(), Some(later + PROPAGATION));
        let later = later + PROPAGATION;
        history.record_list(later, 11, later);
        assert_eq!(
            (active_at(&history, 10), active_at(&history, 11)),
            (vec![Some(set("a"))], vec![])
        );
    }

    #[test]
    fn repeated_list_does_not_delay_other_sets() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut history = PolicyHistory::default();
        history.record_replaced(Some(set("a")), 10, start);
        history.record_replaced(Some(set("b")), 9, after(200));
        // No Session was written since the first set was replaced.
        history.record_list(after(1000), 10, after(1100));
        assert_eq!(history.next_list_due(), Some(after(1200)));
        history.record_list(after(1200), 10, after(1300));
        assert_eq!(active_at(&history, 10), [Some(set("a"))]);
        assert_eq!(history.next_list_due(), Some(after(2100)), "no list before that");
        history.record_list(after(2100), 11, after(2200));
        assert_eq!((active_at(&history, 11), history.next_list_due()), (vec![], None));
    }

    #[test]
    fn evicted_sets_count_as_unknown() {
        let now = Instant::now();
        let mut history = PolicyHistory::default();
        for version in 0..100 {
            history.record_replaced(Some(set("a")), version, now);
        }
        let sets = active_at(&history, 0);
        assert_eq!((sets.len(), &sets[0], &sets[1]), (MAX, &None, &Some(set("a"))));
    }
}
