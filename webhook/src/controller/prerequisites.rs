//! Reading of the guard policies and the Session CRD.

use std::time::Duration;

use http::{Request, header};
use http_body_util::BodyExt;
use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};
use kube::{Client, client::Body, core::Status};
use mirrord_sessions_core::{
    controller::{Prerequisites, SessionCrd},
    guard::{EPHEMERAL_GUARD, GuardHistory, GuardState, JOB_GUARD, check_guard},
    text::printable,
};
use mirrord_sessions_crds::SESSIONS;
use serde_json::Value;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};
use tracing::{debug, info, warn};

use crate::redaction::summary;

/// The interval at which each replica observes the guard policies.
///
/// Agents that start within this time after a change of a guard are not verified.
const OBSERVATION_INTERVAL: Duration = Duration::from_secs(10);
/// The media type of an object's metadata alone.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Reads [`Prerequisites`] and shares the result of a read among concurrent callers.
///
/// Every replica observes the guard policies from its start, not only the leader: the age of a
/// changed policy is known only from observations.
pub(crate) struct PrerequisitesReader {
    client: Client,
    state: Mutex<ReadState>,
}

#[derive(Default)]
struct ReadState {
    history: GuardHistory,
    /// The result of the last read with the time at which it started.
    latest: Option<(Instant, Prerequisites)>,
}

/// A policy and its binding, as read.
struct StoredGuard {
    policy: Option<Value>,
    binding: Option<Value>,
    read_at: Timestamp,
}

impl PrerequisitesReader {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, state: Mutex::default() }
    }

    /// Observes the guard policies until the future is dropped.
    pub(crate) async fn observe(&self) {
        loop {
            if let Err(error) = self.read().await {
                debug!(error = summary(&error), "failed to read the guards");
            }
            sleep(OBSERVATION_INTERVAL).await;
        }
    }

    /// Returns the prerequisites from a read that started after this call.
    pub(crate) async fn read(&self) -> Result<Prerequisites, kube::Error> {
        let called_at = Instant::now();
        let mut state = self.state.lock().await;
        if let Some((started_at, prerequisites)) = &state.latest
            && *started_at >= called_at
        {
            return Ok(prerequisites.clone());
        }
        let started_at = Instant::now();
        let crd = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{SESSIONS}");
        let (jobs, ephemeral, crd) = futures::future::try_join3(
            self.guard(JOB_GUARD),
            self.guard(EPHEMERAL_GUARD),
            self.get(&crd, METADATA_ONLY),
        )
        .await?;
        let previous = state.latest.take().map(|(_, prerequisites)| prerequisites);
        let mut observe = |name: &str, guard: &StoredGuard, previous: Option<&GuardState>| {
            let StoredGuard { policy, binding, read_at } = guard;
            let (policy, binding) = (policy.as_ref(), binding.as_ref());
            let guard = state.history.observe(name, policy, binding, *read_at);
            if previous != Some(&guard) {
                log_guard(name, &guard, policy, binding);
            }
            guard
        };
        let prerequisites = Prerequisites {
            job_guard: observe(JOB_GUARD, &jobs, previous.as_ref().map(|last| &last.job_guard)),
            ephemeral_guard: observe(
                EPHEMERAL_GUARD,
                &ephemeral,
                previous.as_ref().map(|last| &last.ephemeral_guard),
            ),
            crd: crd.0.as_ref().and_then(session_crd),
        };
        state.latest = Some((started_at, prerequisites.clone()));
        Ok(prerequisites)
    }

    async fn guard(&self, name: &str) -> Result<StoredGuard, kube::Error> {
        let group = "/apis/admissionregistration.k8s.io/v1";
        let policy = format!("{group}/validatingadmissionpolicies/{name}");
        let binding = format!("{group}/validatingadmissionpolicybindings/{name}");
        let (policy, binding) = futures::future::try_join(
            self.get(&policy, "application/json"),
            self.get(&binding, "application/json"),
        )
        .await?;
        Ok(StoredGuard { read_at: policy.1.max(binding.1), policy: policy.0, binding: binding.0 })
    }

    /// Reads an object without a type, and returns it with the time of the response.
    ///
    /// The time is that of the API server, because it is compared with creation times.
    async fn get(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<(Option<Value>, Timestamp), kube::Error> {
        let request = Request::get(path).header(header::ACCEPT, accept).body(Body::empty());
        let response = self.client.send(request.map_err(kube::Error::HttpError)?).await?;
        let (parts, body) = response.into_parts();
        let date = parts.headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let read_at = date.and_then(parse_date).unwrap_or_else(Timestamp::now);
        let body = body.collect().await?.to_bytes();
        if parts.status == http::StatusCode::NOT_FOUND {
            return Ok((None, read_at));
        }
        if parts.status.is_success() {
            let object = serde_json::from_slice(&body).map_err(kube::Error::SerdeError)?;
            return Ok((Some(object), read_at));
        }
        let status = serde_json::from_slice(&body).unwrap_or_else(|_| {
            Status::failure(parts.status.as_str(), "Unknown").with_code(parts.status.as_u16())
        });
        Err(kube::Error::Api(Box::new(status)))
    }
}

/// Parses the `Date` header of a response.
fn parse_date(date: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}

fn session_crd(crd: &Value) -> Option<SessionCrd> {
    let metadata = &crd["metadata"];
    Some(SessionCrd {
        uid: metadata["uid"].as_str()?.to_owned(),
        deleting: metadata["deletionTimestamp"].is_string(),
        created_at: metadata["creationTimestamp"].as_str().and_then(|time| time.parse().ok()),
    })
}

/// Logs a change of a guard policy, because stamps depend on it.
fn log_guard(name: &str, guard: &GuardState, policy: Option<&Value>, binding: Option<&Value>) {
    match (guard, check_guard(name, policy, binding)) {
        (GuardState::InForceSince(since), _) => {
            info!(policy = name, %since, "the guard policy is in force");
        }
        (_, Err(fault)) => {
            let fault = printable(&fault.to_string(), 128);
            warn!(policy = name, fault, "the guard policy is not in force: owners are unverified");
        }
        (_, Ok(())) => warn!(policy = name, "the age of the guard policy is unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_dates_of_responses() {
        let date = parse_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date, Some("1994-11-06T08:49:37Z".parse().unwrap()));
        assert_eq!(parse_date("yesterday"), None);
    }
}
