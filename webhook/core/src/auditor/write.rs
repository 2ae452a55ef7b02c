//! What is sent to the API server.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::{Map, Value, json};

use super::{FIELD_MANAGER, Plan, ROLE};

/// The labels of a role that is created.
const LABELS: [(&str, &str); 3] = [
    ("app.kubernetes.io/managed-by", FIELD_MANAGER),
    ("app.kubernetes.io/name", "mirrord-sessions"),
    ("app.kubernetes.io/part-of", "mirrord-sessions"),
];

/// No object has it: etcd counts from 1 and its first write is 2. A server-side apply creates what
/// isn't there whatever version it names, and is refused with a conflict where something is.
const ABSENT: &str = "1";

/// The server-side apply that carries a plan out, on exactly the role that the plan was made for;
/// none if the plan is to write nothing.
#[must_use]
pub fn apply(plan: &Plan, role: Option<&ClusterRole>) -> Option<Value> {
    let (rules, metadata) = match (plan, role) {
        (Plan::Create { rules, .. }, None) => {
            (rules, json!({ "resourceVersion": ABSENT, "labels": labels(|_, _| true) }))
        }
        (Plan::Append { rules, .. }, Some(role)) => {
            let metadata = &role.metadata;
            // A label that somebody took off or changed stays so: left out, it is no longer ours.
            let kept = labels(|key, value| {
                let actual = metadata.labels.as_ref();
                actual.and_then(|labels| labels.get(key)).is_some_and(|actual| actual == value)
            });
            let precondition = json!({
                // With its uid, so that one which was deleted meanwhile isn't made anew from this.
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
                "labels": kept,
            });
            (rules, precondition)
        }
        _ => return None,
    };
    Some(document(metadata, rules))
}

fn document(mut metadata: Value, rules: &[PolicyRule]) -> Value {
    metadata["name"] = ROLE.into();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": metadata,
        "rules": rules,
    })
}

fn labels(keep: impl Fn(&str, &str) -> bool) -> Map<String, Value> {
    LABELS
        .into_iter()
        .filter(|(key, value)| keep(key, value))
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auditor::{History, Mode, plan};

    #[test]
    fn a_creation_names_a_version_that_nothing_has() {
        let plan = plan(&History::shipped(), None, Mode::Manage);
        let document = apply(&plan, None).unwrap();
        assert_eq!(document["metadata"]["resourceVersion"], "1");
        assert_eq!(document["metadata"]["name"], ROLE);
        assert_eq!(document["metadata"]["labels"].as_object().unwrap().len(), 3);
        assert_eq!(document["rules"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn an_upgrade_is_of_what_was_read_and_leaves_labels_as_they_are() {
        let history = History::shipped();
        let mut role = ClusterRole { rules: Some(history.rules(1)), ..ClusterRole::default() };
        role.metadata.uid = Some("u".into());
        role.metadata.resource_version = Some("7".into());
        let labels = [
            ("app.kubernetes.io/name", "mirrord-sessions"),
            ("app.kubernetes.io/part-of", "platform"),
            ("team", "a"),
        ];
        role.metadata.labels = Some(
            labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        );
        let plan = plan(&history, Some(&role), Mode::Manage);
        let document = apply(&plan, Some(&role)).unwrap();
        assert_eq!(
            document["metadata"],
            json!({
                "name": ROLE, "uid": "u", "resourceVersion": "7",
                "labels": { "app.kubernetes.io/name": "mirrord-sessions" },
            })
        );
        assert_eq!(document["rules"], json!(history.rules(2)));
    }

    #[test]
    fn nothing_and_preserve_write_nothing() {
        let history = History::shipped();
        let mut role = ClusterRole { rules: Some(history.rules(2)), ..ClusterRole::default() };
        assert_eq!(apply(&plan(&history, Some(&role), Mode::Manage), Some(&role)), None);
        role.rules = Some(Vec::new());
        assert_eq!(apply(&plan(&history, Some(&role), Mode::Manage), Some(&role)), None);
        assert_eq!(apply(&plan(&history, None, Mode::Report), None), None);
    }
}
