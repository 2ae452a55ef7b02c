//! Writes to Sessions with the rights of this process: status patches and deletions.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use mirrord_sessions_core::sessions::Tracker;
use mirrord_sessions_crds::WEBHOOK_NAME;
use serde_json::{Value, json};
use tokio::time::{error::Elapsed, timeout};
use tracing::warn;

use crate::{redaction, stored_objects::StoredSession};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Outcome of a write that the API server answered.
#[derive(Debug)]
pub(crate) enum WriteOutcome {
    Written,
    /// The Session has changed since, or another one has taken its name.
    Conflict,
}

/// Reason why a Session was not written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the session does not exist")]
    NotFound,
    #[error("the API server is busy: try again")]
    Busy,
    /// The cause is logged only, since it may name what the requester must not see.
    #[error("the session can't be written: see the log of mirrord-sessions-webhook")]
    Failed,
}

/// Merges a patch into the status of the Session that a tracker shows.
///
/// With `if_unchanged`, the write conflicts unless the Session still has the tracker's version.
pub(crate) async fn patch_status(
    client: &Client,
    tracker: &Tracker,
    if_unchanged: bool,
    status: &Value,
    dry_run: bool,
) -> Result<WriteOutcome, WriteError> {
    let sessions: Api<StoredSession> = Api::namespaced(client.clone(), &tracker.key.namespace);
    let mut metadata = json!({ "uid": tracker.uid });
    if if_unchanged {
        metadata["resourceVersion"] = tracker.version.to_string().into();
    }
    let patch = Patch::Merge(json!({ "metadata": metadata, "status": status }));
    let params =
        PatchParams { dry_run, field_manager: Some(WEBHOOK_NAME.into()), ..PatchParams::default() };
    let request = sessions.patch_status(&tracker.key.name, &params, &patch);
    outcome(timeout(TIMEOUT, request).await)
}

/// Deletes the Session that a tracker shows, with its uid as precondition.
pub(crate) async fn delete(
    client: &Client,
    tracker: &Tracker,
    dry_run: bool,
) -> Result<WriteOutcome, WriteError> {
    let sessions: Api<StoredSession> = Api::namespaced(client.clone(), &tracker.key.namespace);
    let params = DeleteParams {
        dry_run,
        preconditions: Some(Preconditions {
            uid: Some(tracker.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let request = sessions.delete(&tracker.key.name, &params);
    outcome(timeout(TIMEOUT, request).await)
}

fn outcome<T>(result: Result<kube::Result<T>, Elapsed>) -> Result<WriteOutcome, WriteError> {
    let error = match result {
        Ok(Ok(_)) => return Ok(WriteOutcome::Written),
        Ok(Err(kube::Error::Api(status))) => match status.code {
            404 => return Err(WriteError::NotFound),
            409 => return Ok(WriteOutcome::Conflict),
            429 | 503 | 504 => return Err(WriteError::Busy),
            _ => redaction::status(&status),
        },
        Ok(Err(error)) => redaction::summary(&error),
        Err(_) => format!("no response within {TIMEOUT:?}"),
    };
    warn!(error, "failed to write a session");
    Err(WriteError::Failed)
}
