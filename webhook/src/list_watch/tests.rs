use std::{convert::Infallible, time::Duration};

use http::{Request, Response};
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::stored_objects::StoredPod;

/// A client of an API server that answers by the query of the request.
fn client(answer: impl Fn(&str) -> (u16, String) + Clone + Send + 'static) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (code, body) = answer(request.uri().query().unwrap_or_default());
        let response = Response::builder().status(code).body(Body::from(body.into_bytes()));
        std::future::ready(Ok::<_, Infallible>(response.unwrap()))
    });
    Client::new(service, "default")
}

fn pod(name: &str, version: &str) -> serde_json::Value {
    json!({ "metadata": { "name": name, "namespace": "shop", "uid": name, "resourceVersion": version } })
}

/// A Pod that is valid for the API server, with a time that this program cannot represent.
fn hostile_pod() -> serde_json::Value {
    let mut pod = pod("hostile", "6");
    pod["metadata"]["creationTimestamp"] = "99999-12-31T23:59:59Z".into();
    pod["spec"] = json!({ "env": "s3cret" });
    pod
}

fn hostile_identity() -> ObjectIdentity {
    ObjectIdentity {
        namespace: Some("shop".into()),
        name: Some("hostile".into()),
        resource_version: Some("6".into()),
    }
}

fn name(item: &Item<StoredPod>) -> String {
    match item {
        Ok(pod) => pod.metadata.name.clone().unwrap(),
        Err(identity) => format!("unreadable {}", identity.name.as_deref().unwrap_or("?")),
    }
}

#[tokio::test]
async fn lists_pages_with_unreadable_objects() {
    let client = client(|query| {
        let page = if query.contains("continue=next") {
            json!({ "metadata": { "resourceVersion": "9" }, "items": [pod("c", "3"), 7, "x"] })
        } else {
            json!({
                "metadata": { "resourceVersion": "9", "continue": "next" },
                "items": [pod("a", "1"), hostile_pod(), { "metadata": [] }],
            })
        };
        (200, page.to_string())
    });
    let mut list = ListWatch::<StoredPod>::all(client).list();
    let mut names = Vec::new();
    while let Some(item) = list.next().await.unwrap() {
        names.push(name(&item));
    }
    assert_eq!(names, ["a", "unreadable hostile", "unreadable ?", "c"]);
    assert_eq!(list.version().unwrap(), "9");
}

#[tokio::test]
async fn reports_failed_lists_without_content() {
    for (code, body, expected) in [
        (200, "", "the response of the API server is malformed"),
        (200, r#"{"items":[{"a":"s3cret"}"#, "the response of the API server is malformed"),
        (
            422,
            r#"{"kind":"Status","code":422,"reason":"Invalid","message":"s3cret"}"#,
            "the API server answered 422 (Invalid)",
        ),
        (410, r#"{"kind":"Status","code":410}"#, "the resource version has expired"),
    ] {
        let mut list = ListWatch::<StoredPod>::all(client(move |_| (code, body.into()))).list();
        let error = loop {
            match list.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{body}: the list is complete"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn watches_past_unreadable_objects() {
    let event = |kind: &str, object| json!({ "type": kind, "object": object }).to_string();
    let long = format!(r#"{{"type":"ADDED","object":"{}"}}"#, "x".repeat(MAX_EVENT));
    let events = [
        event("ADDED", pod("a", "5")),
        event("MODIFIED", hostile_pod()),
        String::new(),
        event("DELETED", hostile_pod()),
        event("BOOKMARK", json!({ "metadata": { "resourceVersion": "8" } })),
        event("ERROR", json!({ "code": 410, "message": "s3cret" })),
        event("ERROR", json!({ "code": 500, "message": "s3cret", "reason": "InternalError" })),
        "{".to_owned(),
        long,
        event("ADDED", pod("b", "9")),
    ];
    let body = events.join("\n");
    let client = client(move |_| (200, body.clone()));
    let mut reader = ListWatch::<StoredPod>::all(client).watch("4").await.unwrap();
    let mut found = Vec::new();
    loop {
        found.push(match reader.next().await {
            Ok(None) => break,
            Ok(Some(WatchEvent::Applied(item))) => name(&item),
            Ok(Some(WatchEvent::Deleted(identity))) => {
                assert_eq!(identity, hostile_identity());
                "deleted".into()
            }
            Ok(Some(WatchEvent::Bookmark(identity))) => {
                format!("bookmark {}", identity.resource_version.unwrap())
            }
            Err(error) => error.to_string(),
        });
    }
    let malformed = "the response of the API server is malformed";
    assert_eq!(
        found,
        [
            "a",
            "unreadable hostile",
            "deleted",
            "bookmark 8",
            "the resource version has expired",
            "the API server answered 500 (InternalError)",
            malformed,
            malformed,
            "b",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn relists_after_expiry_and_resumes_after_failure() {
    let client = client(|query| match query {
        query if !query.contains("watch=") => {
            let list = json!({ "metadata": { "resourceVersion": "4" }, "items": [pod("a", "1")] });
            (200, list.to_string())
        }
        query if query.contains("resourceVersion=4") => {
            (200, json!({ "type": "ADDED", "object": pod("b", "5") }).to_string())
        }
        query if query.contains("resourceVersion=5") => (410, r#"{"code":410}"#.into()),
        query => panic!("unexpected request {query}"),
    });
    let second = Duration::from_secs(1);
    let mut changes = ListWatch::<StoredPod>::all(client).spawn(Backoff::new(second, second));
    let mut found = Vec::new();
    while found.len() < 7 {
        found.push(match changes.next().await {
            Change::ListStarted => "list".into(),
            Change::Listed(item) => format!("listed {}", name(&item)),
            Change::ListCompleted => "completed".into(),
            Change::Applied(item) => format!("applied {}", name(&item)),
            Change::Deleted(_) => "deleted".into(),
            Change::Failed(error) => error.to_string(),
        });
    }
    assert_eq!(
        found,
        [
            "list",
            "listed a",
            "completed",
            "applied b",
            "the resource version has expired",
            "list",
            "listed a"
        ]
    );
}
