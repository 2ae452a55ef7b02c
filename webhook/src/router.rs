//! The paths of the process. Built without listener or TLS, so that tests send requests directly.

use std::sync::Arc;

use http::Request;
use http_body::Body;
use hyper::body::Incoming;

use crate::{
    admission::{Admission, Endpoint},
    apiserver::Api,
    probes::{Probes, not_found},
    server::{ClientConnection, Handler, response::Response},
};

/// Routes requests to probes, metrics, admission and the aggregated API.
#[derive(Clone)]
pub(crate) struct Router {
    probes: Probes,
    admission: Admission,
    trackers: Api,
}

impl Router {
    pub(crate) fn new(probes: Probes, admission: Admission, trackers: Api) -> Self {
        Self { probes, admission, trackers }
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
        if let Some(response) = self.probes.respond(&head) {
            return response;
        }
        if !Api::serves(path) {
            return not_found(path);
        }
        let client = head.extensions.get::<Arc<ClientConnection>>();
        let peer = client.and_then(|client| client.certificates.clone());
        self.trackers.handle(&head, body, peer.as_ref()).await
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
