//! Which versions of objects were seen.
//!
//! Who writes an object knows the newest version before the watch tells of it, which may still have
//! to tell of older ones.

use std::collections::{HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Place, place};

/// The newest version that was seen of each object that is there.
#[derive(Debug, Default)]
pub(crate) struct Versions(HashMap<Place, (Box<str>, u64)>);

impl Versions {
    /// Whether a newer version of this very object was seen before; none is newer than one that
    /// can't be compared.
    pub(crate) fn is_past(&mut self, meta: &ObjectMeta) -> bool {
        let version = meta.resource_version.as_deref().map(str::parse::<u64>);
        let (Some(place), Some(uid), Some(Ok(version))) =
            (place(meta), meta.uid.as_deref(), version)
        else {
            return false;
        };
        let seen = self.0.get(&place);
        if seen.is_some_and(|(seen, newest)| **seen == *uid && *newest > version) {
            return true;
        }
        self.0.insert(place, (uid.into(), version));
        false
    }

    /// The object is gone.
    pub(crate) fn forget(&mut self, place: &Place) {
        self.0.remove(place);
    }

    /// Others than these are gone.
    pub(crate) fn retain(&mut self, there: &HashSet<Place>) {
        self.0.retain(|place, _| there.contains(place));
    }

    /// What is listed now counts, also where versions have gone back: a cluster may be restored
    /// from a backup.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past() {
        let mut versions = Versions::default();
        let meta = |uid: &str, version: Option<&str>| ObjectMeta {
            namespace: Some("shop".into()),
            name: Some("a".into()),
            uid: Some(uid.into()),
            resource_version: version.map(Into::into),
            ..ObjectMeta::default()
        };
        for (name, uid, version, past) in [
            ("new", "1", Some("9"), false),
            ("newer, as a number", "1", Some("10"), false),
            ("older", "1", Some("9"), true),
            ("the same", "1", Some("10"), false),
            ("no version", "1", None, false),
            ("not a number", "1", Some("x"), false),
            ("older still", "1", Some("2"), true),
            ("another of the name", "2", Some("3"), false),
            ("older than that", "2", Some("2"), true),
        ] {
            assert_eq!(versions.is_past(&meta(uid, version)), past, "{name}");
        }
        let place = place(&meta("2", None)).unwrap();
        versions.retain(&[place.clone()].into());
        assert!(versions.is_past(&meta("2", Some("2"))));
        versions.forget(&place);
        assert!(!versions.is_past(&meta("2", Some("2"))));
        versions.clear();
        assert!(!versions.is_past(&meta("2", Some("1"))));
        versions.retain(&HashSet::new());
        assert!(!versions.is_past(&meta("2", Some("0"))));
    }
}
