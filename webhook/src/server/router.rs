//! Which path does what. Built without listener or TLS, so that tests ask it directly.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body::Body;
use mirrord_sessions_core::text::printable;
use serde_json::json;
use tracing::{debug, warn};

use super::{
    body::{Answer, BODY_TIMEOUT, Bodies, BodyError, Held, full},
    health::Health,
};
use crate::{
    admission,
    apiserver::{Api, front_proxy::PeerCertificates},
    metrics::{self, Metrics},
};

/// The path of the webhook that stamps Sessions, as the webhook configuration names it.
pub(crate) const STAMP_SESSION: &str = "/admission/v1/sessions/stamp";

/// The path of the webhooks that stamp agents.
pub(crate) const STAMP_AGENT: &str = "/admission/v1/agents/stamp";

/// The path of the webhook that checks SessionPolicies.
pub(crate) const VALIDATE_POLICY: &str = "/admission/v1/sessionpolicies/validate";

/// The path of the webhook that decides who may delete Sessions.
pub(crate) const STOP_SESSION: &str = "/admission/v1/sessions/stop";

/// What decides on the reviews that are sent to a path.
type Decide = fn(&[u8], &dyn admission::Neighbours) -> Result<admission::Answer, admission::Error>;

fn admission(path: &str) -> Option<Decide> {
    match path {
        STAMP_SESSION => Some(admission::stamp_session),
        VALIDATE_POLICY => Some(admission::validate_policy),
        _ => None,
    }
}

/// Answers requests.
#[derive(Clone, Debug)]
pub(crate) struct Router {
    health: Arc<Health>,
    bodies: Arc<Bodies>,
    trackers: Api,
    metrics: Arc<Metrics>,
}

impl Router {
    pub(crate) fn new(health: Arc<Health>, metrics: Arc<Metrics>, trackers: Api) -> Self {
        Self { health, bodies: Arc::new(Bodies::new(BODY_TIMEOUT)), metrics, trackers }
    }

    /// Answers one request. Whatever comes in, an answer goes out.
    pub(crate) async fn handle<B>(&self, request: Request<B>) -> Answer
    where
        B: Body,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let (head, body) = request.into_parts();
        if let Some(decide) = admission(head.uri.path()) {
            if head.method != Method::POST {
                return not_allowed(&head.method, "POST");
            }
            let start = Instant::now();
            let (answer, outcome) = self.admit(&head.headers, body, decide).await;
            self.metrics.admission(outcome, start.elapsed());
            return answer;
        }
        match head.uri.path() {
            STOP_SESSION if head.method == Method::POST => {
                let start = Instant::now();
                let (answer, outcome) = self.stop(&head.headers, body).await;
                self.metrics.admission(outcome, start.elapsed());
                answer
            }
            STAMP_AGENT if head.method == Method::POST => {
                let start = Instant::now();
                let (answer, outcome) = self.stamp_agent(&head.headers, body).await;
                self.metrics.admission(outcome, start.elapsed());
                answer
            }
            STOP_SESSION | STAMP_AGENT => not_allowed(&head.method, "POST"),
            "/livez" | "/readyz" | "/metrics"
                if !matches!(head.method, Method::GET | Method::HEAD) =>
            {
                not_allowed(&head.method, "GET, HEAD")
            }
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readyz(),
            "/metrics" => self.told(),
            path if Api::serves(path) => {
                let peer = head.extensions.get::<PeerCertificates>();
                self.trackers.handle(&head, body, peer).await
            }
            path => failure(
                StatusCode::NOT_FOUND,
                "NotFound",
                &format!("nothing is served at {}", printable(path, 200)),
            ),
        }
    }

    /// Reads a review and answers it with `decide`, which does no I/O; and the answer in a word.
    async fn admit<B>(&self, headers: &HeaderMap, body: B, decide: Decide) -> (Answer, &'static str)
    where
        B: Body,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        match self.review(headers, body).await {
            Ok(review) => {
                let decide = |review: &[u8]| decide(review, &self.trackers);
                answered(self.bodies.decide(review, decide).await)
            }
            Err(refused) => (refused, "invalid"),
        }
    }

    /// The same of a review that asks whether a Session may be deleted; who asked is noted.
    async fn stop<B>(&self, headers: &HeaderMap, body: B) -> (Answer, &'static str)
    where
        B: Body,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let review = match self.review(headers, body).await {
            Ok(review) => review,
            Err(refused) => return (refused, "invalid"),
        };
        match self.bodies.decide(review, admission::Stop::parse).await {
            Ok(stop) => answered(self.trackers.stop(stop).await),
            Err(error) => answered(Err(error)),
        }
    }

    /// The same of a review of an agent, whose target may be looked for.
    async fn stamp_agent<B>(&self, headers: &HeaderMap, body: B) -> (Answer, &'static str)
    where
        B: Body,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let review = match self.review(headers, body).await {
            Ok(review) => review,
            Err(refused) => return (refused, "invalid"),
        };
        let parse = admission::AgentReview::parse;
        match self.bodies.decide(review, parse).await {
            Ok(agent) => answered(self.trackers.stamp_agent(agent).await),
            Err(error) => answered(Err(error)),
        }
    }

    /// The body of a review, or why it is none.
    async fn review<B>(&self, headers: &HeaderMap, body: B) -> Result<Held<'_>, Answer>
    where
        B: Body,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        if !is_json(headers) {
            return Err(failure(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                "expected content type application/json",
            ));
        }
        self.bodies.read(body).await.map_err(|error| {
            debug!(%error, "a review could not be read");
            let (status, reason) = match error {
                BodyError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
                BodyError::TooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "Timeout"),
                BodyError::Broken(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            };
            failure(status, reason, &error.to_string())
        })
    }

    /// For Prometheus. To whoever can reach the port: it counts, and names nobody.
    fn told(&self) -> Answer {
        match self.metrics.text() {
            Ok(text) => respond(StatusCode::OK, metrics::CONTENT_TYPE, Bytes::from(text)),
            Err(error) => {
                warn!(%error, "the metrics could not be written");
                internal_error()
            }
        }
    }

    /// One line a check, as kube-apiserver's own `/readyz?verbose` tells them.
    fn readyz(&self) -> Answer {
        let checks = self.health.readiness();
        let mut lines = String::new();
        for (name, holds) in &checks {
            lines.push_str(if *holds { "[+]" } else { "[-]" });
            lines.push_str(name);
            lines.push_str(if *holds { " ok\n" } else { " failed\n" });
        }
        if checks.iter().all(|(_, holds)| *holds) {
            lines.push_str("readyz check passed\n");
            text(StatusCode::OK, &lines)
        } else {
            lines.push_str("readyz check failed\n");
            text(StatusCode::SERVICE_UNAVAILABLE, &lines)
        }
    }
}

fn answered(decided: Result<admission::Answer, admission::Error>) -> (Answer, &'static str) {
    match decided {
        Ok(admission::Answer { review, outcome }) => {
            let review = Bytes::from(review);
            (respond(StatusCode::OK, "application/json", review), outcome)
        }
        Err(error @ admission::Error::Invalid(_)) => {
            warn!(%error, "refused a review");
            let answer = failure(StatusCode::BAD_REQUEST, "BadRequest", &error.to_string());
            (answer, "invalid")
        }
        Err(error @ admission::Error::Answer(_)) => {
            warn!(%error, "a review could not be answered");
            (internal_error(), "failed")
        }
    }
}

fn internal_error() -> Answer {
    failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "see the webhook's log")
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn not_allowed(method: &Method, allowed: &'static str) -> Answer {
    let mut answer = failure(
        StatusCode::METHOD_NOT_ALLOWED,
        "MethodNotAllowed",
        &format!("{} is not served here, only {allowed}", printable(method.as_str(), 32)),
    );
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// A Kubernetes Status, which the API server passes on to the requester.
fn failure(status: StatusCode, reason: &str, message: &str) -> Answer {
    let body = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": status.as_u16(),
        "reason": reason,
        "message": message,
    });
    respond(status, "application/json", Bytes::from(body.to_string()))
}

fn text(status: StatusCode, text: &str) -> Answer {
    respond(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(text.as_bytes()))
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(full(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
