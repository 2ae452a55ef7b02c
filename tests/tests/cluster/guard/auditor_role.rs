//! The webhook's service account may write the auditor role, let it see and nothing else, and take
//! nothing from it: whatever RBAC would let it do.

use mirrord_sessions_tests::control_plane::KubectlOutput;
use serde_json::{Value, json};

use super::{kubectl_as_controller, schema_fields};
use crate::support::{eventually, shared};

const ROLE: &str = "mirrord-operator-auditor";

fn rule(resource: &str, verbs: &[&str]) -> Value {
    json!({ "apiGroups": ["operator.metalbear.co"], "resources": [resource], "verbs": verbs })
}

/// What is wrong with the answer to one that is to be refused with these words, or to be let.
fn unlike(name: &str, output: &KubectlOutput, why: Option<&str>) -> Option<String> {
    let right = match why {
        None => output.status.success(),
        Some(why) => {
            !output.status.success()
                && output.stderr.contains("'auditor-role.mirrord-sessions'")
                && output.stderr.contains(why)
        }
    };
    (!right).then(|| format!("{name}: {output:?}"))
}

const SEE: &str = "let auditors get, list and watch";
const ELSEWHERE: &str = "nothing of other API groups";
const TAKES: &str = "change or remove none";
const COLLECTS: &str = "filled in from other roles";
const OWNED: &str = "an owner";
const METADATA: &str = "metadata changed";
const CREATES: &str = "no labels but";
const OTHER: &str = "and no other, and delete none";

/// A change of one field, and why it is refused if it is.
fn changes(rules: &[Value]) -> Vec<(&'static str, &'static str, Value, Option<&'static str>)> {
    let and = |more: Value| json!([rules, &[more]].concat());
    let (pods, see) = ("pods", ["get", "list", "watch"]);
    let owner = json!([{ "apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "1" }]);
    let selectors = json!({ "clusterRoleSelectors": [{ "matchLabels": { "a": "b" } }] });
    vec![
        ("as it is", "/rules", json!(rules), None),
        ("a rule more", "/rules", and(rule(pods, &see)), None),
        ("to join", "/rules", and(rule("sessiontrackers/join", &["create"])), Some(SEE)),
        ("to stop", "/rules", and(rule("sessions", &["get", "delete"])), Some(SEE)),
        ("anything", "/rules", and(rule("sessions", &["*"])), Some(SEE)),
        (
            "a path",
            "/rules",
            and(json!({ "nonResourceURLs": ["/metrics"], "verbs": ["get"] })),
            Some(SEE),
        ),
        (
            "of another group",
            "/rules",
            and(json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] })),
            Some(ELSEWHERE),
        ),
        (
            "of every group",
            "/rules",
            and(json!({ "apiGroups": ["*"], "resources": ["sessions"], "verbs": ["get"] })),
            Some(ELSEWHERE),
        ),
        ("a rule less", "/rules", json!(rules[1..]), Some(TAKES)),
        ("another rule", "/rules", json!([rule(pods, &see)]), Some(TAKES)),
        ("no rules", "/rules", Value::Null, Some(TAKES)),
        ("collected", "/aggregationRule", selectors, Some(COLLECTS)),
        ("owned", "/metadata/ownerReferences", owner, Some(OWNED)),
        ("labels", "/metadata/labels", json!({ "a": "b" }), Some(METADATA)),
        ("annotations", "/metadata/annotations", json!({ "a": "b" }), Some(METADATA)),
        ("finalizers", "/metadata/finalizers", json!(["example.com/hold"]), Some(METADATA)),
    ]
}

#[tokio::test]
async fn denies_escalation_and_removal_of_rules() {
    let cluster = shared();
    let stored = eventually("there is a role", || async {
        let get = ["get", "clusterrole", ROLE, "-o", "json", "--ignore-not-found"];
        serde_json::from_str::<Value>(&cluster.admin(&get, "").await.unwrap()).ok()
    })
    .await;
    let rules = stored["rules"].as_array().unwrap();
    let mut wrong = Vec::new();
    for (name, field, value, why) in changes(rules) {
        let mut object = stored.clone();
        let (parent, key) = field.rsplit_once('/').unwrap();
        let parent =
            if parent.is_empty() { &mut object } else { object.pointer_mut(parent).unwrap() };
        parent[key] = value;
        let replace = ["replace", "--dry-run=server", "-f", "-"];
        let output = kubectl_as_controller(&replace, &object).await;
        wrong.extend(unlike(name, &output, why));
    }
    let delete = ["delete", "--dry-run=server", "clusterrole", ROLE];
    wrong.extend(unlike(
        "delete",
        &kubectl_as_controller(&delete, &Value::Null).await,
        Some(OTHER),
    ));

    // Created: under that name alone, with what the process gives it and no more. That there is one
    // already comes after the policy.
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
    wrong.extend(unlike("another", &output, Some(OTHER)));
    let own = json!({ "labels": { "app.kubernetes.io/name": "mirrord-sessions" } });
    let output = create(ROLE, own).await;
    if !output.stderr.contains("already exists") {
        wrong.push(format!("create: {output:?}"));
    }
    let view = json!({ "rbac.authorization.k8s.io/aggregate-to-view": "true" });
    for (name, metadata) in [
        ("created for view", json!({ "labels": view })),
        ("created annotated", json!({ "annotations": { "a": "b" } })),
        ("created to be held", json!({ "finalizers": ["example.com/hold"] })),
    ] {
        let output = create(ROLE, metadata).await;
        wrong.extend(unlike(name, &output, Some(CREATES)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The policy names each field; one that a later Kubernetes adds must not slip through.
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
