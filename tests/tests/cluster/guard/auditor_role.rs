//! Guard policy that lets the webhook only extend the auditor role, and only by read permissions.

use mirrord_sessions_tests::control_plane::KubectlOutput;
use serde_json::{Value, json};

use super::{kubectl_as_controller, schema_fields};
use crate::support::{eventually, shared};

const ROLE: &str = "mirrord-operator-auditor";

fn rule(resource: &str, verbs: &[&str]) -> Value {
    json!({ "apiGroups": ["operator.metalbear.co"], "resources": [resource], "verbs": verbs })
}

/// Returns a description of a request that was not denied with this message, or not allowed.
fn check(name: &str, output: &KubectlOutput, denial: Option<&str>) -> Option<String> {
    let matches = match denial {
        None => output.status.success(),
        Some(message) => {
            !output.status.success()
                && output.stderr.contains("'auditor-role.mirrord-sessions'")
                && output.stderr.contains(message)
        }
    };
    (!matches).then(|| format!("{name}: {output:?}"))
}

const READ_ONLY: &str = "let auditors get, list and watch";
const OTHER_RESOURCE: &str =
    "see trackers and policies, and nothing of other API groups or resources";
const RULE_REMOVED: &str = "change or remove none";
const AGGREGATED: &str = "filled in from other roles";
const OWNER_REFERENCE: &str = "an owner";
const METADATA_CHANGED: &str = "metadata changed";
const EXTRA_METADATA: &str = "no labels but";
const OTHER_ROLE: &str = "and no other, and delete none";

/// Returns changes of single fields, each with the message of its denial if it is denied.
fn field_changes(
    rules: &[Value],
) -> Vec<(&'static str, &'static str, Value, Option<&'static str>)> {
    let with_rule = |more: Value| json!([rules, &[more]].concat());
    let read_verbs = ["get", "list", "watch"];
    let additional = rule("sessionpolicies", &["get"]);
    let visible = |resources: &[&str]| json!({ "apiGroups": ["visibility.operator.metalbear.co"], "resources": resources, "verbs": read_verbs });
    let owner = json!([{ "apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "1" }]);
    let selectors = json!({ "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] });
    vec![
        ("unchanged", "/rules", json!(rules), None),
        ("additional rule", "/rules", with_rule(additional.clone()), None),
        ("trackers alone", "/rules", with_rule(visible(&["sessiontrackers"])), None),
        ("raw Sessions", "/rules", with_rule(rule("sessions", &read_verbs)), Some(OTHER_RESOURCE)),
        (
            "one raw Session",
            "/rules",
            with_rule(json!({
                "apiGroups": ["operator.metalbear.co"], "resources": ["sessions"],
                "resourceNames": ["a"], "verbs": ["get"],
            })),
            Some(OTHER_RESOURCE),
        ),
        (
            "status of Sessions",
            "/rules",
            with_rule(rule("sessions/status", &["get"])),
            Some(OTHER_RESOURCE),
        ),
        ("all resources", "/rules", with_rule(rule("*", &["get"])), Some(OTHER_RESOURCE)),
        (
            "raw Sessions beside policies",
            "/rules",
            with_rule(json!({
                "apiGroups": ["operator.metalbear.co"],
                "resources": ["sessionpolicies", "sessions"], "verbs": ["get"],
            })),
            Some(OTHER_RESOURCE),
        ),
        (
            "group of Sessions beside trackers",
            "/rules",
            with_rule(json!({
                "apiGroups": ["visibility.operator.metalbear.co", "operator.metalbear.co"],
                "resources": ["sessiontrackers"], "verbs": ["get"],
            })),
            Some(OTHER_RESOURCE),
        ),
        (
            "subresource of trackers",
            "/rules",
            with_rule(visible(&["sessiontrackers/join"])),
            Some(OTHER_RESOURCE),
        ),
        (
            "subresources of trackers",
            "/rules",
            with_rule(visible(&["*/join"])),
            Some(OTHER_RESOURCE),
        ),
        (
            "join permission",
            "/rules",
            with_rule(rule("sessiontrackers/join", &["create"])),
            Some(READ_ONLY),
        ),
        (
            "delete permission",
            "/rules",
            with_rule(rule("sessions", &["get", "delete"])),
            Some(READ_ONLY),
        ),
        ("all verbs", "/rules", with_rule(rule("sessions", &["*"])), Some(READ_ONLY)),
        (
            "non-resource URL",
            "/rules",
            with_rule(json!({ "nonResourceURLs": ["/metrics"], "verbs": ["get"] })),
            Some(READ_ONLY),
        ),
        (
            "other API group",
            "/rules",
            with_rule(json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] })),
            Some(OTHER_RESOURCE),
        ),
        (
            "all API groups",
            "/rules",
            with_rule(json!({ "apiGroups": ["*"], "resources": ["sessions"], "verbs": ["get"] })),
            Some(OTHER_RESOURCE),
        ),
        ("removed rule", "/rules", json!(rules[1..]), Some(RULE_REMOVED)),
        ("replaced rule", "/rules", json!([additional]), Some(RULE_REMOVED)),
        ("no rules", "/rules", Value::Null, Some(RULE_REMOVED)),
        ("aggregated", "/aggregationRule", selectors, Some(AGGREGATED)),
        ("owner reference", "/metadata/ownerReferences", owner, Some(OWNER_REFERENCE)),
        ("labels", "/metadata/labels", json!({ "a": "b" }), Some(METADATA_CHANGED)),
        ("annotations", "/metadata/annotations", json!({ "a": "b" }), Some(METADATA_CHANGED)),
        ("finalizers", "/metadata/finalizers", json!(["example.com/hold"]), Some(METADATA_CHANGED)),
    ]
}

#[tokio::test]
async fn denies_escalation_and_removal_of_rules() {
    let cluster = shared();
    let stored = eventually("the role exists", || async {
        let get = ["get", "clusterrole", ROLE, "-o", "json", "--ignore-not-found"];
        serde_json::from_str::<Value>(&cluster.admin(&get, "").await.unwrap()).ok()
    })
    .await;
    let rules = stored["rules"].as_array().unwrap();
    let mut failures = Vec::new();
    for (name, field, value, denial) in field_changes(rules) {
        let mut object = stored.clone();
        let (parent, key) = field.rsplit_once('/').unwrap();
        let parent =
            if parent.is_empty() { &mut object } else { object.pointer_mut(parent).unwrap() };
        parent[key] = value;
        let replace = ["replace", "--dry-run=server", "-f", "-"];
        let output = kubectl_as_controller(&replace, &object).await;
        failures.extend(check(name, &output, denial));
    }
    let delete = ["delete", "--dry-run=server", "clusterrole", ROLE];
    failures.extend(check(
        "delete",
        &kubectl_as_controller(&delete, &Value::Null).await,
        Some(OTHER_ROLE),
    ));

    // Creation is allowed only under this name and with the metadata that the webhook sets. The
    // API server reports an existing role after it has evaluated the policy.
    let create = async |name: &str, metadata: Value| {
        let mut metadata = metadata;
        metadata["name"] = name.into();
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": metadata, "rules": rules,
        });
        kubectl_as_controller(&["create", "--dry-run=server", "-f", "-"], &role).await
    };
    let output = create("test-guard-auditor", json!({})).await;
    failures.extend(check("another name", &output, Some(OTHER_ROLE)));
    let labels = json!({ "labels": { "app.kubernetes.io/name": "mirrord-sessions" } });
    let output = create(ROLE, labels).await;
    if !output.stderr.contains("already exists") {
        failures.push(format!("create: {output:?}"));
    }
    let view = json!({ "rbac.authorization.k8s.io/aggregate-to-view": "true" });
    for (name, metadata) in [
        ("created with aggregation label", json!({ "labels": view })),
        ("created with annotation", json!({ "annotations": { "a": "b" } })),
        ("created with finalizer", json!({ "finalizers": ["example.com/hold"] })),
    ] {
        let output = create(ROLE, metadata).await;
        failures.extend(check(name, &output, Some(EXTRA_METADATA)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Checks for fields that a later Kubernetes adds, because the policy lists every field by name.
#[tokio::test]
async fn covers_every_field_of_cluster_role() {
    let fields = async |kind: &str| {
        let type_name = format!("io.k8s.api.rbac.v1.{kind}");
        schema_fields("rbac.authorization.k8s.io/v1", &type_name).await
    };
    let expected = ["aggregationRule", "apiVersion", "kind", "metadata", "rules"];
    assert_eq!(fields("ClusterRole").await, expected.map(ToOwned::to_owned).into());
    let expected = ["apiGroups", "nonResourceURLs", "resourceNames", "resources", "verbs"];
    assert_eq!(fields("PolicyRule").await, expected.map(ToOwned::to_owned).into());
}
