//! The subresources `join` and `report` of trackers, which support only create.

use std::sync::Arc;

use http::request::Parts;
use http_body::Body;
use k8s_openapi::jiff::Timestamp;
use mirrord_sessions_core::{
    apiserver::{
        ApiError, Subresource,
        content_negotiation::{self, Encoding},
        join, options, report,
    },
    identity::Requester,
    policy::{JoinRights, Viewer},
    sessions::{COMMAND_ENDED, Tracker, TrackerKey},
};
use mirrord_sessions_crds::{SessionId, SessionReportSpec};
use serde_json::{Value, json};

use super::{errors::write_error, headers, responses, routes::Api};
use crate::{
    server::{ClientConnection, body::BodyError, response::Response},
    sessions::session_writer::{WriteOutcome, delete, patch_status},
};

/// The maximum size of the body of a join, in bytes.
const MAX_JOIN_SIZE: usize = 256 << 10;
/// The maximum number of attempts to join a session that concurrent writes keep changing.
const MAX_JOIN_ATTEMPTS: usize = 10;

/// A create request for a subresource.
struct CreateRequest<'a> {
    requester: &'a Arc<Requester>,
    key: TrackerKey,
    dry_run: bool,
}

impl Api {
    /// Handles a create request for a subresource.
    pub(super) async fn create<B>(
        &self,
        head: &Parts,
        body: B,
        requester: &Arc<Requester>,
        (namespace, name): (&str, &str),
        subresource: Subresource,
    ) -> Result<Response, ApiError>
    where
        B: Body,
        B::Error: std::error::Error,
    {
        let dry_run = options::parse_create(head.uri.query().unwrap_or_default())?;
        // Subresources have no table form. A client that prefers a table gets JSON.
        let (encoding, _) =
            content_negotiation::negotiate_discovery(headers::accept(&head.headers))
                .unwrap_or((Encoding::Json, content_negotiation::Discovery::Legacy));
        let peer = head.extensions.get::<Arc<ClientConnection>>().map(|client| client.peer);
        let limit = match subresource {
            Subresource::Join => MAX_JOIN_SIZE,
            // Beyond the maximum size, so that an invalid field is named.
            Subresource::Report => 2 * report::MAX_SIZE,
        };
        let body = self.bodies.read(peer.unwrap_or_default(), limit, body).await;
        let body = body.map_err(|error| match error {
            BodyError::TooLarge(_) => ApiError::body_too_large(&error.to_string()),
            _ => ApiError::bad_request(error.to_string()),
        })?;
        if !body.bytes().is_empty() && !headers::has_json_body(&head.headers) {
            return Err(ApiError::unsupported_media_type());
        }
        let not_found = || ApiError::tracker_not_found(name);
        let id: SessionId = name.parse().map_err(|_| not_found())?;
        self.store.policies()?;
        self.store.wait_for_version(0).await?;
        let create = CreateRequest {
            requester,
            key: TrackerKey { namespace: namespace.into(), name: id.name().into() },
            dry_run,
        };
        let (code, object) = match subresource {
            Subresource::Join => {
                join::validate(body.bytes())?;
                self.join(&create).await?
            }
            Subresource::Report => {
                let report = report::parse(body.bytes())?;
                if body.bytes().len() > report::MAX_SIZE {
                    return Err(ApiError::body_too_large("the report is over 16 KiB"));
                }
                self.report(&create, report).await?
            }
        };
        let mut response = responses::document(&head.headers, encoding, &object).await;
        *response.status_mut() = code;
        Ok(response)
    }

    fn tracker(&self, key: &TrackerKey) -> Result<Arc<Tracker>, ApiError> {
        let tracker = self.store.index().get(key).cloned();
        tracker.ok_or_else(|| ApiError::tracker_not_found(&key.name))
    }

    /// Returns the requester's view under the policies that are active now.
    fn viewer(&self, create: &CreateRequest<'_>) -> Result<Viewer, ApiError> {
        let policies = self.store.policies()?;
        Ok(policies.viewer(create.requester, JoinRights::Nowhere))
    }

    async fn join(
        &self,
        create: &CreateRequest<'_>,
    ) -> Result<(http::StatusCode, Value), ApiError> {
        for _ in 0..MAX_JOIN_ATTEMPTS {
            let tracker = self.tracker(&create.key)?;
            let joined = join::decide(&tracker, &self.viewer(create)?, create.requester)?;
            let Some(joined) = joined else {
                return Ok((http::StatusCode::OK, join::response(&tracker, None)));
            };
            let status = json!({ "participants": joined });
            let written = patch_status(&self.client, &tracker, true, &status, create.dry_run).await;
            match written.map_err(|error| write_error(error, &create.key.name))? {
                WriteOutcome::Written => {
                    let object = join::response(&tracker, Some(&joined));
                    return Ok((http::StatusCode::CREATED, object));
                }
                // Decide again on the current Session.
                WriteOutcome::Conflict if self.store.wait_for_change_of(&tracker).await => {}
                WriteOutcome::Conflict => break,
            }
        }
        Err(ApiError::contended(&create.key.name))
    }

    async fn report(
        &self,
        create: &CreateRequest<'_>,
        report: SessionReportSpec,
    ) -> Result<(http::StatusCode, Value), ApiError> {
        self.store.wait_for_tracker(&create.key).await;
        let tracker = self.tracker(&create.key)?;
        let (viewer, requester) = (&self.viewer(create)?, create.requester);
        let now = Timestamp::now();
        let decision =
            report::decide(&tracker, viewer, requester, &report, self.report_period, now)?;
        if decision.ends {
            if !create.dry_run {
                self.store.announce_deletion(&tracker.key, &tracker.uid, COMMAND_ENDED, None);
            }
            let deleted = delete(&self.client, &tracker, create.dry_run).await;
            let deleted = deleted.map_err(|error| write_error(error, &create.key.name))?;
            if let WriteOutcome::Conflict = deleted {
                return Err(ApiError::tracker_not_found(&create.key.name));
            }
        }
        if let Some(status) = &decision.status {
            if !self.store.allow_report(&tracker.uid) {
                return Err(ApiError::too_many_reports(&create.key.name));
            }
            // The owner's latest report wins over concurrent writes.
            let written = patch_status(&self.client, &tracker, false, status, create.dry_run).await;
            let written = written.map_err(|error| write_error(error, &create.key.name))?;
            if let WriteOutcome::Conflict = written {
                return Err(ApiError::contended(&create.key.name));
            }
        }
        let object = decision.response(&tracker, &report);
        Ok((http::StatusCode::CREATED, object))
    }
}

#[cfg(test)]
#[path = "subresources_tests.rs"]
mod tests;
