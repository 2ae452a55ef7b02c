//! The paths of the process. Built without listener or TLS, so that tests send requests directly.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use mirrord_sessions_core::text::printable;
use tracing::warn;

use crate::{
    admission::{Admission, Endpoint},
    apiserver::Api,
    metrics::{self, Metrics},
    server::{
        Handler,
        client_certificates::PeerCertificates,
        health::Health,
        response::{self, Response},
    },
};

/// Routes requests to probes, metrics, admission and the aggregated API.
#[derive(Clone)]
pub(crate) struct Router {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    admission: Admission,
    trackers: Api,
}

impl Router {
    pub(crate) fn new(
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        admission: Admission,
        trackers: Api,
    ) -> Self {
        Self { health, metrics, admission, trackers }
    }

    /// Responds to any request.
    pub(crate) async fn handle<B>(&self, request: Request<B>) -> Response
    where
        B: Body,
        B::Error: std::error::Error,
    {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if let Some(endpoint) = Endpoint::from_path(path) {
            return self.admission.handle(endpoint, &head, body).await;
        }
        match path {
            "/livez" | "/readyz" | "/metrics"
                if !matches!(head.method, Method::GET | Method::HEAD) =>
            {
                response::method_not_allowed(&head.method, "GET, HEAD")
            }
            "/livez" => response::text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readyz(),
            "/metrics" => self.metrics(),
            path if Api::serves(path) => {
                let peer = head.extensions.get::<PeerCertificates>();
                self.trackers.handle(&head, body, peer).await
            }
            path => response::status(
                StatusCode::NOT_FOUND,
                "NotFound",
                &format!("nothing is served at {}", printable(path, 200)),
            ),
        }
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

impl Handler for Router {
    async fn handle(&self, request: Request<Incoming>) -> Response {
        Self::handle(self, request).await
    }
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
