//! Rate limit of the reports of each session.
//!
//! Every report that is stored is a write to etcd and an event on every watch.

use std::collections::HashMap;

/// The number of reports that may be stored at once.
const BURST: i64 = 10;
/// The maximum number of sessions whose rate is remembered.
const MAX: usize = 10_000;
/// The memory of all rates in bytes at most.
pub const BUDGET: usize = MAX * 256;

/// Token buckets of the sessions that were reported lately, by uid of the Session.
///
/// A bucket gains one token a second. A full bucket is not remembered.
#[derive(Debug, Default)]
pub struct ReportRates(HashMap<Box<str>, Bucket>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: i64,
    /// Time of the last report in seconds since 1970.
    at: i64,
}

impl Bucket {
    fn tokens(self, now: i64) -> i64 {
        (self.tokens + (now - self.at).max(0)).min(BURST)
    }
}

impl ReportRates {
    /// Returns whether a report of this session may be stored now, in seconds since 1970, and
    /// counts it.
    pub fn allow(&mut self, uid: &str, now: i64) -> bool {
        if self.0.len() >= MAX {
            self.0.retain(|_, bucket| bucket.tokens(now) < BURST);
        }
        let tokens = self.0.get(uid).map_or(BURST, |bucket| bucket.tokens(now));
        let fits = self.0.len() < MAX || self.0.contains_key(uid);
        if tokens == 0 || !fits {
            return false;
        }
        self.0.insert(uid.into(), Bucket { tokens: tokens - 1, at: now });
        true
    }

    /// Forgets sessions whose buckets are full. To be called regularly.
    pub fn remove_idle(&mut self, now: i64) {
        self.0.retain(|_, bucket| bucket.tokens(now) < BURST);
        if self.0.capacity() > 4 * self.0.len() + 64 {
            self.0.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_a_burst_and_one_report_a_second() {
        let mut rates = ReportRates::default();
        let mut count = |at: i64| (0..100).filter(|_| rates.allow("a", at)).count();
        for (at, allowed) in [(100, 10), (100, 0), (101, 1), (103, 2), (90, 0), (200, 10)] {
            assert_eq!(count(at), allowed, "at {at}");
        }
        assert!(rates.allow("b", 200), "sessions are independent");
    }

    #[test]
    fn bounds_memory() {
        let mut rates = ReportRates::default();
        for n in 0..MAX {
            assert!(rates.allow(&n.to_string(), 0));
        }
        assert!(!rates.allow("other", 0), "full");
        assert!(rates.allow("other", 1), "idle sessions make room");
        rates.remove_idle(100);
        assert!(rates.0.is_empty() && rates.0.capacity() < 1000);
    }
}
