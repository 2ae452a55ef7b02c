//! Cache of the stored records of ended sessions, which selects those to delete.

use std::collections::{BTreeMap, BTreeSet};

use super::{TrackerKey, index::MAX_ENDED};

/// The maximum total size of all records. A record may take half a megabyte, but most take less
/// than two kilobytes.
const MAX_BYTES: usize = 8 << 20;

/// Metadata of one stored record.
#[derive(Clone, Debug)]
pub struct EndedSessionRecord {
    /// Namespace and name of the tracker.
    pub key: TrackerKey,
    /// `metadata.uid` of the Session.
    pub session_uid: String,
    /// `metadata.uid` of the record itself.
    pub uid: Option<String>,
    /// Time at which the session ended, in seconds since 1970.
    pub ended_at: i64,
    /// Size of the tracker in bytes.
    pub size: usize,
    /// Set if the current list has returned the record.
    listed: bool,
}

/// All stored records by name, including those that other replicas wrote.
#[derive(Debug, Default)]
pub struct EndedSessionRecords {
    by_name: BTreeMap<String, EndedSessionRecord>,
    /// Names by time of the session's end, the oldest first.
    by_age: BTreeSet<(i64, String)>,
    bytes: usize,
}

impl EndedSessionRecord {
    /// Returns the metadata of a record that a list or watch returned.
    #[must_use]
    pub fn new(
        key: TrackerKey,
        session_uid: String,
        uid: Option<String>,
        ended_at: i64,
        size: usize,
    ) -> Self {
        Self { key, session_uid, uid, ended_at, size, listed: true }
    }
}

impl EndedSessionRecords {
    /// Stores a record, replacing the one of the same name.
    pub fn insert(&mut self, name: String, record: EndedSessionRecord) {
        self.remove(&name);
        self.bytes += record.size;
        self.by_age.insert((record.ended_at, name.clone()));
        self.by_name.insert(name, record);
    }

    /// Removes and returns the record of this name.
    pub fn remove(&mut self, name: &str) -> Option<EndedSessionRecord> {
        let record = self.by_name.remove(name)?;
        self.by_age.remove(&(record.ended_at, name.to_owned()));
        self.bytes = self.bytes.saturating_sub(record.size);
        Some(record)
    }

    /// Returns whether a record of this name exists.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Marks all records as unlisted, since a new list begins.
    pub fn start_list(&mut self) {
        self.by_name.values_mut().for_each(|record| record.listed = false);
    }

    /// Returns the names of the records that the list did not return.
    #[must_use]
    pub fn unlisted(&self) -> Vec<String> {
        let unlisted = self.by_name.iter().filter(|(_, record)| !record.listed);
        unlisted.map(|(name, _)| name.clone()).collect()
    }

    /// Returns name and uid of at most `limit` records to delete, the oldest first.
    ///
    /// A record expires if its session ended more than `delay(record)` seconds earlier than
    /// `before`, in seconds since 1970. Records beyond the limits of count and size expire at once.
    pub fn expired(
        &self,
        before: i64,
        limit: usize,
        delay: impl Fn(&EndedSessionRecord) -> i64,
    ) -> Vec<(String, Option<String>)> {
        let (mut count, mut bytes) = (self.by_name.len(), self.bytes);
        let mut expired = Vec::new();
        for (ended_at, name) in &self.by_age {
            let over_limit = count > MAX_ENDED || bytes > MAX_BYTES;
            if expired.len() == limit || (!over_limit && *ended_at >= before) {
                break;
            }
            let Some(record) = self.by_name.get(name) else {
                continue;
            };
            if over_limit || record.ended_at + delay(record) < before {
                count -= 1;
                bytes -= record.size;
                expired.push((name.clone(), record.uid.clone()));
            }
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize, size: usize) -> EndedSessionRecords {
        let mut records = EndedSessionRecords::default();
        for at in 0..count {
            let key = TrackerKey { namespace: "shop".into(), name: at.to_string().into() };
            let ended_at = i64::try_from(at).unwrap();
            let record = EndedSessionRecord::new(key, at.to_string(), None, ended_at, size);
            records.insert(format!("r{at:06}"), record);
        }
        records
    }

    fn expired(records: &EndedSessionRecords, before: i64) -> Vec<String> {
        let expired = records.expired(before, 5, |record| record.ended_at % 2 * 10);
        expired.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn returns_expired_and_excess_records() {
        for (name, records, before, expected) in [
            ("none is old", records(8, 10), 0, &[][..]),
            ("by age, some delayed", records(8, 10), 4, &["r000000", "r000002"]),
            (
                "not all at once",
                records(80, 10),
                70,
                &["r000000", "r000001", "r000002", "r000003", "r000004"],
            ),
            ("too many", records(MAX_ENDED + 2, 10), 0, &["r000000", "r000001"]),
            ("just as many", records(MAX_ENDED, 10), 0, &[]),
            ("too large", records(17, 512 << 10), 0, &["r000000"]),
        ] {
            assert_eq!(expired(&records, before), expected, "{name}");
        }
    }

    #[test]
    fn tracks_names_sizes_and_lists() {
        let mut records = records(3, 10);
        records.start_list();
        let again = EndedSessionRecord::new(
            TrackerKey { namespace: "shop".into(), name: "x".into() },
            "x".into(),
            Some("uid".into()),
            0,
            20,
        );
        records.insert("r000001".into(), again);
        assert_eq!(records.unlisted(), ["r000000", "r000002"]);
        for name in records.unlisted() {
            assert!(records.remove(&name).is_some());
        }
        assert!(records.contains("r000001") && !records.contains("r000000"));
        assert_eq!((records.bytes, records.by_age.len()), (20, 1));
        assert!(records.remove("r000001").is_some() && records.remove("r000001").is_none());
        assert_eq!((records.bytes, records.by_age.len()), (0, 0));
    }
}
