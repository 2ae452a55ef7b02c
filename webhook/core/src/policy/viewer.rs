//! All policies at once, and what one requester sees by them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Policy, Verb, Visibility, visibility::Cause};
use crate::{
    identity::Requester,
    where_clause::{Tracker, User},
};

/// One generation of the cluster's policies. A change makes another generation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PolicySet {
    policies: BTreeMap<Arc<str>, Policy>,
    cluster: Arc<str>,
}

impl PolicySet {
    /// These policies, of the cluster of this configured name.
    #[must_use]
    pub fn new(cluster: &str, policies: impl IntoIterator<Item = Policy>) -> Self {
        let policies = policies.into_iter();
        Self {
            policies: policies.map(|policy| (Arc::clone(&policy.name), policy)).collect(),
            cluster: cluster.into(),
        }
    }

    /// Policies written, in whatever order they came.
    #[must_use]
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there is no policy.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// What they come to for one verb.
    #[must_use]
    pub fn decide(&self, requester: &Requester, verb: Verb) -> Visibility {
        let user =
            User { name: &requester.username, roles: &requester.groups, traits: &requester.extra };
        Visibility::of(self.policies.values(), &user, verb)
    }

    /// What this requester sees, who may join where RBAC says.
    #[must_use]
    pub fn viewer(&self, requester: &Requester, joins: JoinRights) -> Viewer {
        Viewer {
            username: requester.username.as_str().into(),
            list: self.decide(requester, Verb::List),
            read: self.decide(requester, Verb::Read),
            delete: self.decide(requester, Verb::Delete),
            join: self.decide(requester, Verb::Join),
            joins,
            cluster: Arc::clone(&self.cluster),
        }
    }
}

/// Where RBAC lets a requester `create sessiontrackers/join`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum JoinRights {
    /// In no namespace.
    #[default]
    Nowhere,
    /// In every namespace.
    Everywhere,
    /// In these.
    In(BTreeSet<Box<str>>),
}

impl JoinRights {
    /// Whether the requester may join sessions of this namespace.
    #[must_use]
    pub fn cover(&self, namespace: &str) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Everywhere => true,
            Self::In(namespaces) => namespaces.contains(namespace),
        }
    }
}

/// What one requester sees and may do, by one generation of the policies. Asked for every tracker
/// of a list: nothing here allocates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Viewer {
    username: Box<str>,
    list: Visibility,
    read: Visibility,
    delete: Visibility,
    join: Visibility,
    joins: JoinRights,
    cluster: Arc<str>,
}

impl Viewer {
    /// Whether policy lets the requester do that to this session. A watch counts as a list.
    #[must_use]
    pub fn may(&self, verb: Verb, tracker: &Tracker<'_>) -> bool {
        match self.of(verb) {
            Visibility::Everything(_) => true,
            Visibility::Nothing(_) => false,
            filtered @ Visibility::Filtered(_) => filtered.shows(&self.here(tracker)),
        }
    }

    /// Whether the requester, who sees the session, also sees its key and filters: what lets
    /// somebody join. Those do who take part, and those whom RBAC and policy let join.
    #[must_use]
    pub fn reveals(&self, tracker: &Tracker<'_>) -> bool {
        tracker.participants().any(|name| *name == *self.username)
            || (self.joins.cover(tracker.namespace) && self.may(Verb::Join, tracker))
    }

    /// Why the requester may do that to no session at all, where it doesn't depend on the session:
    /// the request as a whole is forbidden then.
    #[must_use]
    pub fn refuses(&self, verb: Verb) -> Option<String> {
        match self.of(verb) {
            Visibility::Nothing(Cause::NoAllowRule) => Some(
                "a SessionPolicy says which sessions one may, and no rule of it can match".into(),
            ),
            Visibility::Nothing(cause) => Some(format!("SessionPolicy {cause}")),
            _ => None,
        }
    }

    /// Why policy doesn't let the requester do that to this session, for one who sees it.
    #[must_use]
    pub fn why_not(&self, verb: Verb, tracker: &Tracker<'_>) -> Option<Cause> {
        let verdict = self.of(verb).explain(&self.here(tracker));
        (!verdict.visible).then_some(verdict.cause)
    }

    /// The same, who may join there.
    #[must_use]
    pub fn with_join_rights(self, joins: JoinRights) -> Self {
        Self { joins, ..self }
    }

    fn of(&self, verb: Verb) -> &Visibility {
        match verb {
            Verb::List => &self.list,
            Verb::Read => &self.read,
            Verb::Delete => &self.delete,
            Verb::Join => &self.join,
        }
    }

    /// Sessions are kept without the name of the cluster, which is the same for all.
    fn here<'a>(&'a self, tracker: &Tracker<'a>) -> Tracker<'a> {
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
    fn rules_know_the_cluster_and_traits() {
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
            assert!(viewer.may(Verb::Read, &ALICES), "no rule is about it");
        }
    }

    #[test]
    fn secrets_are_for_who_takes_part_or_may_join() {
        let shop = || JoinRights::In([Box::from("shop")].into());
        let till = || JoinRights::In([Box::from("till")].into());
        let no_join = "deny: {rules: [{resources: ['*'], verbs: [join]}]}";
        for (name, yaml, who, joins, expected) in [
            ("the owner", "{}", "alice", JoinRights::Nowhere, true),
            ("the owner, denied", no_join, "alice", JoinRights::Nowhere, true),
            ("joined", "{}", "carol", JoinRights::Nowhere, true),
            ("another", "{}", "bob", JoinRights::Nowhere, false),
            ("may join", "{}", "bob", JoinRights::Everywhere, true),
            ("may join here", "{}", "bob", shop(), true),
            ("may join elsewhere", "{}", "bob", till(), false),
            ("denied by policy", no_join, "bob", shop(), false),
        ] {
            let joined = ["carol".to_owned()];
            let tracker = Tracker { joined: &joined, ..ALICES };
            let viewer = policies(yaml).viewer(&requester(who), joins);
            assert_eq!(viewer.reveals(&tracker), expected, "{name}");
        }
    }

    #[test]
    fn what_is_refused_as_a_whole_says_why() {
        let deny = policies("deny: {rules: [{resources: ['*'], verbs: [list]}]}");
        let nobody = policies(
            "allow: {rules: [{resources: ['*'], verbs: [list], where: 'user.metadata.name == \"root\"'}]}",
        );
        let why = |set: &PolicySet, verb| {
            let viewer = set.viewer(&requester("bob"), JoinRights::Nowhere);
            viewer.refuses(verb)
        };
        assert_eq!(
            why(&deny, Verb::List).as_deref(),
            Some("SessionPolicy by p spec.deny.rules[0]")
        );
        assert!(why(&nobody, Verb::List).is_some_and(|why| why.contains("no rule")));
        assert_eq!(why(&nobody, Verb::Join), None);
        let viewer = deny.viewer(&requester("bob"), JoinRights::Nowhere);
        assert!(matches!(viewer.why_not(Verb::List, &ALICES), Some(Cause::Rule(_))));
        assert_eq!(viewer.why_not(Verb::Read, &ALICES), None);
    }
}
