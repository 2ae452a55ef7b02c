//! Admission endpoints: from the bytes of an AdmissionReview to a decision of the core, and back.
//!
//! Every review takes the same path:
//!
//! 1. [`Endpoint::from_path`] selects the endpoint; one table lists them all.
//! 2. [`Admission::handle`] reads the body within its budget and starts the timer.
//! 3. [`parse`] calls the endpoint's parser, a pure function of the review.
//! 4. [`Admission::decide`] completes the decision with session state, where the endpoint needs it.
//! 5. The decision is written as an AdmissionReview and counted by its outcome.

mod agent;
mod delete;
mod objects;
mod policy;
mod review;
mod session;

use std::{sync::Arc, time::Instant};

use http::{HeaderMap, Method, StatusCode, header::CONTENT_TYPE, request::Parts};
use http_body::Body;
use mirrord_sessions_core::{
    admission::{Decision, Outcome},
    identity::Requester,
    sessions::STOPPED,
    text::printable,
};
use tracing::{debug, warn};

use crate::{
    metrics::Metrics,
    server::{
        ClientConnection,
        body::{BODY_TIMEOUT, Bodies, BodyError, MAX_BODY},
        response::{self, Response},
    },
    sessions::{Store, targets::TargetLookup},
};
pub(crate) use agent::NewRun;
pub(crate) use delete::DeleteReview;
use review::Request;

/// Parses the request of a review into a decision, or into what the decision still needs.
type Parse = fn(&Request<'_>) -> Review;

/// An admission endpoint, as the webhook configurations name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    path: &'static str,
    parse: Parse,
}

/// The table of admission endpoints.
pub(crate) const ENDPOINTS: [Endpoint; 5] = [
    Endpoint { path: "/admission/v1/sessions/stamp", parse: session::parse },
    Endpoint { path: "/admission/v1/agents/stamp", parse: agent::parse },
    Endpoint { path: "/admission/v1/sessions/stop", parse: delete::parse },
    Endpoint {
        path: "/admission/v1/sessions/dry-run-stop",
        parse: delete::parse_dry_run_by_joiner,
    },
    Endpoint { path: "/admission/v1/sessionpolicies/validate", parse: policy::parse },
];

impl Endpoint {
    /// Returns the endpoint that is served at `path`.
    pub(crate) fn from_path(path: &str) -> Option<Self> {
        ENDPOINTS.into_iter().find(|endpoint| endpoint.path == path)
    }
}

/// A review as its endpoint parsed it.
#[derive(Debug)]
pub(crate) enum Review {
    /// The decision depends on the review alone.
    Final(Decision),
    /// An allowed write starts a run: the requester is warned of other sessions on its target.
    NewRun(Box<NewRun>),
    /// The deletion of a Session: policies and RBAC decide.
    Delete(Box<DeleteReview>),
}

/// Reports the sessions of other users on a target.
pub(crate) trait ConcurrentSessions {
    /// Returns the warning for a requester who starts a run on a target that other sessions use.
    ///
    /// `names` are the names of the target; the warning shows the first.
    fn warning(&self, namespace: &str, names: &[&str], requester: &Requester) -> Option<String>;
}

impl ConcurrentSessions for Store {
    fn warning(&self, namespace: &str, names: &[&str], requester: &Requester) -> Option<String> {
        self.concurrent_sessions_warning(namespace, names, requester)
    }
}

/// Limit of the headers of a review, which are held while it waits for memory. API servers send
/// some hundred bytes.
const MAX_HEADERS: usize = 16 << 10;

/// Describes why a review gets no AdmissionReview in response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request carries no body of the right type.
    #[error("expected content type application/json")]
    ContentType,
    /// The request has larger headers than an API server sends.
    #[error("the headers are over {} KiB", MAX_HEADERS >> 10)]
    Headers,
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body is not an AdmissionReview that can be answered.
    #[error("{0}")]
    Invalid(String),
    /// The response could not be serialised.
    #[error("the response could not be serialised: {0}")]
    Serialize(serde_json::Error),
}

/// Serves the admission endpoints.
#[derive(Clone)]
pub(crate) struct Admission {
    store: Arc<Store>,
    targets: Arc<TargetLookup>,
    bodies: Arc<Bodies>,
    metrics: Arc<Metrics>,
}

impl Admission {
    /// Creates the endpoints over the session state of the process.
    pub(crate) fn new(store: Arc<Store>, targets: TargetLookup, metrics: Arc<Metrics>) -> Self {
        let bodies = Arc::new(Bodies::new(BODY_TIMEOUT));
        Self { store, targets: Arc::new(targets), bodies, metrics }
    }

    /// Responds to a request to an endpoint, and counts and times it.
    pub(crate) async fn handle<B>(&self, endpoint: Endpoint, head: &Parts, body: B) -> Response
    where
        B: Body,
        B::Error: std::error::Error,
    {
        if head.method != Method::POST {
            return response::method_not_allowed(&head.method, "POST");
        }
        let start = Instant::now();
        let (response, outcome) = match self.review(endpoint, head, body).await {
            Ok((review, outcome)) => {
                (response::bytes(StatusCode::OK, "application/json", review.into()), outcome)
            }
            Err(error) => error_response(&error),
        };
        self.metrics.admission(outcome, start.elapsed());
        response
    }

    /// Returns the serialised AdmissionReview and the outcome of the decision as one word.
    async fn review<B>(
        &self,
        endpoint: Endpoint,
        head: &Parts,
        body: B,
    ) -> Result<(Vec<u8>, &'static str), Error>
    where
        B: Body,
        B::Error: std::error::Error,
    {
        if !is_json(&head.headers) {
            return Err(Error::ContentType);
        }
        if size(&head.headers) > MAX_HEADERS {
            return Err(Error::Headers);
        }
        let peer = head.extensions.get::<Arc<ClientConnection>>().map(|client| client.peer);
        let body = self.bodies.read(peer.unwrap_or_default(), MAX_BODY, body).await?;
        let (uid, review) = self.bodies.decide(body, |bytes| parse(endpoint, bytes)).await?;
        let decision = self.decide(review).await;
        let outcome = outcome(&decision);
        Ok((serialize(uid, decision)?, outcome))
    }

    /// Completes the decision with session state.
    async fn decide(&self, review: Review) -> Decision {
        match review {
            Review::Final(decision) => decision,
            Review::NewRun(run) => {
                let hint = run.target_hint();
                let hint =
                    hint.filter(|_| self.store.has_sessions_of_others(&run.requester().username));
                let target = match hint {
                    Some(hint) => self.targets.find(hint).await,
                    None => None,
                };
                run.decide(target.as_ref(), &*self.store)
            }
            Review::Delete(review) => self.decide_delete(&review),
        }
    }

    /// Decides the deletion of a Session, and records the requester of an allowed deletion.
    fn decide_delete(&self, review: &DeleteReview) -> Decision {
        let (decision, deleted) = review.decide(self.store.policies().ok().as_deref());
        // The controller has already recorded its own reason.
        if let Some(uid) = deleted
            && !review.requester().is_controller()
        {
            let user = &review.requester().username;
            self.store.announce_deletion(review.key(), &uid, STOPPED, Some(user));
        }
        decision
    }

    /// Sets the time limit of bodies in tests.
    #[cfg(test)]
    pub(crate) fn with_body_timeout(mut self, timeout: std::time::Duration) -> Self {
        self.bodies = Arc::new(Bodies::new(timeout));
        self
    }
}

/// Parses the body of a review at an endpoint. Returns the uid to respond to, and the review.
pub(crate) fn parse(endpoint: Endpoint, body: &[u8]) -> Result<(String, Review), Error> {
    let request =
        Request::parse(body).map_err(|error| Error::Invalid(printable(&error.to_string(), 512)))?;
    let review = (endpoint.parse)(&request);
    Ok((request.uid, review))
}

/// Serialises a decision as the AdmissionReview that responds to `uid`.
pub(crate) fn serialize(uid: String, decision: Decision) -> Result<Vec<u8>, Error> {
    let review = review::Review::respond(uid, decision).map_err(Error::Serialize)?;
    serde_json::to_vec(&review).map_err(Error::Serialize)
}

/// Decides a review without a cluster, by a set of policies: for fuzzing and tests.
#[cfg(any(test, fuzzing))]
pub(crate) fn decide_offline(
    review: Review,
    policies: Option<&mirrord_sessions_core::policy::PolicySet>,
    sessions: &dyn ConcurrentSessions,
) -> Decision {
    match review {
        Review::Final(decision) => decision,
        Review::NewRun(run) => run.decide(None, sessions),
        Review::Delete(review) => review.decide(policies).0,
    }
}

/// Returns the label of a decision's outcome in the metrics.
fn outcome(decision: &Decision) -> &'static str {
    match &decision.outcome {
        Outcome::Allow(changes) if changes.is_empty() => "allowed",
        Outcome::Allow(_) => "patched",
        Outcome::Deny(_) => "denied",
    }
}

/// Returns the response to a request that is not answered by an AdmissionReview, and its outcome.
fn error_response(error: &Error) -> (Response, &'static str) {
    let (status, reason) = match error {
        Error::ContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
        Error::Body(BodyError::TooLarge(_)) => {
            (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge")
        }
        Error::Headers => {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "RequestHeaderFieldsTooLarge")
        }
        Error::Body(BodyError::TooSlow(_) | BodyError::BelowRate) => {
            (StatusCode::REQUEST_TIMEOUT, "Timeout")
        }
        Error::Body(BodyError::Evicted | BodyError::TooMany) => {
            (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests")
        }
        Error::Body(BodyError::Broken(_)) | Error::Invalid(_) => {
            (StatusCode::BAD_REQUEST, "BadRequest")
        }
        Error::Serialize(_) => {
            warn!(%error, "admission review not answered");
            return (response::internal_error(), "failed");
        }
    };
    if matches!(error, Error::Invalid(_)) {
        // The error quotes the review.
        warn!("rejected an invalid admission review");
    } else {
        debug!(%error, "could not read an admission review");
    }
    (response::status(status, reason, &error.to_string()), "invalid")
}

/// Returns the size of headers in bytes.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests;
