//! Rejects SessionPolicies that cannot be parsed when they are written, not when they are
//! evaluated.

use mirrord_sessions_crds::SessionPolicySpec;
use serde::Deserialize;
use serde_json::Value;

use super::Decision;
use crate::{
    policy::{InvalidPolicy, Policy},
    text::printable,
};

/// Allows a new or updated SessionPolicy if each of its fields can be parsed.
///
/// The message lists all errors with their paths. The error of an expression names the column and
/// the expected token.
#[must_use]
pub fn on_write(object: &Value) -> Decision {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let invalid = |problem: String| {
        let name = printable(name, 253);
        Decision::invalid(format!("SessionPolicy \"{name}\" is invalid: {problem}"))
    };
    let Some(spec) = object.get("spec") else {
        return invalid("spec: Required value".into());
    };
    // The API server checks the schema before validating admission, so this error means that the
    // cluster has another version of the schema.
    let spec = match SessionPolicySpec::deserialize(spec) {
        Ok(spec) => spec,
        Err(error) => return invalid(format!("spec: {}", printable(&error.to_string(), 300))),
    };
    let (policy, errors) = Policy::from_spec(name, &spec);
    if errors.is_empty() {
        return policy.warnings().into_iter().fold(Decision::allow(), Decision::warn);
    }
    invalid(InvalidPolicy(errors).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admission::Outcome;

    #[test]
    fn reports_errors_with_path_and_column() {
        let cases = [
            // (name, spec, error)
            ("empty spec", json!({}), None),
            (
                "RFD 82: deny by participant",
                json!({ "deny": { "rules": [{
                    "resources": ["session_tracker"],
                    "verbs": ["list", "read"],
                    "where": "contains(tracker.participants, user.metadata.name)",
                }] } }),
                None,
            ),
            (
                "RFD 82: auditor",
                json!({ "allow": { "rules": [{ "resources": ["session_tracker"], "verbs": ["list", "read"] }] } }),
                None,
            ),
            (
                "invalid expression",
                json!({ "allow": { "rules": [{
                    "resources": ["session_tracker"], "verbs": ["list"], "where": "tracker.kind = 'job'",
                }] } }),
                Some(r#"spec.allow.rules[0].where: column 14: "="; expected "==""#),
            ),
            (
                "empty expression",
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
                "unknown variant",
                json!({ "subjects": [{ "kind": "Robot\u{1b}", "name": "a" }] }),
                Some(
                    "spec: unknown variant `Robot\\x1b`, expected one of `User`, `Group`, `ServiceAccount`",
                ),
            ),
        ];
        for (name, spec, error) in cases {
            let object = json!({ "metadata": { "name": "own-only" }, "spec": spec });
            match (on_write(&object).outcome, error) {
                (Outcome::Allow(operations), None) => assert!(operations.is_empty(), "{name}"),
                (Outcome::Deny(denial), Some(error)) => {
                    assert_eq!(denial.code, 422);
                    let expected = format!("SessionPolicy \"own-only\" is invalid: {error}");
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
    fn limits_the_number_of_reported_errors() {
        let robots = vec![json!({ "kind": "User", "name": "a", "namespace": "b" }); 10];
        let Outcome::Deny(denial) = on_write(&json!({ "spec": { "subjects": robots } })).outcome
        else {
            panic!("allowed");
        };
        let message = denial.message;
        assert_eq!(message.matches("spec.subjects[").count(), 8, "{message}");
        assert!(message.ends_with("; and 2 more"), "{message}");
    }

    #[test]
    fn warns_of_groups_that_conditions_leave_out() {
        for (condition, expected) in [
            ("contains(user.spec.roles, 'devs')", None),
            ("contains_any(user.spec.roles, tracker.host_roles)", None),
            ("contains(user.spec.roles, 'system:serviceaccounts:ci')", None),
            (
                "'system:authenticated' in tracker.host_roles",
                Some("leave out system:authenticated:"),
            ),
            (
                "!(contains_any(user.spec.roles, ['a', 'system:serviceaccounts']))",
                Some("leave out system:serviceaccounts:"),
            ),
        ] {
            let rule = json!({ "resources": ["*"], "verbs": ["list"], "where": condition });
            let policy = json!({
                "metadata": { "name": "p" },
                "spec": { "deny": { "rules": [rule] } },
            });
            let decision = on_write(&policy);
            assert!(matches!(decision.outcome, Outcome::Allow(_)), "{condition}");
            match expected {
                None => assert!(decision.warnings.is_empty(), "{condition}: {decision:?}"),
                Some(expected) => {
                    assert!(
                        decision.warnings[0].starts_with("p spec.deny.rules[0]: "),
                        "{condition}"
                    );
                    assert!(decision.warnings[0].contains(expected), "{condition}: {decision:?}");
                }
            }
        }
    }
}
