// Tables of cases: one row per case, with its name.
#![allow(clippy::too_many_lines, clippy::needless_pass_by_value)]

use json_patch::Patch;
use mirrord_sessions_crds::CONTROLLER_USERNAME;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::admission::Outcome;

fn requester(username: &str) -> Requester {
    Requester {
        username: username.into(),
        uid: Some(format!("uid-{username}")),
        groups: vec!["devs".into(), "system:authenticated".into()],
        ..Requester::default()
    }
}

fn session(spec: Value) -> Value {
    json!({ "apiVersion": "operator.metalbear.co/v1", "kind": "Session", "spec": spec })
}

fn stamp(username: &str) -> Value {
    json!({
        "username": username,
        "uid": format!("uid-{username}"),
        "groups": ["devs", "system:authenticated"],
    })
}

/// Returns the patched object and the number of operations.
fn apply(object: &Value, decision: &Decision) -> (Value, usize) {
    let Outcome::Allow(operations) = &decision.outcome else {
        panic!("denied: {decision:?}");
    };
    let mut result = object.clone();
    json_patch::patch(&mut result, &Patch(operations.clone())).unwrap();
    (result, operations.len())
}

#[test]
fn stamps_owner_on_create() {
    struct Case {
        name: &'static str,
        by: &'static str,
        sent: Value,
        stored: Value,
        operations: usize,
        warns: bool,
    }
    let cases = [
        Case {
            name: "nothing claimed",
            by: "alice",
            sent: json!({ "target": "deployment/a" }),
            stored: json!({ "target": "deployment/a", "owner": stamp("alice"), "user": "alice" }),
            operations: 2,
            warns: false,
        },
        Case {
            name: "client fields are stored and composed into the user line",
            by: "alice",
            sent: json!({ "target": "a/b", "client": { "username": "Al", "hostname": "mac", "version": "3.250.0" } }),
            stored: json!({
                "target": "a/b",
                "client": { "username": "Al", "hostname": "mac", "version": "3.250.0" },
                "owner": stamp("alice"),
                "user": "Al/alice@mac",
            }),
            operations: 2,
            warns: false,
        },
        Case {
            name: "correct stamps are left unpatched",
            by: "alice",
            sent: json!({ "target": "a/b", "owner": stamp("alice"), "user": "alice" }),
            stored: json!({ "target": "a/b", "owner": stamp("alice"), "user": "alice" }),
            operations: 0,
            warns: false,
        },
        Case {
            name: "a forged owner",
            by: "mallory",
            sent: json!({ "target": "a/b", "owner": stamp("alice"), "user": "alice" }),
            stored: json!({ "target": "a/b", "owner": stamp("mallory"), "user": "mallory" }),
            operations: 2,
            warns: true,
        },
        Case {
            name: "the right name with forged groups",
            by: "mallory",
            sent: json!({ "target": "a/b", "owner": { "username": "mallory", "groups": ["system:masters"] } }),
            stored: json!({ "target": "a/b", "owner": stamp("mallory"), "user": "mallory" }),
            operations: 2,
            warns: true,
        },
        Case {
            name: "an owner that isn't an object",
            by: "mallory",
            sent: json!({ "target": "a/b", "owner": "alice", "user": 7 }),
            stored: json!({ "target": "a/b", "owner": stamp("mallory"), "user": "mallory" }),
            operations: 2,
            warns: true,
        },
        Case {
            name: "client fields of wrong types are left for the schema to reject",
            by: "alice",
            sent: json!({ "target": "a/b", "client": { "username": 7, "hostname": ["x"] } }),
            stored: json!({
                "target": "a/b",
                "client": { "username": 7, "hostname": ["x"] },
                "owner": stamp("alice"),
                "user": "alice",
            }),
            operations: 2,
            warns: false,
        },
        Case {
            name: "the controller records another user",
            by: CONTROLLER_USERNAME,
            sent: json!({ "target": "a/b", "owner": stamp("alice") }),
            stored: json!({ "target": "a/b", "owner": stamp("alice"), "user": "alice" }),
            operations: 1,
            warns: false,
        },
        Case {
            name: "the controller sends another user line",
            by: CONTROLLER_USERNAME,
            sent: json!({ "target": "a/b", "owner": stamp("alice"), "user": "bob" }),
            stored: json!({ "target": "a/b", "owner": stamp("alice"), "user": "alice" }),
            operations: 1,
            warns: true,
        },
        Case {
            name: "the controller on its own behalf",
            by: CONTROLLER_USERNAME,
            sent: json!({ "target": "a/b", "owner": { "username": "" } }),
            stored: json!({ "target": "a/b", "owner": stamp(CONTROLLER_USERNAME), "user": CONTROLLER_USERNAME }),
            operations: 2,
            warns: true,
        },
    ];
    for case in cases {
        let sent = session(case.sent);
        let decision = on_create(&sent, &requester(case.by));
        let (stored, operations) = apply(&sent, &decision);
        assert_eq!(stored, session(case.stored), "{}", case.name);
        assert_eq!(operations, case.operations, "{}", case.name);
        assert_eq!(!decision.warnings.is_empty(), case.warns, "{}", case.name);
    }
}

#[test]
fn denies_create_without_spec_or_user() {
    let alice = requester("alice");
    let cases = [
        ("no spec", json!({}), &alice, 422),
        ("spec is text", json!({ "spec": "x" }), &alice, 422),
        ("spec is null", json!({ "spec": null }), &alice, 422),
        ("not an object at all", json!([1]), &alice, 422),
        ("request without a user", session(json!({})), &Requester::default(), 400),
    ];
    for (name, object, requester, code) in cases {
        let Outcome::Deny(denial) = on_create(&object, requester).outcome else {
            panic!("{name}: allowed");
        };
        assert_eq!(denial.code, code, "{name}");
    }
}

#[test]
fn omits_absent_identity_fields() {
    let nameless = Requester { username: "alice".into(), ..Requester::default() };
    let sent = session(json!({ "target": "a/b" }));
    let (stored, _) = apply(&sent, &on_create(&sent, &nameless));
    assert_eq!(stored["spec"]["owner"], json!({ "username": "alice" }));
}

#[test]
fn restores_owner_on_update() {
    let old = session(json!({ "target": "a/b", "owner": stamp("alice"), "user": "alice" }));
    let cases = [
        // (name, spec as sent, operations)
        ("unchanged", json!({ "target": "a/b", "owner": stamp("alice"), "user": "alice" }), 0),
        ("the original manifest, replaced", json!({ "target": "a/b" }), 2),
        (
            "another owner",
            json!({ "target": "a/b", "owner": stamp("mallory"), "user": "alice" }),
            1,
        ),
        ("owner removed", json!({ "target": "a/b", "user": "alice" }), 1),
        ("owner null", json!({ "target": "a/b", "owner": null, "user": "alice" }), 1),
        (
            "another user line",
            json!({ "target": "a/b", "owner": stamp("alice"), "user": "bob" }),
            1,
        ),
        (
            "groups added",
            json!({ "target": "a/b", "user": "alice", "owner": {
            "username": "alice", "uid": "uid-alice", "groups": ["devs", "system:authenticated", "admins"] } }),
            1,
        ),
    ];
    for (name, spec, expected) in cases {
        let sent = session(spec);
        let decision = on_update(&sent, &old);
        let (stored, operations) = apply(&sent, &decision);
        assert_eq!(stored, old, "{name}");
        assert_eq!(operations, expected, "{name}");
        assert_eq!(decision.warnings.len(), usize::from(expected > 0), "{name}");
    }
}

#[test]
fn leaves_a_session_without_owner_unowned_on_update() {
    let old = session(json!({ "target": "a/b" }));
    let sent = session(json!({ "target": "a/b", "owner": stamp("mallory") }));
    let (stored, operations) = apply(&sent, &on_update(&sent, &old));
    assert_eq!((stored, operations), (old, 1));
}

#[test]
fn allows_other_changes_unpatched() {
    let old = session(json!({ "target": "a/b", "owner": stamp("alice"), "user": "alice" }));
    let mut sent = old.clone();
    sent["metadata"] = json!({ "labels": { "team": "payments" } });
    sent["spec"]["target"] = json!("c/d");
    assert_eq!(on_update(&sent, &old), Decision::allow());
}

#[test]
fn escapes_control_characters_in_warnings() {
    let eve = requester("eve\u{1b}[2J\n");
    let sent = session(json!({ "target": "a/b", "user": "x" }));
    let decision = on_create(&sent, &eve);
    assert!(!decision.warnings[0].chars().any(char::is_control));
}

/// Generates any JSON value, a few levels deep.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let key = prop_oneof![
            Just("spec".to_owned()),
            Just("owner".to_owned()),
            Just("user".to_owned()),
            Just("client".to_owned()),
            Just("username".to_owned()),
            Just("groups".to_owned()),
            "[a-z]{1,4}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn owner_is_always_the_requester(spec in json_value(), by in "[a-z:/@]{1,12}") {
        let object = json!({ "spec": spec });
        let decision = on_create(&object, &requester(&by));
        if let Outcome::Allow(_) = decision.outcome {
            let (stored, _) = apply(&object, &decision);
            prop_assert_eq!(&stored["spec"]["owner"], &stamp(&by));
            // Stamping is idempotent.
            prop_assert_eq!(on_create(&stored, &requester(&by)), Decision::allow());
        } else {
            prop_assert!(!object["spec"].is_object());
        }
    }

    #[test]
    fn owner_never_changes_on_update(spec in json_value(), before in json_value()) {
        let (object, old) = (json!({ "spec": spec }), json!({ "spec": before }));
        let decision = on_update(&object, &old);
        if let Outcome::Allow(_) = decision.outcome {
            let (stored, _) = apply(&object, &decision);
            prop_assert_eq!(stored["spec"].get("owner"), old["spec"].get("owner"));
            prop_assert_eq!(stored["spec"].get("user"), old["spec"].get("user"));
        }
    }
}
