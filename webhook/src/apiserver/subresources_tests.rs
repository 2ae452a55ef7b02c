use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};

use super::*;
use crate::{
    apiserver::routes::tests::{SHOP, head, tracker, with},
    sessions::join_rights::tests::review_response,
    testing::{api_server, unreachable_client},
};

const JOIN: &str = r#"{"apiVersion":"visibility.operator.metalbear.co/v1","kind":"SessionJoin"}"#;
const REPORT: &str = r#"{"apiVersion":"visibility.operator.metalbear.co/v1","kind":"SessionReport","spec":{"ports":[{"port":80,"type":"steal"}]}}"#;

/// One request to `namespaces/shop/sessiontrackers/a` of alice, and what the API server is asked.
async fn ask(
    answer: impl Fn(&str, &Value) -> (u16, Value) + Clone + Send + 'static,
    user: &str,
    path: &str,
    body: &str,
    content_type: &str,
) -> (u16, Value, Vec<(String, Value)>) {
    let (client, seen) = api_server(answer);
    let fixture = with(client);
    let headers = [("x-remote-user", user), ("content-type", content_type)];
    let head = head("POST", &format!("{SHOP}/{path}"), &headers);
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let answer = fixture.api.handle(&head, body, Some(&fixture.peer)).await;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let seen = seen.lock().unwrap().clone();
    (head.status.as_u16(), serde_json::from_slice(&body).unwrap(), seen)
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
async fn joining_writes_exactly_what_was_read() {
    let (code, answer, seen) =
        ask(patched, "bob", "a/join?dryRun=All", JOIN, "application/json").await;
    assert_eq!((code, &answer["kind"]), (201, &json!("SessionJoin")), "{answer}");
    assert_eq!(answer["status"]["header"]["value"], "mirrord-session=s3cret");
    assert_eq!(answer["status"]["participants"], json!(["alice", "bob"]));
    let (what, body) = &seen[0];
    assert!(
        what.starts_with("PATCH /apis/operator.metalbear.co/v1/namespaces/shop/sessions/a/status?")
            && what.contains("dryRun=All"),
        "{what}"
    );
    assert_eq!(
        *body,
        json!({
            "metadata": { "uid": "a", "resourceVersion": "5" },
            "status": { "participants": ["bob"] },
        })
    );
    // Who takes part already writes nothing.
    let (code, _, seen) = ask(patched, "alice", "a/join", "", "").await;
    assert_eq!((code, seen.len()), (200, 0));
}

#[tokio::test]
async fn joining_goes_on_when_others_change_the_session() {
    let (client, seen) = api_server(|_, body| {
        if body["metadata"]["resourceVersion"] == "5" {
            status(409, "Conflict")
        } else {
            patched("", body)
        }
    });
    let fixture = with(client);
    let store = Arc::clone(&fixture.store);
    let head = head("POST", &format!("{SHOP}/a/join"), &[("x-remote-user", "bob")]);
    let asking = fixture.api.handle(&head, Full::new(Bytes::new()), Some(&fixture.peer));
    let changing = async {
        while seen.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        store.update(|index| index.apply(tracker("shop", "a", "alice", 11)));
    };
    let (answer, ()) = tokio::join!(asking, changing);
    assert_eq!(answer.status(), 201);
    let tried: Vec<Value> = seen
        .lock()
        .unwrap()
        .iter()
        .map(|(_, body)| body["metadata"]["resourceVersion"].clone())
        .collect();
    assert_eq!(tried, ["5", "11"]);
}

#[tokio::test]
async fn reports_are_the_owners() {
    let (code, answer, seen) =
        ask(patched, "alice", "a/report", REPORT, "application/json; charset=utf-8").await;
    assert_eq!((code, &answer["kind"]), (201, &json!("SessionReport")), "{answer}");
    assert_eq!(answer["status"]["periodSeconds"], 20);
    let body = &seen[0].1;
    assert_eq!(body["metadata"], json!({ "uid": "a" }));
    assert_eq!(body["status"]["state"], "running");
    assert_eq!(body["status"]["portSummary"], "Port: 80, Type: steal");
    let (code, _, seen) = ask(patched, "bob", "a/report", REPORT, "application/json").await;
    assert_eq!((code, seen.len()), (403, 0));
}

#[tokio::test]
async fn the_last_report_of_the_owner_ends_the_session_by_nobody() {
    let last = REPORT.replace(r#""ports""#, r#""ended":true,"ports""#);
    let json = "application/json";
    for (user, path, code, asked) in [
        ("alice", "a/report", 201, 1),
        ("alice", "a/report?dryRun=All", 201, 1),
        ("bob", "a/report", 403, 0),
    ] {
        let (client, seen) = api_server(patched);
        let fixture = with(client);
        let headers = [("x-remote-user", user), ("content-type", json)];
        let body = Full::new(Bytes::from(last.clone()));
        let head = head("POST", &format!("{SHOP}/{path}"), &headers);
        let answer = fixture.api.handle(&head, body, Some(&fixture.peer)).await;
        assert_eq!(answer.status(), code, "{user} {path}");
        let seen = seen.lock().unwrap().clone();
        assert_eq!(seen.len(), asked, "{seen:?}");
        if let Some((what, body)) = seen.first() {
            assert!(what.starts_with("DELETE ") && what.contains("/sessions/a?"), "{what}");
            assert_eq!(body["preconditions"], json!({ "uid": "a" }), "{body}");
            let is_tried = path.contains("dryRun");
            assert_eq!(body["dryRun"].is_array(), is_tried, "{body}");
            let noted = fixture.store.pending_ending("a");
            assert_eq!(noted.is_known(), !is_tried, "{noted:?}");
            assert_eq!(noted.by, None);
        }
    }
    // Another of that name by now: this one is over.
    let conflict = |_: &str, _: &Value| status(409, "Conflict");
    let (code, _, _) = ask(conflict, "alice", "a/report", &last, json).await;
    assert_eq!(code, 404);
}

#[tokio::test]
async fn what_goes_wrong() {
    let huge = format!("{JOIN}{}", " ".repeat(MAX_BODY_SIZE));
    let utf8 = "\u{fffd}{";
    for (path, body, content_type, code, reason) in [
        ("a/join", JOIN, "text/plain", 415, "UnsupportedMediaType"),
        ("a/join", JOIN, "application/yaml", 415, "UnsupportedMediaType"),
        ("a/join", &huge, "application/json", 413, "RequestEntityTooLarge"),
        ("a/join", utf8, "application/json", 400, "BadRequest"),
        ("a/join", REPORT, "application/json", 400, "BadRequest"),
        ("a/report", JOIN, "application/json", 400, "BadRequest"),
        ("a/report", "", "", 400, "BadRequest"),
        ("a/report", &JOIN.replace("Join", "Report"), "application/json", 422, "Invalid"),
        ("a/join?dryRun=Some", JOIN, "application/json", 400, "BadRequest"),
        ("none/join", JOIN, "application/json", 404, "NotFound"),
        ("a%2f/join", JOIN, "application/json", 404, "NotFound"),
        ("A%00/join", JOIN, "application/json", 404, "NotFound"),
    ] {
        let (status, answer, seen) = ask(patched, "bob", path, body, content_type).await;
        assert_eq!(
            (status, &answer["kind"], &answer["reason"]),
            (code, &json!("Status"), &json!(reason)),
            "{path} {body:.80}: {answer}"
        );
        assert!(seen.is_empty(), "{path}");
    }
    tokio::time::pause();
    for (from, code) in [(404, 404), (409, 409), (403, 500), (422, 500), (500, 500), (429, 503)] {
        let failing = move |_: &str, _: &Value| status(from, "Any");
        let (got, answer, _) = ask(failing, "bob", "a/join", JOIN, "application/json").await;
        assert_eq!(got, code, "{from}: {answer}");
        assert!(!answer.to_string().contains("s3cret"), "{answer}");
    }
    let api = with(unreachable_client());
    let head = head("POST", &format!("{SHOP}/a/join"), &[("x-remote-user", "bob")]);
    let answer = api.api.handle(&head, Full::new(Bytes::new()), Some(&api.peer)).await;
    assert_eq!(answer.status(), 503, "no way to the API server");
}

/// Get, list and watch show keys to who may join, and an open watch follows a right that is
/// granted.
#[tokio::test(start_paused = true)]
async fn the_right_to_join_shows_keys() {
    let may = Arc::new(Mutex::new(false));
    let right = Arc::clone(&may);
    let (client, _) = api_server(move |_, review| review_response(review, *right.lock().unwrap()));
    let fixture = with(client);
    let bob = [("x-remote-user", "bob")];
    let ask = async |path: &str| {
        let (_, _, body) = fixture.ask("GET", path, &bob).await;
        String::from_utf8(body.to_vec()).unwrap()
    };
    let path = format!("{SHOP}?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Da");
    let answer = fixture
        .api
        .handle(&head("GET", &path, &bob), Full::new(Bytes::new()), Some(&fixture.peer))
        .await;
    let mut watch = answer.into_body();
    let mut next = async || {
        let frame = watch.frame().await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    let one = format!("{SHOP}/a");
    // Nobody's list but alice's shows her key, nor one of another namespace.
    for (granted, event) in [(false, "ADDED"), (true, "MODIFIED"), (false, "MODIFIED")] {
        *may.lock().unwrap() = granted;
        tokio::time::advance(crate::sessions::join_rights::VERDICT_TTL * 2).await;
        let told = next().await;
        assert!(told.contains(event), "{told}");
        assert_eq!(told.contains("s3cret"), granted, "{told}");
        for path in [&one, SHOP] {
            let shown = ask(path).await;
            let hers = shown.contains(r#""name":"a""#);
            assert!(hers, "{shown}");
            // Bob owns another one of the list.
            assert_eq!(
                shown.matches("s3cret").count() > usize::from(path == SHOP),
                granted,
                "{shown}"
            );
        }
    }
}
