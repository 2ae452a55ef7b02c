use mirrord_sessions_core::policy::Policy;
use serde_json::{Value, json};

use super::*;
use crate::admission::{self, Endpoint, Error};

fn review(fields: &Value) -> Vec<u8> {
    let mut review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "resource": { "group": "operator.metalbear.co", "version": "v1", "resource": "sessions" },
            "operation": "DELETE",
            "namespace": "shop",
            // A delete-collection names no object.
            "name": "",
            "userInfo": { "username": "bob", "extra": { "Team": ["red"] } },
            "object": null,
            "oldObject": {
                "apiVersion": "operator.metalbear.co/v1", "kind": "Session",
                "metadata": { "name": "s", "namespace": "shop", "uid": "u", "managedFields": [{ "a": [1] }] },
                "spec": { "target": "pod/x", "key": "s3cret", "owner": { "username": "alice" } },
                "status": { "state": "running", "participants": ["carol"] },
            },
            "dryRun": false,
        },
    });
    for (field, value) in fields.as_object().unwrap() {
        review["request"][field] = value.clone();
    }
    review.to_string().into_bytes()
}

fn policies(yaml: &str) -> PolicySet {
    let (policy, errors) = Policy::from_spec("p", &serde_saphyr::from_str(yaml).unwrap());
    assert_eq!(errors, []);
    PolicySet::new("", [policy])
}

fn parse(body: &[u8]) -> Result<Review, Error> {
    let endpoint = Endpoint::from_path("/admission/v1/sessions/stop").unwrap();
    admission::parse(endpoint, body).map(|(uid, review)| {
        assert_eq!(uid, "1");
        review
    })
}

/// Returns the review of a deletion with these fields of the request replaced.
fn deletion(fields: &Value) -> DeleteReview {
    match parse(&review(fields)).unwrap() {
        Review::Delete(review) => *review,
        review => panic!("{review:?}"),
    }
}

fn respond(decision: Decision) -> Value {
    serde_json::from_slice(&admission::serialize("1".into(), decision).unwrap()).unwrap()
}

/// Returns the code of the response, whether the Session is about to be deleted, and the message.
fn decide(fields: &Value, policies: Option<&PolicySet>) -> (u64, bool, String) {
    let (decision, deleted) = match parse(&review(fields)).unwrap() {
        Review::Final(decision) => (decision, None),
        Review::Delete(review) => review.decide(policies),
        review @ Review::NewRun(_) => panic!("{review:?}"),
    };
    let review = respond(decision);
    let response = &review["response"];
    assert_eq!(response["uid"], "1");
    assert!(response["patch"].is_null());
    assert!(deleted.as_ref().is_none_or(|uid| uid == "u"), "{deleted:?}");
    let status = &response["status"];
    assert_eq!(response["allowed"] == true, status.is_null());
    let message = status["message"].as_str().unwrap_or_default().to_owned();
    (status["code"].as_u64().unwrap_or(200), deleted.is_some(), message)
}

#[test]
// Table of cases.
#[allow(clippy::too_many_lines)]
fn decides_reviews_of_deletions() {
    let none = PolicySet::default();
    let not_bob = policies(
        "deny: {rules: [{resources: ['*'], verbs: [delete], where: \"contains(user.spec.traits.team, 'red')\"}]}",
    );
    let hidden = policies("deny: {rules: [{resources: ['*'], verbs: [read]}]}");
    let other = json!({ "resource": { "group": "", "version": "v1", "resource": "pods" } });
    for (name, fields, policies, code, deleted, text) in [
        ("allowed", json!({}), Some(&none), 200, true, ""),
        ("denied by a trait", json!({}), Some(&not_bob), 403, false, "spec.deny.rules[0]"),
        ("hidden", json!({ "name": "s" }), Some(&hidden), 404, false, "not found"),
        ("hidden, in a collection", json!({}), Some(&hidden), 403, false, "by name"),
        ("no policies yet", json!({}), None, 503, false, "try again"),
        ("dry run, with a key", json!({ "dryRun": true }), Some(&none), 403, false, "dry run"),
        (
            "dry run by a participant",
            json!({ "dryRun": true, "userInfo": { "username": "carol" } }),
            Some(&none),
            200,
            false,
            "",
        ),
        ("another operation", json!({ "operation": "CREATE" }), None, 200, false, ""),
        ("subresource", json!({ "subResource": "status" }), None, 200, false, ""),
        ("another resource", other, Some(&none), 400, false, "not pods.v1."),
        ("no oldObject", json!({ "oldObject": null }), Some(&none), 400, false, "has no oldObject"),
        (
            "list as oldObject",
            json!({ "oldObject": [] }),
            Some(&none),
            400,
            false,
            "oldObject can't be read",
        ),
        (
            "no spec",
            json!({ "oldObject": { "metadata": { "name": "a", "namespace": "b", "uid": "c" } } }),
            Some(&none),
            400,
            false,
            "missing field `spec`",
        ),
        (
            "no uid",
            json!({ "oldObject": { "metadata": { "name": "a" }, "spec": { "target": "x" } } }),
            Some(&none),
            400,
            false,
            "missing field",
        ),
    ] {
        let (found_code, is_deleted, message) = decide(&fields, policies);
        assert_eq!((found_code, is_deleted), (code, deleted), "{name}: {message}");
        assert!(message.contains(text), "{name}: {message}");
        assert!(!message.contains("s3cret"), "{name}: {message}");
    }
    for body in [&b""[..], b"[]", b"{}", b"\xff"] {
        assert!(matches!(parse(body), Err(Error::Invalid(_))));
    }
}

/// Clients distinguish a missing object from a missing API by these details.
#[test]
fn denies_a_hidden_session_like_a_missing_one() {
    let hidden = policies("deny: {rules: [{resources: ['*'], verbs: [read]}]}");
    let (decision, _) = deletion(&json!({ "name": "s" })).decide(Some(&hidden));
    let review = respond(decision);
    assert_eq!(
        review["response"]["status"],
        json!({
            "code": 404,
            "reason": "NotFound",
            "message": "sessions.operator.metalbear.co \"s\" not found",
            "details": { "name": "s", "group": "operator.metalbear.co", "kind": "sessions" },
        })
    );
}

/// The endpoint says whether the API server found the right to join: this process reviews no
/// access, which would answer any client that reaches the port.
#[test]
fn dry_run_shows_the_key_to_a_requester_who_may_join() {
    let none = PolicySet::default();
    let hidden = policies("deny: {rules: [{resources: ['*'], verbs: [read]}]}");
    let no_join = policies("deny: {rules: [{resources: ['*'], verbs: [join]}]}");
    for (path, policies, code) in [
        ("/admission/v1/sessions/stop", &none, Some(403)),
        ("/admission/v1/sessions/dry-run-stop", &none, None),
        ("/admission/v1/sessions/dry-run-stop", &no_join, Some(403)),
        ("/admission/v1/sessions/dry-run-stop", &hidden, Some(404)),
    ] {
        let body = review(&json!({ "name": "s", "dryRun": true }));
        let (_, parsed) = admission::parse(Endpoint::from_path(path).unwrap(), &body).unwrap();
        let Review::Delete(parsed) = parsed else {
            panic!("{path}");
        };
        let (decision, deleted) = parsed.decide(Some(policies));
        let found = match decision.outcome {
            Outcome::Allow(_) => None,
            Outcome::Deny(denial) => Some(denial.code),
        };
        assert_eq!((found, deleted), (code, None), "{path}");
    }
}
