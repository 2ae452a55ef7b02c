use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn role(name: &str, rules: &Value) -> Value {
    json!({ "metadata": { "name": name }, "rules": rules })
}

fn rule(group: &str, resource: &str, verb: &str) -> Value {
    json!({ "apiGroups": [group], "resources": [resource], "verbs": [verb] })
}

fn user(name: &str) -> Value {
    json!({ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name })
}

fn binding(name: &str, namespace: Option<&str>, kind: &str, role: &str, subjects: &Value) -> Value {
    json!({
        "metadata": { "name": name, "namespace": namespace },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
        "subjects": subjects,
    })
}

/// Returns one ClusterRole with one rule, bound to a user in all namespaces.
fn bound(rule: &Value) -> RbacObjects {
    RbacObjects {
        cluster_roles: vec![read(role("r", &json!([rule])))],
        cluster_role_bindings: vec![read(binding(
            "b",
            None,
            "ClusterRole",
            "r",
            &json!([user("u")]),
        ))],
        ..RbacObjects::default()
    }
}

const OWN: &str = "operator.metalbear.co";
const VISIBILITY: &str = "visibility.operator.metalbear.co";

#[test]
fn evaluates_rules() {
    use SessionAction::{Join, Kill, List, Read};
    let cases: [(&str, Value, &[SessionAction]); 16] = [
        ("list sessions", rule(OWN, "sessions", "list"), &[List]),
        ("get sessions", rule(OWN, "sessions", "get"), &[Read]),
        ("watch sessions", rule(OWN, "sessions", "watch"), &[List]),
        ("list trackers", rule(VISIBILITY, "sessiontrackers", "list"), &[List]),
        ("get trackers", rule(VISIBILITY, "sessiontrackers", "get"), &[Read]),
        ("delete", rule(OWN, "sessions", "delete"), &[Kill]),
        ("delete collections", rule(OWN, "sessions", "deletecollection"), &[Kill]),
        ("delete trackers", rule(VISIBILITY, "sessiontrackers", "delete"), &[]),
        ("join", rule(VISIBILITY, "sessiontrackers/join", "create"), &[Join]),
        ("any subresource", rule(VISIBILITY, "*/join", "create"), &[Join]),
        ("create trackers", rule(VISIBILITY, "sessiontrackers", "create"), &[]),
        ("another group", rule("batch", "sessions", "*"), &[]),
        ("all verbs", rule(OWN, "sessions", "*"), &[List, Read, Kill]),
        ("all resources", rule(OWN, "*", "list"), &[List]),
        ("everything", rule("*", "*", "*"), &[List, Read, Kill, Join]),
        ("a path", json!({ "nonResourceURLs": ["*"], "verbs": ["*"] }), &[]),
    ];
    for (name, rule, expected) in cases {
        for what in [List, Read, Kill, Join] {
            let may = !who_can(what, &bound(&rule)).is_empty();
            assert_eq!(may, expected.contains(&what), "{name}: {what:?}");
        }
    }
}

#[test]
fn limits_rights_to_resource_names() {
    let named = |verb: &str, names: Value| {
        let mut rule = rule(OWN, "sessions", verb);
        rule["resourceNames"] = names;
        rule
    };
    let only = |rules: Value| {
        let mut all = bound(&rule(OWN, "sessions", "get"));
        all.cluster_roles = vec![read(role("r", &rules))];
        who_can(SessionAction::Kill, &all).into_iter().map(|right| right.only).collect::<Vec<_>>()
    };
    assert_eq!(only(json!([named("delete", json!(["b", "a"]))])), [["a", "b"]]);
    assert_eq!(
        only(json!([named("delete", json!(["a"])), named("delete", json!(["b", "a"]))])),
        [["a", "b"]]
    );
    assert_eq!(only(json!([named("delete", json!(["a"])), named("delete", json!([]))])), [[""; 0]]);
    assert!(only(json!([named("deletecollection", json!(["a"]))])).is_empty());
}

#[test]
fn evaluates_all_kinds_of_bindings() {
    let kill = json!([rule(OWN, "sessions", "delete")]);
    let nothing = Value::Null;
    let mut in_shop = role("local", &kill);
    in_shop["metadata"]["namespace"] = "shop".into();
    let mut aggregated = role("aggregated", &kill);
    aggregated["aggregationRule"] = json!({ "clusterRoleSelectors": [] });
    let bot = json!({ "kind": "ServiceAccount", "name": "bot", "namespace": "ci" });
    let here = json!({ "kind": "ServiceAccount", "name": "here" });
    let team = json!({ "kind": "Group", "name": "team" });
    let all = RbacObjects {
        cluster_roles: vec![
            read(role("killer", &kill)),
            read(aggregated),
            read(role("empty", &nothing)),
        ],
        roles: vec![read(in_shop)],
        cluster_role_bindings: vec![
            read(binding("everywhere", None, "ClusterRole", "killer", &json!([bot]))),
            read(binding("of-aggregated", None, "ClusterRole", "aggregated", &json!([team]))),
            read(binding("of-nothing", None, "ClusterRole", "empty", &json!([user("x")]))),
            read(binding("dangling", None, "ClusterRole", "gone", &json!([user("x")]))),
            read(binding("of-nobody", None, "ClusterRole", "killer", &nothing)),
        ],
        role_bindings: vec![
            read(binding("a", Some("shop"), "ClusterRole", "killer", &json!([user("ann"), here]))),
            read(binding("b", Some("shop"), "Role", "local", &json!([user("ann")]))),
            // The Role of that name is in another namespace.
            read(binding("c", Some("other"), "Role", "local", &json!([user("x")]))),
        ],
    };
    let rights: Vec<String> = who_can(SessionAction::Kill, &all)
        .iter()
        .map(|right| {
            let namespace = right.namespace.as_deref().unwrap_or("*");
            format!("{} {} {namespace} {} {}", right.kind, right.name, right.binding, right.role)
        })
        .collect();
    assert_eq!(
        rights,
        [
            "Group team * ClusterRoleBinding/of-aggregated ClusterRole/aggregated",
            "ServiceAccount ci/bot * ClusterRoleBinding/everywhere ClusterRole/killer",
            "ServiceAccount shop/here shop RoleBinding/a ClusterRole/killer",
            "User ann shop RoleBinding/a ClusterRole/killer",
            "User ann shop RoleBinding/b Role/local",
        ]
    );
}

#[test]
fn reports_watch_rights_beyond_list() {
    let named = |verb: &str, names: Value| {
        let mut rule = rule(VISIBILITY, "sessiontrackers", verb);
        rule["resourceNames"] = names;
        rule
    };
    let both = rule(VISIBILITY, "sessiontrackers", "*");
    let watch = rule(VISIBILITY, "sessiontrackers", "watch");
    for (name, rules, expected) in [
        ("alone", json!([watch]), &["watch"][..]),
        ("beside a list", json!([both]), &["list"]),
        ("of more than is listed", json!([watch, named("list", json!(["a"]))]), &["list", "watch"]),
        (
            "of the same",
            json!([named("watch", json!(["a"])), named("list", json!(["a"]))]),
            &["list"],
        ),
    ] {
        let mut all = bound(&both);
        all.cluster_roles = vec![read(role("r", &rules))];
        let verbs: Vec<String> = who_can(SessionAction::List, &all)
            .iter()
            .map(|right| right.may.split(' ').next().unwrap().to_owned())
            .collect();
        assert_eq!(verbs, expected, "{name}");
    }
}
