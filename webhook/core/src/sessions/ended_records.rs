//! Which of the records of ended sessions are there, and which of them are to go.

use std::collections::{BTreeMap, BTreeSet};

use super::{Key, index::MAX_ENDED};

/// What all records may hold together. Each may hold half a megabyte; most hold less than two
/// kilobytes.
const MAX_BYTES: usize = 64 << 20;

/// A record that is there.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where the tracker is.
    pub key: Key,
    /// The session's identifier.
    pub session: String,
    /// The record's own.
    pub uid: Option<String>,
    /// When the session ended, in seconds since 1970.
    pub ended: i64,
    /// Bytes of the tracker.
    pub size: usize,
    listed: bool,
}

/// The records by their names, whoever wrote them.
#[derive(Debug, Default)]
pub struct Records {
    all: BTreeMap<String, Record>,
    /// The oldest first.
    order: BTreeSet<(i64, String)>,
    bytes: usize,
}

impl Record {
    /// A record that was seen.
    #[must_use]
    pub fn new(key: Key, session: String, uid: Option<String>, ended: i64, size: usize) -> Self {
        Self { key, session, uid, ended, size, listed: true }
    }
}

impl Records {
    /// It is there, in place of another one of that name.
    pub fn seen(&mut self, name: String, record: Record) {
        self.gone(&name);
        self.bytes += record.size;
        self.order.insert((record.ended, name.clone()));
        self.all.insert(name, record);
    }

    /// It isn't there any more.
    pub fn gone(&mut self, name: &str) -> Option<Record> {
        let record = self.all.remove(name)?;
        self.order.remove(&(record.ended, name.to_owned()));
        self.bytes = self.bytes.saturating_sub(record.size);
        Some(record)
    }

    /// Whether it is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all.contains_key(name)
    }

    /// All are being listed anew.
    pub fn listing(&mut self) {
        self.all.values_mut().for_each(|record| record.listed = false);
    }

    /// They were: the names of those that are gone.
    #[must_use]
    pub fn unlisted(&self) -> Vec<String> {
        let unlisted = self.all.iter().filter(|(_, record)| !record.listed);
        unlisted.map(|(name, _)| name.clone()).collect()
    }

    /// Those that are to be deleted, the oldest first and at most so many: by name, with the
    /// identifier. Their session ended before this time, some more by what `spread` says of it; or
    /// there are too many.
    pub fn due(
        &self,
        before: i64,
        most: usize,
        spread: impl Fn(&Record) -> i64,
    ) -> Vec<(String, Option<String>)> {
        let (mut count, mut bytes) = (self.all.len(), self.bytes);
        let mut due = Vec::new();
        for (ended, name) in &self.order {
            let over = count > MAX_ENDED || bytes > MAX_BYTES;
            if due.len() == most || (!over && *ended >= before) {
                break;
            }
            let Some(record) = self.all.get(name) else {
                continue;
            };
            if over || record.ended + spread(record) < before {
                count -= 1;
                bytes -= record.size;
                due.push((name.clone(), record.uid.clone()));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize, size: usize) -> Records {
        let mut records = Records::default();
        for at in 0..count {
            let key = Key { namespace: "shop".into(), name: at.to_string().into() };
            let ended = i64::try_from(at).unwrap();
            let record = Record::new(key, at.to_string(), None, ended, size);
            records.seen(format!("r{at:06}"), record);
        }
        records
    }

    fn due(records: &Records, before: i64) -> Vec<String> {
        let due = records.due(before, 5, |record| record.ended % 2 * 10);
        due.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn which_are_to_go() {
        for (name, records, before, expected) in [
            ("none is old", records(8, 10), 0, &[][..]),
            ("by age, some later", records(8, 10), 4, &["r000000", "r000002"]),
            (
                "not all at once",
                records(80, 10),
                70,
                &["r000000", "r000001", "r000002", "r000003", "r000004"],
            ),
            ("too many", records(MAX_ENDED + 2, 10), 0, &["r000000", "r000001"]),
            ("just as many", records(MAX_ENDED, 10), 0, &[]),
            ("too large", records(129, 512 << 10), 0, &["r000000"]),
        ] {
            assert_eq!(due(&records, before), expected, "{name}");
        }
    }

    #[test]
    fn those_that_come_and_go() {
        let mut records = records(3, 10);
        records.listing();
        let again = Record::new(
            Key { namespace: "shop".into(), name: "x".into() },
            "x".into(),
            Some("uid".into()),
            0,
            20,
        );
        records.seen("r000001".into(), again);
        assert_eq!(records.unlisted(), ["r000000", "r000002"]);
        for name in records.unlisted() {
            assert!(records.gone(&name).is_some());
        }
        assert!(records.has("r000001") && !records.has("r000000"));
        assert_eq!((records.bytes, records.order.len()), (20, 1));
        assert!(records.gone("r000001").is_some() && records.gone("r000001").is_none());
        assert_eq!((records.bytes, records.order.len()), (0, 0));
    }
}
