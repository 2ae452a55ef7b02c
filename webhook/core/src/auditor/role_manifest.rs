//! The manifest with which a GitOps repository takes over the role.

use std::collections::BTreeMap;

use k8s_openapi::{api::rbac::v1::ClusterRole, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::{Grants, History, ROLE, external_manager::is_tracking_metadata};

/// Returns a manifest of the role, with the missing rules of the latest version added.
///
/// The manifest keeps the role's labels and annotations, except those by which tools track their
/// objects, and appends missing rules to the current ones. It has no rules if Kubernetes aggregates
/// them. Returns `None` if the role grants too many permissions to compare.
#[must_use]
pub fn role_manifest(history: &History, role: Option<&ClusterRole>) -> Option<ClusterRole> {
    let mut manifest = ClusterRole::default();
    manifest.metadata.name = Some(ROLE.to_owned());
    let preset = history.rules(history.latest());
    let Some(role) = role else {
        manifest.rules = Some(preset);
        return Some(manifest);
    };
    let ObjectMeta { labels, annotations, .. } = &role.metadata;
    manifest.metadata.labels = without_tracking(labels.as_ref());
    manifest.metadata.annotations = without_tracking(annotations.as_ref());
    manifest.aggregation_rule.clone_from(&role.aggregation_rule);
    if role.aggregation_rule.is_none() {
        let rules = role.rules.as_deref().unwrap_or_default();
        let missing = Grants::from_rules(&preset)?.not_covered_by(&Grants::from_rules(rules)?);
        manifest.rules = Some([rules, &missing.to_rules()].concat());
    }
    Some(manifest)
}

fn without_tracking(
    entries: Option<&BTreeMap<String, String>>,
) -> Option<BTreeMap<String, String>> {
    let retained: BTreeMap<_, _> = entries?
        .iter()
        .filter(|(key, value)| !is_tracking_metadata(key, value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (!retained.is_empty()).then_some(retained)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::auditor::{AUTO_UPDATE, FIELD_MANAGER};

    fn manifest_of(role: &Value) -> Option<Value> {
        let role = serde_json::from_value(role.clone()).unwrap();
        let manifest = role_manifest(&History::shipped(), Some(&role))?;
        Some(serde_json::to_value(manifest).unwrap())
    }

    fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
        json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs })
    }

    #[test]
    fn appends_missing_rules() {
        let history = History::shipped();
        let latest = json!(history.rules(2));
        let none = serde_json::to_value(role_manifest(&history, None)).unwrap();
        assert_eq!(
            none,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": { "name": ROLE }, "rules": latest,
            })
        );
        for version in [1, 2] {
            let role = json!({ "rules": history.rules(version) });
            assert_eq!(manifest_of(&role).unwrap()["rules"], latest, "{version}");
        }
        let modified = json!({ "rules": [
            rule("operator.metalbear.co", "sessionpolicies", &["get", "delete"]),
        ] });
        assert_eq!(
            manifest_of(&modified).unwrap()["rules"],
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
    fn removes_tracking_metadata() {
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
        assert_eq!(manifest_of(&role).unwrap()["metadata"], metadata);
        // Another value of managed-by stays, as it may come from a chart.
        role["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "Helm" });
        assert_eq!(manifest_of(&role).unwrap()["metadata"]["labels"], role["metadata"]["labels"]);
        role["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": FIELD_MANAGER });
        assert_eq!(manifest_of(&role).unwrap()["metadata"]["labels"], Value::Null);
    }

    #[test]
    fn omits_aggregated_rules() {
        let aggregation =
            json!({ "clusterRoleSelectors": [{ "matchLabels": { "auditor": "yes" } }] });
        let role = json!({ "aggregationRule": aggregation, "rules": History::shipped().rules(1) });
        let manifest = manifest_of(&role).unwrap();
        assert_eq!(manifest["aggregationRule"], aggregation);
        assert_eq!(manifest.get("rules"), None);
    }

    #[test]
    fn returns_none_for_too_many_permissions() {
        let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        let huge = json!({ "apiGroups": many, "resources": many, "verbs": many });
        assert_eq!(manifest_of(&json!({ "rules": [huge] })), None);
    }
}
