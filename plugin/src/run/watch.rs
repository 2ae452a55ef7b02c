//! Observation of the session of a command in the cluster.

use std::time::Duration;

use mirrord_sessions_crds::SessionId;
use tokio::time::{sleep, timeout};

use super::{
    ending::Ending,
    heartbeat::{Observation, RequestFailure, WatchView},
};
use crate::{
    error::{ApiError, Error},
    server::{EventType, ListOptions, Scope, Server, Source, WatchEvent},
    session::Session,
};

/// The timeout of a request. The command does not wait for it, but the next request does.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The delay before an ended watch is restarted.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// The time without an event after which a watch is restarted, in case the connection was lost.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);

/// A session that this process created.
#[derive(Clone, Debug)]
pub(crate) struct OwnSession {
    pub(crate) namespace: String,
    pub(crate) id: SessionId,
    /// The uid; absent if the response to the creation was lost and no list shows the session. No
    /// other client knows the name.
    pub(crate) uid: Option<String>,
}

impl OwnSession {
    fn matches(&self, session: &Session) -> bool {
        let has_uid = |uid: &String| session.uid.as_ref() == Some(uid);
        session.name == self.id.name() && self.uid.as_ref().is_none_or(has_uid)
    }
}

/// Returns the result of a request within the timeout.
pub(crate) async fn with_timeout<T>(
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, Option<Error>> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(result) => result.map_err(Some),
        Err(_) => Err(None),
    }
}

/// Classifies a failed request about the session.
pub(crate) fn classify_status(error: Option<&Error>) -> RequestFailure {
    if error.is_some_and(Error::is_of_credentials) {
        return RequestFailure::Unauthenticated;
    }
    let Some(api_error) = error.and_then(Error::api_error) else {
        return RequestFailure::Unreachable;
    };
    if api_error.is_not_installed() {
        return RequestFailure::Refused;
    }
    match api_error.status.code {
        404 | 410 => RequestFailure::Gone,
        400 | 403 | 405 | 406 | 415 | 422 => RequestFailure::Refused,
        _ => RequestFailure::Unreachable,
    }
}

/// Returns whether the server may have executed a request that seems to have failed.
pub(crate) fn may_have_executed(error: Option<&Error>) -> bool {
    match error {
        None | Some(Error::Transport(_) | Error::Timeout { .. } | Error::Unexpected { .. }) => true,
        // The API server stores nothing if a webhook fails.
        Some(Error::Api(api_error)) => {
            api_error.status.code >= 500 && !api_error.is_webhook_failure()
        }
        Some(_) => false,
    }
}

/// Looks up the state of a session.
pub(crate) async fn observe(server: &Server, own: &OwnSession) -> Observation {
    let shown = with_timeout(server.session(&own.namespace, &own.id)).await;
    let shown = shown.map(|shown| Session::from_object(&shown));
    match shown.as_ref() {
        Ok(session) if own.matches(session) && session.is_over() => {
            return confirm_end(server, ending_from(session)).await;
        }
        // Another session has the name by now, or none.
        Ok(_) => {}
        Err(error) if !classify_status(error.as_ref()).is_temporary() => {}
        Err(_) => return Observation::Unknown,
    }
    // A tracker may be hidden, or not exist yet.
    let confirm_missing = || confirm_end(server, Ending::default());
    match with_timeout(server.session_object(&own.namespace, &own.id)).await {
        Ok(session) if own.matches(&Session::from_object(&session)) => Observation::Alive,
        Ok(_) => confirm_missing().await,
        Err(Some(error)) if error.is_not_found() => confirm_missing().await,
        // Sessions are not served, or not for long.
        Err(Some(error)) if error.api_error().is_some_and(ApiError::is_not_installed) => {
            confirm_missing().await
        }
        // A requester who may not read Sessions relies on trackers.
        Err(Some(error)) if error.api_error().is_some_and(ApiError::is_rbac) => match &shown {
            Ok(session) if own.matches(session) => Observation::Alive,
            Ok(_) => confirm_missing().await,
            Err(error) if classify_status(error.as_ref()) == RequestFailure::Gone => {
                confirm_missing().await
            }
            Err(_) => match with_timeout(server.accepts_sessions()).await {
                Ok(false) => Observation::Undefined,
                _ => Observation::Unknown,
            },
        },
        Err(_) => Observation::Unknown,
    }
}

/// Returns how the session ended. Without a reason, it may have been deleted with the definition of
/// Sessions.
async fn confirm_end(server: &Server, ending: Ending) -> Observation {
    if !ending.is_unexplained() {
        return Observation::Ended(ending);
    }
    match with_timeout(server.accepts_sessions()).await {
        Ok(true) => Observation::Ended(ending),
        Ok(false) => Observation::Undefined,
        Err(_) => Observation::Unknown,
    }
}

/// Classifies a failed request after checking whether the cluster serves Sessions.
pub(crate) async fn classify(server: &Server, error: Option<&Error>) -> RequestFailure {
    let failure = classify_status(error);
    if failure == RequestFailure::Refused
        && let Ok(false) = with_timeout(server.accepts_sessions()).await
    {
        return RequestFailure::Undefined;
    }
    failure
}

fn ending_from(session: &Session) -> Ending {
    Ending { reason: session.reason.clone(), by: session.stopped_by.clone() }
}

/// Watches the session, and sends a view whenever it has ended, is hidden, or Sessions are not
/// served.
pub(crate) async fn follow(server: &Server, own: &OwnSession, send_view: impl Fn(WatchView)) {
    let scope = Scope::Namespace(own.namespace.clone());
    let options = ListOptions::by_name(scope, own.id.name());
    loop {
        let watched = watch(server, own, &options, &send_view).await;
        // A requester who may not watch learns of the end by the next report.
        let is_forbidden =
            |error: &Error| error.api_error().is_some_and(|api_error| api_error.status.code == 403);
        if watched.is_err_and(|error| !error.as_ref().is_some_and(is_forbidden))
            && let Ok(false) = with_timeout(server.accepts_sessions()).await
        {
            send_view(WatchView::Undefined);
        }
        sleep(RESTART_DELAY).await;
    }
}

async fn watch(
    server: &Server,
    own: &OwnSession,
    options: &ListOptions,
    send_view: &impl Fn(WatchView),
) -> Result<(), Option<Error>> {
    let reads_trackers = with_timeout(server.discover()).await?.source == Source::Trackers;
    let mut pages = with_timeout(server.list(options)).await?;
    let sessions = with_timeout(pages.collect()).await?;
    let sessions: Vec<Session> = sessions.iter().map(Session::from_object).collect();
    match sessions.iter().find(|session| own.matches(session)) {
        Some(session) if session.is_over() => send_view(WatchView::Ended(ending_from(session))),
        Some(_) => {}
        None => send_view(WatchView::Hidden),
    }
    let mut watch = with_timeout(server.watch(options, pages.resource_version())).await?;
    while let Ok(event) = timeout(IDLE_TIMEOUT, watch.next()).await {
        let Some(event) = event? else { break };
        let WatchEvent::Object(change, item) = event else {
            continue;
        };
        let session = Session::from_object(&item);
        if !own.matches(&session) {
            continue;
        }
        if session.is_over() {
            send_view(WatchView::Ended(ending_from(&session)));
        } else if change == EventType::Deleted {
            // A tracker may be hidden for another reason.
            send_view(if reads_trackers {
                WatchView::Hidden
            } else {
                WatchView::Ended(Ending::default())
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{RequestInfo, Status, Verb};

    fn api_error(code: u16, body: &str) -> Error {
        Error::Api(Box::new(ApiError {
            host: "h".into(),
            credentials: "c".into(),
            request: RequestInfo { verb: Verb::Create, namespace: None, id: None },
            status: Status::read(code, body.as_bytes()),
            trackers_unavailable: None,
        }))
    }

    #[test]
    fn classifies_api_errors() {
        let status = r#"{"kind":"Status","details":{"name":"a"}}"#;
        for (code, body, expected) in [
            (404, status, RequestFailure::Gone),
            (404, r#"{"kind":"Status"}"#, RequestFailure::Refused),
            (404, "404 page not found\n", RequestFailure::Refused),
            (410, status, RequestFailure::Gone),
            (403, status, RequestFailure::Refused),
            (422, status, RequestFailure::Refused),
            (401, status, RequestFailure::Unauthenticated),
            (409, status, RequestFailure::Unreachable),
            (429, status, RequestFailure::Unreachable),
            (500, status, RequestFailure::Unreachable),
            (503, "service unavailable", RequestFailure::Unreachable),
        ] {
            assert_eq!(classify_status(Some(&api_error(code, body))), expected, "{code} {body}");
        }
        for (code, may) in
            [(403, false), (409, false), (422, false), (429, false), (500, true), (504, true)]
        {
            assert_eq!(may_have_executed(Some(&api_error(code, status))), may, "{code}");
        }
        let webhook = r#"{"kind":"Status","message":"failed calling webhook \"w\": EOF"}"#;
        assert!(!may_have_executed(Some(&api_error(500, webhook))));
        assert!(may_have_executed(None));
        assert!(!may_have_executed(Some(&Error::setup("x"))));
        assert_eq!(classify_status(None), RequestFailure::Unreachable);
        assert_eq!(classify_status(Some(&Error::setup("x"))), RequestFailure::Unreachable);
        let failed = Error::credentials("the plugin failed");
        assert_eq!(classify_status(Some(&failed)), RequestFailure::Unauthenticated);
    }
}
