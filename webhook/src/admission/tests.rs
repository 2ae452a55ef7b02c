#![allow(clippy::needless_pass_by_value)]

use json_patch::Patch;
use mirrord_sessions_crds::CONTROLLER_USERNAME;
use serde_json::{Value, json};

use super::*;

/// Reports a session of bob on x/bobs in the namespace shop, to alice.
struct BobsSession;

impl ConcurrentSessions for BobsSession {
    fn warning(&self, namespace: &str, names: &[&str], requester: &Requester) -> Option<String> {
        let is_bobs = (namespace, names, requester.username.as_str())
            == ("shop", ["x/bobs"].as_slice(), "alice");
        is_bobs.then(|| "bob already has a session".to_owned())
    }
}

/// Returns the AdmissionReview that an endpoint responds with.
fn respond(path: &str, body: &[u8]) -> Result<Value, Error> {
    let (uid, review) = parse(Endpoint::from_path(path).unwrap(), body)?;
    let review = serialize(uid, decide_offline(review, None, &BobsSession))?;
    Ok(serde_json::from_slice(&review).unwrap())
}

fn stamp_session(body: &[u8]) -> Result<Value, Error> {
    respond("/admission/v1/sessions/stamp", body)
}

fn validate_policy(body: &[u8]) -> Result<Value, Error> {
    respond("/admission/v1/sessionpolicies/validate", body)
}

/// Returns a review of a write by alice, with these fields of the request replaced.
fn review(fields: Value) -> Value {
    let mut review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": "operator.metalbear.co", "version": "v1", "kind": "Session" },
            "resource": { "group": "operator.metalbear.co", "version": "v1", "resource": "sessions" },
            "operation": "CREATE",
            "namespace": "shop",
            "userInfo": { "username": "alice", "uid": "", "groups": ["devs"], "extra": { "scopes": ["a"] } },
            "object": { "apiVersion": "operator.metalbear.co/v1", "kind": "Session", "metadata": { "generateName": "x" }, "spec": { "target": "a/b" } },
            "oldObject": null,
            "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        },
    });
    for (field, value) in fields.as_object().unwrap() {
        review["request"][field] = value.clone();
    }
    review
}

fn answer(review: &Value) -> Value {
    stamp_session(review.to_string().as_bytes()).unwrap()
}

fn patched(review: &Value, answer: &Value) -> Value {
    let mut object = review["request"]["object"].clone();
    if let Some(patch) = answer["response"].get("patch") {
        let patch: k8s_openapi::ByteString = serde_json::from_value(patch.clone()).unwrap();
        let patch: Patch = serde_json::from_slice(&patch.0).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    }
    object
}

#[test]
fn patches_a_create() {
    let review = review(json!({}));
    let answer = answer(&review);
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    let response = &answer["response"];
    assert_eq!(response["uid"], review["request"]["uid"]);
    assert_eq!(response["allowed"], true);
    assert_eq!(response["patchType"], "JSONPatch");
    assert_eq!(
        patched(&review, &answer)["spec"],
        json!({ "target": "a/b", "owner": { "username": "alice", "groups": ["devs"] }, "user": "alice" })
    );
    assert!(response.get("warnings").is_none());
}

#[test]
fn warns_of_concurrent_sessions() {
    let bobs = json!({ "kind": "Session", "spec": { "target": "x/bobs" } });
    let by = |username: &str| json!({ "username": username });
    for (fields, warned) in [
        (json!({ "object": bobs }), true),
        (json!({ "object": bobs, "namespace": "other" }), false),
        (json!({ "object": bobs, "userInfo": by(CONTROLLER_USERNAME) }), false),
        (json!({}), false),
        (json!({ "object": { "kind": "Session", "spec": { "target": 7 } } }), false),
    ] {
        let answer = answer(&review(fields.clone()));
        let warnings = answer["response"].get("warnings");
        assert_eq!(warnings.is_some(), warned, "{fields}");
    }
}

#[test]
fn restores_the_owner_on_update_with_a_warning() {
    let old = json!({ "kind": "Session", "spec": { "target": "a/b", "owner": { "username": "bob" }, "user": "bob" } });
    let review = review(json!({ "operation": "UPDATE", "oldObject": old }));
    let answer = answer(&review);
    assert_eq!(patched(&review, &answer)["spec"], old["spec"]);
    assert_eq!(answer["response"]["warnings"].as_array().unwrap().len(), 1);
}

#[test]
fn omits_the_patch_without_changes() {
    let old = json!({ "kind": "Session", "spec": { "target": "a/b" } });
    for fields in [
        json!({ "operation": "UPDATE", "object": old, "oldObject": old }),
        json!({ "subResource": "status", "operation": "UPDATE", "oldObject": old }),
        json!({ "operation": "DELETE", "object": null, "oldObject": old }),
        json!({ "operation": "CONNECT" }),
    ] {
        let answer = answer(&review(fields.clone()));
        assert_eq!(answer["response"]["allowed"], true, "{fields}");
        assert!(answer["response"].get("patch").is_none(), "{fields}");
        assert!(answer["response"].get("patchType").is_none(), "{fields}");
    }
}

#[test]
fn denials_explain_the_error() {
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": {} });
    let pods = json!({ "group": "", "version": "v1", "resource": "pods" });
    let cases = [
        // (fields, code, part of the message)
        (json!({ "resource": pods, "object": pod }), 400, "not pods.v1."),
        (json!({ "resource": {} }), 400, "stamps sessions.operator.metalbear.co"),
        (json!({ "object": pod }), 400, "kind \"Pod\""),
        (json!({ "object": [1] }), 400, "kind null"),
        (json!({ "object": null }), 400, "no object"),
        (json!({ "operation": "UPDATE", "oldObject": null }), 400, "no oldObject"),
        (json!({ "object": { "kind": "Session" } }), 422, "spec: Required value"),
        (json!({ "userInfo": {} }), 400, "names no user"),
    ];
    for (fields, code, text) in cases {
        let answer = answer(&review(fields.clone()));
        let response = &answer["response"];
        assert_eq!(response["allowed"], false, "{fields}");
        assert_eq!(response["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
        assert_eq!(response["status"]["code"], code, "{fields}");
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains(text), "{fields}: {message}");
    }
}

#[test]
fn denies_an_object_over_the_recursion_limit() {
    let good = review(json!({})).to_string();
    let deep = good.replacen(
        r#"{"target":"a/b"}"#,
        &format!(r#"{{"target":"a/b","owner":{}{}}}"#, "[".repeat(5000), "]".repeat(5000)),
        1,
    );
    let answer = stamp_session(deep.as_bytes()).unwrap();
    let status = &answer["response"]["status"];
    assert_eq!(status["code"], 400);
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("recursion limit"), "{message}");
}

#[test]
fn validates_policies() {
    let policy = |spec: Value| {
        let review = review(json!({
            "resource": { "group": "operator.metalbear.co", "version": "v1alpha1", "resource": "sessionpolicies" },
            "object": { "kind": "SessionPolicy", "metadata": { "name": "own" }, "spec": spec },
        }));
        let answer = validate_policy(review.to_string().as_bytes()).unwrap();
        answer["response"].clone()
    };
    let rule = |field: &str, clause: &str| json!({ "allow": { "rules": [{ "resources": ["*"], "verbs": ["list"], field: clause }] } });
    assert_eq!(policy(rule("where", "tracker.kind == 'job'"))["allowed"], true);
    for (spec, text) in [
        (rule("where", "tracker.kind = 'job'"), "column 14"),
        (rule("were", "tracker.kind == 'job'"), "unknown field `were`"),
        (json!({ "deney": {} }), "unknown field `deney`"),
        (json!("x".repeat(2 << 20)), "spec: "),
    ] {
        let answer = policy(spec);
        assert_eq!(answer["status"]["code"], 422);
        let message = answer["status"]["message"].as_str().unwrap();
        assert!(message.contains(text), "{message}");
        assert!(message.starts_with("SessionPolicy \"own\" is invalid: "), "{message}");
    }
    let answer = validate_policy(review(json!({})).to_string().as_bytes()).unwrap();
    let answer = answer.to_string();
    assert!(answer.contains("checks sessionpolicies"), "{answer}");
}

#[test]
fn rejects_bodies_that_are_not_reviews() {
    let good = review(json!({})).to_string();
    let v1beta1 = good.replacen("admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1);
    let deep = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{}"#,
        "[".repeat(100_000)
    );
    let no_uid = good.replacen("705ab4f5-6393-11e8-b7cc-42010a800002", "", 1);
    let cases: [(&str, &[u8], &str); 13] = [
        ("empty", b"", "not JSON"),
        ("text", b"hello", "not JSON"),
        ("a list", b"[]", "expected kind AdmissionReview"),
        ("a number", b"7", "not JSON"),
        ("nothing in it", b"{}", "expected kind AdmissionReview"),
        ("another kind", br#"{"apiVersion":"v1","kind":"ConfigMap"}"#, "got \"ConfigMap\""),
        ("another version", v1beta1.as_bytes(), "got \"admission.k8s.io/v1beta1\""),
        (
            "no request",
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
            "no request",
        ),
        (
            "null request",
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}"#,
            "no request",
        ),
        (
            "request is a list",
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":[]}"#,
            "",
        ),
        ("no uid", no_uid.as_bytes(), "no uid"),
        ("deep and open", deep.as_bytes(), "not JSON"),
        ("invalid UTF-8", b"{\"kind\":\"\xff\xfe\"}", "not JSON"),
    ];
    for (name, body, text) in cases {
        match stamp_session(body) {
            Err(Error::Invalid(message)) => assert!(message.contains(text), "{name}: {message}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn messages_are_escaped_and_bounded() {
    let kind = format!("\u{1b}[2J{}", "x".repeat(100_000));
    let Err(Error::Invalid(message)) =
        stamp_session(json!({ "kind": kind }).to_string().as_bytes())
    else {
        panic!("accepted");
    };
    assert!(message.len() < 2000 && !message.contains('\u{1b}'));
    let answer = answer(&review(json!({ "object": { "kind": kind } })));
    let message = answer["response"]["status"]["message"].as_str().unwrap();
    assert!(message.len() < 2000 && !message.contains('\u{1b}'));
}
