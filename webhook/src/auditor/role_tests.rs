//! An API server of scripted answers: every order in which it may give them. What a real one
//! answers is in the cluster tests.

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

/// An answer: its status and its body.
type Scripted = (u16, Value);

/// Requests that were sent: method and query, and the body.
type Seen = Arc<Mutex<Vec<(String, Value)>>>;

fn server(answers: &[Scripted]) -> (Api<ClusterRole>, Seen) {
    let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answers, log) = (Arc::clone(&answers), Arc::clone(&log));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let query = head.uri.query().unwrap_or_default();
            log.lock().unwrap().push((format!("{} {query}", head.method), body));
            let (code, answer) = answers.lock().unwrap().pop_front().unwrap();
            let answer = Response::builder()
                .status(code)
                .body(Body::from(answer.to_string().into_bytes()))
                .unwrap();
            Ok::<_, Infallible>(answer)
        }
    });
    (Api::all(Client::new(service, "default")), seen)
}

fn role(version: u32, resource_version: &str) -> Scripted {
    let rules = History::shipped().rules(version);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": rules,
        "metadata": { "name": ROLE, "uid": "u", "resourceVersion": resource_version },
    });
    (200, role)
}

fn modified(resource_version: &str) -> Scripted {
    let (code, mut modified) = role(2, resource_version);
    modified["rules"][0]["verbs"] = json!(["get"]);
    (code, modified)
}

fn failure(code: u16, reason: &str, message: &str, causes: &Value) -> Scripted {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": message, "details": { "causes": causes },
    });
    (code, status)
}

fn changed() -> Scripted {
    failure(409, "Conflict", "the object has been modified", &json!([]))
}

fn not_found() -> Scripted {
    failure(404, "NotFound", "not found", &json!([]))
}

async fn ask(answers: &[Scripted]) -> (Result<String, String>, Vec<(String, Value)>) {
    let (roles, seen) = server(answers);
    let result = round(&roles, &History::shipped(), Mode::Manage, Effect::Real).await;
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), answers.len(), "{seen:?}");
    let said = |plan: Plan| plan.to_string().lines().next().unwrap().to_owned();
    (result.map(|done| said(done.plan)).map_err(|failed| failed.error.to_string()), seen)
}

#[tokio::test]
async fn a_role_that_changed_in_between_is_read_and_planned_again() {
    let cases: [(&str, Vec<Scripted>, &str); 5] = [
        ("still what it was", vec![role(1, "7"), changed(), role(1, "8"), role(2, "9")], "append"),
        ("modified", vec![role(1, "7"), changed(), modified("8")], "preserve"),
        ("upgraded by another leader", vec![role(1, "7"), changed(), role(2, "8")], "nothing"),
        ("appeared", vec![not_found(), changed(), role(2, "8")], "nothing"),
        ("deleted", vec![role(1, "7"), changed(), not_found(), role(2, "9")], "create"),
    ];
    for (name, answers, expected) in cases {
        let (result, seen) = ask(&answers).await;
        assert!(result.clone().unwrap().starts_with(expected), "{name}: {result:?}");
        // What was written carries the version that was read just before.
        for pair in seen.windows(2) {
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
async fn a_fight_is_given_up() {
    let answers: Vec<Scripted> =
        (0..ATTEMPTS).flat_map(|n| [role(1, &n.to_string()), changed()]).collect();
    let (result, _) = ask(&answers).await;
    assert!(result.unwrap_err().contains("changes whenever"));
}

#[tokio::test]
async fn a_field_of_somebody_else_is_preserved() {
    let causes = json!([{
        "reason": "FieldManagerConflict", "message": "conflict with \"kubectl-edit\"", "field": ".rules",
    }]);
    let conflict = failure(409, "Conflict", "Apply failed with 1 conflict", &causes);
    // It was changed just now: that it is another's is seen in the role.
    let answers = [role(1, "7"), conflict.clone(), modified("8")];
    let said = ask(&answers).await.0.unwrap();
    assert!(said.contains("it was modified"), "{said}");

    let (result, seen) = ask(&[role(1, "7"), conflict, role(1, "7")]).await;
    let said = result.unwrap();
    assert!(said.starts_with("preserve") && said.contains("kubectl-edit"), "{said}");
    assert!(!seen[1].0.contains("force=true"), "{seen:?}");
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let forbidden = |message: &str| failure(403, "Forbidden", message, &json!([]));
    for (answers, expected) in [
        (vec![forbidden("no get")], "can't be read"),
        (
            vec![
                role(1, "7"),
                forbidden("user is attempting to grant RBAC permissions not currently held: x"),
            ],
            "what it doesn't hold itself: apply the manifests of this very release",
        ),
        (vec![not_found(), forbidden("no patch")], "--auditor-role=report"),
        (vec![not_found(), failure(500, "InternalError", "etcd", &json!([]))], "can't be written"),
    ] {
        let (result, _) = ask(&answers).await;
        let error = result.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
