//! Why sessions are about to end, told before they do.

use std::collections::HashMap;

use super::tracker::Ending;

/// How many are remembered at once.
const MAX: usize = 20_000;

/// What is known of the ends of sessions that live, by their identifiers.
///
/// Most of it comes from reviews, and the API server doesn't say who it is when it sends one. So
/// nobody's word takes that of another away: where two tell different things, neither is believed.
#[derive(Debug, Default)]
pub struct Notes(HashMap<Box<str>, Told>);

/// Endings, and until when each counts.
type Told = Vec<(Ending, i64)>;

impl Notes {
    /// This is how the session ends, if it does until then (both times in seconds since 1970).
    pub fn note(&mut self, uid: &str, ending: Ending, until: i64, now: i64) {
        if self.0.len() >= MAX {
            self.0.retain(|_, told| {
                told.retain(|(_, until)| *until >= now);
                !told.is_empty()
            });
        }
        if self.0.len() >= MAX && !self.0.contains_key(uid) {
            return;
        }
        let told = self.0.entry(uid.into()).or_default();
        told.retain(|(other, until)| *until >= now && !other.agrees(&ending));
        // Two that differ are as good as more.
        if told.len() > 1 {
            told.remove(0);
        }
        told.push((ending, until));
    }

    /// It doesn't end for this reason, which nobody in particular was behind.
    pub fn take_back(&mut self, uid: &str, reason: &str) {
        let Some(told) = self.0.get_mut(uid) else {
            return;
        };
        told.retain(|(ending, _)| *ending.reason != *reason || ending.by.is_some());
        if told.is_empty() {
            self.0.remove(uid);
        }
    }

    /// The session has ended, now: how, as far as somebody said so in time.
    pub fn take(&mut self, uid: &str, now: i64) -> Ending {
        let ending = self.ending(uid, now);
        self.0.remove(uid);
        ending
    }

    /// The same, for who may have to ask again.
    #[must_use]
    pub fn ending(&self, uid: &str, now: i64) -> Ending {
        let told = self.0.get(uid).into_iter().flatten();
        let mut told = told.filter(|(_, until)| *until >= now);
        match (told.next(), told.next()) {
            (None, _) => Ending::unknown(now),
            (Some((ending, _)), None) => Ending { at: now, ..ending.clone() },
            _ => Ending::disputed(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::EXPIRED, *};

    #[test]
    fn what_was_told() {
        let stopped = |by: &str| Ending::stopped(by, 0);
        let over = Ending { reason: "its agent ended".into(), by: None, at: 0 };
        for (name, told, at, expected) in [
            ("nothing", vec![], 12, Ending::unknown(12)),
            ("by one", vec![(10, stopped("bob"))], 12, Ending::stopped("bob", 12)),
            (
                "again by the same",
                vec![(10, stopped("bob")), (11, stopped("bob"))],
                71,
                Ending::stopped("bob", 71),
            ),
            (
                "by two",
                vec![(10, stopped("alice")), (11, stopped("bob"))],
                12,
                Ending::disputed(12),
            ),
            (
                "by two, long after each other",
                vec![(10, stopped("alice")), (71, stopped("bob"))],
                72,
                Ending::stopped("bob", 72),
            ),
            (
                "by the first again",
                vec![(10, stopped("alice")), (11, stopped("bob")), (12, stopped("alice"))],
                13,
                Ending::disputed(13),
            ),
            (
                "by three",
                vec![(10, stopped("alice")), (11, stopped("bob")), (12, stopped("eve"))],
                13,
                Ending::disputed(13),
            ),
            (
                "what the process saw is no more",
                vec![(10, over), (11, stopped("eve"))],
                12,
                Ending::disputed(12),
            ),
            ("too old", vec![(10, stopped("bob"))], 71, Ending::unknown(71)),
        ] {
            let mut notes = Notes::default();
            for (now, ending) in told {
                notes.note("a", ending, now + 60, now);
            }
            assert_eq!(notes.ending("a", at), expected, "{name}: asked before");
            assert_eq!(notes.take("a", at), expected, "{name}");
            assert_eq!(notes.take("a", at), Ending::unknown(at), "{name}: told once");
        }
    }

    #[test]
    fn what_was_taken_back() {
        let expired = || Ending { reason: EXPIRED.into(), by: None, at: 0 };
        let stopped = || Ending::stopped("bob", 0);
        for (name, told, expected) in [
            ("nothing was told", vec![], Ending::unknown(12)),
            ("alone", vec![expired()], Ending::unknown(12)),
            ("beside what somebody told", vec![stopped(), expired()], Ending::stopped("bob", 12)),
            ("of another reason", vec![stopped()], Ending::stopped("bob", 12)),
        ] {
            let mut notes = Notes::default();
            for ending in told {
                notes.note("a", ending, 60, 0);
            }
            notes.take_back("a", EXPIRED);
            assert_eq!(notes.take("a", 12), expected, "{name}");
        }
    }

    #[test]
    fn no_more_than_so_many() {
        let mut notes = Notes::default();
        for uid in 0..=MAX {
            notes.note(&uid.to_string(), Ending::unknown(0), 60, 0);
        }
        assert_eq!(notes.0.len(), MAX);
        notes.note("late", Ending::stopped("bob", 61), 120, 61);
        assert!(notes.take("late", 61).is_known());
    }
}
