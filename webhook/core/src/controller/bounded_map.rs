//! A map of objects with a memory budget.

use std::collections::{HashMap, HashSet};

use super::NamespacedName;

/// The memory of an entry beside its value: the key, its place in the map and allocations.
const ENTRY: usize = 192;

/// A value that knows its memory in bytes, approximately.
pub(super) trait MemorySize {
    fn size(&self) -> usize;
}

/// Objects by namespace and name, up to a number of bytes.
///
/// Users create these objects. One that does not fit is left out, and its previous version too.
#[derive(Debug)]
pub(super) struct BoundedMap<V> {
    map: HashMap<NamespacedName, V>,
    bytes: usize,
    budget: usize,
    /// Set once an object was left out.
    overflowed: bool,
}

impl<V: MemorySize> BoundedMap<V> {
    pub(super) fn new(budget: usize) -> Self {
        Self { map: HashMap::new(), bytes: 0, budget, overflowed: false }
    }

    /// Stores an object and returns its previous version.
    pub(super) fn insert(&mut self, key: NamespacedName, value: V) -> Option<V> {
        self.insert_with_reserve(key, value, 0)
    }

    /// Stores an object that may exceed the budget by a reserve.
    pub(super) fn insert_with_reserve(
        &mut self,
        key: NamespacedName,
        value: V,
        reserve: usize,
    ) -> Option<V> {
        let replaced = self.remove(&key);
        let size = ENTRY + value.size();
        if self.bytes + size > self.budget + reserve {
            self.overflowed = true;
            return replaced;
        }
        self.bytes += size;
        self.map.insert(key, value);
        replaced
    }

    pub(super) fn remove(&mut self, key: &NamespacedName) -> Option<V> {
        let removed = self.map.remove(key)?;
        self.bytes -= ENTRY + removed.size();
        Some(removed)
    }

    pub(super) fn get(&self, key: &NamespacedName) -> Option<&V> {
        self.map.get(key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.map.values()
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Returns the keys that are not in a list.
    pub(super) fn unlisted(&self, listed: &HashSet<NamespacedName>) -> Vec<NamespacedName> {
        self.map.keys().filter(|key| !listed.contains(*key)).cloned().collect()
    }

    /// Returns whether an object was left out since the last call.
    pub(super) fn take_overflowed(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl MemorySize for usize {
        fn size(&self) -> usize {
            *self
        }
    }

    fn key(name: &str) -> NamespacedName {
        NamespacedName::new("shop", name)
    }

    #[test]
    fn leaves_out_what_exceeds_the_budget() {
        let mut map = BoundedMap::new(2 * ENTRY + 100);
        assert_eq!(map.insert(key("a"), 40), None);
        assert_eq!(map.insert(key("b"), 60), None);
        assert!(!map.take_overflowed());
        assert_eq!(map.insert(key("c"), 1), None);
        assert!(map.take_overflowed() && map.get(&key("c")).is_none());
        assert_eq!(map.insert_with_reserve(key("c"), 1, ENTRY + 1), None);
        assert_eq!(map.remove(&key("c")), Some(1));
        assert_eq!(map.insert(key("a"), 41), Some(40), "the previous version is not kept");
        assert_eq!((map.get(&key("a")), map.len()), (None, 1));
        assert_eq!(map.insert(key("a"), 40), None);
        assert_eq!(map.unlisted(&[key("a")].into()), [key("b")]);
        assert_eq!(map.remove(&key("b")), Some(60));
        assert_eq!(map.remove(&key("a")), Some(40));
        assert_eq!((map.bytes, map.len()), (0, 0));
    }
}
