//! Checks that the manifests and the code agree on the auditor role.

#![allow(clippy::unwrap_used)]

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use mirrord_sessions_core::auditor::{Difference, Grants, History, Mode, Plan, ROLE, plan};

fn manifest(path: &str) -> String {
    let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/");
    std::fs::read_to_string(format!("{manifests}{path}")).unwrap()
}

fn grants(rules: &[PolicyRule]) -> Grants {
    Grants::from_rules(rules).unwrap()
}

/// RBAC lets no user grant rights that they don't hold, and least privilege forbids further rights.
#[test]
fn process_holds_exactly_the_rights_it_grants() {
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(&manifest("base/auditor.yaml")).unwrap();
    let role: ClusterRole = serde_json::from_value(documents[0].clone()).unwrap();
    let history = History::shipped();
    let mut expected = history.rules(history.latest());
    expected.push(PolicyRule {
        api_groups: Some(vec!["rbac.authorization.k8s.io".into()]),
        resources: Some(vec!["clusterroles".into()]),
        resource_names: Some(vec![ROLE.into()]),
        verbs: vec!["create".into(), "patch".into()],
        ..PolicyRule::default()
    });
    let held = grants(&role.rules.unwrap());
    let difference = Difference::between(&held, &grants(&expected));
    assert!(difference.is_empty(), "{difference}");
}

#[test]
fn gitops_overlay_has_latest_role() {
    let role: ClusterRole =
        serde_saphyr::from_str(&manifest("overlays/gitops/auditor-role.yaml")).unwrap();
    let history = History::shipped();
    let plan = plan(&history, Some(&role), Mode::Report);
    assert!(matches!(plan, Plan::Nothing { .. }), "{plan}");
}
