//! By which policies something may have been told at a version.
//!
//! A version says what of the Sessions a client knows, and nothing of who decided what it was
//! shown. A watch that goes on from there, by other policies than those that decided then, would
//! tell neither what has become hidden nor what has become visible. So the sets of policies that
//! have been replaced are remembered, each until the index has a version that nobody was told by
//! it: that of a list of the Sessions which began when every replica has had time to follow. What
//! was told before that may be of either.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::policy::PolicySet;

/// In this time every replica decides by policies that one of them has read.
pub const FOLLOWED: Duration = Duration::from_secs(1);
/// Sets that are remembered; of older ones no more than that there were some.
const MAX: usize = 64;

/// The sets of policies that decide and have decided.
#[derive(Debug, Default)]
pub struct Decided {
    before: VecDeque<Before>,
}

/// A set that was replaced.
#[derive(Debug)]
struct Before {
    /// None if it isn't known.
    set: Option<Arc<PolicySet>>,
    /// The version of the index when it was.
    version: u64,
    /// When it was, or was last found to be too early to settle it.
    at: Instant,
    /// Nothing is told by it from this version on; none as long as that isn't known.
    until: Option<u64>,
}

impl Decided {
    /// This set, which decided until now, doesn't from now on; none if it isn't known which did.
    /// The index is at this version, or has none yet.
    pub fn replaced(&mut self, set: Option<Arc<PolicySet>>, version: u64, now: Instant) {
        self.before.push_back(Before { set, version, at: now, until: None });
        if self.before.len() > MAX {
            self.before.pop_front();
            // It goes on for what is forgotten, and is told apart from nothing.
            if let Some(oldest) = self.before.front_mut() {
                oldest.set = None;
            }
        }
    }

    /// When it is time for another list of the Sessions, to have a version that nobody was told by
    /// what was replaced.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let unsettled = self.before.iter().filter(|before| before.until.is_none());
        unsettled.map(|before| before.at + FOLLOWED).min()
    }

    /// A list of the Sessions that was asked for at `began` is there, and the index at its version.
    pub fn listed(&mut self, began: Instant, version: u64, now: Instant) {
        for before in &mut self.before {
            if before.until.is_some() || before.at + FOLLOWED > began {
                continue;
            }
            if version > before.version {
                before.until = Some(version);
            } else {
                // Nothing was written since: it can't be told apart from what was told before.
                before.at = now;
            }
        }
    }

    /// The sets that something may have been told by at this version, beside the one that decides;
    /// none for those that aren't known.
    pub fn at(&self, version: u64) -> impl Iterator<Item = Option<&Arc<PolicySet>>> {
        let before = self.before.iter();
        before
            .filter(move |before| before.until.is_none_or(|until| version < until))
            .map(|before| before.set.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> Arc<PolicySet> {
        Arc::new(PolicySet::new(name, []))
    }

    fn at(decided: &Decided, version: u64) -> Vec<Option<Arc<PolicySet>>> {
        decided.at(version).map(Option::<&_>::cloned).collect()
    }

    #[test]
    fn what_was_replaced_counts_until_a_list_is_newer() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut decided = Decided::default();
        assert_eq!((decided.due(), at(&decided, 5)), (None, vec![]));
        decided.replaced(Some(set("a")), 10, start);
        assert_eq!(decided.due(), Some(start + FOLLOWED));
        // Not yet, however new the list is.
        decided.listed(after(500), 15, after(600));
        assert_eq!(at(&decided, 99), [Some(set("a"))]);
        // One more, while the list is on its way.
        decided.replaced(Some(set("b")), 12, after(1100));
        decided.listed(after(1000), 20, after(1200));
        for (version, expected) in [
            (9, vec![Some(set("a")), Some(set("b"))]),
            (19, vec![Some(set("a")), Some(set("b"))]),
            (20, vec![Some(set("b"))]),
            (99, vec![Some(set("b"))]),
        ] {
            assert_eq!(at(&decided, version), expected, "{version}");
        }
        decided.listed(after(2100), 30, after(2200));
        assert_eq!((at(&decided, 30), decided.due()), (vec![], None));
    }

    #[test]
    fn where_nothing_was_written_it_is_tried_again() {
        let start = Instant::now();
        let mut decided = Decided::default();
        decided.replaced(Some(set("a")), 10, start);
        let later = start + FOLLOWED;
        decided.listed(later, 10, later);
        assert_eq!(at(&decided, 10), [Some(set("a"))]);
        assert_eq!(decided.due(), Some(later + FOLLOWED));
        let later = later + FOLLOWED;
        decided.listed(later, 11, later);
        assert_eq!((at(&decided, 10), at(&decided, 11)), (vec![Some(set("a"))], vec![]));
    }

    #[test]
    fn what_is_tried_again_holds_nothing_up() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut decided = Decided::default();
        decided.replaced(Some(set("a")), 10, start);
        decided.replaced(Some(set("b")), 9, after(200));
        // Nothing was written since the first was replaced.
        decided.listed(after(1000), 10, after(1100));
        assert_eq!(decided.due(), Some(after(1200)));
        decided.listed(after(1200), 10, after(1300));
        assert_eq!(at(&decided, 10), [Some(set("a"))]);
        assert_eq!(decided.due(), Some(after(2100)), "no list before that");
        decided.listed(after(2100), 11, after(2200));
        assert_eq!((at(&decided, 11), decided.due()), (vec![], None));
    }

    #[test]
    fn what_is_forgotten_is_not_known() {
        let now = Instant::now();
        let mut decided = Decided::default();
        for version in 0..100 {
            decided.replaced(Some(set("a")), version, now);
        }
        let sets = at(&decided, 0);
        assert_eq!((sets.len(), &sets[0], &sets[1]), (MAX, &None, &Some(set("a"))));
    }
}
