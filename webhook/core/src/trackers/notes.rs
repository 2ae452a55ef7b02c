//! Why sessions are about to end, told before they do.

use std::collections::HashMap;

use super::tracker::Ending;

/// How many are remembered at once.
const MAX: usize = 20_000;

/// What is known of the ends of sessions that live, by their identifiers.
#[derive(Debug, Default)]
pub struct Notes(HashMap<Box<str>, (Ending, i64)>);

impl Notes {
    /// This is how the session ends, if it does until then (both times in seconds since 1970).
    pub fn note(&mut self, uid: &str, ending: Ending, until: i64, now: i64) {
        if self.0.len() >= MAX {
            self.0.retain(|_, (_, until)| *until >= now);
        }
        if self.0.len() < MAX || self.0.contains_key(uid) {
            self.0.insert(uid.into(), (ending, until));
        }
    }

    /// The session has ended, now: how, as far as somebody said so in time.
    pub fn take(&mut self, uid: &str, now: i64) -> Ending {
        match self.0.remove(uid) {
            Some((ending, until)) if until >= now => Ending { at: now, ..ending },
            _ => Ending::unknown(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_while_it_is_fresh() {
        let mut notes = Notes::default();
        notes.note("a", Ending::stopped("alice", 10), 70, 10);
        notes.note("a", Ending::stopped("bob", 11), 71, 11);
        notes.note("b", Ending::stopped("bob", 11), 71, 11);
        assert_eq!(notes.take("a", 12), Ending::stopped("bob", 12));
        assert_eq!(notes.take("a", 12), Ending::unknown(12), "told once");
        assert_eq!(notes.take("b", 72), Ending::unknown(72), "too old");
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
