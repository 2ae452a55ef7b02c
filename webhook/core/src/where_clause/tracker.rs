//! Inputs of expressions: a session and the requester.

use std::collections::BTreeMap;

use mirrord_sessions_crds::{Session, TrackerKind};

/// Groups that `user.spec.roles` and `tracker.host_roles` leave out.
///
/// Authenticators add them to every user, and to every service account. Two users who share no
/// other group have nothing in common, and a rule about shared groups must not match them.
pub const IMPLICIT_GROUPS: [&str; 3] =
    ["system:authenticated", "system:serviceaccounts", "system:unauthenticated"];

/// Returns the groups without [`IMPLICIT_GROUPS`].
fn own_groups(groups: &[String]) -> impl Iterator<Item = &str> {
    let groups = groups.iter().map(String::as_str);
    groups.filter(|group| !(group.starts_with("system:") && IMPLICIT_GROUPS.contains(group)))
}

/// Fields of a session that expressions can refer to.
///
/// The documentation of [the language](super) maps the fields of RFD 82 to Kubernetes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracker<'a> {
    /// The session's id, `metadata.name`.
    pub session_id: &'a str,
    /// Kind of session: `job`, `ephemeral`, `process` or `operator`.
    pub kind: &'a str,
    /// State: `pending`, `running` or `terminated`.
    pub state: &'a str,
    /// Hostname that the client reports.
    pub hostname: &'a str,
    /// User name that the client reports.
    pub login: &'a str,
    /// The namespace of the target.
    pub namespace: &'a str,
    /// The target within the namespace.
    pub target: &'a str,
    /// The cluster's configured name.
    pub cluster: &'a str,
    /// The cluster's configured name too, since Teleport distinguishes its own clusters from those
    /// of Kubernetes.
    pub kube_cluster: &'a str,
    /// The owner's Kubernetes user name; empty if the session has no owner.
    pub host_user: &'a str,
    /// The owner's Kubernetes groups.
    pub host_roles: &'a [String],
    /// Users who joined, without the owner.
    pub joined: &'a [String],
}

impl<'a> Tracker<'a> {
    /// Returns the fields of a Session in the cluster with this name.
    ///
    /// The kind is `job` for an agent in a Job, `ephemeral` for one in a Pod, and `process` without
    /// an agent.
    #[must_use]
    pub fn from_session(session: &'a Session, cluster: &'a str) -> Self {
        let spec = &session.spec;
        let status = session.status.as_ref();
        let agent = status.and_then(|status| status.agent.as_ref());
        let client = spec.client.as_ref();
        let owner = spec.owner.as_ref();
        Self {
            session_id: session.metadata.name.as_deref().unwrap_or_default(),
            kind: TrackerKind::from_agent(agent).as_str(),
            state: status.map(|status| status.state).unwrap_or_default().as_str(),
            hostname: client.and_then(|client| client.hostname.as_deref()).unwrap_or_default(),
            login: client.and_then(|client| client.username.as_deref()).unwrap_or_default(),
            namespace: session.metadata.namespace.as_deref().unwrap_or_default(),
            target: &spec.target,
            cluster,
            kube_cluster: cluster,
            host_user: owner.map(|owner| owner.username.as_str()).unwrap_or_default(),
            host_roles: owner.map(|owner| &*owner.groups).unwrap_or_default(),
            joined: status.map(|status| &*status.participants).unwrap_or_default(),
        }
    }

    /// Returns the owner's groups without [`IMPLICIT_GROUPS`].
    pub(super) fn own_host_roles(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        own_groups(self.host_roles)
    }

    /// Returns the owner, then the users who joined.
    pub fn participants(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let owner = Some(self.host_user).filter(|owner| !owner.is_empty());
        owner.into_iter().chain(self.joined.iter().map(String::as_str))
    }
}

/// Extra values of a user from a Kubernetes authenticator.
pub type Traits = BTreeMap<String, Vec<String>>;

/// Fields of the requester that expressions can refer to.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// Kubernetes user name, `user.metadata.name`.
    pub name: &'a str,
    /// The Kubernetes groups of the requester, `user.spec.roles`.
    pub roles: &'a [String],
    /// The extra values of the requester, `user.spec.traits`.
    pub traits: &'a Traits,
}

impl<'a> User<'a> {
    /// Returns the groups of the user without [`IMPLICIT_GROUPS`].
    pub(super) fn own_roles(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        own_groups(self.roles)
    }

    /// Returns the values of a trait, or none if the user does not have it.
    ///
    /// Keys are compared case-insensitively, so that a rule has the same result in both APIs: the
    /// headers of the front proxy carry keys in lower case, and admission reviews carry them as the
    /// authenticator wrote them.
    pub(super) fn trait_values(&self, key: &str) -> impl Iterator<Item = &'a str> {
        self.traits
            .iter()
            .filter(move |(name, _)| name.eq_ignore_ascii_case(key))
            .flat_map(|(_, values)| values.iter().map(String::as_str))
    }
}
