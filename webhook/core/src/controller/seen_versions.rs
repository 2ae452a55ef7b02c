//! The newest resource versions seen of cached objects.
//!
//! The controller applies the responses to its own writes to the cache. The watch delivers the same
//! objects later and may still deliver older versions, which must not overwrite newer ones.

use std::collections::{HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::NamespacedName;

/// The maximum number of versions. Beyond it, versions of further objects are never stale.
const MAX: usize = 20_000;

/// The newest resource version seen of each object, with the object's UID.
#[derive(Debug, Default)]
pub(crate) struct SeenVersions(HashMap<NamespacedName, (Box<str>, u64)>);

impl SeenVersions {
    /// Returns whether a newer version of the same object was seen, and records this version if
    /// not.
    ///
    /// A resource version that is not a number is never stale.
    pub(crate) fn is_stale(&mut self, meta: &ObjectMeta) -> bool {
        let version = meta.resource_version.as_deref().map(str::parse::<u64>);
        let (Some(key), Some(uid), Some(Ok(version))) =
            (NamespacedName::from_meta(meta), meta.uid.as_deref(), version)
        else {
            return false;
        };
        let seen = self.0.get(&key);
        if seen.is_some_and(|(seen, newest)| **seen == *uid && *newest > version) {
            return true;
        }
        if self.0.len() < MAX || self.0.contains_key(&key) {
            self.0.insert(key, (uid.into(), version));
        }
        false
    }

    /// Removes a deleted object.
    pub(crate) fn remove(&mut self, key: &NamespacedName) {
        self.0.remove(key);
    }

    /// Removes all objects except the listed ones.
    pub(crate) fn retain(&mut self, listed: &HashSet<NamespacedName>) {
        self.0.retain(|key, _| listed.contains(key));
    }

    /// Removes all versions before a relist.
    ///
    /// A list is accepted even with older versions, because a cluster may be restored from a
    /// backup.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_stale_versions() {
        let mut versions = SeenVersions::default();
        let meta = |uid: &str, version: Option<&str>| ObjectMeta {
            namespace: Some("shop".into()),
            name: Some("a".into()),
            uid: Some(uid.into()),
            resource_version: version.map(Into::into),
            ..ObjectMeta::default()
        };
        for (name, uid, version, is_stale) in [
            ("new", "1", Some("9"), false),
            ("newer when compared as numbers", "1", Some("10"), false),
            ("older", "1", Some("9"), true),
            ("same version", "1", Some("10"), false),
            ("no version", "1", None, false),
            ("not a number", "1", Some("x"), false),
            ("older still", "1", Some("2"), true),
            ("another object of the same name", "2", Some("3"), false),
            ("older version of that object", "2", Some("2"), true),
        ] {
            assert_eq!(versions.is_stale(&meta(uid, version)), is_stale, "{name}");
        }
        let key = NamespacedName::from_meta(&meta("2", None)).unwrap();
        versions.retain(&[key.clone()].into());
        assert!(versions.is_stale(&meta("2", Some("2"))));
        versions.remove(&key);
        assert!(!versions.is_stale(&meta("2", Some("2"))));
        versions.clear();
        assert!(!versions.is_stale(&meta("2", Some("1"))));
        versions.retain(&HashSet::new());
        assert!(!versions.is_stale(&meta("2", Some("0"))));
    }
}
