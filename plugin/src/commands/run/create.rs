//! Creating a session of one's own, and ending it.
//!
//! An answer may be lost when the session was stored all the same. So it has a name before it is
//! asked for, that nobody else knows: one of that name which is there already is this one. And it
//! says of itself that it lives by reports, so that the cluster closes it when none come, whatever
//! happens here.

use std::{collections::BTreeMap, time::Duration};

use kube::api::ObjectMeta;
use mirrord_sessions_crds::{
    Session, SessionId, SessionReportSpec, SessionSpec, annotations::REPORTS,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::{
    console::Console,
    error::{ApiError, Error},
    run::watch::{Own, PATIENCE, may_have_happened, patiently},
    server::{Deletion, Effect, Server},
};

/// How often it is tried before there is a command, and the pause before the second try.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// How long the end of a command is held up to end its session; half of it to say that it is over.
const FAREWELL: Duration = Duration::from_secs(5);

/// A session that is there.
pub(super) struct Created {
    pub(super) own: Own,
    pub(super) warnings: Vec<String>,
}

/// What a session is created as.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) namespace: String,
    pub(super) spec: SessionSpec,
    /// It will be reported about.
    pub(super) reports: bool,
}

/// 16 hex digits, as mirrord's own.
pub(super) fn new_id() -> Result<SessionId, Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::setup(format!("there are no random numbers: {error}")))?;
    Ok(SessionId::from_name(&format!("{:016x}", u64::from_be_bytes(bytes))))
}

/// Creates a session, or finds that an earlier try did.
pub(super) async fn create(
    server: &Server,
    wanted: &Wanted,
    id: &SessionId,
) -> Result<Created, Error> {
    let annotations = || BTreeMap::from([(REPORTS.to_owned(), "true".to_owned())]);
    let session = Session {
        metadata: ObjectMeta {
            name: Some(id.name().to_owned()),
            namespace: Some(wanted.namespace.clone()),
            annotations: wanted.reports.then(annotations),
            ..ObjectMeta::default()
        },
        spec: wanted.spec.clone(),
        status: None,
    };
    let (stored, warnings) = match server.create(&wanted.namespace, &session).await {
        Ok((stored, warnings)) => (Ok(stored), warnings),
        Err(error) if error.already_exists() => {
            let shown = server.session(&wanted.namespace, id);
            (patiently(shown).await, Vec::new())
        }
        Err(error) => return Err(error),
    };
    let uid = stored.ok().and_then(|stored| {
        let uid = stored.pointer("/metadata/uid").and_then(Value::as_str)?;
        Some(uid.to_owned())
    });
    Ok(Created { own: Own { namespace: wanted.namespace.clone(), id: id.clone(), uid }, warnings })
}

/// Creates the session of a command that is about to start, trying again where it may just be that
/// the answer was lost. One that may be there is deleted before this fails.
pub(super) async fn create_first(
    server: &Server,
    wanted: &Wanted,
    id: &SessionId,
    console: &mut Console<'_>,
) -> Result<Created, Error> {
    let mut may_be_there = false;
    let mut tries = 1;
    loop {
        let error = match patiently(create(server, wanted, id)).await {
            Ok(created) => return Ok(created),
            Err(error) => error,
        };
        let may = may_have_happened(error.as_ref());
        may_be_there |= may;
        if may && tries < TRIES {
            sleep(PAUSE * tries).await;
            tries += 1;
            continue;
        }
        if may_be_there {
            delete(server, &wanted.namespace, id, None, console).await;
        }
        return Err(error.unwrap_or_else(|| {
            Error::setup(format!(
                "the session could not be created: the server did not answer within {PATIENCE:?}, {tries} times: try again later"
            ))
        }));
    }
}

/// Ends the session of a command that is over: by a report, so that nobody is shown to have stopped
/// it; by deleting it, where none are taken.
pub(super) async fn end(server: &Server, own: &Own, console: &mut Console<'_>) {
    let last = SessionReportSpec { ended: true, ..SessionReportSpec::default() };
    let told = timeout(FAREWELL / 2, server.report(&own.namespace, &own.id, &last)).await;
    // A server that doesn't know the word for it takes it for any report.
    if let Ok(Ok(answer)) = told
        && answer.pointer("/spec/ended") == Some(&Value::Bool(true))
    {
        return;
    }
    delete(server, &own.namespace, &own.id, own.uid.as_deref(), console).await;
}

/// Deletes a session, if it is there.
pub(super) async fn delete(
    server: &Server,
    namespace: &str,
    id: &SessionId,
    uid: Option<&str>,
    console: &mut Console<'_>,
) {
    let how = Deletion { effect: Effect::Real, grace_period: None, uid };
    let why = match timeout(FAREWELL, server.delete(namespace, id, &how)).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) if error.is_not_found() || error.is_conflict() => return,
        // There are none at all.
        Ok(Err(error)) if error.api_error().is_some_and(ApiError::is_not_installed) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the server did not answer within {FAREWELL:?}"),
    };
    console.say(&format!(
        "Warning: session \"{id}\" could not be deleted: it counts as over once the cluster has heard nothing of it for a minute ({why})"
    ));
}
