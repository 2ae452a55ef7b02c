use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};

use super::*;
use crate::{
    apiserver::routes::tests::{SHOP, fixture_with_client, head, tracker},
    sessions::join_rights::tests::review_response,
    testing::{api_server, unreachable_client},
};

const JOIN: &str = r#"{"apiVersion":"visibility.operator.metalbear.co/v1","kind":"SessionJoin"}"#;
const REPORT: &str = r#"{"apiVersion":"visibility.operator.metalbear.co/v1","kind":"SessionReport","spec":{"ports":[{"port":80,"type":"steal"}]}}"#;

/// Sends a request for a subresource; returns the response and the requests to the API server.
async fn post(
    respond: impl Fn(&str, &Value) -> (u16, Value) + Clone + Send + 'static,
    user: &str,
    path: &str,
    body: &str,
    content_type: &str,
) -> (u16, Value, Vec<(String, Value)>) {
    let (client, requests) = api_server(respond);
    let fixture = fixture_with_client(client);
    let headers = [("x-remote-user", user), ("content-type", content_type)];
    let head = head("POST", &format!("{SHOP}/{path}"), &headers);
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let response = fixture.api.handle(&head, body, Some(&fixture.peer)).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let requests = requests.lock().unwrap().clone();
    (head.status.as_u16(), serde_json::from_slice(&body).unwrap(), requests)
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": "s3cret inside",
    });
    (code, status)
}

fn patched(_: &str, _: &Value) -> (u16, Value) {
    (200, json!({ "apiVersion": "operator.metalbear.co/v1", "kind": "Session", "metadata": {} }))
}

#[tokio::test]
async fn join_patches_participants_with_preconditions() {
    let (code, response, requests) =
        post(patched, "bob", "a/join?dryRun=All", JOIN, "application/json").await;
    assert_eq!((code, &response["kind"]), (201, &json!("SessionJoin")), "{response}");
    assert_eq!(response["status"]["header"]["value"], "mirrord-session=s3cret");
    assert_eq!(response["status"]["participants"], json!(["alice", "bob"]));
    let (request, body) = &requests[0];
    assert!(
        request
            .starts_with("PATCH /apis/operator.metalbear.co/v1/namespaces/shop/sessions/a/status?")
            && request.contains("dryRun=All"),
        "{request}"
    );
    assert_eq!(
        *body,
        json!({
            "metadata": { "uid": "a", "resourceVersion": "5" },
            "status": { "participants": ["bob"] },
        })
    );
    // A participant causes no write.
    let (code, _, requests) = post(patched, "alice", "a/join", "", "").await;
    assert_eq!((code, requests.len()), (200, 0));
}

#[tokio::test]
async fn join_retries_on_conflict() {
    let (client, requests) = api_server(|_, body| {
        if body["metadata"]["resourceVersion"] == "5" {
            status(409, "Conflict")
        } else {
            patched("", body)
        }
    });
    let fixture = fixture_with_client(client);
    let store = Arc::clone(&fixture.store);
    let head = head("POST", &format!("{SHOP}/a/join"), &[("x-remote-user", "bob")]);
    let join = fixture.api.handle(&head, Full::new(Bytes::new()), Some(&fixture.peer));
    let update = async {
        while requests.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        store.update(|index| index.apply(tracker("shop", "a", "alice", 11)));
    };
    let (response, ()) = tokio::join!(join, update);
    assert_eq!(response.status(), 201);
    let versions: Vec<Value> = requests
        .lock()
        .unwrap()
        .iter()
        .map(|(_, body)| body["metadata"]["resourceVersion"].clone())
        .collect();
    assert_eq!(versions, ["5", "11"]);
}

#[tokio::test]
async fn owner_reports_status() {
    let (code, response, requests) =
        post(patched, "alice", "a/report", REPORT, "application/json; charset=utf-8").await;
    assert_eq!((code, &response["kind"]), (201, &json!("SessionReport")), "{response}");
    assert_eq!(response["status"]["periodSeconds"], 20);
    let body = &requests[0].1;
    assert_eq!(body["metadata"], json!({ "uid": "a" }));
    assert_eq!(body["status"]["state"], "running");
    assert_eq!(body["status"]["portSummary"], "Port: 80, Type: steal");
    let (code, _, requests) = post(patched, "bob", "a/report", REPORT, "application/json").await;
    assert_eq!((code, requests.len()), (403, 0));
}

#[tokio::test]
async fn final_report_deletes_session() {
    let last = REPORT.replace(r#""ports""#, r#""ended":true,"ports""#);
    let json = "application/json";
    for (user, path, code, count) in [
        ("alice", "a/report", 201, 1),
        ("alice", "a/report?dryRun=All", 201, 1),
        ("bob", "a/report", 403, 0),
    ] {
        let (client, requests) = api_server(patched);
        let fixture = fixture_with_client(client);
        let headers = [("x-remote-user", user), ("content-type", json)];
        let body = Full::new(Bytes::from(last.clone()));
        let head = head("POST", &format!("{SHOP}/{path}"), &headers);
        let response = fixture.api.handle(&head, body, Some(&fixture.peer)).await;
        assert_eq!(response.status(), code, "{user} {path}");
        let requests = requests.lock().unwrap().clone();
        assert_eq!(requests.len(), count, "{requests:?}");
        if let Some((request, body)) = requests.first() {
            assert!(
                request.starts_with("DELETE ") && request.contains("/sessions/a?"),
                "{request}"
            );
            assert_eq!(body["preconditions"], json!({ "uid": "a" }), "{body}");
            let is_dry_run = path.contains("dryRun");
            assert_eq!(body["dryRun"].is_array(), is_dry_run, "{body}");
            let ending = fixture.store.pending_ending("a");
            assert_eq!(ending.is_known(), !is_dry_run, "{ending:?}");
            assert_eq!(ending.by, None);
        }
    }
    // Another session has taken the name, so this one has ended.
    let conflict = |_: &str, _: &Value| status(409, "Conflict");
    let (code, _, _) = post(conflict, "alice", "a/report", &last, json).await;
    assert_eq!(code, 404);
}

#[tokio::test]
async fn returns_status_for_errors() {
    let huge = format!("{JOIN}{}", " ".repeat(MAX_JOIN_SIZE));
    let ports = |count: usize| {
        let port = r#"{"port":80,"type":"steal"}"#;
        REPORT.replace(port, &vec![port; count].join(","))
    };
    let (long, longer, invalid) = (ports(700), ports(2000), ports(1025));
    let invalid_json = "\u{fffd}{";
    for (path, body, content_type, code, reason) in [
        ("a/join", JOIN, "text/plain", 415, "UnsupportedMediaType"),
        ("a/join", JOIN, "application/yaml", 415, "UnsupportedMediaType"),
        ("a/join", &huge, "application/json", 413, "RequestEntityTooLarge"),
        ("a/join", invalid_json, "application/json", 400, "BadRequest"),
        ("a/join", REPORT, "application/json", 400, "BadRequest"),
        ("a/report", JOIN, "application/json", 400, "BadRequest"),
        ("a/report", &long, "application/json", 413, "RequestEntityTooLarge"),
        ("a/report", &longer, "application/json", 413, "RequestEntityTooLarge"),
        ("a/report", &invalid, "application/json", 422, "Invalid"),
        ("a/report", "", "", 400, "BadRequest"),
        ("a/report", &JOIN.replace("Join", "Report"), "application/json", 422, "Invalid"),
        ("a/join?dryRun=Some", JOIN, "application/json", 400, "BadRequest"),
        ("none/join", JOIN, "application/json", 404, "NotFound"),
        ("a%2f/join", JOIN, "application/json", 404, "NotFound"),
        ("A%00/join", JOIN, "application/json", 404, "NotFound"),
    ] {
        let (status, response, requests) = post(patched, "bob", path, body, content_type).await;
        assert_eq!(
            (status, &response["kind"], &response["reason"]),
            (code, &json!("Status"), &json!(reason)),
            "{path} {body:.80}: {response}"
        );
        assert!(requests.is_empty(), "{path}");
    }
    tokio::time::pause();
    for (from, code) in [(404, 404), (409, 409), (403, 500), (422, 500), (500, 500), (429, 503)] {
        let failing = move |_: &str, _: &Value| status(from, "Any");
        let (got, response, _) = post(failing, "bob", "a/join", JOIN, "application/json").await;
        assert_eq!(got, code, "{from}: {response}");
        assert!(!response.to_string().contains("s3cret"), "{response}");
    }
    let fixture = fixture_with_client(unreachable_client());
    let head = head("POST", &format!("{SHOP}/a/join"), &[("x-remote-user", "bob")]);
    let response = fixture.api.handle(&head, Full::new(Bytes::new()), Some(&fixture.peer)).await;
    assert_eq!(response.status(), 503, "the API server is unreachable");
}

#[tokio::test(start_paused = true)]
async fn right_to_join_reveals_keys() {
    let is_allowed = Arc::new(Mutex::new(false));
    let right = Arc::clone(&is_allowed);
    let (client, _) = api_server(move |_, review| review_response(review, *right.lock().unwrap()));
    let fixture = fixture_with_client(client);
    let bob = [("x-remote-user", "bob")];
    let get = async |path: &str| {
        let (_, _, body) = fixture.request("GET", path, &bob).await;
        String::from_utf8(body.to_vec()).unwrap()
    };
    let path = format!("{SHOP}?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Da");
    let response = fixture
        .api
        .handle(&head("GET", &path, &bob), Full::new(Bytes::new()), Some(&fixture.peer))
        .await;
    let mut watch = response.into_body();
    let mut next_frame = async || {
        let frame = watch.frame().await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    let tracker_path = format!("{SHOP}/a");
    for (granted, event) in [(false, "ADDED"), (true, "MODIFIED"), (false, "MODIFIED")] {
        *is_allowed.lock().unwrap() = granted;
        tokio::time::advance(crate::sessions::join_rights::VERDICT_TTL * 2).await;
        let frame = next_frame().await;
        assert!(frame.contains(event), "{frame}");
        assert_eq!(frame.contains("s3cret"), granted, "{frame}");
        for path in [&tracker_path, SHOP] {
            let text = get(path).await;
            assert!(text.contains(r#""name":"a""#), "{text}");
            // The list has the key of bob's own session in any case.
            assert_eq!(
                text.matches("s3cret").count() > usize::from(path == SHOP),
                granted,
                "{text}"
            );
        }
    }
}
