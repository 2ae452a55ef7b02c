//! Writing the status of Sessions, and deleting them, as the controller that this process is.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use mirrord_sessions_core::{apiserver::Failure, sessions::Tracker, text::printable};
use mirrord_sessions_crds::WEBHOOK_NAME;
use serde_json::{Value, json};
use tokio::time::{error::Elapsed, timeout};
use tracing::warn;

use crate::stored_objects::StoredSession;

/// How long a write may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Written {
    Done,
    /// The Session has changed in between, or is another.
    Changed,
}

/// Merges this into the status of the very Session that the tracker shows; if `as_shown`, only if
/// it is still as that shows it.
pub(crate) async fn patch_status(
    client: &Client,
    tracker: &Tracker,
    as_shown: bool,
    status: &Value,
    dry_run: bool,
) -> Result<Written, Failure> {
    let sessions: Api<StoredSession> = Api::namespaced(client.clone(), &tracker.key.namespace);
    let mut metadata = json!({ "uid": tracker.uid });
    if as_shown {
        metadata["resourceVersion"] = tracker.version.to_string().into();
    }
    let patch = Patch::Merge(json!({ "metadata": metadata, "status": status }));
    let params =
        PatchParams { dry_run, field_manager: Some(WEBHOOK_NAME.into()), ..PatchParams::default() };
    let written = sessions.patch_status(&tracker.key.name, &params, &patch);
    written_to(tracker, timeout(PATIENCE, written).await)
}

/// Deletes the very Session that the tracker shows.
pub(crate) async fn delete(
    client: &Client,
    tracker: &Tracker,
    dry_run: bool,
) -> Result<Written, Failure> {
    let sessions: Api<StoredSession> = Api::namespaced(client.clone(), &tracker.key.namespace);
    let params = DeleteParams {
        dry_run,
        preconditions: Some(Preconditions {
            uid: Some(tracker.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let deleted = sessions.delete(&tracker.key.name, &params);
    written_to(tracker, timeout(PATIENCE, deleted).await)
}

fn written_to<T>(
    tracker: &Tracker,
    result: Result<kube::Result<T>, Elapsed>,
) -> Result<Written, Failure> {
    let error = match result {
        Ok(Ok(_)) => return Ok(Written::Done),
        Ok(Err(kube::Error::Api(answer))) => match answer.code {
            404 => return Err(Failure::no_such_tracker(&tracker.key.name)),
            409 => return Ok(Written::Changed),
            429 | 503 | 504 => return Err(Failure::not_ready("the API server is busy: try again")),
            _ => printable(&answer.message, 300),
        },
        Ok(Err(error)) => printable(&error.to_string(), 300),
        Err(_) => format!("no answer within {PATIENCE:?}"),
    };
    warn!(error, "a session can't be written");
    Err(Failure::internal("the session can't be written: see the log of mirrord-sessions-webhook"))
}
