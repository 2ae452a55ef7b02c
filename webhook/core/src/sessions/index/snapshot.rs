//! Past states of the index, reconstructed by undoing its latest changes.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
    iter::Peekable,
    ops::Bound,
    sync::Arc,
};

use super::{Change, Index, Tracker, TrackerKey};

/// The trackers at one point of the history.
#[derive(Debug)]
pub struct Snapshot<'a> {
    current: &'a BTreeMap<TrackerKey, Arc<Tracker>>,
    /// The trackers that have changed since, as they were; `None` for those created since.
    changed: BTreeMap<&'a TrackerKey, Option<&'a Arc<Tracker>>>,
}

impl Index {
    /// Returns the state before the change with this sequence number, or `None` if the history has
    /// dropped changes since.
    #[must_use]
    pub fn snapshot_before(&self, sequence: u64) -> Option<Snapshot<'_>> {
        self.changes_from(sequence).map(|changes| self.undo(changes))
    }

    /// Returns the state at a version, or `None` if the history has dropped changes since.
    #[must_use]
    pub fn snapshot_at(&self, version: u64) -> Option<Snapshot<'_>> {
        if version >= self.version {
            return Some(self.undo(std::iter::empty()));
        }
        if version < self.oldest_version {
            return None;
        }
        let since = self.history.partition_point(|change| change.version <= version);
        Some(self.undo(self.history.range(since..)))
    }

    fn undo<'a>(&'a self, changes: impl Iterator<Item = &'a Change>) -> Snapshot<'a> {
        let mut past = BTreeMap::new();
        for change in changes {
            if let Some(key) = change.key() {
                // The first change of a key holds its state at the snapshot.
                past.entry(key).or_insert(change.before.as_ref());
            }
        }
        Snapshot { current: &self.trackers, changed: past }
    }
}

impl<'a> Snapshot<'a> {
    /// Returns the tracker at a key.
    #[must_use]
    pub fn get(&self, key: &TrackerKey) -> Option<&'a Arc<Tracker>> {
        match self.changed.get(key) {
            Some(changed) => *changed,
            None => self.current.get(key),
        }
    }

    /// Returns the trackers after a key in order, of one namespace or of all.
    #[must_use]
    pub fn iter<'s>(
        &'s self,
        namespace: Option<&'s str>,
        after: Option<&TrackerKey>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Tracker>> + 's> {
        if self.changed.is_empty() {
            let current = self.current.range((lower_bound(namespace, after), Bound::Unbounded));
            let current = current.take_while(move |(key, _)| is_in_namespace(namespace, key));
            return Box::new(current.map(|(_, tracker)| tracker));
        }
        let keys = self.keys(namespace, after);
        Box::new(keys.filter_map(|key| self.get(key)))
    }

    /// Returns the keys after a key in order, of one namespace or of all.
    ///
    /// The keys include those of trackers created since the snapshot.
    pub fn keys<'s>(
        &'s self,
        namespace: Option<&'s str>,
        after: Option<&TrackerKey>,
    ) -> impl Iterator<Item = &'a TrackerKey> + 's {
        let from = lower_bound(namespace, after);
        let merged = MergedKeys {
            current: self.current.range((from.clone(), Bound::Unbounded)).peekable(),
            changed: self
                .changed
                .range::<TrackerKey, _>((from.as_ref(), Bound::Unbounded))
                .peekable(),
        };
        merged.take_while(move |key| is_in_namespace(namespace, key))
    }
}

fn is_in_namespace(namespace: Option<&str>, key: &TrackerKey) -> bool {
    namespace.is_none_or(|namespace| *key.namespace == *namespace)
}

fn lower_bound(namespace: Option<&str>, after: Option<&TrackerKey>) -> Bound<TrackerKey> {
    let first =
        namespace.map(|namespace| TrackerKey { namespace: namespace.into(), name: "".into() });
    match (after, first) {
        (Some(after), Some(first)) if *after < first => Bound::Included(first),
        (Some(after), _) => Bound::Excluded(after.clone()),
        (None, Some(first)) => Bound::Included(first),
        (None, None) => Bound::Unbounded,
    }
}

/// Merges the keys of the current and the changed trackers, both sorted.
struct MergedKeys<'s, 'a> {
    current: Peekable<btree_map::Range<'a, TrackerKey, Arc<Tracker>>>,
    changed: Peekable<btree_map::Range<'s, &'a TrackerKey, Option<&'a Arc<Tracker>>>>,
}

impl<'a> Iterator for MergedKeys<'_, 'a> {
    type Item = &'a TrackerKey;

    fn next(&mut self) -> Option<&'a TrackerKey> {
        let first = match (self.current.peek(), self.changed.peek()) {
            (Some((current, _)), Some((changed, _))) => (*current).cmp(*changed),
            (None, Some(_)) => Ordering::Greater,
            (_, None) => Ordering::Less,
        };
        if first == Ordering::Greater {
            return self.changed.next().map(|(key, _)| *key);
        }
        if first == Ordering::Equal {
            self.changed.next();
        }
        self.current.next().map(|(key, _)| key)
    }
}
