//! Plans for roles that each differ from a shipped version in one property.

use serde_json::{Value, json};

use super::*;
use crate::auditor::FIELD_MANAGER;

const POLICIES: &str = "operator.metalbear.co";
const TRACKERS: &str = "visibility.operator.metalbear.co";

fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs })
}

fn v1() -> Value {
    rule(POLICIES, "sessionpolicies", &["get", "list", "watch"])
}

fn v2() -> Value {
    rule(TRACKERS, "sessiontrackers", &["get", "list", "watch"])
}

/// Returns the rule of a third version, which only a later release knows.
fn v3() -> Value {
    rule("", "namespaces", &["list"])
}

fn later_history() -> History {
    let rule = |value| serde_json::from_value(value).unwrap();
    History::new(vec![rule(v1())], vec![vec![rule(v2())], vec![rule(v3())]])
}

/// Returns a role as the API server sends it.
fn role(rules: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": ROLE, "uid": "u", "resourceVersion": "7" },
        "rules": rules,
    })
}

/// Returns a role with additional metadata.
fn role_with(rules: &Value, metadata: &Value) -> Value {
    let mut role = role(rules);
    for (key, value) in metadata.as_object().unwrap() {
        role["metadata"][key] = value.clone();
    }
    role
}

fn owned_by(manager: &str, operation: &str, field: &str) -> Value {
    json!({ "managedFields": [{
        "manager": manager, "operation": operation, "apiVersion": "rbac.authorization.k8s.io/v1",
        "fieldsType": "FieldsV1", "fieldsV1": { field: {} },
    }] })
}

/// Returns the short form of a plan in the tables.
fn short_form(plan: &Plan) -> String {
    match plan {
        Plan::Create { version, .. } => format!("create {version}"),
        Plan::Append { from, to, .. } => format!("append {from}-{to}"),
        Plan::Nothing { version } => format!("nothing {version}"),
        Plan::Preserve { reason, .. } => match reason {
            PreserveReason::Managed(manager) => format!("preserve {}", manager.name),
            reason => format!("preserve {reason:?}"),
        },
    }
}

fn check(cases: &[(&str, Value, &str)]) {
    for (name, role, expected) in cases {
        let role: ClusterRole = serde_json::from_value(role.clone()).unwrap();
        let managed = plan(&History::shipped(), Some(&role), Mode::Manage);
        assert_eq!(short_form(&managed), *expected, "{name}");
        // In report mode nothing is written.
        let reported = plan(&History::shipped(), Some(&role), Mode::Report);
        assert!(
            matches!(reported, Plan::Nothing { .. } | Plan::Preserve { .. }),
            "{name}: {reported}"
        );
        let upgrade = plan(&History::shipped(), Some(&role), Mode::UpgradeOnly);
        assert_eq!(upgrade, managed, "{name}");
        if let Plan::Append { rules, .. } = managed {
            let history = History::shipped();
            let after = Grants::from_rules(&rules).unwrap();
            let latest = Grants::from_rules(&history.rules(history.latest())).unwrap();
            assert!(Difference::between(&after, &latest).is_empty(), "{name}");
        }
    }
}

#[test]
#[rustfmt::skip]
fn recognizes_equivalent_rules() {
    let (one, two) = (v1(), v2());
    let verbs = |verbs: &[&str]| rule(POLICIES, "sessionpolicies", verbs);
    let mut null_lists = v1();
    null_lists["resourceNames"] = Value::Null;
    null_lists["nonResourceURLs"] = Value::Null;
    let mut empty_lists = v1();
    empty_lists["resourceNames"] = json!([]);
    empty_lists["nonResourceURLs"] = json!([]);
    let mut twice = v1();
    twice["apiGroups"] = json!([POLICIES, POLICIES]);
    twice["resources"] = json!(["sessionpolicies", "sessionpolicies"]);
    let mut named = v1();
    named["resourceNames"] = json!(["one"]);
    check(&[
        ("version 1", role(&json!([one])), "append 1-2"),
        ("version 2", role(&json!([one, two])), "nothing 2"),
        ("rules in another order", role(&json!([two, one])), "nothing 2"),
        ("verbs in another order", role(&json!([verbs(&["watch", "get", "list"])])), "append 1-2"),
        ("a verb twice", role(&json!([verbs(&["get", "list", "watch", "get"])])), "append 1-2"),
        ("groups and resources twice", role(&json!([twice])), "append 1-2"),
        ("a rule twice", role(&json!([one, one])), "append 1-2"),
        ("a rule split by verbs", role(&json!([verbs(&["get"]), verbs(&["list", "watch"])])), "append 1-2"),
        ("split and overlapping", role(&json!([verbs(&["get", "list"]), verbs(&["list", "watch"])])), "append 1-2"),
        ("both rules split", role(&json!([verbs(&["get"]), rule(TRACKERS, "sessiontrackers", &["watch"]), verbs(&["watch", "list"]), rule(TRACKERS, "sessiontrackers", &["list", "get"])])), "nothing 2"),
        ("null lists", role(&json!([null_lists])), "append 1-2"),
        ("empty lists", role(&json!([empty_lists])), "append 1-2"),
        ("an object name of a resource granted as a whole", role(&json!([one, named])), "append 1-2"),
        ("a rule without verbs", role(&json!([one, rule("", "pods", &[])])), "append 1-2"),
    ]);
}

#[test]
#[rustfmt::skip]
fn preserves_other_rules() {
    let (one, two) = (v1(), v2());
    let verbs = |verbs: &[&str]| rule(POLICIES, "sessionpolicies", verbs);
    let changed = |field: &str, value: Value| {
        let mut rule = v1();
        rule[field] = value;
        role(&json!([rule]))
    };
    let see: &[&str] = &["get", "list", "watch"];
    let modified = "preserve Modified";
    check(&[
        ("an extra verb", role(&json!([verbs(&["get", "list", "watch", "delete"])])), modified),
        ("an extra verb on version 2", role(&json!([verbs(&["get", "list", "watch", "delete"]), two])), modified),
        ("a missing verb", role(&json!([verbs(&["get", "list"])])), modified),
        ("a missing verb on version 2", role(&json!([one, rule(TRACKERS, "sessiontrackers", &["list", "watch"])])), modified),
        ("another verb", role(&json!([verbs(&["get", "list", "patch"])])), modified),
        ("all verbs", role(&json!([verbs(&["*"])])), modified),
        ("a verb in upper case", role(&json!([verbs(&["Get", "list", "watch"])])), modified),
        ("another group", changed("apiGroups", json!(["policy"])), modified),
        ("an extra group", changed("apiGroups", json!([POLICIES, "policy"])), modified),
        ("all groups", changed("apiGroups", json!(["*"])), modified),
        ("the core group", changed("apiGroups", json!([""])), modified),
        ("no group", changed("apiGroups", json!([])), modified),
        ("another resource", changed("resources", json!(["secrets"])), modified),
        ("an extra resource", changed("resources", json!(["sessionpolicies", "sessions"])), modified),
        ("an extra subresource", changed("resources", json!(["sessionpolicies", "sessionpolicies/status"])), modified),
        ("all resources", changed("resources", json!(["*"])), modified),
        ("only some names", changed("resourceNames", json!(["one"])), modified),
        ("only an empty name", changed("resourceNames", json!([""])), modified),
        ("an extra path", role(&json!([one, { "nonResourceURLs": ["/metrics"], "verbs": ["get"] }])), modified),
        ("a path in the same rule", changed("nonResourceURLs", json!(["/metrics"])), modified),
        ("an extra rule", role(&json!([one, rule("", "pods", see)])), modified),
        ("an extra rule on version 2", role(&json!([one, two, rule("", "pods", see)])), modified),
        ("permission to join", role(&json!([one, two, rule(TRACKERS, "sessiontrackers/join", &["create"])])), modified),
        ("merged into a wider rule", role(&json!([{ "apiGroups": [POLICIES, TRACKERS], "resources": ["sessionpolicies", "sessiontrackers"], "verbs": see, }])), modified),
        ("only the rules that version 2 added", role(&json!([two])), modified),
        ("no rules", role(&json!([])), modified),
        ("null rules", role(&Value::Null), modified),
    ]);
    let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let huge = json!({ "apiGroups": many, "resources": many, "verbs": many });
    check(&[(
        "too many permissions to compare",
        role(&json!([huge])),
        "preserve TooLarge",
    )]);
}

#[test]
#[rustfmt::skip]
fn preserves_roles_of_other_managers() {
    let rules = json!([v1()]);
    let label = |key: &str, value: &str| role_with(&rules, &json!({ "labels": { key: value } }));
    let annotation =
        |key: &str, value: &str| role_with(&rules, &json!({ "annotations": { key: value } }));
    let fields = |manager, operation, field| role_with(&rules, &owned_by(manager, operation, field));
    let mut aggregated = role(&rules);
    aggregated["aggregationRule"] = json!({ "clusterRoleSelectors": [] });
    let mut aggregated_latest = role(&json!([v1(), v2()]));
    aggregated_latest["aggregationRule"] = json!({});
    check(&[
        ("autoupdate false", annotation(AUTO_UPDATE, "false"), "preserve AutoUpdateOff"),
        ("autoupdate False", annotation(AUTO_UPDATE, "False"), "preserve AutoUpdateOff"),
        ("autoupdate true", annotation(AUTO_UPDATE, "true"), "append 1-2"),
        ("an aggregation rule", aggregated, "preserve Aggregated"),
        ("an aggregation rule on the latest", aggregated_latest, "preserve Aggregated"),
        ("Argo CD", annotation("argocd.argoproj.io/tracking-id", "a:rbac/ClusterRole:x"), "preserve Argo CD"),
        ("Argo CD by label", label("argocd.argoproj.io/instance", "infra"), "preserve Argo CD"),
        ("Flux", label("kustomize.toolkit.fluxcd.io/name", "infra"), "preserve Flux"),
        ("Flux with Helm", label("helm.toolkit.fluxcd.io/name", "infra"), "preserve Flux"),
        ("Helm by annotation", annotation("meta.helm.sh/release-name", "x"), "preserve Helm"),
        ("Helm by label", label("app.kubernetes.io/managed-by", "Helm"), "preserve Helm"),
        ("something else by label", label("app.kubernetes.io/managed-by", "pulumi"), "preserve pulumi"),
        ("kubectl apply", annotation("kubectl.kubernetes.io/last-applied-configuration", "{}"), "preserve kubectl apply"),
        ("kubectl edit", fields("kubectl-edit", "Update", "f:rules"), "preserve kubectl-edit"),
        ("server-side apply by another", fields("argocd-controller", "Apply", "f:rules"), "preserve argocd-controller"),
        ("a manager of the aggregation rule", fields("x", "Update", "f:aggregationRule"), "preserve x"),
        ("an owner", role_with(&rules, &json!({ "ownerReferences": [{ "apiVersion": "v1", "kind": "Addon", "name": "m", "uid": "1" }] })), "preserve Addon m"),
        ("being deleted", role_with(&rules, &json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"], })), "preserve Deleting"),
        ("written by this project", fields(FIELD_MANAGER, "Apply", "f:rules"), "append 1-2"),
        ("managed by this project", label("app.kubernetes.io/managed-by", FIELD_MANAGER), "append 1-2"),
        ("labels of others", label("team", "platform"), "append 1-2"),
        ("an ambiguous label", label("app.kubernetes.io/instance", "mirrord"), "append 1-2"),
        ("annotations of others", annotation("note", "argocd"), "append 1-2"),
        ("finalizers", role_with(&rules, &json!({ "finalizers": ["a/b"] })), "append 1-2"),
        ("a manager of labels", fields("kubectl-label", "Update", "f:metadata"), "append 1-2"),
        ("a manager of nothing", role_with(&rules, &json!({ "managedFields": [{ "manager": "x" }] })), "append 1-2"),
    ]);
    // The latest version needs no write, regardless of its manager.
    let latest = json!([v1(), v2()]);
    check(&[
        ("the latest, by Argo CD", role_with(&latest, &owned_by("argocd-controller", "Update", "f:rules")), "nothing 2"),
        ("the latest, autoupdate false", role_with(&latest, &json!({ "annotations": { AUTO_UPDATE: "false" } })), "nothing 2"),
    ]);
}

#[test]
fn plans_for_missing_role() {
    let history = History::shipped();
    for (mode, expected) in [
        (Mode::Manage, "create 2"),
        (Mode::UpgradeOnly, "preserve Absent"),
        (Mode::Report, "preserve ReportOnly"),
    ] {
        let plan = plan(&history, None, mode);
        assert_eq!(short_form(&plan), expected);
        assert!(
            plan.to_string().contains("+sessionpolicies.operator.metalbear.co: get, list, watch")
        );
    }
}

#[test]
fn plans_for_upgrades_and_downgrades() {
    let ours = owned_by(FIELD_MANAGER, "Apply", "f:rules");
    let cases = [
        (json!([v1()]), 1, "nothing 1"),
        (json!([v1()]), 2, "append 1-2"),
        (json!([v1()]), 3, "append 1-3"),
        (json!([v1(), v2()]), 3, "append 2-3"),
        (json!([v1(), v2(), v3()]), 3, "nothing 3"),
        // After a downgrade, the rules of the later release stay.
        (json!([v1(), v2()]), 1, "preserve Newer"),
        (json!([v1(), v2(), v3()]), 2, "preserve Newer"),
        (json!([v1(), v2(), v3()]), 1, "preserve Newer"),
        // Versions appended out of order match no version.
        (json!([v1(), v3()]), 3, "preserve Modified"),
    ];
    for (rules, version, expected) in cases {
        let role = serde_json::from_value(role_with(&rules, &ours)).unwrap();
        let history = later_history().up_to(version).unwrap();
        let plan = plan(&history, Some(&role), Mode::Manage);
        assert_eq!(short_form(&plan), expected, "{rules} for a release of version {version}");
    }
    // Another field manager of the rules takes precedence.
    let edited = role_with(&json!([v1(), v2()]), &owned_by("kubectl-edit", "Update", "f:rules"));
    let role = serde_json::from_value(edited).unwrap();
    let history = later_history().up_to(1).unwrap();
    assert_eq!(short_form(&plan(&history, Some(&role), Mode::Manage)), "preserve kubectl-edit");
}

#[test]
fn displays_plans() {
    let history = History::shipped();
    let role = |rules: Value| Some(serde_json::from_value::<ClusterRole>(role(&rules)).unwrap());
    let text = |role: Option<ClusterRole>| plan(&history, role.as_ref(), Mode::Manage).to_string();
    assert_eq!(
        text(role(json!([v1()]))),
        "append what version 2 adds to ClusterRole mirrord-operator-auditor, which is version 1\n\
         --- ClusterRole mirrord-operator-auditor\n\
         +++ preset version 2\n\
         +sessiontrackers.visibility.operator.metalbear.co: get, list, watch\n"
    );
    assert_eq!(
        text(role(json!([v1(), v2()]))),
        "nothing: ClusterRole mirrord-operator-auditor is version 2, the latest\n"
    );
    assert_eq!(
        text(role(json!([rule(POLICIES, "sessionpolicies", &["get", "list", "delete"]), v2()]))),
        "preserve ClusterRole mirrord-operator-auditor: it was modified and matches no release\n\
         --- ClusterRole mirrord-operator-auditor\n\
         +++ preset version 2\n\
         -sessionpolicies.operator.metalbear.co: delete\n\
         +sessionpolicies.operator.metalbear.co: watch\n"
    );
    assert!(text(None).starts_with("create ClusterRole mirrord-operator-auditor, version 2\n---"));
}

#[test]
fn preserves_role_aggregated_into_another() {
    let history = History::shipped();
    let label = "rbac.authorization.k8s.io/aggregate-to-view";
    for (value, preserved) in [("true", true), ("false", false)] {
        let mut role = ClusterRole { rules: Some(history.rules(1)), ..ClusterRole::default() };
        role.metadata.labels = Some([(label.to_owned(), value.to_owned())].into());
        let reason = match plan(&history, Some(&role), Mode::Manage) {
            Plan::Preserve { reason, .. } => Some(reason),
            _ => None,
        };
        assert_eq!(reason, preserved.then(|| PreserveReason::AggregatedInto(label.to_owned())));
    }
}
