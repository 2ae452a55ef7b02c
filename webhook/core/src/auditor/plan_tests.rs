//! A table of roles against the plan: each differs from what a release shipped in one thing.

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

/// A third version, which the history of a later release has.
fn v3() -> Value {
    rule("", "namespaces", &["list"])
}

fn later_history() -> History {
    let rule = |value| serde_json::from_value(value).unwrap();
    History::new(vec![rule(v1())], vec![vec![rule(v2())], vec![rule(v3())]])
}

/// A role as the API server answers it.
fn role(rules: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": ROLE, "uid": "u", "resourceVersion": "7" },
        "rules": rules,
    })
}

/// The same with more on its metadata.
fn with(rules: &Value, metadata: &Value) -> Value {
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

/// In short, as the table has it.
fn short(plan: &Plan) -> String {
    match plan {
        Plan::Create { version, .. } => format!("create {version}"),
        Plan::Append { from, to, .. } => format!("append {from}-{to}"),
        Plan::Nothing { version } => format!("nothing {version}"),
        Plan::Preserve { why, .. } => match why {
            Why::Managed(manager) => format!("preserve {}", manager.name),
            why => format!("preserve {why:?}"),
        },
    }
}

fn check(cases: &[(&str, Value, &str)]) {
    for (name, role, expected) in cases {
        let role: ClusterRole = serde_json::from_value(role.clone()).unwrap();
        let made = plan(&History::shipped(), Some(&role), Mode::Manage);
        assert_eq!(short(&made), *expected, "{name}");
        // Told not to write, the process never does.
        let told = plan(&History::shipped(), Some(&role), Mode::Report);
        assert!(matches!(told, Plan::Nothing { .. } | Plan::Preserve { .. }), "{name}: {told}");
        let upgrade = plan(&History::shipped(), Some(&role), Mode::UpgradeOnly);
        assert_eq!(upgrade, made, "{name}");
        if let Plan::Append { rules, .. } = made {
            let history = History::shipped();
            let after = Grants::of(&rules).unwrap();
            let latest = Grants::of(&history.rules(history.latest())).unwrap();
            assert!(Difference::between(&after, &latest).is_empty(), "{name}");
        }
    }
}

#[test]
#[rustfmt::skip]
fn what_grants_the_same_is_the_same() {
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
        ("lists that are null", role(&json!([null_lists])), "append 1-2"),
        ("lists that are empty", role(&json!([empty_lists])), "append 1-2"),
        ("a name of what is granted whole", role(&json!([one, named])), "append 1-2"),
        ("a rule without verbs", role(&json!([one, rule("", "pods", &[])])), "append 1-2"),
    ]);
}

#[test]
#[rustfmt::skip]
fn what_grants_anything_else_is_preserved() {
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
        ("a verb more", role(&json!([verbs(&["get", "list", "watch", "delete"])])), modified),
        ("a verb more on version 2", role(&json!([verbs(&["get", "list", "watch", "delete"]), two])), modified),
        ("a verb less", role(&json!([verbs(&["get", "list"])])), modified),
        ("a verb less on version 2", role(&json!([one, rule(TRACKERS, "sessiontrackers", &["list", "watch"])])), modified),
        ("another verb", role(&json!([verbs(&["get", "list", "patch"])])), modified),
        ("all verbs", role(&json!([verbs(&["*"])])), modified),
        ("a verb in capitals", role(&json!([verbs(&["Get", "list", "watch"])])), modified),
        ("another group", changed("apiGroups", json!(["policy"])), modified),
        ("a group more", changed("apiGroups", json!([POLICIES, "policy"])), modified),
        ("all groups", changed("apiGroups", json!(["*"])), modified),
        ("the core group", changed("apiGroups", json!([""])), modified),
        ("no group", changed("apiGroups", json!([])), modified),
        ("another resource", changed("resources", json!(["secrets"])), modified),
        ("a resource more", changed("resources", json!(["sessionpolicies", "sessions"])), modified),
        ("a subresource more", changed("resources", json!(["sessionpolicies", "sessionpolicies/status"])), modified),
        ("all resources", changed("resources", json!(["*"])), modified),
        ("only some names", changed("resourceNames", json!(["one"])), modified),
        ("only an empty name", changed("resourceNames", json!([""])), modified),
        ("a path more", role(&json!([one, { "nonResourceURLs": ["/metrics"], "verbs": ["get"] }])), modified),
        ("a path in the same rule", changed("nonResourceURLs", json!(["/metrics"])), modified),
        ("a rule more", role(&json!([one, rule("", "pods", see)])), modified),
        ("a rule more on version 2", role(&json!([one, two, rule("", "pods", see)])), modified),
        ("to join", role(&json!([one, two, rule(TRACKERS, "sessiontrackers/join", &["create"])])), modified),
        ("merged with more", role(&json!([{ "apiGroups": [POLICIES, TRACKERS], "resources": ["sessionpolicies", "sessiontrackers"], "verbs": see, }])), modified),
        ("only what version 2 added", role(&json!([two])), modified),
        ("emptied", role(&json!([])), modified),
        ("rules null", role(&Value::Null), modified),
    ]);
    let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let huge = json!({ "apiGroups": many, "resources": many, "verbs": many });
    check(&[(
        "too much to compare",
        role(&json!([huge])),
        "preserve TooLarge",
    )]);
}

#[test]
#[rustfmt::skip]
fn what_others_look_after_is_preserved() {
    let rules = json!([v1()]);
    let label = |key: &str, value: &str| with(&rules, &json!({ "labels": { key: value } }));
    let annotation =
        |key: &str, value: &str| with(&rules, &json!({ "annotations": { key: value } }));
    let fields = |manager, operation, field| with(&rules, &owned_by(manager, operation, field));
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
        ("an owner", with(&rules, &json!({ "ownerReferences": [{ "apiVersion": "v1", "kind": "Addon", "name": "m", "uid": "1" }] })), "preserve Addon m"),
        ("being deleted", with(&rules, &json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"], })), "preserve Deleting"),
        ("written by this project", fields(FIELD_MANAGER, "Apply", "f:rules"), "append 1-2"),
        ("managed by this project", label("app.kubernetes.io/managed-by", FIELD_MANAGER), "append 1-2"),
        ("labels of others", label("team", "platform"), "append 1-2"),
        ("an ambiguous label", label("app.kubernetes.io/instance", "mirrord"), "append 1-2"),
        ("annotations of others", annotation("note", "argocd"), "append 1-2"),
        ("finalizers", with(&rules, &json!({ "finalizers": ["a/b"] })), "append 1-2"),
        ("a manager of labels", fields("kubectl-label", "Update", "f:metadata"), "append 1-2"),
        ("a manager of nothing", with(&rules, &json!({ "managedFields": [{ "manager": "x" }] })), "append 1-2"),
    ]);
    // The latest is the latest, whoever put it there: there is nothing to report.
    let latest = json!([v1(), v2()]);
    check(&[
        ("the latest, by Argo CD", with(&latest, &owned_by("argocd-controller", "Update", "f:rules")), "nothing 2"),
        ("the latest, autoupdate false", with(&latest, &json!({ "annotations": { AUTO_UPDATE: "false" } })), "nothing 2"),
    ]);
}

#[test]
fn a_role_that_is_not_there() {
    let history = History::shipped();
    for (mode, expected) in [
        (Mode::Manage, "create 2"),
        (Mode::UpgradeOnly, "preserve Absent"),
        (Mode::Report, "preserve ToldNotTo"),
    ] {
        let plan = plan(&history, None, mode);
        assert_eq!(short(&plan), expected);
        assert!(
            plan.to_string().contains("+sessionpolicies.operator.metalbear.co: get, list, watch")
        );
    }
}

#[test]
fn upgrades_and_downgrades() {
    let ours = owned_by(FIELD_MANAGER, "Apply", "f:rules");
    let cases = [
        (json!([v1()]), 1, "nothing 1"),
        (json!([v1()]), 2, "append 1-2"),
        (json!([v1()]), 3, "append 1-3"),
        (json!([v1(), v2()]), 3, "append 2-3"),
        (json!([v1(), v2(), v3()]), 3, "nothing 3"),
        // What a later release wrote stays when an earlier one is back.
        (json!([v1(), v2()]), 1, "preserve Newer"),
        (json!([v1(), v2(), v3()]), 2, "preserve Newer"),
        (json!([v1(), v2(), v3()]), 1, "preserve Newer"),
        // A version that another was appended to out of order is none.
        (json!([v1(), v3()]), 3, "preserve Modified"),
    ];
    for (rules, version, expected) in cases {
        let role = serde_json::from_value(with(&rules, &ours)).unwrap();
        let history = later_history().up_to(version).unwrap();
        let plan = plan(&history, Some(&role), Mode::Manage);
        assert_eq!(short(&plan), expected, "{rules} for a release of version {version}");
    }
    // With the rules owned by somebody else it is that one's word.
    let edited = with(&json!([v1(), v2()]), &owned_by("kubectl-edit", "Update", "f:rules"));
    let role = serde_json::from_value(edited).unwrap();
    let history = later_history().up_to(1).unwrap();
    assert_eq!(short(&plan(&history, Some(&role), Mode::Manage)), "preserve kubectl-edit");
}

#[test]
fn said_in_words() {
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
        "preserve ClusterRole mirrord-operator-auditor: it was modified, and is what no release shipped\n\
         --- ClusterRole mirrord-operator-auditor\n\
         +++ preset version 2\n\
         -sessionpolicies.operator.metalbear.co: delete\n\
         +sessionpolicies.operator.metalbear.co: watch\n"
    );
    assert!(text(None).starts_with("create ClusterRole mirrord-operator-auditor, version 2\n---"));
}

#[test]
fn a_role_that_others_collect_gains_nothing() {
    let history = History::shipped();
    let label = "rbac.authorization.k8s.io/aggregate-to-view";
    for (value, preserved) in [("true", true), ("false", false)] {
        let mut role = ClusterRole { rules: Some(history.rules(1)), ..ClusterRole::default() };
        role.metadata.labels = Some([(label.to_owned(), value.to_owned())].into());
        let why = match plan(&history, Some(&role), Mode::Manage) {
            Plan::Preserve { why, .. } => Some(why),
            _ => None,
        };
        assert_eq!(why, preserved.then(|| Why::AggregatedInto(label.to_owned())));
    }
}
