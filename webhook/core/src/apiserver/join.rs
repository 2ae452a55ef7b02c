//! `sessiontrackers/join`: who may take part, and what they are told.

use mirrord_sessions_crds::{
    JoinHeader, SessionJoinStatus, SessionState, TRACKER_GROUP, TRACKER_VERSION,
    session::MAX_PARTICIPANTS,
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{
    ApiError,
    subresource::{self, Subresource},
};
use crate::sessions::Tracker;
use crate::{
    identity::Requester,
    policy::{Verb, Viewer},
};

/// Checks what was sent, which may be nothing: there is nothing to say.
///
/// # Errors
/// It is something else.
pub fn read(body: &[u8]) -> Result<(), ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    subresource::spec::<IgnoredAny>(body, Subresource::Join).map(|_| ())
}

/// Who has joined after the requester did; none if they take part already. RBAC has allowed it.
///
/// # Errors
/// They may not, or there is no such session to their eyes.
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
    if tracker.status.state == SessionState::Terminated {
        return Err(ApiError::session_ended(tracker));
    }
    let username = &requester.username;
    if view.participants().any(|participant| participant == username) {
        return Ok(None);
    }
    let forbidden =
        |why: &str| ApiError::subresource_forbidden(username, Subresource::Join, name, why);
    if let Some(cause) = viewer.why_not(Verb::Join, &view) {
        return Err(forbidden(&format!("denied {cause}")));
    }
    if view.joined.len() >= MAX_PARTICIPANTS {
        return Err(forbidden(&format!(
            "{MAX_PARTICIPANTS} have joined already, which is as many as can"
        )));
    }
    let mut joined = view.joined.to_vec();
    joined.push(username.clone());
    Ok(Some(joined))
}

/// What is answered to who takes part, when these have joined.
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
            header: key.as_deref().map(JoinHeader::of_key),
            participants,
        },
    })
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
