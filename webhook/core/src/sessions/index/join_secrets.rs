//! Keys and filters that only users who may join a session see.

use std::{collections::BTreeSet, ops::Bound};

use super::{Index, TrackerKey};
use crate::policy::{Verb, Viewer};

impl Index {
    /// Returns the namespaces in which the right to join would reveal a key or a filter.
    ///
    /// `viewer` is the requester without any right to join.
    #[must_use]
    pub fn namespaces_with_hidden_secrets(
        &self,
        namespace: Option<&str>,
        viewer: &Viewer,
    ) -> BTreeSet<Box<str>> {
        let mut namespaces = BTreeSet::new();
        if viewer.forbidden_reason(Verb::Join).is_some() {
            return namespaces;
        }
        let mut from = Bound::Included(TrackerKey {
            namespace: namespace.unwrap_or_default().into(),
            name: "".into(),
        });
        loop {
            let next = self
                .trackers
                .range((from, Bound::Unbounded))
                .take_while(|(key, _)| {
                    namespace.is_none_or(|namespace| *key.namespace == *namespace)
                })
                .find(|(_, tracker)| {
                    tracker.has_secrets() && {
                        let view = tracker.view();
                        !viewer.reveals(&view)
                            && viewer.may(Verb::Join, &view)
                            && (viewer.may(Verb::List, &view) || viewer.may(Verb::Read, &view))
                    }
                });
            let Some((key, _)) = next else {
                return namespaces;
            };
            // One tracker decides for its namespace. No name sorts after the last code point, so
            // the search resumes at the next namespace.
            from = Bound::Excluded(TrackerKey {
                namespace: key.namespace.clone(),
                name: "\u{10ffff}".into(),
            });
            namespaces.insert(key.namespace.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::Requester,
        policy::{JoinRights, Policy, PolicySet},
        sessions::fixtures::session,
    };

    #[test]
    fn returns_namespaces_where_join_reveals_secrets() {
        let mut index = Index::default();
        index.replace(
            vec![
                session("a", "own").owned_by("bob").key("k").tracker(1),
                session("b", "plain").owned_by("alice").tracker(2),
                session("c", "one").owned_by("alice").key("k").tracker(3),
                session("c", "two").owned_by("alice").key("k").tracker(4),
                session("c-d", "ports").owned_by("alice").port(80, Some("f")).tracker(5),
                session("secret", "hidden").owned_by("alice").key("k").tracker(6),
            ],
            10,
        );
        let bob = Requester { username: "bob".into(), ..Requester::default() };
        let set = |yaml: &str| {
            let (policy, errors) = Policy::from_spec("p", &serde_saphyr::from_str(yaml).unwrap());
            assert_eq!(errors, []);
            PolicySet::new("", [policy])
        };
        let hidden = "{deny: {rules: [{resources: ['*'], verbs: [list, read], where: tracker.namespace == 'secret'}]}}";
        let no_join = "{deny: {rules: [{resources: ['*'], verbs: [join]}]}}";
        for (namespace, policy, expected) in [
            (None, hidden, &["c", "c-d"][..]),
            (Some("c"), hidden, &["c"]),
            (Some("a"), hidden, &[]),
            (Some("nowhere"), hidden, &[]),
            (None, no_join, &[]),
        ] {
            let viewer = set(policy).viewer(&bob, JoinRights::Nowhere);
            let found = index.namespaces_with_hidden_secrets(namespace, &viewer);
            let found: Vec<&str> = found.iter().map(|name| &**name).collect();
            assert_eq!(found, expected, "{namespace:?}");
        }
    }
}
