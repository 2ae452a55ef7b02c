//! The subresource `sessiontrackers/join`, which adds the requester to the participants.

use mirrord_sessions_crds::{
    JoinHeader, SessionJoinStatus, TRACKER_GROUP, TRACKER_VERSION, session::MAX_PARTICIPANTS,
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{
    ApiError,
    subresource::{self, Subresource},
};
use crate::{
    identity::Requester,
    policy::{Verb, Viewer},
    sessions::Tracker,
};

/// Validates the body of a join, which may be empty.
///
/// # Errors
/// Returns 400 or 422 if the body is not a SessionJoin.
pub fn validate(body: &[u8]) -> Result<(), ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    subresource::parse_spec::<IgnoredAny>(body, Subresource::Join).map(|_| ())
}

/// Returns the joined users including the requester, or `None` if the requester participates
/// already.
///
/// The API server has authorized the request by RBAC.
///
/// # Errors
/// Returns 403 if policies deny the join, 404 if the session is hidden, and 410 if it has ended.
pub fn decide(
    tracker: &Tracker,
    viewer: &Viewer,
    requester: &Requester,
) -> Result<Option<Vec<String>>, ApiError> {
    let view = tracker.view();
    let name = &tracker.key.name;
    if !viewer.may(Verb::Read, &view) {
        return Err(ApiError::tracker_not_found(name));
    }
    if tracker.status.state.is_ending() {
        return Err(ApiError::session_ended(tracker));
    }
    let username = &requester.username;
    if view.participants().any(|participant| participant == username) {
        return Ok(None);
    }
    let forbidden =
        |reason: &str| ApiError::subresource_forbidden(username, Subresource::Join, name, reason);
    if let Some(cause) = viewer.denial_cause(Verb::Join, &view) {
        return Err(forbidden(&format!("denied {cause}")));
    }
    if view.joined.len() >= MAX_PARTICIPANTS {
        return Err(forbidden(&format!(
            "{MAX_PARTICIPANTS} users have joined already, which is the maximum"
        )));
    }
    let mut joined = view.joined.to_vec();
    joined.push(username.clone());
    Ok(Some(joined))
}

/// Returns the response to a participant, with `joined` as the new list of joined users.
#[must_use]
pub fn response(tracker: &Tracker, joined: Option<&[String]>) -> Value {
    let owner = tracker.spec.owner.as_ref().map(|owner| &owner.username);
    let participants = match joined {
        None => tracker.status.participants.clone(),
        Some(joined) => owner.into_iter().chain(joined).cloned().collect(),
    };
    let key = &tracker.spec.key;
    json!({
        "kind": Subresource::Join.kind(),
        "apiVersion": format!("{TRACKER_GROUP}/{TRACKER_VERSION}"),
        "metadata": { "name": tracker.key.name, "namespace": tracker.key.namespace },
        "status": SessionJoinStatus {
            key: key.clone(),
            header: key.as_deref().map(JoinHeader::from_key),
            participants,
        },
    })
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
