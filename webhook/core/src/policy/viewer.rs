//! The set of all policies, and its resolution for one requester.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Policy, Verb, Visibility, visibility::Cause};
use crate::{
    identity::Requester,
    where_clause::{Tracker, User},
};

/// Immutable set of the cluster's policies. Each change creates a new set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PolicySet {
    policies: BTreeMap<Arc<str>, Arc<Policy>>,
    cluster: Arc<str>,
}

impl PolicySet {
    /// Creates a set of policies for the cluster with this configured name.
    #[must_use]
    pub fn new(cluster: &str, policies: impl IntoIterator<Item = Policy>) -> Self {
        Self::from_shared(cluster, policies.into_iter().map(Arc::new))
    }

    /// Creates a set of policies that other sets may share.
    #[must_use]
    pub fn from_shared(cluster: &str, policies: impl IntoIterator<Item = Arc<Policy>>) -> Self {
        let policies = policies.into_iter();
        Self {
            policies: policies.map(|policy| (Arc::clone(&policy.name), policy)).collect(),
            cluster: cluster.into(),
        }
    }

    /// Returns the number of policies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Returns whether there are no policies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Resolves the policies for a requester and a verb.
    #[must_use]
    pub fn visibility(&self, requester: &Requester, verb: Verb) -> Visibility {
        let user =
            User { name: &requester.username, roles: &requester.groups, traits: &requester.extra };
        Visibility::resolve(self.policies.values().map(AsRef::as_ref), &user, verb)
    }

    /// Resolves the policies for a requester with these join rights.
    #[must_use]
    pub fn viewer(&self, requester: &Requester, join_rights: JoinRights) -> Viewer {
        Viewer {
            username: requester.username.as_str().into(),
            list: self.visibility(requester, Verb::List),
            read: self.visibility(requester, Verb::Read),
            delete: self.visibility(requester, Verb::Delete),
            join: self.visibility(requester, Verb::Join),
            join_rights,
            cluster: Arc::clone(&self.cluster),
        }
    }
}

/// Namespaces in which RBAC allows a requester to create `sessiontrackers/join`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum JoinRights {
    /// The requester may join in no namespace.
    #[default]
    Nowhere,
    /// The requester may join in every namespace.
    Everywhere,
    /// The namespaces of this set.
    In(BTreeSet<Box<str>>),
}

impl JoinRights {
    /// Returns whether the requester may join sessions in a namespace.
    #[must_use]
    pub fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Everywhere => true,
            Self::In(namespaces) => namespaces.contains(namespace),
        }
    }
}

/// A policy set resolved for one requester.
///
/// Lists query it for every tracker, so its methods do not allocate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Viewer {
    username: Box<str>,
    list: Visibility,
    read: Visibility,
    delete: Visibility,
    join: Visibility,
    join_rights: JoinRights,
    cluster: Arc<str>,
}

impl Viewer {
    /// Returns whether policies allow a verb on a session. A watch counts as a list.
    #[must_use]
    pub fn may(&self, verb: Verb, tracker: &Tracker<'_>) -> bool {
        match self.visibility(verb) {
            Visibility::Everything(_) => true,
            Visibility::Nothing(_) => false,
            filtered @ Visibility::Filtered(_) => filtered.includes(&self.with_cluster(tracker)),
        }
    }

    /// Returns whether the requester may see key and filters of a visible session.
    ///
    /// They allow any reader to join. Participants see them, and users whom RBAC and policies allow
    /// to join.
    #[must_use]
    pub fn reveals(&self, tracker: &Tracker<'_>) -> bool {
        tracker.participants().any(|name| *name == *self.username)
            || (self.join_rights.covers(tracker.namespace) && self.may(Verb::Join, tracker))
    }

    /// Returns why a verb is forbidden on every session, or `None` if it depends on the session.
    #[must_use]
    pub fn forbidden_reason(&self, verb: Verb) -> Option<String> {
        match self.visibility(verb) {
            Visibility::Nothing(Cause::NoAllowRule) => {
                Some("SessionPolicies have allow rules for it, and none of them can match".into())
            }
            Visibility::Nothing(Cause::Rule(rule)) => {
                Some(format!("denied by SessionPolicy {rule}"))
            }
            Visibility::Nothing(cause) => Some(format!("denied {cause}")),
            _ => None,
        }
    }

    /// Returns why policies deny a verb on a session, or `None` if they allow it.
    ///
    /// The reason names a rule, so it must not be shown to a requester who does not see the
    /// session.
    #[must_use]
    pub fn denial_cause(&self, verb: Verb, tracker: &Tracker<'_>) -> Option<Cause> {
        let verdict = self.visibility(verb).explain(&self.with_cluster(tracker));
        (!verdict.visible).then_some(verdict.cause)
    }

    /// Replaces the join rights.
    #[must_use]
    pub fn with_join_rights(self, join_rights: JoinRights) -> Self {
        Self { join_rights, ..self }
    }

    fn visibility(&self, verb: Verb) -> &Visibility {
        match verb {
            Verb::List => &self.list,
            Verb::Read => &self.read,
            Verb::Delete => &self.delete,
            Verb::Join => &self.join,
        }
    }

    /// Sets the name of the cluster, which trackers are stored without.
    fn with_cluster<'a>(&'a self, tracker: &Tracker<'a>) -> Tracker<'a> {
        Tracker { cluster: &self.cluster, kube_cluster: &self.cluster, ..*tracker }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixtures::policies;

    fn requester(name: &str) -> Requester {
        Requester {
            extra: [("Team".to_owned(), vec!["red".to_owned()])].into(),
            ..crate::policy::fixtures::requester(name)
        }
    }

    const ALICES: Tracker<'_> = Tracker {
        session_id: "a",
        namespace: "shop",
        host_user: "alice",
        kind: "job",
        state: "running",
        hostname: "",
        login: "",
        target: "targetless",
        cluster: "",
        kube_cluster: "",
        host_roles: &[],
        joined: &[],
    };

    #[test]
    fn conditions_use_cluster_and_traits() {
        for (clause, expected) in [
            ("tracker.cluster == 'west'", true),
            ("tracker.kube_cluster == 'east'", false),
            ("contains(user.spec.traits.team, 'red')", true),
            ("contains(user.spec.traits['team'], 'blue')", false),
        ] {
            let yaml = format!(
                "allow: {{rules: [{{resources: ['*'], verbs: [list], where: \"{clause}\"}}]}}"
            );
            let viewer = policies(&yaml).viewer(&requester("bob"), JoinRights::Nowhere);
            assert_eq!(viewer.may(Verb::List, &ALICES), expected, "{clause}");
            assert!(viewer.may(Verb::Read, &ALICES), "no rule applies to the verb");
        }
    }

    #[test]
    fn reveals_secrets_to_participants_and_users_who_may_join() {
        let shop = || JoinRights::In([Box::from("shop")].into());
        let till = || JoinRights::In([Box::from("till")].into());
        let no_join = "deny: {rules: [{resources: ['*'], verbs: [join]}]}";
        for (name, yaml, user, join_rights, expected) in [
            ("the owner", "{}", "alice", JoinRights::Nowhere, true),
            ("the owner, denied", no_join, "alice", JoinRights::Nowhere, true),
            ("a participant", "{}", "carol", JoinRights::Nowhere, true),
            ("another user", "{}", "bob", JoinRights::Nowhere, false),
            ("may join", "{}", "bob", JoinRights::Everywhere, true),
            ("may join here", "{}", "bob", shop(), true),
            ("may join elsewhere", "{}", "bob", till(), false),
            ("denied by policy", no_join, "bob", shop(), false),
        ] {
            let joined = ["carol".to_owned()];
            let tracker = Tracker { joined: &joined, ..ALICES };
            let viewer = policies(yaml).viewer(&requester(user), join_rights);
            assert_eq!(viewer.reveals(&tracker), expected, "{name}");
        }
    }

    #[test]
    fn returns_reason_of_forbidden_verb() {
        let deny = policies("deny: {rules: [{resources: ['*'], verbs: [list]}]}");
        let root_only = policies(
            "allow: {rules: [{resources: ['*'], verbs: [list], where: 'user.metadata.name == \"root\"'}]}",
        );
        let reason = |set: &PolicySet, verb| {
            let viewer = set.viewer(&requester("bob"), JoinRights::Nowhere);
            viewer.forbidden_reason(verb)
        };
        assert_eq!(
            reason(&deny, Verb::List).as_deref(),
            Some("denied by SessionPolicy p spec.deny.rules[0]")
        );
        assert!(
            reason(&root_only, Verb::List)
                .is_some_and(|reason| reason.contains("none of them can match"))
        );
        assert_eq!(reason(&root_only, Verb::Join), None);
        let viewer = deny.viewer(&requester("bob"), JoinRights::Nowhere);
        assert!(matches!(viewer.denial_cause(Verb::List, &ALICES), Some(Cause::Rule(_))));
        assert_eq!(viewer.denial_cause(Verb::Read, &ALICES), None);
    }
}
