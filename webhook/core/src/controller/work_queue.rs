//! A work queue with delays and exponential backoff, like client-go's.
//!
//! Each key is queued at most once and never handed out again while it is being processed.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
    time::Duration,
};

/// A work queue on a monotonic clock, which callers pass as `now`.
#[derive(Debug)]
pub struct WorkQueue<K> {
    /// Queued keys by due time, then by order of addition.
    order: BTreeSet<(Duration, u64, K)>,
    /// Due time and sequence number of each queued key.
    due: HashMap<K, (Duration, u64)>,
    /// Keys being processed, with the earliest time for which they were added again.
    processing: HashMap<K, Option<Duration>>,
    /// The number of consecutive failures of each failing key.
    failures: HashMap<K, u32>,
    sequence: u64,
}

/// The delay after the first failure of a key, which doubles with each further failure.
const INITIAL_BACKOFF: Duration = Duration::from_millis(500);

impl<K: Clone + Eq + Hash + Ord> Default for WorkQueue<K> {
    fn default() -> Self {
        Self {
            order: BTreeSet::new(),
            due: HashMap::new(),
            processing: HashMap::new(),
            failures: HashMap::new(),
            sequence: 0,
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> WorkQueue<K> {
    /// Adds a key that is due at the given time, unless it is due earlier already.
    pub fn add_at(&mut self, key: K, at: Duration) {
        if let Some(again) = self.processing.get_mut(&key) {
            *again = Some(again.map_or(at, |again| again.min(at)));
            return;
        }
        if let Some((due, sequence)) = self.due.get(&key).copied() {
            if due <= at {
                return;
            }
            self.order.remove(&(due, sequence, key.clone()));
        }
        self.sequence += 1;
        self.due.insert(key.clone(), (at, self.sequence));
        self.order.insert((at, self.sequence, key));
    }

    /// Adds a key whose object changed, due now unless it is waiting for its backoff.
    pub fn add_changed(&mut self, key: K, now: Duration) {
        let in_backoff = self.failures.contains_key(&key) && self.due.contains_key(&key);
        if !in_backoff {
            self.add_at(key, now);
        }
    }

    /// Removes and returns the next due key, and marks it as being processed.
    pub fn pop(&mut self, now: Duration) -> Option<K> {
        if self.order.first()?.0 > now {
            return None;
        }
        let (_, _, key) = self.order.pop_first()?;
        self.due.remove(&key);
        self.processing.insert(key.clone(), None);
        Some(key)
    }

    /// Marks a key as processed and resets its backoff.
    ///
    /// The key is added again after `requeue_after`, or earlier if it was added meanwhile.
    pub fn finish(&mut self, key: K, now: Duration, requeue_after: Option<Duration>) {
        self.failures.remove(&key);
        let added = self.processing.remove(&key).flatten();
        let requeue_at = requeue_after.map(|delay| now + delay);
        if let Some(at) = added.into_iter().chain(requeue_at).min() {
            self.add_at(key, at);
        }
    }

    /// Marks a key as failed and adds it again after its backoff, which is at most `max_backoff`.
    pub fn retry(&mut self, key: K, now: Duration, max_backoff: Duration) {
        self.processing.remove(&key);
        let failures = self.failures.entry(key.clone()).or_default();
        let factor = 1_u32.checked_shl(*failures).unwrap_or(u32::MAX);
        let backoff = INITIAL_BACKOFF.saturating_mul(factor);
        *failures = failures.saturating_add(1).min(31);
        self.add_at(key, now + backoff.min(max_backoff));
    }

    /// Returns the time at which the next key is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.order.first().map(|(due, ..)| *due)
    }

    /// Returns the keys whose last attempt failed.
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
    fn returns_each_key_once_in_order_of_time() {
        let mut queue = WorkQueue::default();
        queue.add_at("b", SECOND);
        queue.add_at("a", SECOND);
        queue.add_at("c", Duration::ZERO);
        queue.add_at("a", SECOND * 9);
        queue.add_at("b", SECOND);
        assert_eq!(queue.pop(Duration::ZERO), Some("c"));
        assert_eq!(queue.pop(Duration::ZERO), None);
        assert_eq!(queue.next_due(), Some(SECOND));
        assert_eq!(queue.pop(SECOND), Some("b"));
        assert_eq!(queue.pop(SECOND), Some("a"));
        assert_eq!(queue.pop(SECOND * 99), None);
    }

    #[test]
    fn requeues_keys_added_while_processing() {
        let mut queue = WorkQueue::default();
        queue.add_at("a", Duration::ZERO);
        assert_eq!(queue.pop(SECOND), Some("a"));
        queue.add_changed("a", SECOND);
        assert_eq!(queue.pop(SECOND * 9), None, "still processing");
        queue.finish("a", SECOND * 2, None);
        assert_eq!(queue.pop(SECOND * 2), Some("a"));
        queue.finish("a", SECOND * 2, Some(SECOND * 5));
        assert_eq!(queue.pop(SECOND * 6), None);
        queue.add_changed("a", SECOND * 6);
        assert_eq!(queue.pop(SECOND * 6), Some("a"));
        queue.finish("a", SECOND * 6, None);
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn doubles_backoff_with_each_failure() {
        let mut queue = WorkQueue::default();
        let mut now = Duration::ZERO;
        queue.add_at("a", now);
        for backoff in [500, 1000, 2000, 4000, 5000, 5000] {
            assert_eq!(queue.pop(now), Some("a"));
            // Changes do not shorten the backoff.
            queue.add_changed("a", now);
            queue.retry("a", now, SECOND * 5);
            queue.add_changed("a", now);
            let due = now + Duration::from_millis(backoff);
            assert_eq!(queue.next_due(), Some(due));
            now = due;
        }
        assert_eq!(queue.pop(now), Some("a"));
        queue.finish("a", now, None);
        assert!(queue.failing().is_empty());
        for _ in 0..100 {
            queue.add_at("b", now);
            queue.pop(now);
            queue.retry("b", now, SECOND * 60);
            now += SECOND * 60;
        }
    }
}
