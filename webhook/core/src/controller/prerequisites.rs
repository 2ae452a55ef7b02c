//! What the controller stands on: the guard that makes stamps true, and the definition of Sessions.

use std::time::Duration;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::{SignedDuration, Timestamp},
};

/// How long a policy may take to reach every API server. Nothing that was created before then is
/// believed.
pub(crate) const SETTLING: Duration = Duration::from_secs(5);

/// The guard and the definition, as they are now.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ground {
    /// Since when stamps of Jobs are guarded; none if they aren't.
    pub jobs_guarded: Option<Timestamp>,
    /// Since when stamps of ephemeral containers are.
    pub ephemeral_guarded: Option<Timestamp>,
    /// The definition of Sessions; none where there is none.
    pub definition: Option<Definition>,
}

/// The definition of Sessions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Definition {
    /// Its identifier. Sessions end with it, and none of another are these.
    pub uid: String,
    /// It is about to go.
    pub going: bool,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// Since when a policy is in force: it and its binding have to be there.
#[must_use]
pub fn policy_age(policy: Option<&ObjectMeta>, binding: Option<&ObjectMeta>) -> Option<Timestamp> {
    let created = |meta: Option<&ObjectMeta>| {
        let meta = meta.filter(|meta| meta.deletion_timestamp.is_none())?;
        Some(meta.creation_timestamp.as_ref()?.0)
    };
    Some(created(policy)?.max(created(binding)?))
}

/// Whether something of this age was created under a guard of that.
pub(crate) fn is_younger(than: Timestamp, created: Timestamp) -> bool {
    let settling = SignedDuration::try_from(SETTLING).unwrap_or_default();
    created.duration_since(than) > settling
}
