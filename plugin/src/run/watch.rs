//! What the cluster shows of the session of a command.

use std::time::Duration;

use mirrord_sessions_crds::SessionId;
use tokio::time::{sleep, timeout};

use super::{
    ending::Ending,
    keep::{Failure, Look, Sight},
};
use crate::{
    error::{ApiError, Error},
    server::{Change, Event, Listing, Scope, Server, Source},
    session::Session,
};

/// How long a request may take: the command doesn't wait for it, but what comes next does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long to pause before a watch that ended is begun anew.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a watch may be silent before it is begun anew: a network may have lost it.
const SILENCE: Duration = Duration::from_mins(2);

/// A session that was created.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) namespace: String,
    pub(crate) id: SessionId,
    /// None if the answer to its creation was lost, and nothing shows it: its name is known to
    /// nobody else.
    pub(crate) uid: Option<String>,
}

impl Own {
    fn is(&self, session: &Session) -> bool {
        let is_it = |uid: &String| session.uid.as_ref() == Some(uid);
        session.name == self.id.name() && self.uid.as_ref().is_none_or(is_it)
    }
}

/// The answer of a request, which has so long.
pub(crate) async fn patiently<T>(
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, Option<Error>> {
    match timeout(PATIENCE, request).await {
        Ok(result) => result.map_err(Some),
        Err(_) => Err(None),
    }
}

/// What a failure means for the session that was asked for.
pub(crate) fn failure(error: Option<&Error>) -> Failure {
    let Some(api_error) = error.and_then(Error::api_error) else {
        return Failure::Unreachable;
    };
    if api_error.is_not_installed() {
        return Failure::Refused;
    }
    match api_error.status.code {
        404 | 410 => Failure::Gone,
        400 | 403 | 405 | 406 | 415 | 422 => Failure::Refused,
        _ => Failure::Unreachable,
    }
}

/// Whether the server may have done what was asked, though it seems to have failed.
pub(crate) fn may_have_happened(error: Option<&Error>) -> bool {
    match error {
        None | Some(Error::Transport(_) | Error::Timeout { .. } | Error::Unexpected { .. }) => true,
        Some(Error::Api(api_error)) => api_error.status.code >= 500,
        Some(_) => false,
    }
}

/// Looks what has become of a session.
pub(crate) async fn look(server: &Server, own: &Own) -> Look {
    let shown = patiently(server.session(&own.namespace, &own.id)).await;
    let shown = shown.map(|shown| Session::of_object(&shown));
    match shown.as_ref() {
        Ok(session) if own.is(session) && session.is_over() => {
            return confirmed(server, ending(session)).await;
        }
        // Another has the name by now, or none.
        Ok(_) => {}
        Err(error) if failure(error.as_ref()) != Failure::Unreachable => {}
        Err(_) => return Look::Unknown,
    }
    // A tracker may be withheld, or not be there yet.
    let gone = || confirmed(server, Ending::default());
    match patiently(server.stored_session(&own.namespace, &own.id)).await {
        Ok(session) if own.is(&Session::of_object(&session)) => Look::Alive,
        Ok(_) => gone().await,
        Err(Some(error)) if error.is_not_found() => gone().await,
        // There are none at all, or not for long.
        Err(Some(error)) if error.api_error().is_some_and(ApiError::is_not_installed) => {
            gone().await
        }
        // Who may not look at Sessions goes by what trackers show.
        Err(Some(error)) if error.api_error().is_some_and(ApiError::is_rbac) => match &shown {
            Ok(session) if own.is(session) => Look::Alive,
            Ok(_) => gone().await,
            Err(error) if failure(error.as_ref()) == Failure::Gone => gone().await,
            Err(_) => match patiently(server.takes_sessions()).await {
                Ok(false) => Look::Undefined,
                _ => Look::Unknown,
            },
        },
        Err(_) => Look::Unknown,
    }
}

/// How it ended; unless nobody says so, and it may have gone with the definition of all Sessions.
async fn confirmed(server: &Server, ending: Ending) -> Look {
    if !ending.is_unexplained() {
        return Look::Ended(ending);
    }
    match patiently(server.takes_sessions()).await {
        Ok(true) => Look::Ended(ending),
        Ok(false) => Look::Undefined,
        Err(_) => Look::Unknown,
    }
}

/// The failure of a request, once it is known whether the cluster has Sessions.
pub(crate) async fn told(server: &Server, error: Option<&Error>) -> Failure {
    let failure = failure(error);
    if failure == Failure::Refused
        && let Ok(false) = patiently(server.takes_sessions()).await
    {
        return Failure::Undefined;
    }
    failure
}

fn ending(session: &Session) -> Ending {
    Ending { reason: session.reason.clone(), by: session.stopped_by.clone() }
}

/// Tells each time that the session is seen to be over, or out of sight, or that there are none.
pub(crate) async fn follow(server: &Server, own: &Own, tell: impl Fn(Sight)) {
    let scope = Scope::Namespace(own.namespace.clone());
    let listing = Listing::named(scope, own.id.name());
    loop {
        let watched = watch(server, own, &listing, &tell).await;
        // Who may not watch learns of it by their next report.
        let is_forbidden =
            |error: &Error| error.api_error().is_some_and(|no| no.status.code == 403);
        if watched.is_err_and(|error| !error.as_ref().is_some_and(is_forbidden))
            && let Ok(false) = patiently(server.takes_sessions()).await
        {
            tell(Sight::Undefined);
        }
        sleep(PAUSE).await;
    }
}

async fn watch(
    server: &Server,
    own: &Own,
    listing: &Listing,
    tell: &impl Fn(Sight),
) -> Result<(), Option<Error>> {
    let are_trackers = patiently(server.source()).await?.source == Source::Trackers;
    let mut pages = patiently(server.listing(listing)).await?;
    let there = patiently(pages.all()).await?;
    let there: Vec<Session> = there.iter().map(Session::of_object).collect();
    match there.iter().find(|session| own.is(session)) {
        Some(session) if session.is_over() => tell(Sight::Over(ending(session))),
        Some(_) => {}
        None => tell(Sight::Away),
    }
    let mut watch = patiently(server.watch(listing, pages.version())).await?;
    while let Ok(event) = timeout(SILENCE, watch.next()).await {
        let Some(event) = event? else { break };
        let Event::Object(change, item) = event else {
            continue;
        };
        let session = Session::of_object(&item);
        if !own.is(&session) {
            continue;
        }
        if session.is_over() {
            tell(Sight::Over(ending(&session)));
        } else if change == Change::Deleted {
            // A tracker may be out of sight for another reason.
            tell(if are_trackers { Sight::Away } else { Sight::Over(Ending::default()) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{RequestInfo, Status as Answer, Verb};

    fn refused(code: u16, body: &str) -> Error {
        Error::Api(Box::new(ApiError {
            host: "h".into(),
            credentials: "c".into(),
            asked: RequestInfo { verb: Verb::Create, namespace: None, id: None },
            status: Answer::read(code, body.as_bytes()),
        }))
    }

    #[test]
    fn what_a_refusal_means() {
        let status = r#"{"kind":"Status","details":{"name":"a"}}"#;
        for (code, body, expected) in [
            (404, status, Failure::Gone),
            (404, r#"{"kind":"Status"}"#, Failure::Refused),
            (404, "404 page not found\n", Failure::Refused),
            (410, status, Failure::Gone),
            (403, status, Failure::Refused),
            (422, status, Failure::Refused),
            (401, status, Failure::Unreachable),
            (409, status, Failure::Unreachable),
            (429, status, Failure::Unreachable),
            (500, status, Failure::Unreachable),
            (503, "service unavailable", Failure::Unreachable),
        ] {
            assert_eq!(failure(Some(&refused(code, body))), expected, "{code} {body}");
        }
        for (code, may) in
            [(403, false), (409, false), (422, false), (429, false), (500, true), (504, true)]
        {
            assert_eq!(may_have_happened(Some(&refused(code, status))), may, "{code}");
        }
        assert!(may_have_happened(None));
        assert!(!may_have_happened(Some(&Error::setup("x"))));
        assert_eq!(failure(None), Failure::Unreachable);
        assert_eq!(failure(Some(&Error::setup("x"))), Failure::Unreachable);
    }
}
