//! The trackers as they were: the index with its latest changes undone.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
    iter::Peekable,
    ops::Bound,
    sync::Arc,
};

use super::{Change, Index, Key, Tracker};
use crate::{apiserver::filter::Filter, policy::Viewer};

/// The trackers of one moment.
#[derive(Debug)]
pub struct State<'a> {
    now: &'a BTreeMap<Key, Arc<Tracker>>,
    /// What has changed since, with what was there then.
    then: BTreeMap<&'a Key, Option<&'a Arc<Tracker>>>,
}

impl Index {
    /// As it was before the change of this number; none if changes since are gone.
    #[must_use]
    pub fn before(&self, number: u64) -> Option<State<'_>> {
        self.changes(number).map(|since| self.without(since))
    }

    /// As it was at a version; none if changes since are gone.
    pub(crate) fn at(&self, version: u64) -> Option<State<'_>> {
        if version >= self.version {
            return Some(self.without(std::iter::empty()));
        }
        if version < self.floor {
            return None;
        }
        let since = self.history.partition_point(|change| change.version <= version);
        Some(self.without(self.history.range(since..)))
    }

    fn without<'a>(&'a self, since: impl Iterator<Item = &'a Change>) -> State<'a> {
        let mut then = BTreeMap::new();
        for change in since {
            if let Some(key) = change.key() {
                // The first change since tells what was before.
                then.entry(key).or_insert(change.before.as_ref());
            }
        }
        State { now: &self.trackers, then }
    }

    /// Whether what these two see has been the same since a version: of what there is now, and of
    /// all that there was in between.
    #[must_use]
    pub fn alike_since(&self, version: u64, filter: &Filter, one: &Viewer, other: &Viewer) -> bool {
        let alike =
            |tracker: &Arc<Tracker>| filter.sees(tracker, one) == filter.sees(tracker, other);
        // Those that are gone are told by 410 anyway.
        let since = self.after(version).ok().and_then(|from| self.changes(from));
        one == other
            || (self.all().all(alike)
                && since.into_iter().flatten().all(|change| {
                    let both = change.before.iter().chain(&change.after);
                    both.into_iter().all(alike)
                }))
    }
}

impl<'a> State<'a> {
    /// The tracker at a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&'a Arc<Tracker>> {
        match self.then.get(key) {
            Some(then) => *then,
            None => self.now.get(key),
        }
    }

    /// The trackers of a namespace, or all, after a key, in order.
    #[must_use]
    pub fn iter<'s>(
        &'s self,
        namespace: Option<&'s str>,
        after: Option<&Key>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Tracker>> + 's> {
        if self.then.is_empty() {
            let now = self.now.range((start(namespace, after), Bound::Unbounded));
            let now = now.take_while(move |(key, _)| is_within(namespace, key));
            return Box::new(now.map(|(_, tracker)| tracker));
        }
        let keys = self.keys(namespace, after);
        Box::new(keys.filter_map(|key| self.get(key)))
    }

    /// The keys of a namespace, or all, after a key, in order: of what was there then, and of what
    /// is now.
    pub fn keys<'s>(
        &'s self,
        namespace: Option<&'s str>,
        after: Option<&Key>,
    ) -> impl Iterator<Item = &'a Key> + 's {
        let from = start(namespace, after);
        let then = (from.as_ref(), Bound::Unbounded);
        let merged = Merged {
            now: self.now.range((from.clone(), Bound::Unbounded)).peekable(),
            then: self.then.range::<Key, _>(then).peekable(),
        };
        merged.take_while(move |key| is_within(namespace, key))
    }
}

fn is_within(namespace: Option<&str>, key: &Key) -> bool {
    namespace.is_none_or(|namespace| *key.namespace == *namespace)
}

fn start(namespace: Option<&str>, after: Option<&Key>) -> Bound<Key> {
    let first = namespace.map(|namespace| Key { namespace: namespace.into(), name: "".into() });
    match (after, first) {
        (Some(after), Some(first)) if *after < first => Bound::Included(first),
        (Some(after), _) => Bound::Excluded(after.clone()),
        (None, Some(first)) => Bound::Included(first),
        (None, None) => Bound::Unbounded,
    }
}

/// Two that are in order, as one.
struct Merged<'s, 'a> {
    now: Peekable<btree_map::Range<'a, Key, Arc<Tracker>>>,
    then: Peekable<btree_map::Range<'s, &'a Key, Option<&'a Arc<Tracker>>>>,
}

impl<'a> Iterator for Merged<'_, 'a> {
    type Item = &'a Key;

    fn next(&mut self) -> Option<&'a Key> {
        let first = match (self.now.peek(), self.then.peek()) {
            (Some((now, _)), Some((then, _))) => (*now).cmp(*then),
            (None, Some(_)) => Ordering::Greater,
            (_, None) => Ordering::Less,
        };
        if first == Ordering::Greater {
            return self.then.next().map(|(key, _)| *key);
        }
        if first == Ordering::Equal {
            self.then.next();
        }
        self.now.next().map(|(key, _)| key)
    }
}
