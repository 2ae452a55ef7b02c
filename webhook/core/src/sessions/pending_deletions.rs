//! Reasons of deletions that are about to happen.

use std::collections::HashMap;

use super::tracker::{Ending, bounds};

/// The maximum number of sessions with a pending deletion.
const MAX: usize = 2_500;
/// The maximum length of a reason or a user name in bytes.
const MAX_TEXT: usize = 256;
/// The memory of one session's reasons in bytes at most: two endings of two texts each.
pub const MAX_ENTRY: usize = 4 * MAX_TEXT + 512;
/// The memory of all reasons in bytes at most.
pub const BUDGET: usize = MAX * MAX_ENTRY;

/// Caches why sessions are about to be deleted, by uid of the Session.
///
/// Most reasons come from admission reviews, and the API server does not authenticate itself when
/// it sends one. So one source cannot override another: if two report different reasons, the ending
/// is disputed. Callers record reasons only for sessions in the index, so that a client cannot fill
/// the cache with sessions that do not exist.
#[derive(Debug, Default)]
pub struct PendingDeletions(HashMap<Box<str>, Vec<PendingDeletion>>);

#[derive(Debug)]
struct PendingDeletion {
    ending: Ending,
    /// Time until which the reason counts, in seconds since 1970.
    expires_at: i64,
}

impl PendingDeletions {
    /// Records how a session will end, if its Session is deleted before `expires_at`.
    ///
    /// Both times are in seconds since 1970. Long texts are cut.
    pub fn insert(&mut self, uid: &str, ending: Ending, expires_at: i64, now: i64) {
        let cut = |text: Box<str>| bounds::text(text.into_string(), MAX_TEXT).into_boxed_str();
        let Ending { reason, by, at } = ending;
        let ending = Ending { reason: cut(reason), by: by.map(cut), at };
        if self.0.len() >= MAX && !self.0.contains_key(uid) {
            return;
        }
        let pending = self.0.entry(uid.into()).or_default();
        pending.retain(|other| other.expires_at >= now && !other.ending.agrees(&ending));
        // Two contradicting reasons suffice for a dispute.
        if pending.len() > 1 {
            pending.remove(0);
        }
        pending.push(PendingDeletion { ending, expires_at });
    }

    /// Keeps the reasons of a Session that is being deleted until it is gone.
    ///
    /// A finalizer may hold it for longer than a reason counts otherwise.
    pub fn hold(&mut self, uid: &str) {
        for pending in self.0.get_mut(uid).into_iter().flatten() {
            pending.expires_at = i64::MAX;
        }
    }

    /// Removes the reasons that have expired. To be called regularly.
    pub fn remove_expired(&mut self, now: i64) {
        self.0.retain(|_, pending| {
            pending.retain(|pending| pending.expires_at >= now);
            !pending.is_empty()
        });
        if self.0.capacity() > 4 * self.0.len() + 64 {
            self.0.shrink_to_fit();
        }
    }

    /// Withdraws a reason that names no user.
    pub fn withdraw(&mut self, uid: &str, reason: &str) {
        let Some(pending) = self.0.get_mut(uid) else {
            return;
        };
        pending.retain(|pending| *pending.ending.reason != *reason || pending.ending.by.is_some());
        if pending.is_empty() {
            self.0.remove(uid);
        }
    }

    /// Removes and returns how a session ended, given that its Session was deleted now.
    pub fn take(&mut self, uid: &str, now: i64) -> Ending {
        let ending = self.ending(uid, now);
        self.0.remove(uid);
        ending
    }

    /// Returns how a session ended, given that its Session was deleted now.
    #[must_use]
    pub fn ending(&self, uid: &str, now: i64) -> Ending {
        let pending = self.0.get(uid).into_iter().flatten();
        let mut pending = pending.filter(|pending| pending.expires_at >= now);
        match (pending.next(), pending.next()) {
            (None, _) => Ending::unknown(now),
            (Some(pending), None) => Ending { at: now, ..pending.ending.clone() },
            _ => Ending::disputed(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::EXPIRED, *};

    #[test]
    fn returns_recorded_ending_or_dispute() {
        let stopped = |by: &str| Ending::stopped(by, 0);
        let agent_ended = Ending { reason: "its agent ended".into(), by: None, at: 0 };
        for (name, reasons, at, expected) in [
            ("no reason", vec![], 12, Ending::unknown(12)),
            ("one source", vec![(10, stopped("bob"))], 12, Ending::stopped("bob", 12)),
            (
                "the same source again",
                vec![(10, stopped("bob")), (11, stopped("bob"))],
                71,
                Ending::stopped("bob", 71),
            ),
            (
                "two sources",
                vec![(10, stopped("alice")), (11, stopped("bob"))],
                12,
                Ending::disputed(12),
            ),
            (
                "two sources, long after each other",
                vec![(10, stopped("alice")), (71, stopped("bob"))],
                72,
                Ending::stopped("bob", 72),
            ),
            (
                "the first source again",
                vec![(10, stopped("alice")), (11, stopped("bob")), (12, stopped("alice"))],
                13,
                Ending::disputed(13),
            ),
            (
                "three sources",
                vec![(10, stopped("alice")), (11, stopped("bob")), (12, stopped("eve"))],
                13,
                Ending::disputed(13),
            ),
            (
                "the controller and a user",
                vec![(10, agent_ended), (11, stopped("eve"))],
                12,
                Ending::disputed(12),
            ),
            ("expired", vec![(10, stopped("bob"))], 71, Ending::unknown(71)),
        ] {
            let mut deletions = PendingDeletions::default();
            for (now, ending) in reasons {
                deletions.insert("a", ending, now + 60, now);
            }
            assert_eq!(deletions.ending("a", at), expected, "{name}: before taking it");
            assert_eq!(deletions.take("a", at), expected, "{name}");
            assert_eq!(deletions.take("a", at), Ending::unknown(at), "{name}: taken twice");
        }
    }

    #[test]
    fn withdraws_reason_without_user() {
        let expired = || Ending { reason: EXPIRED.into(), by: None, at: 0 };
        let stopped = || Ending::stopped("bob", 0);
        for (name, reasons, expected) in [
            ("no reason", vec![], Ending::unknown(12)),
            ("one reason", vec![expired()], Ending::unknown(12)),
            ("beside the reason of a user", vec![stopped(), expired()], Ending::stopped("bob", 12)),
            ("another reason", vec![stopped()], Ending::stopped("bob", 12)),
        ] {
            let mut deletions = PendingDeletions::default();
            for ending in reasons {
                deletions.insert("a", ending, 60, 0);
            }
            deletions.withdraw("a", EXPIRED);
            assert_eq!(deletions.take("a", 12), expected, "{name}");
        }
    }

    #[test]
    fn bounds_memory() {
        let mut deletions = PendingDeletions::default();
        for uid in 0..=MAX {
            deletions.insert(&uid.to_string(), Ending::unknown(0), 60, 0);
        }
        assert_eq!(deletions.0.len(), MAX);
        for (now, left) in [(60, MAX), (61, 0)] {
            deletions.remove_expired(now);
            assert_eq!(deletions.0.len(), left, "at {now}");
        }
        deletions.insert("held", Ending::stopped("bob", 61), 62, 61);
        deletions.hold("held");
        deletions.remove_expired(1000);
        assert_eq!(deletions.take("held", 1000), Ending::stopped("bob", 1000));
        deletions.insert("late", Ending::stopped(&"x".repeat(1 << 20), 61), 120, 61);
        let ending = deletions.take("late", 61);
        assert_eq!(ending.by.unwrap().len(), MAX_TEXT);
    }
}
