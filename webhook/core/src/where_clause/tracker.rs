//! What an expression is about: a session, and who asks.

use std::collections::BTreeMap;

use mirrord_sessions_crds::{Session, TrackerKind};

/// A session as an expression sees it, borrowed from wherever it is kept.
///
/// The fields are those of RFD 82, mapped to Kubernetes as the table in the documentation of
/// [the language](super) says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracker<'a> {
    /// The session's id: `metadata.name`.
    pub session_id: &'a str,
    /// How it reaches the cluster: `job`, `ephemeral`, `process` or `operator`.
    pub kind: &'a str,
    /// `pending`, `running` or `terminated`.
    pub state: &'a str,
    /// The client's machine, in its own word.
    pub hostname: &'a str,
    /// The client's user, in its own word.
    pub login: &'a str,
    /// The target's namespace.
    pub namespace: &'a str,
    /// The target within the namespace.
    pub target: &'a str,
    /// The cluster's configured name.
    pub cluster: &'a str,
    /// The cluster's configured name, again: Teleport tells its own clusters from those of
    /// Kubernetes.
    pub kube_cluster: &'a str,
    /// The owner's Kubernetes user name; empty if the session has no owner.
    pub host_user: &'a str,
    /// The owner's Kubernetes groups.
    pub host_roles: &'a [String],
    /// Those who joined. The owner always takes part and isn't listed.
    pub joined: &'a [String],
}

impl<'a> Tracker<'a> {
    /// `session` in the cluster of this name.
    ///
    /// An agent that is a Job makes it a `job`, one in a Pod `ephemeral`; without an agent it is a
    /// wrapped `process`.
    #[must_use]
    pub fn of(session: &'a Session, cluster: &'a str) -> Self {
        let spec = &session.spec;
        let status = session.status.as_ref();
        let agent = status.and_then(|status| status.agent.as_ref());
        let client = spec.client.as_ref();
        let owner = spec.owner.as_ref();
        Self {
            session_id: session.metadata.name.as_deref().unwrap_or_default(),
            kind: TrackerKind::of(agent).as_str(),
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

    /// The owner, then those who joined.
    pub fn participants(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let owner = Some(self.host_user).filter(|owner| !owner.is_empty());
        owner.into_iter().chain(self.joined.iter().map(String::as_str))
    }
}

/// Extra values of a user, as Kubernetes' authenticators give them.
pub type Traits = BTreeMap<String, Vec<String>>;

/// The requester as an expression sees them.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// Kubernetes user name: `user.metadata.name`.
    pub name: &'a str,
    /// Kubernetes groups: `user.spec.roles`.
    pub roles: &'a [String],
    /// Extra values: `user.spec.traits`.
    pub traits: &'a Traits,
}

impl<'a> User<'a> {
    /// The values of a trait; none if the user has no such trait.
    ///
    /// Letter case of the key is ignored: the same user's keys come in lower case through the front
    /// proxy's headers and as the authenticator wrote them in an admission review, and a rule must
    /// not hold on one way and fail on the other.
    pub(super) fn values_of(&self, key: &str) -> impl Iterator<Item = &'a str> {
        self.traits
            .iter()
            .filter(move |(name, _)| name.eq_ignore_ascii_case(key))
            .flat_map(|(_, values)| values.iter().map(String::as_str))
    }
}
