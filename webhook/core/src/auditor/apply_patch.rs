//! The server-side apply patch that carries out a plan.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::{Map, Value, json};

use super::{FIELD_MANAGER, Plan, ROLE};

/// The labels of a newly created role.
const LABELS: [(&str, &str); 3] = [
    ("app.kubernetes.io/managed-by", FIELD_MANAGER),
    ("app.kubernetes.io/name", "mirrord-sessions"),
    ("app.kubernetes.io/part-of", "mirrord-sessions"),
];

/// A resource version that no object has, which makes a server-side apply create the role or fail.
///
/// The first write of etcd has revision 2. Server-side apply creates a missing object regardless of
/// the resource version, and an existing object causes a conflict.
const ABSENT: &str = "1";

/// Returns the server-side apply patch for a plan, or `None` if the plan writes nothing.
///
/// Its preconditions restrict the write to the role for which the plan was made.
#[must_use]
pub fn apply_patch(plan: &Plan, role: Option<&ClusterRole>) -> Option<Value> {
    let (rules, metadata) = match (plan, role) {
        (Plan::Create { rules, .. }, None) => {
            (rules, json!({ "resourceVersion": ABSENT, "labels": labels(|_, _| true) }))
        }
        (Plan::Append { rules, .. }, Some(role)) => {
            let metadata = &role.metadata;
            // Labels that a user removed or changed are left out, which gives up their ownership.
            let unchanged = labels(|key, value| {
                let actual = metadata.labels.as_ref();
                actual.and_then(|labels| labels.get(key)).is_some_and(|actual| actual == value)
            });
            let metadata = json!({
                // The UID prevents the creation of a role that was deleted in between.
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
                "labels": unchanged,
            });
            (rules, metadata)
        }
        _ => return None,
    };
    Some(manifest(metadata, rules))
}

fn manifest(mut metadata: Value, rules: &[PolicyRule]) -> Value {
    metadata["name"] = ROLE.into();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": metadata,
        "rules": rules,
    })
}

fn labels(filter: impl Fn(&str, &str) -> bool) -> Map<String, Value> {
    LABELS
        .into_iter()
        .filter(|(key, value)| filter(key, value))
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auditor::{History, Mode, plan};

    #[test]
    fn creates_with_impossible_resource_version() {
        let plan = plan(&History::shipped(), None, Mode::Manage);
        let patch = apply_patch(&plan, None).unwrap();
        assert_eq!(patch["metadata"]["resourceVersion"], "1");
        assert_eq!(patch["metadata"]["name"], ROLE);
        assert_eq!(patch["metadata"]["labels"].as_object().unwrap().len(), 3);
        assert_eq!(patch["rules"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn upgrades_with_preconditions_and_unchanged_labels() {
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
        let patch = apply_patch(&plan, Some(&role)).unwrap();
        assert_eq!(
            patch["metadata"],
            json!({
                "name": ROLE, "uid": "u", "resourceVersion": "7",
                "labels": { "app.kubernetes.io/name": "mirrord-sessions" },
            })
        );
        assert_eq!(patch["rules"], json!(history.rules(2)));
    }

    #[test]
    fn returns_none_without_a_write() {
        let history = History::shipped();
        let mut role = ClusterRole { rules: Some(history.rules(2)), ..ClusterRole::default() };
        assert_eq!(apply_patch(&plan(&history, Some(&role), Mode::Manage), Some(&role)), None);
        role.rules = Some(Vec::new());
        assert_eq!(apply_patch(&plan(&history, Some(&role), Mode::Manage), Some(&role)), None);
        assert_eq!(apply_patch(&plan(&history, None, Mode::Report), None), None);
    }
}
