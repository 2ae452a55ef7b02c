//! Cluster state that the controller depends on: the guard policies and the Session CRD.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::guard::GuardState;

/// The time that a policy may take to reach every API server.
///
/// Stamps on objects that were created within this time after a change of the policy are not
/// trusted.
pub(crate) const PROPAGATION_DELAY: Duration = Duration::from_secs(5);

/// The current state of the guard policies and of the Session CRD.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Prerequisites {
    /// The state of the guard of stamps on Jobs.
    pub job_guard: GuardState,
    /// The state of the guard of stamps on ephemeral containers.
    pub ephemeral_guard: GuardState,
    /// The Session CRD, or `None` if it does not exist.
    pub crd: Option<SessionCrd>,
}

/// The CustomResourceDefinition of Sessions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionCrd {
    /// The UID of the CRD. Deleting a CRD deletes all its Sessions.
    pub uid: String,
    /// Set while the CRD is being deleted.
    pub deleting: bool,
    /// The creation time of the CRD.
    pub created_at: Option<Timestamp>,
}

/// Returns whether an object was created after the guard had reached every API server.
pub(crate) fn is_created_under_guard(guarded_since: Timestamp, created_at: Timestamp) -> bool {
    let delay = SignedDuration::try_from(PROPAGATION_DELAY).unwrap_or_default();
    created_at.duration_since(guarded_since) > delay
}
