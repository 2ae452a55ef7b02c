//! Who sees which tracker: the seam between the aggregated API and what decides.
//!
//! The API asks per requester and per tracker, for get, list and watch alike. What decides is put
//! behind [`Policies`]; open watches are told when that changes and ask again.

use std::{fmt::Debug, sync::Arc};

use mirrord_sessions_crds::{Owner, SessionState, TrackerKind};

use crate::identity::Requester;

/// What a requester wants to do with a tracker. A watch counts as a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// One tracker, by its name.
    Read,
    /// Trackers among others: list and watch.
    List,
}

/// A tracker as decisions see it. Nothing in it is copied.
#[derive(Clone, Copy, Debug)]
pub struct TrackerView<'a> {
    /// `metadata.namespace`.
    pub namespace: &'a str,
    /// `metadata.name`, which is the id of the session in lower case.
    pub name: &'a str,
    /// How the session reaches the cluster.
    pub kind: TrackerKind,
    /// How far it has come.
    pub state: SessionState,
    /// `kind/name[/container/NAME]`, or targetless.
    pub target: &'a str,
    /// The client's word for its user; empty if it has none.
    pub login: &'a str,
    /// The client's word for its machine; empty if it has none.
    pub hostname: &'a str,
    /// Who created the session, as the API server authenticated them.
    pub owner: Option<&'a Owner>,
    /// Kubernetes user names: the owner first, then those who joined.
    pub participants: &'a [String],
}

impl TrackerView<'_> {
    /// Whether this user takes part in the session.
    #[must_use]
    pub fn has_participant(&self, username: &str) -> bool {
        self.participants.iter().any(|one| one == username)
    }
}

/// What one requester sees. Asked for every tracker of a list, so it must not allocate.
pub trait Visibility: Debug + Send + Sync {
    /// Whether the requester sees this tracker.
    fn shows(&self, verb: Verb, tracker: &TrackerView<'_>) -> bool;

    /// Whether the requester, who sees the tracker, also sees its key and filters: what lets
    /// somebody join.
    fn reveals(&self, tracker: &TrackerView<'_>) -> bool;

    /// Why the requester may see nothing at all, if that doesn't depend on the tracker: the whole
    /// request is then refused.
    fn refuses(&self, verb: Verb) -> Option<String> {
        let _ = verb;
        None
    }
}

/// One generation of what decides. A change makes another generation.
pub trait Policies: Debug + Send + Sync {
    /// What this requester sees.
    fn of(&self, requester: &Requester) -> Arc<dyn Visibility>;
}

/// Everybody whom RBAC lets through sees every tracker; key and filters only who takes part.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

#[derive(Debug)]
struct EverythingOf(String);

impl Policies for Everything {
    fn of(&self, requester: &Requester) -> Arc<dyn Visibility> {
        Arc::new(EverythingOf(requester.username.clone()))
    }
}

impl Visibility for EverythingOf {
    fn shows(&self, _: Verb, _: &TrackerView<'_>) -> bool {
        true
    }

    fn reveals(&self, tracker: &TrackerView<'_>) -> bool {
        tracker.has_participant(&self.0)
    }
}
