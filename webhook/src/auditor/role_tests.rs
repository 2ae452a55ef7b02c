//! Reconciliation against a scripted API server. The cluster tests use a real one.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Value, json};

use super::*;

/// The status code and body of a response.
type ScriptedResponse = (u16, Value);

/// The method with query and the body of each request.
type Requests = Arc<Mutex<Vec<(String, Value)>>>;

fn server(responses: &[ScriptedResponse]) -> (Api<ClusterRole>, Requests) {
    let responses = Arc::new(Mutex::new(VecDeque::from(responses.to_vec())));
    let requests = Requests::default();
    let log = Arc::clone(&requests);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (responses, log) = (Arc::clone(&responses), Arc::clone(&log));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let query = head.uri.query().unwrap_or_default();
            log.lock().unwrap().push((format!("{} {query}", head.method), body));
            let (code, response) = responses.lock().unwrap().pop_front().unwrap();
            let response = Response::builder()
                .status(code)
                .body(Body::from(response.to_string().into_bytes()))
                .unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    (Api::all(Client::new(service, "default")), requests)
}

fn role(version: u32, resource_version: &str) -> ScriptedResponse {
    let rules = History::shipped().rules(version);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": rules,
        "metadata": { "name": ROLE, "uid": "u", "resourceVersion": resource_version },
    });
    (200, role)
}

fn modified(resource_version: &str) -> ScriptedResponse {
    let (code, mut modified) = role(2, resource_version);
    modified["rules"][0]["verbs"] = json!(["get"]);
    (code, modified)
}

fn failure(code: u16, reason: &str, message: &str, causes: &Value) -> ScriptedResponse {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": message, "details": { "causes": causes },
    });
    (code, status)
}

fn version_conflict() -> ScriptedResponse {
    failure(409, "Conflict", "the object has been modified", &json!([]))
}

fn not_found() -> ScriptedResponse {
    failure(404, "NotFound", "not found", &json!([]))
}

async fn reconcile(
    responses: &[ScriptedResponse],
) -> (Result<String, String>, Vec<(String, Value)>) {
    let (roles, requests) = server(responses);
    let result =
        reconcile_once(&roles, &History::shipped(), Mode::Manage, WriteMode::Persist).await;
    let requests = requests.lock().unwrap().clone();
    assert_eq!(requests.len(), responses.len(), "{requests:?}");
    let first_line = |plan: Plan| plan.to_string().lines().next().unwrap().to_owned();
    let result = result.map(|planned| first_line(planned.plan));
    (result.map_err(|failure| failure.error.to_string()), requests)
}

#[tokio::test]
async fn replans_after_concurrent_change() {
    let cases: [(&str, Vec<ScriptedResponse>, &str); 5] = [
        (
            "rules unchanged",
            vec![role(1, "7"), version_conflict(), role(1, "8"), role(2, "9")],
            "append",
        ),
        ("modified", vec![role(1, "7"), version_conflict(), modified("8")], "preserve"),
        (
            "upgraded by another leader",
            vec![role(1, "7"), version_conflict(), role(2, "8")],
            "nothing",
        ),
        ("appeared", vec![not_found(), version_conflict(), role(2, "8")], "nothing"),
        ("deleted", vec![role(1, "7"), version_conflict(), not_found(), role(2, "9")], "create"),
    ];
    for (name, responses, expected) in cases {
        let (result, requests) = reconcile(&responses).await;
        assert!(result.clone().unwrap().starts_with(expected), "{name}: {result:?}");
        // Every write has the resource version that was read before.
        for pair in requests.windows(2) {
            if let [_, (line, body)] = pair
                && line.starts_with("PATCH")
            {
                assert_eq!(line, "PATCH &fieldManager=mirrord-sessions-webhook", "{name}");
                assert_ne!(body["metadata"]["resourceVersion"], Value::Null, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn gives_up_after_repeated_conflicts() {
    let responses: Vec<ScriptedResponse> =
        (0..MAX_ATTEMPTS).flat_map(|n| [role(1, &n.to_string()), version_conflict()]).collect();
    let (result, _) = reconcile(&responses).await;
    assert!(result.unwrap_err().contains("changed before each attempt"));
}

#[tokio::test]
async fn preserves_fields_of_other_managers() {
    let causes = json!([{
        "reason": "FieldManagerConflict", "message": "conflict with \"kubectl-edit\"", "field": ".rules",
    }]);
    let conflict = failure(409, "Conflict", "Apply failed with 1 conflict", &causes);
    // The role changed as well, so its rules decide.
    let responses = [role(1, "7"), conflict.clone(), modified("8")];
    let plan = reconcile(&responses).await.0.unwrap();
    assert!(plan.contains("it was modified"), "{plan}");

    let (result, requests) = reconcile(&[role(1, "7"), conflict, role(1, "7")]).await;
    let plan = result.unwrap();
    assert!(plan.starts_with("preserve") && plan.contains("kubectl-edit"), "{plan}");
    assert!(!requests[1].0.contains("force=true"), "{requests:?}");
}

#[tokio::test]
async fn errors_name_the_remedy() {
    let forbidden = |message: &str| failure(403, "Forbidden", message, &json!([]));
    for (responses, expected) in [
        (vec![forbidden("no get")], "can't be read"),
        (
            vec![
                role(1, "7"),
                forbidden("user is attempting to grant RBAC permissions not currently held: x"),
            ],
            "that it doesn't hold itself: apply the manifests of this release",
        ),
        (vec![not_found(), forbidden("no patch")], "--auditor-role=report"),
        (vec![not_found(), failure(500, "InternalError", "etcd", &json!([]))], "can't be written"),
    ] {
        let (result, _) = reconcile(&responses).await;
        let error = result.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
