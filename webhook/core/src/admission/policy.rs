//! A SessionPolicy is refused when it is written, not found broken when it is asked.

use mirrord_sessions_crds::SessionPolicySpec;
use serde::Deserialize;
use serde_json::Value;

use super::Decision;
use crate::{
    policy::{InvalidPolicy, Policy},
    text::printable,
};

/// Decides on a new SessionPolicy, or on an updated one: whether each of its fields can be read.
///
/// All errors go into one message, each with its path, and for an expression the column and what
/// was expected there.
#[must_use]
pub fn on_write(object: &Value) -> Decision {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let refuse = |problem: String| {
        let name = printable(name, 253);
        Decision::invalid(format!("SessionPolicy \"{name}\" is invalid: {problem}"))
    };
    let Some(spec) = object.get("spec") else {
        return refuse("spec: Required value".into());
    };
    // The schema holds before validating admission is asked, so this is about another schema than
    // ours.
    let spec = match SessionPolicySpec::deserialize(spec) {
        Ok(spec) => spec,
        Err(error) => return refuse(format!("spec: {}", printable(&error.to_string(), 300))),
    };
    let (_, errors) = Policy::read(name, &spec);
    if errors.is_empty() {
        return Decision::allow();
    }
    refuse(InvalidPolicy(errors).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::Outcome;

    #[test]
    fn writes() {
        let cases = [
            // (name, spec, what is wrong)
            ("nothing in it", json!({}), None),
            (
                "RFD 82, denied",
                json!({ "deny": { "rules": [{
                    "resources": ["session_tracker"],
                    "verbs": ["list", "read"],
                    "where": "contains(tracker.participants, user.metadata.name)",
                }] } }),
                None,
            ),
            (
                "RFD 82, the auditor",
                json!({ "allow": { "rules": [{ "resources": ["session_tracker"], "verbs": ["list", "read"] }] } }),
                None,
            ),
            (
                "an expression",
                json!({ "allow": { "rules": [{
                    "resources": ["session_tracker"], "verbs": ["list"], "where": "tracker.kind = 'job'",
                }] } }),
                Some(r#"spec.allow.rules[0].where: column 14: "="; expected "==""#),
            ),
            (
                "an empty expression",
                json!({ "allow": { "rules": [{ "resources": ["*"], "verbs": ["*"], "where": "" }] } }),
                Some(
                    "spec.allow.rules[0].where: column 1: nothing; expected a condition (leave the field out to match every session)",
                ),
            ),
            (
                "several errors",
                json!({
                    "subjects": [{ "kind": "ServiceAccount", "name": "ci" }],
                    "allow": { "rules": [
                        { "resources": ["*"], "verbs": ["*"] },
                        { "resources": ["sessions"], "verbs": ["get"], "where": "tracker" },
                    ] },
                    "deny": { "rules": [{ "resources": [], "verbs": [] }] },
                }),
                Some(concat!(
                    "spec.subjects[0].namespace: nothing; expected the service account's namespace; ",
                    "spec.allow.rules[1].resources[0]: \"sessions\"; expected one of session_tracker, *; ",
                    "spec.allow.rules[1].verbs[0]: \"get\"; expected one of list, watch, read, delete, join, *; ",
                    "spec.allow.rules[1].where: column 8: the end; expected \".\" and a field of tracker ",
                    "(session_id, kind, participants, state, hostname, address, login, cluster, kube_cluster, ",
                    "host_user, host_roles, namespace, target); ",
                    "spec.deny.rules[0].resources: nothing; expected one of session_tracker, *; ",
                    "spec.deny.rules[0].verbs: nothing; expected one of list, watch, read, delete, join, *",
                )),
            ),
            (
                "not what the schema says",
                json!({ "subjects": [{ "kind": "Robot\u{1b}", "name": "a" }] }),
                Some(
                    "spec: unknown variant `Robot\\x1b`, expected one of `User`, `Group`, `ServiceAccount`",
                ),
            ),
        ];
        for (name, spec, wrong) in cases {
            let object = json!({ "metadata": { "name": "own-only" }, "spec": spec });
            match (on_write(&object).outcome, wrong) {
                (Outcome::Allow(operations), None) => assert!(operations.is_empty(), "{name}"),
                (Outcome::Deny(denial), Some(wrong)) => {
                    assert_eq!(denial.code, 422);
                    let expected = format!("SessionPolicy \"own-only\" is invalid: {wrong}");
                    assert_eq!(denial.message, expected, "{name}");
                }
                (outcome, _) => panic!("{name}: {outcome:?}"),
            }
        }
        let decision = on_write(&json!({ "metadata": {} }));
        assert!(
            matches!(decision.outcome, Outcome::Deny(denial) if denial.message.contains("spec: Required"))
        );
    }

    #[test]
    fn more_errors_than_anyone_reads() {
        let robots = vec![json!({ "kind": "User", "name": "a", "namespace": "b" }); 10];
        let Outcome::Deny(denial) = on_write(&json!({ "spec": { "subjects": robots } })).outcome
        else {
            panic!("let through");
        };
        let message = denial.message;
        assert_eq!(message.matches("spec.subjects[").count(), 8, "{message}");
        assert!(message.ends_with("; and 2 more"), "{message}");
    }
}
