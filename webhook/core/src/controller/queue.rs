//! What is to be looked at, and when: each key once, and never twice at the same time.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
    time::Duration,
};

/// A queue on a clock that only goes forward.
#[derive(Debug)]
pub struct Queue<K> {
    order: BTreeSet<(Duration, u64, K)>,
    due: HashMap<K, (Duration, u64)>,
    busy: HashMap<K, Option<Duration>>,
    failures: HashMap<K, u32>,
    number: u64,
}

/// After a failure, the next look; doubled each time.
const FIRST: Duration = Duration::from_millis(500);

impl<K: Clone + Eq + Hash + Ord> Default for Queue<K> {
    fn default() -> Self {
        Self {
            order: BTreeSet::new(),
            due: HashMap::new(),
            busy: HashMap::new(),
            failures: HashMap::new(),
            number: 0,
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// To be looked at from then on, or before that if it is due earlier.
    pub fn add(&mut self, key: K, at: Duration) {
        if let Some(again) = self.busy.get_mut(&key) {
            *again = Some(again.map_or(at, |again| again.min(at)));
            return;
        }
        if let Some((due, number)) = self.due.get(&key).copied() {
            if due <= at {
                return;
            }
            self.order.remove(&(due, number, key.clone()));
        }
        self.number += 1;
        self.due.insert(key.clone(), (at, self.number));
        self.order.insert((at, self.number, key));
    }

    /// Something has changed about it: it is looked at now, unless it failed and waits for its
    /// turn.
    pub fn touch(&mut self, key: K, now: Duration) {
        let waits = self.failures.contains_key(&key) && self.due.contains_key(&key);
        if !waits {
            self.add(key, now);
        }
    }

    /// The next that is due; busy from now on.
    pub fn take(&mut self, now: Duration) -> Option<K> {
        if self.order.first()?.0 > now {
            return None;
        }
        let (_, _, key) = self.order.pop_first()?;
        self.due.remove(&key);
        self.busy.insert(key.clone(), None);
        Some(key)
    }

    /// It was looked at, and is to be again after that time, if at all.
    pub fn done(&mut self, key: K, now: Duration, again: Option<Duration>) {
        self.failures.remove(&key);
        let touched = self.busy.remove(&key).flatten();
        if let Some(at) = touched.into_iter().chain(again.map(|again| now + again)).min() {
            self.add(key, at);
        }
    }

    /// It could not be dealt with: it is looked at again after a while, longer each time.
    pub fn failed(&mut self, key: K, now: Duration, longest: Duration) {
        self.busy.remove(&key);
        let failures = self.failures.entry(key.clone()).or_default();
        let pause = FIRST.saturating_mul(1_u32.checked_shl(*failures).unwrap_or(u32::MAX));
        *failures = failures.saturating_add(1).min(31);
        self.add(key, now + pause.min(longest));
    }

    /// When the next is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.order.first().map(|(due, ..)| *due)
    }

    /// The keys that failed last.
    #[must_use]
    pub fn failing(&self) -> HashSet<K> {
        self.failures.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_once_in_order_of_time() {
        let mut queue = Queue::default();
        queue.add("b", SECOND);
        queue.add("a", SECOND);
        queue.add("c", Duration::ZERO);
        queue.add("a", SECOND * 9);
        queue.add("b", SECOND);
        assert_eq!(queue.take(Duration::ZERO), Some("c"));
        assert_eq!(queue.take(Duration::ZERO), None);
        assert_eq!(queue.next_due(), Some(SECOND));
        assert_eq!(queue.take(SECOND), Some("b"));
        assert_eq!(queue.take(SECOND), Some("a"));
        assert_eq!(queue.take(SECOND * 99), None);
    }

    #[test]
    fn what_changes_meanwhile_is_looked_at_again() {
        let mut queue = Queue::default();
        queue.add("a", Duration::ZERO);
        assert_eq!(queue.take(SECOND), Some("a"));
        queue.touch("a", SECOND);
        assert_eq!(queue.take(SECOND * 9), None, "busy");
        queue.done("a", SECOND * 2, None);
        assert_eq!(queue.take(SECOND * 2), Some("a"));
        queue.done("a", SECOND * 2, Some(SECOND * 5));
        assert_eq!(queue.take(SECOND * 6), None);
        queue.touch("a", SECOND * 6);
        assert_eq!(queue.take(SECOND * 6), Some("a"));
        queue.done("a", SECOND * 6, None);
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn failures_wait_longer_each_time() {
        let mut queue = Queue::default();
        let mut now = Duration::ZERO;
        queue.add("a", now);
        for pause in [500, 1000, 2000, 4000, 5000, 5000] {
            assert_eq!(queue.take(now), Some("a"));
            // No storm: not even if it changes all the time.
            queue.touch("a", now);
            queue.failed("a", now, SECOND * 5);
            queue.touch("a", now);
            let due = now + Duration::from_millis(pause);
            assert_eq!(queue.next_due(), Some(due));
            now = due;
        }
        assert_eq!(queue.take(now), Some("a"));
        queue.done("a", now, None);
        assert!(queue.failing().is_empty());
        for _ in 0..100 {
            queue.add("b", now);
            queue.take(now);
            queue.failed("b", now, SECOND * 60);
            now += SECOND * 60;
        }
    }
}
