use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use std::{convert::Infallible, time::Duration};

use super::*;
use crate::{
    metrics::Metrics,
    server::{body::MAX_BODY, health::Health},
    sessions::{Store, join_rights::JoinAuthorizer, targets::TargetLookup},
    testing::unreachable_client,
};

const STAMP_SESSION: &str = "/admission/v1/sessions/stamp";

fn router() -> (Router, Arc<Health>) {
    let health = Arc::new(Health::default());
    let (store, client) = (Store::new(), unreachable_client());
    let join_authorizer = Arc::new(JoinAuthorizer::new(client.clone()));
    let metrics = Arc::new(Metrics::default());
    let admission =
        Admission::new(Arc::clone(&store), TargetLookup::new(client.clone()), Arc::clone(&metrics));
    let trackers = Api::new(store, Arc::default(), join_authorizer, client);
    let router = Router::new(Probes::new(Arc::clone(&health), metrics), admission, trackers);
    (router, health)
}

async fn send(
    request: Request<impl Body<Data = Bytes, Error = Infallible>>,
) -> (StatusCode, HeaderMap, String) {
    let answer = router().0.handle(request).await;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn post(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(STAMP_SESSION)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

fn empty(method: &str, path: &str) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri(path).body(Full::default()).unwrap()
}

#[tokio::test]
async fn responds_to_reviews() {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "operation": "CREATE", "userInfo": { "username": "alice" },
            "resource": { "group": "operator.metalbear.co", "version": "v1", "resource": "sessions" },
            "object": { "kind": "Session", "spec": { "target": "a/b" } },
        },
    });
    for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
        let mut request = post(review.to_string());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let (status, headers, body) = send(request).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers[CONTENT_TYPE], "application/json");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["response"]["allowed"], true);
    }
}

#[tokio::test]
async fn rejects_invalid_requests_with_a_status() {
    let no_type = Request::post(STAMP_SESSION).body(Full::default()).unwrap();
    let mut yaml = post("kind: AdmissionReview");
    yaml.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
    let huge = post(vec![b'['; MAX_BODY + 1]);
    let mut long = post("{}");
    long.headers_mut().insert("x-long", HeaderValue::from_str(&"x".repeat(17 << 10)).unwrap());
    let cases = [
        (empty("GET", "/"), 404, "nothing is served at /"),
        (empty("POST", "/admission/v1/pods/stamp"), 404, "/admission/v1/pods/stamp"),
        (empty("GET", STAMP_SESSION), 405, "only POST"),
        (empty("BREW", STAMP_SESSION), 405, "BREW"),
        (empty("POST", "/readyz"), 405, "only GET, HEAD"),
        (no_type, 415, "application/json"),
        (yaml, 415, "application/json"),
        (huge, 413, "over 5 MiB"),
        (long, 431, "over 16 KiB"),
        (post("{"), 400, "not JSON"),
        (post("{}"), 400, "AdmissionReview"),
    ];
    for (request, code, text) in cases {
        let name = format!("{} {}", request.method(), request.uri());
        let (status, headers, body) = send(request).await;
        assert_eq!(status.as_u16(), code, "{name}");
        assert_eq!(headers.contains_key(ALLOW), code == 405, "{name}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["kind"], &body["code"]), (&json!("Status"), &json!(code)), "{name}");
        assert!(body["message"].as_str().unwrap().contains(text), "{name}: {body}");
    }
}

/// Returns a request with a body of unknown length.
fn streamed(
    frames: impl futures::Stream<Item = Bytes>,
) -> Request<impl Body<Data = Bytes, Error = Infallible>> {
    use futures::StreamExt;
    let frames = frames.map(|bytes| Ok(Frame::data(bytes)));
    post("").map(|_| StreamBody::new(frames))
}

#[tokio::test]
async fn rejects_an_endless_body() {
    let endless = futures::stream::repeat(Bytes::from(vec![b'['; 64 << 10]));
    let (status, _, body) = send(streamed(endless)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
}

#[tokio::test]
async fn times_out_a_stalled_body() {
    let (mut router, _) = router();
    router.admission = router.admission.with_body_timeout(Duration::from_millis(1));
    let stalled = futures::stream::pending();
    let answer = router.handle(streamed(stalled)).await;
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn readiness_lists_failed_checks() {
    let (router, health) = router();
    let ready = async || {
        let answer = router.handle(empty("GET", "/readyz")).await;
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let (status, body) = ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("[-]certificate failed\n[-]ca-bundle failed\n"), "{body}");
    health.certificate_loaded();
    health.ca_bundle_applied();
    let (status, body) = ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("[-]trackers failed"), "{body}");
    health.sessions_synced();
    health.front_proxy_loaded();
    let (status, body) = ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("[+]trackers ok\n[-]policies failed"), "{body}");
    health.policies_synced();
    let (status, body) = ready().await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.ends_with("readyz check passed\n"), "{body}");
    health.start_draining();
    let (status, body) = ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("[-]not-draining failed"), "{body}");
    let alive = router.handle(empty("HEAD", "/livez")).await;
    assert_eq!(alive.status(), StatusCode::OK);
}
