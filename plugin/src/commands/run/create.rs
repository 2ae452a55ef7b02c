//! Creation and deletion of the command's session.
//!
//! The response may be lost although the session was stored. The session therefore has a name that
//! no other client knows before the request: an existing session of that name is this one. It
//! announces reports, so that the cluster expires it without them.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mirrord_sessions_crds::{
    Session, SessionId, SessionReportSpec, SessionSpec, annotations::REPORTS,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::{
    console::Console,
    error::{ApiError, Error},
    run::watch::{OwnSession, REQUEST_TIMEOUT, may_have_executed, with_timeout},
    server::{DeleteOptions, Effect, Server},
};

/// The number of attempts before the command starts, and the delay before the second.
const MAX_ATTEMPTS: u32 = 3;
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// The time limit for ending the session after the command; half of it is for the last report.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The properties of the session to create.
#[derive(Clone)]
pub(super) struct SessionTemplate {
    pub(super) namespace: String,
    pub(super) spec: SessionSpec,
    /// Announces reports, without which the session expires.
    pub(super) announces_reports: bool,
}

/// Returns 16 hex digits, like mirrord's own IDs.
pub(super) fn new_id() -> Result<SessionId, Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::setup(format!("random numbers are not available:  {error}")))?;
    Ok(SessionId::from_name(&format!("{:016x}", u64::from_be_bytes(bytes))))
}

/// Creates a session, or finds the one of an earlier attempt.
pub(super) async fn create(
    server: &Server,
    template: &SessionTemplate,
    id: &SessionId,
) -> Result<OwnSession, Error> {
    let annotations = || BTreeMap::from([(REPORTS.to_owned(), "true".to_owned())]);
    let session = Session {
        metadata: ObjectMeta {
            name: Some(id.name().to_owned()),
            namespace: Some(template.namespace.clone()),
            annotations: template.announces_reports.then(annotations),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    };
    let stored = match server.create(&template.namespace, &session).await {
        Ok(stored) => Ok(stored),
        Err(error) if error.already_exists() => {
            with_timeout(server.session(&template.namespace, id)).await
        }
        Err(error) => return Err(error),
    };
    let uid = stored.ok().and_then(|stored| {
        let uid = stored.pointer("/metadata/uid").and_then(Value::as_str)?;
        Some(uid.to_owned())
    });
    Ok(OwnSession { namespace: template.namespace.clone(), id: id.clone(), uid })
}

/// Creates the session before the command starts, with retries if the response may have been lost.
/// On failure, a session that may exist is deleted.
pub(super) async fn create_with_retries(
    server: &Server,
    template: &SessionTemplate,
    id: &SessionId,
    console: &mut Console<'_>,
) -> Result<OwnSession, Error> {
    let mut may_exist = false;
    let mut attempts = 1;
    loop {
        let error = match with_timeout(create(server, template, id)).await {
            Ok(created) => return Ok(created),
            Err(error) => error,
        };
        let may = may_have_executed(error.as_ref());
        may_exist |= may;
        if may && attempts < MAX_ATTEMPTS {
            sleep(RETRY_DELAY * attempts).await;
            attempts += 1;
            continue;
        }
        if may_exist {
            delete_session(server, &template.namespace, id, None, console).await;
        }
        return Err(error.unwrap_or_else(|| {
            Error::setup(format!(
                "the session could not be created: the server did not answer within {REQUEST_TIMEOUT:?}, {attempts} times: try again later"
            ))
        }));
    }
}

/// Ends the session of an ended command by a last report, so that no user appears to have stopped
/// it. Without reports, deletes it.
pub(super) async fn end_session(server: &Server, own: &OwnSession, console: &mut Console<'_>) {
    let last = SessionReportSpec { ended: true, ..SessionReportSpec::default() };
    let response = timeout(END_TIMEOUT / 2, server.report(&own.namespace, &own.id, &last)).await;
    // A server that does not know the field takes the last report for any report.
    if let Ok(Ok(response)) = response
        && response.pointer("/spec/ended") == Some(&Value::Bool(true))
    {
        return;
    }
    delete_session(server, &own.namespace, &own.id, own.uid.as_deref(), console).await;
}

/// Deletes a session, if it exists.
pub(super) async fn delete_session(
    server: &Server,
    namespace: &str,
    id: &SessionId,
    uid: Option<&str>,
    console: &mut Console<'_>,
) {
    let options = DeleteOptions { effect: Effect::Real, grace_period: None, uid };
    let reason = match timeout(END_TIMEOUT, server.delete(namespace, id, &options)).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) if error.is_not_found() || error.is_conflict() => return,
        // Sessions are not served.
        Ok(Err(error)) if error.api_error().is_some_and(ApiError::is_not_installed) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the server did not answer within {END_TIMEOUT:?}"),
    };
    console.say(&format!(
        "Warning: session \"{id}\" could not be deleted: the cluster ends it after a minute without reports ({reason})"
    ));
}
