//! What a repository takes over that is to hold the role from now on.

use std::collections::BTreeMap;

use k8s_openapi::{api::rbac::v1::ClusterRole, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::{Grants, History, ROLE, manager::is_tracking};

/// The role as somebody would have written it: its labels and annotations but those by which tools
/// and this project know what is theirs, and the rules it has, and after them those of the latest
/// version that it lacks. Of a role that others' rules are collected into no rules, as Kubernetes
/// fills them in. Nothing if it grants too much to be compared.
#[must_use]
pub fn take_over(history: &History, role: Option<&ClusterRole>) -> Option<ClusterRole> {
    let mut taken = ClusterRole::default();
    taken.metadata.name = Some(ROLE.to_owned());
    let preset = history.rules(history.latest());
    let Some(role) = role else {
        taken.rules = Some(preset);
        return Some(taken);
    };
    let ObjectMeta { labels, annotations, .. } = &role.metadata;
    taken.metadata.labels = own(labels.as_ref());
    taken.metadata.annotations = own(annotations.as_ref());
    taken.aggregation_rule.clone_from(&role.aggregation_rule);
    if role.aggregation_rule.is_none() {
        let rules = role.rules.as_deref().unwrap_or_default();
        let missing = Grants::of(&preset)?.beyond(&Grants::of(rules)?);
        taken.rules = Some([rules, &missing.rules()].concat());
    }
    Some(taken)
}

fn own(entries: Option<&BTreeMap<String, String>>) -> Option<BTreeMap<String, String>> {
    let own: BTreeMap<_, _> = entries?
        .iter()
        .filter(|(key, value)| !is_tracking(key, value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (!own.is_empty()).then_some(own)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::auditor::{AUTO_UPDATE, FIELD_MANAGER};

    fn taken(role: &Value) -> Option<Value> {
        let role = serde_json::from_value(role.clone()).unwrap();
        let taken = take_over(&History::shipped(), Some(&role))?;
        Some(serde_json::to_value(taken).unwrap())
    }

    fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
        json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs })
    }

    #[test]
    fn what_is_missing_comes_after_what_is_there() {
        let history = History::shipped();
        let latest = json!(history.rules(2));
        let none = serde_json::to_value(take_over(&history, None)).unwrap();
        assert_eq!(
            none,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": { "name": ROLE }, "rules": latest,
            })
        );
        for version in [1, 2] {
            let role = json!({ "rules": history.rules(version) });
            assert_eq!(taken(&role).unwrap()["rules"], latest, "{version}");
        }
        let modified = json!({ "rules": [
            rule("operator.metalbear.co", "sessionpolicies", &["get", "delete"]),
        ] });
        assert_eq!(
            taken(&modified).unwrap()["rules"],
            json!([
                rule("operator.metalbear.co", "sessionpolicies", &["get", "delete"]),
                rule("operator.metalbear.co", "sessionpolicies", &["list", "watch"]),
                rule(
                    "visibility.operator.metalbear.co",
                    "sessiontrackers",
                    &["get", "list", "watch"]
                ),
            ])
        );
    }

    #[test]
    fn as_somebody_would_have_written_it() {
        let mut role = json!({
            "metadata": {
                "name": ROLE, "uid": "u", "resourceVersion": "7", "generation": 1,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "finalizers": ["a/b"],
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Addon", "name": "m", "uid": "1" }],
                "managedFields": [{ "manager": "x" }],
                "labels": {
                    "team": "a",
                    "app.kubernetes.io/name": "mirrord-sessions",
                    "app.kubernetes.io/managed-by": FIELD_MANAGER,
                    "kustomize.toolkit.fluxcd.io/name": "infra",
                    "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
                },
                "annotations": {
                    AUTO_UPDATE: "false",
                    "argocd.argoproj.io/sync-wave": "1",
                    "argocd.argoproj.io/tracking-id": "a:b/c:d",
                    "meta.helm.sh/release-name": "m",
                    "meta.helm.sh/release-namespace": "n",
                    "kubectl.kubernetes.io/last-applied-configuration": "{}",
                },
            },
            "rules": History::shipped().rules(2),
        });
        let metadata = json!({
            "name": ROLE,
            "labels": { "team": "a", "app.kubernetes.io/name": "mirrord-sessions" },
            "annotations": { AUTO_UPDATE: "false", "argocd.argoproj.io/sync-wave": "1" },
        });
        assert_eq!(taken(&role).unwrap()["metadata"], metadata);
        // Somebody else's word for who manages it is part of a chart, say.
        role["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "Helm" });
        assert_eq!(taken(&role).unwrap()["metadata"]["labels"], role["metadata"]["labels"]);
        role["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": FIELD_MANAGER });
        assert_eq!(taken(&role).unwrap()["metadata"]["labels"], Value::Null);
    }

    #[test]
    fn collected_rules_are_left_to_kubernetes() {
        let aggregation =
            json!({ "clusterRoleSelectors": [{ "matchLabels": { "auditor": "yes" } }] });
        let role = json!({ "aggregationRule": aggregation, "rules": History::shipped().rules(1) });
        let taken = taken(&role).unwrap();
        assert_eq!(taken["aggregationRule"], aggregation);
        assert_eq!(taken.get("rules"), None);
    }

    #[test]
    fn too_much_to_compare_is_not_taken_over_in_part() {
        let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        let huge = json!({ "apiGroups": many, "resources": many, "verbs": many });
        assert_eq!(taken(&json!({ "rules": [huge] })), None);
    }
}
