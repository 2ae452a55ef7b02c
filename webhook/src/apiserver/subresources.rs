//! The subresources of trackers, which are created: `join` and `report`.

use std::sync::Arc;

use http::{HeaderMap, header::CONTENT_TYPE, request::Parts};
use http_body::Body;
use k8s_openapi::jiff::Timestamp;
use mirrord_sessions_core::{
    apiserver::{
        Failure, Subresource,
        accept::{self, Encoding},
        join, options, report,
    },
    identity::Requester,
    policy::{JoinRights, Viewer},
    sessions::{COMMAND_ENDED, Key, Tracker},
};
use mirrord_sessions_crds::{SessionId, SessionReportSpec};
use serde_json::{Value, json};

use super::{
    responses,
    routes::{Api, accepts},
};
use crate::server::{body::BodyError, response::Response};
use crate::sessions::session_writer::{Written, delete, patch_status};

/// The most bytes that may be sent: a Session holds its ports twice, once as a line, and with the
/// rest of it has to fit into what etcd takes.
const MAX_SENT: usize = 256 << 10;
/// How often joining is tried, when others change the session at the same time.
const ATTEMPTS: usize = 10;

/// What was asked for, and how.
struct Create<'a> {
    requester: &'a Arc<Requester>,
    key: Key,
    dry_run: bool,
}

impl Api {
    /// Answers a create of a subresource.
    pub(crate) async fn create<B>(
        &self,
        head: &Parts,
        body: B,
        requester: &Arc<Requester>,
        (namespace, name): (&str, &str),
        subresource: Subresource,
    ) -> Result<Response, Failure>
    where
        B: Body,
        B::Error: std::error::Error,
    {
        let dry_run = options::create(head.uri.query().unwrap_or_default())?;
        // Nobody serves a table of these: who asks for one takes JSON next.
        let (encoding, _) = accept::negotiate_discovery(accepts(&head.headers))
            .unwrap_or((Encoding::Json, accept::Discovery::Legacy));
        let body = self.bodies.read_up_to(MAX_SENT, body).await;
        let body = body.map_err(|error| match error {
            BodyError::TooLarge(_) => Failure::too_much(&error.to_string()),
            _ => Failure::bad_request(error.to_string()),
        })?;
        if !body.bytes().is_empty() && !is_json(&head.headers) {
            return Err(Failure::unsupported_media_type());
        }
        let not_found = || Failure::no_such_tracker(name);
        let id: SessionId = name.parse().map_err(|_| not_found())?;
        self.store.policies()?;
        self.store.wait_for(options::Version::Any).await?;
        let create = Create {
            requester,
            key: Key { namespace: namespace.into(), name: id.name().into() },
            dry_run,
        };
        let (code, answer) = match subresource {
            Subresource::Join => {
                join::read(body.bytes())?;
                self.join(&create).await?
            }
            Subresource::Report => {
                let report = report::read(body.bytes())?;
                self.report(&create, report).await?
            }
        };
        let mut answer = responses::document(&head.headers, encoding, &answer).await;
        *answer.status_mut() = code;
        Ok(answer)
    }

    fn tracker(&self, key: &Key) -> Result<Arc<Tracker>, Failure> {
        let tracker = self.store.index().get(key).cloned();
        tracker.ok_or_else(|| Failure::no_such_tracker(&key.name))
    }

    /// By those that decide now, not when the request began.
    fn viewer(&self, create: &Create<'_>) -> Result<Viewer, Failure> {
        let policies = self.store.policies()?;
        Ok(policies.viewer(create.requester, JoinRights::Nowhere))
    }

    async fn join(&self, create: &Create<'_>) -> Result<(http::StatusCode, Value), Failure> {
        for _ in 0..ATTEMPTS {
            let tracker = self.tracker(&create.key)?;
            let joined = join::decide(&tracker, &self.viewer(create)?, create.requester)?;
            let Some(joined) = joined else {
                return Ok((http::StatusCode::OK, join::answer(&tracker, None)));
            };
            let status = json!({ "participants": joined });
            match patch_status(&self.client, &tracker, true, &status, create.dry_run).await? {
                Written::Done => {
                    let answer = join::answer(&tracker, Some(&joined));
                    return Ok((http::StatusCode::CREATED, answer));
                }
                // Decided anew, on what it is now.
                Written::Changed => self.store.wait_for_another(&tracker).await?,
            }
        }
        Err(Failure::contended(&create.key.name))
    }

    async fn report(
        &self,
        create: &Create<'_>,
        report: SessionReportSpec,
    ) -> Result<(http::StatusCode, Value), Failure> {
        self.store.wait_for_tracker(&create.key).await;
        let tracker = self.tracker(&create.key)?;
        let (viewer, requester) = (&self.viewer(create)?, create.requester);
        let now = Timestamp::now();
        let reported = report::decide(&tracker, viewer, requester, &report, self.pace, now)?;
        if reported.ends {
            if !create.dry_run {
                self.store.closing_session(&tracker.uid, COMMAND_ENDED, None);
            }
            if let Written::Changed = delete(&self.client, &tracker, create.dry_run).await? {
                return Err(Failure::no_such_tracker(&create.key.name));
            }
        }
        if let Some(status) = &reported.status {
            // What the owner says last counts, whatever else has changed.
            let written =
                patch_status(&self.client, &tracker, false, status, create.dry_run).await?;
            if let Written::Changed = written {
                return Err(Failure::contended(&create.key.name));
            }
        }
        let answer = reported.answer(&tracker, &report);
        Ok((http::StatusCode::CREATED, answer))
    }
}

/// What isn't named is JSON, as for the API server: `kubectl create --raw` names nothing.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let essence = content_type.to_str().ok().and_then(|v| v.split(';').next());
    essence.is_some_and(|essence| {
        let essence = essence.trim();
        essence.is_empty() || essence.eq_ignore_ascii_case("application/json")
    })
}

#[cfg(test)]
#[path = "subresources_tests.rs"]
mod tests;
