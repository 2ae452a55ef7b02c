//! Scripted API servers for tests.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// The requests that an API server has received: method and path, and the body.
pub(crate) type Requests = Arc<Mutex<Vec<(String, Value)>>>;

/// Returns a client of an API server that responds by a function of method, path and body.
pub(crate) fn api_server(
    respond: impl Fn(&str, &Value) -> (u16, Value) + Clone + Send + 'static,
) -> (Client, Requests) {
    let requests = Requests::default();
    let log = Arc::clone(&requests);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (respond, log) = (respond.clone(), Arc::clone(&log));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let request = format!("{} {}", head.method, head.uri.path_and_query().unwrap());
            let (code, response) = respond(&request, &body);
            log.lock().unwrap().push((request, body));
            // Other tasks run before the response arrives.
            tokio::task::yield_now().await;
            let response = Response::builder()
                .status(code)
                .body(Body::from(response.to_string().into_bytes()))
                .unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    (Client::new(service, "default"), requests)
}

/// Returns a client whose every request fails with 503.
pub(crate) fn unreachable_client() -> Client {
    api_server(|_, _| {
        let status = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure",
            "code": 503, "reason": "ServiceUnavailable", "message": "unreachable",
        });
        (503, status)
    })
    .0
}
