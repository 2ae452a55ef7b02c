//! Probes and metrics, served on a listener of their own and on the HTTPS listener.
//!
//! The kubelet must get its answer however many connections other clients hold, so its probes need
//! a listener that these clients have no reason to reach.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, request::Parts};
use hyper::body::Incoming;
use mirrord_sessions_core::text::printable;
use tracing::warn;

use crate::{
    metrics::{self, Metrics},
    server::{
        Handler,
        health::Health,
        response::{self, Response},
    },
};

/// Responds to probes and to requests for metrics.
#[derive(Clone)]
pub(crate) struct Probes {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Probes {
    /// Creates the probes over the state of the process.
    pub(crate) fn new(health: Arc<Health>, metrics: Arc<Metrics>) -> Self {
        Self { health, metrics }
    }

    /// Returns the response to a request, or `None` if its path belongs to no probe.
    pub(crate) fn respond(&self, head: &Parts) -> Option<Response> {
        let respond = match head.uri.path() {
            "/livez" => |_: &Self| response::text(StatusCode::OK, "ok\n"),
            "/readyz" => Self::readyz,
            "/metrics" => Self::metrics,
            _ => return None,
        };
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Some(response::method_not_allowed(&head.method, "GET, HEAD"));
        }
        Some(respond(self))
    }

    /// Returns the metrics for Prometheus. Any client that reaches the port may read them: they
    /// hold counts and no names.
    fn metrics(&self) -> Response {
        match self.metrics.text() {
            Ok(text) => response::bytes(StatusCode::OK, metrics::CONTENT_TYPE, Bytes::from(text)),
            Err(error) => {
                warn!(%error, "metrics could not be encoded");
                response::internal_error()
            }
        }
    }

    /// Returns one line per check, in the format of kube-apiserver's `/readyz?verbose`.
    fn readyz(&self) -> Response {
        let checks = self.health.readiness();
        let mut lines = String::new();
        for (name, holds) in &checks {
            lines.push_str(if *holds { "[+]" } else { "[-]" });
            lines.push_str(name);
            lines.push_str(if *holds { " ok\n" } else { " failed\n" });
        }
        if checks.iter().all(|(_, holds)| *holds) {
            lines.push_str("readyz check passed\n");
            response::text(StatusCode::OK, &lines)
        } else {
            lines.push_str("readyz check failed\n");
            response::text(StatusCode::SERVICE_UNAVAILABLE, &lines)
        }
    }
}

impl Handler for Probes {
    async fn handle(&self, request: Request<Incoming>) -> Response {
        let (head, _) = request.into_parts();
        self.respond(&head).unwrap_or_else(|| not_found(head.uri.path()))
    }
}

/// Returns the response for a path that is not served.
pub(crate) fn not_found(path: &str) -> Response {
    let message = format!("nothing is served at {}", printable(path, 200));
    response::status(StatusCode::NOT_FOUND, "NotFound", &message)
}
