use json_patch::Patch;
use mirrord_sessions_crds::CONTROLLER_USERNAME;
use serde_json::{Value, json};

use super::*;
use crate::{
    admission::Outcome,
    agents::fixtures::{DEFAULT, EPHEMERAL, RUNNING, TARGETLESS, value},
};

const ALICE: &str = "username=alice&uid=7&group=devs";

fn requester(username: &str) -> Requester {
    Requester {
        username: username.into(),
        uid: Some("7".into()),
        groups: vec!["devs".into()],
        ..Requester::default()
    }
}

fn apply(object: &Value, decision: &Decision) -> Value {
    let Outcome::Allow(operations) = &decision.outcome else {
        panic!("denied: {decision:?}");
    };
    let mut result = object.clone();
    json_patch::patch(&mut result, &Patch(operations.clone())).unwrap();
    result
}

fn created(object: &Value, by: &str) -> (Value, Decision) {
    let job: Job = serde_json::from_value(object.clone()).unwrap();
    let decision = on_job_create(&job, &requester(by));
    (apply(object, &decision), decision)
}

#[test]
fn stamps_agents_and_changes_nothing_else() {
    for fixture in [DEFAULT, RUNNING, TARGETLESS] {
        let sent = value(fixture);
        let (mut stored, decision) = created(&sent, "alice");
        assert!(decision.warnings.is_empty());
        let annotations = stored["metadata"]["annotations"].as_object_mut().unwrap();
        assert_eq!(annotations.remove(REQUESTER_ANNOTATION), Some(json!(ALICE)));
        assert_eq!(stored, sent);
    }
    let mut bare = value(DEFAULT);
    bare["metadata"].as_object_mut().unwrap().remove("annotations");
    let (stored, _) = created(&bare, "alice");
    assert_eq!(stored["metadata"]["annotations"], json!({ REQUESTER_ANNOTATION: ALICE }));
}

#[test]
fn replaces_every_copy_of_a_forged_stamp() {
    let mut sent = value(DEFAULT);
    for metadata in ["/metadata", "/spec/template/metadata"] {
        let annotations = &mut sent.pointer_mut(metadata).unwrap()["annotations"];
        annotations[REQUESTER_ANNOTATION] = json!("username=bob");
        annotations[SESSION_ANNOTATION] = json!("{}");
    }
    let (stored, decision) = created(&sent, "alice");
    assert_eq!(decision.warnings.len(), 1);
    let annotations = &stored["metadata"]["annotations"];
    assert_eq!(annotations[REQUESTER_ANNOTATION], ALICE);
    assert!(annotations.get(SESSION_ANNOTATION).is_none());
    let template = &stored["spec"]["template"]["metadata"]["annotations"];
    assert!(
        template.get(REQUESTER_ANNOTATION).is_none() && template.get(SESSION_ANNOTATION).is_none()
    );
    // A backup restores the stored Job: the stamp stays for its requester, and is replaced for
    // another.
    let (again, decision) = created(&stored, "alice");
    assert_eq!((again, decision), (stored.clone(), Decision::allow()));
    let (other, decision) = created(&stored, "carol");
    assert_eq!(
        other["metadata"]["annotations"][REQUESTER_ANNOTATION],
        ALICE.replace("alice", "carol")
    );
    assert_eq!(decision.warnings.len(), 1);
}

#[test]
fn allows_other_jobs_unchanged() {
    let change = |path: &str, to: Value| {
        let mut object = value(DEFAULT);
        *object.pointer_mut(path).unwrap() = to;
        object["metadata"]["annotations"][REQUESTER_ANNOTATION] = json!("kept");
        object
    };
    for sent in [
        change("/metadata/name", json!("mirrord-demo")),
        change("/spec/template/spec/containers/0/env/0/name", json!("AGENT_OPERATOR_CERT_ENV")),
    ] {
        let (stored, decision) = created(&sent, "alice");
        assert_eq!((stored, decision), (sent, Decision::allow()));
    }
}

#[test]
fn stamps_jobs_that_can_become_agents() {
    let mut unlabelled = value(DEFAULT);
    unlabelled["metadata"].as_object_mut().unwrap().remove("labels");
    let mut generated = value(DEFAULT);
    generated["metadata"].as_object_mut().unwrap().remove("name");
    generated["metadata"]["generateName"] = json!("mirrord-agent-abcde");
    for sent in [unlabelled, generated] {
        let (stored, _) = created(&sent, "alice");
        assert_eq!(stored["metadata"]["annotations"][REQUESTER_ANNOTATION], ALICE);
    }
}

#[test]
fn omits_a_stamp_over_the_annotation_limit() {
    let mut sent = value(DEFAULT);
    sent["metadata"]["annotations"]["big"] = json!("x".repeat(MAX_ANNOTATIONS - 60));
    sent["metadata"]["annotations"][REQUESTER_ANNOTATION] = json!("u");
    let (stored, _) = created(&sent, "alice");
    assert!(stored["metadata"]["annotations"].get(REQUESTER_ANNOTATION).is_none());
    // Annotations that are over the limit already are left for the API server to reject.
    sent["metadata"]["annotations"]["big"] = json!("x".repeat(1 << 20));
    let (stored, _) = created(&sent, "alice");
    assert_eq!(stored["metadata"]["annotations"][REQUESTER_ANNOTATION], ALICE);
    // A request without a user gets no stamp.
    let (stored, _) = created(&value(DEFAULT), "");
    assert!(stored["metadata"]["annotations"].get(REQUESTER_ANNOTATION).is_none());
}

#[test]
fn restores_stamp_and_binding_on_update() {
    let mut old = value(RUNNING);
    old["metadata"]["annotations"][REQUESTER_ANNOTATION] = json!(ALICE);
    let mut bound = old.clone();
    bound["metadata"]["annotations"][SESSION_ANNOTATION] = json!("{}");
    let with = |object: &Value, annotations: Value| {
        let mut object = object.clone();
        object["metadata"]["annotations"] = annotations;
        object
    };
    let alice = json!({ REQUESTER_ANNOTATION: ALICE });
    let mallory = json!({ REQUESTER_ANNOTATION: "username=mallory", SESSION_ANNOTATION: "{}" });
    let cases = [
        // (name, old, new annotations, by, restored annotations)
        ("nothing changes", &old, alice.clone(), "mallory", alice.clone()),
        ("forged and bound", &old, mallory, "mallory", alice.clone()),
        ("removed", &bound, json!(null), "mallory", bound["metadata"]["annotations"].clone()),
        (
            "bound by the controller",
            &old,
            json!({ REQUESTER_ANNOTATION: ALICE, SESSION_ANNOTATION: "{}" }),
            CONTROLLER_USERNAME,
            json!({ REQUESTER_ANNOTATION: ALICE, SESSION_ANNOTATION: "{}" }),
        ),
    ];
    for (name, old, annotations, by, expected) in cases {
        let new = with(old, annotations);
        let parse = |value: &Value| serde_json::from_value::<Job>(value.clone()).unwrap();
        let decision = on_job_update(&parse(&new), &parse(old), &requester(by));
        let restored = apply(&new, &decision);
        for key in [REQUESTER_ANNOTATION, SESSION_ANNOTATION] {
            assert_eq!(restored["metadata"]["annotations"].get(key), expected.get(key), "{name}");
        }
    }
}

#[test]
fn stamps_ephemeral_agents() {
    let new = value(EPHEMERAL);
    let mut old = new.clone();
    old["spec"].as_object_mut().unwrap().remove("ephemeralContainers");
    let parse = |value: &Value| serde_json::from_value::<Pod>(value.clone()).unwrap();
    let stamp = |new: &Value, old: &Value| {
        let decision = on_ephemeral_containers(&parse(new), &parse(old), &requester("alice"));
        let warned = !decision.warnings.is_empty();
        (apply(new, &decision), warned)
    };
    let stamped = json!({ "name": REQUESTER_ENV, "value": ALICE });
    let (mut stored, warned) = stamp(&new, &old);
    assert!(!warned);
    let env = stored["spec"]["ephemeralContainers"][0]["env"].as_array_mut().unwrap();
    assert_eq!(env.pop(), Some(stamped.clone()));
    assert_eq!(stored, new);

    // Every copy of the variable is removed, by value and by reference. Other variables stay.
    let mut forged = new.clone();
    let env = forged["spec"]["ephemeralContainers"][0]["env"].as_array_mut().unwrap();
    env.insert(1, json!({ "name": REQUESTER_ENV, "value": "username=bob" }));
    env.push(json!({ "name": REQUESTER_ENV, "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }));
    let (mut stored, warned) = stamp(&forged, &old);
    assert!(warned);
    let env = stored["spec"]["ephemeralContainers"][0]["env"].as_array_mut().unwrap();
    assert_eq!(env.pop(), Some(stamped.clone()));
    assert_eq!(stored, new);

    // A container without variables.
    let mut bare = new.clone();
    bare["spec"]["ephemeralContainers"][0].as_object_mut().unwrap().remove("env");
    let (stored, _) = stamp(&bare, &old);
    assert_eq!(stored["spec"]["ephemeralContainers"][0]["env"], json!([stamped]));

    // Existing containers can't change, and a debug container is not an agent.
    assert_eq!(stamp(&new, &new), (new.clone(), false));
    let mut debug = new.clone();
    debug["spec"]["ephemeralContainers"][0]["name"] = json!("debugger-abcde");
    assert_eq!(stamp(&debug, &old), (debug.clone(), false));
}
