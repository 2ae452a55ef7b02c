//! Attempts to forge a stamp or a binding on an agent, with the webhook up, down and hanging.

use kube::Client;
use mirrord_sessions_tests::{
    agents::{
        add_ephemeral, agent_name, ephemeral_container, job_path, send_request, targeted_job,
        targetless_job,
    },
    cluster::Cluster,
};
use serde_json::{Value, json};

use crate::support::{Namespace, create_namespace, eventually};

const STAMP: &str = "operator.metalbear.co/requester";
const SESSION: &str = "operator.metalbear.co/session";
const VARIABLE: &str = "MIRRORD_SESSIONS_REQUESTER";

const ALICE: &str = "username=alice&group=devs&group=system:authenticated";
const MALLORY: &str = "username=mallory&group=a%26b%25&group=devs&group=system:authenticated";

/// Returns a client for a user with all permissions for Jobs and Pods.
async fn client_with_all_permissions(cluster: &Cluster, name: &str, groups: &[&str]) -> Client {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": "everything-on-agents" },
            "rules": [
                { "apiGroups": ["batch"], "resources": ["jobs", "jobs/status"], "verbs": ["*"] },
                { "apiGroups": [""], "resources": ["pods", "pods/ephemeralcontainers"], "verbs": ["*"] },
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": format!("everything-on-agents-{name}") },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "everything-on-agents" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
        },
    ]});
    let args = ["apply", "-f", "-"];
    cluster.admin(&args, &list.to_string()).await.unwrap();
    let client = cluster.plane.client(name, groups).await.unwrap();
    // The RBAC authorizer follows the new bindings by a watch.
    eventually("the permissions are in effect", || async {
        send_request(&client, "GET", &job_path("default", ""), &Value::Null).await.ok()
    })
    .await;
    client
}

fn set_field(path: &[&str], text: &str) -> impl Fn(&mut Value) + use<> {
    let path: Vec<String> = path.iter().map(ToString::to_string).collect();
    let text = text.to_owned();
    move |job| {
        let mut field = &mut *job;
        for step in &path {
            field = &mut field[step.as_str()];
        }
        *field = json!(text);
    }
}

/// Outcome of a write: the stored stamp, a denial by the guard policy, or another error.
#[derive(Debug, Eq, PartialEq)]
enum WriteOutcome {
    Stored(Option<String>),
    Denied,
    Failed(String),
}

fn write_outcome(
    result: Result<Value, kube::Error>,
    policy: &str,
    stamp: impl Fn(&Value) -> Option<String>,
) -> WriteOutcome {
    match result {
        Ok(stored) => WriteOutcome::Stored(stamp(&stored)),
        Err(kube::Error::Api(status)) if status.message.contains(policy) => WriteOutcome::Denied,
        Err(error) => WriteOutcome::Failed(error.to_string()),
    }
}

fn job_stamp(job: &Value) -> Option<String> {
    assert!(job["metadata"]["annotations"].get(SESSION).is_none_or(|binding| binding != "forged"));
    let template = &job["spec"]["template"]["metadata"]["annotations"];
    assert!(template.get(STAMP).is_none() && template.get(SESSION).is_none());
    job["metadata"]["annotations"].get(STAMP).map(|stamp| stamp.as_str().unwrap().to_owned())
}

fn stored_stamp(stamp: &str) -> WriteOutcome {
    WriteOutcome::Stored(Some(stamp.to_owned()))
}

/// Change that a forger makes to a Job.
type Change = Box<dyn Fn(&mut Value)>;

/// Attempts to create forged Jobs, and returns the unexpected outcomes.
async fn try_creates(client: &Client, namespace: &Namespace<'_>, up: bool) -> Vec<String> {
    let none = |_: &mut Value| {};
    let annotations = |key| set_field(&["metadata", "annotations", key], "forged");
    let template = |key| set_field(&["spec", "template", "metadata", "annotations", key], "forged");
    let cases: Vec<(&str, Change, WriteOutcome, WriteOutcome)> = vec![
        // (name, change, with the webhook, without)
        ("no stamp", Box::new(none), stored_stamp(MALLORY), WriteOutcome::Stored(None)),
        (
            "own stamp",
            Box::new(set_field(&["metadata", "annotations", STAMP], MALLORY)),
            stored_stamp(MALLORY),
            stored_stamp(MALLORY),
        ),
        (
            "stamp of another user",
            Box::new(set_field(&["metadata", "annotations", STAMP], ALICE)),
            stored_stamp(MALLORY),
            WriteOutcome::Denied,
        ),
        (
            "stamp without groups",
            Box::new(set_field(&["metadata", "annotations", STAMP], "username=mallory")),
            stored_stamp(MALLORY),
            WriteOutcome::Denied,
        ),
        (
            "invalid stamp",
            Box::new(annotations(STAMP)),
            stored_stamp(MALLORY),
            WriteOutcome::Denied,
        ),
        ("binding", Box::new(annotations(SESSION)), stored_stamp(MALLORY), WriteOutcome::Denied),
        (
            "stamp in the template",
            Box::new(template(STAMP)),
            stored_stamp(MALLORY),
            WriteOutcome::Denied,
        ),
        (
            "binding in the template",
            Box::new(template(SESSION)),
            stored_stamp(MALLORY),
            WriteOutcome::Denied,
        ),
        // Jobs that can become agents.
        (
            "no agent label, which can be added later",
            Box::new(|job| job["metadata"]["labels"] = json!({ "a": "b" })),
            stored_stamp(MALLORY),
            WriteOutcome::Stored(None),
        ),
        (
            "generated name of an agent",
            Box::new(|job| {
                job["metadata"]["name"] = Value::Null;
                job["metadata"]["generateName"] = json!("mirrord-agent-abcde");
            }),
            stored_stamp(MALLORY),
            WriteOutcome::Stored(None),
        ),
        (
            "template with a time that few programs can parse",
            Box::new(|job| {
                let template = &mut job["spec"]["template"];
                template["metadata"]["creationTimestamp"] = json!("9999-12-31T23:59:59Z");
            }),
            stored_stamp(MALLORY),
            WriteOutcome::Stored(None),
        ),
        (
            "forged stamp without the agent label",
            Box::new(move |job| {
                annotations(STAMP)(job);
                // A Job without labels gets those of its Pod template.
                job["metadata"]["labels"] = json!({ "a": "b" });
            }),
            stored_stamp(MALLORY),
            WriteOutcome::Denied,
        ),
        // Jobs that are not agents: the webhook ignores them, and the guard policy applies.
        (
            "forged stamp under another name",
            Box::new(move |job| {
                annotations(STAMP)(job);
                job["metadata"]["name"] = json!(format!("x{}", agent_name()));
            }),
            WriteOutcome::Denied,
            WriteOutcome::Denied,
        ),
        (
            "another name",
            Box::new(|job| job["metadata"]["name"] = json!(format!("x{}", agent_name()))),
            WriteOutcome::Stored(None),
            WriteOutcome::Stored(None),
        ),
        (
            "agent of the operator",
            Box::new(move |job| {
                job["spec"]["template"]["spec"]["containers"][0]["env"][0]["name"] =
                    json!("AGENT_OPERATOR_CERT_ENV");
            }),
            WriteOutcome::Stored(None),
            WriteOutcome::Stored(None),
        ),
        (
            "generated name",
            Box::new(move |job| {
                job["metadata"]["name"] = Value::Null;
                job["metadata"]["generateName"] = json!("migrate-");
            }),
            WriteOutcome::Stored(None),
            WriteOutcome::Stored(None),
        ),
    ];
    let mut failures = Vec::new();
    for (name, change, with, without) in cases {
        let mut job = targeted_job(&"a".repeat(64), "node-1");
        change(&mut job);
        let result = send_request(client, "POST", &job_path(&namespace.name, ""), &job).await;
        let outcome = write_outcome(result, "'agents.mirrord-sessions'", job_stamp);
        if outcome != if up { with } else { without } {
            failures.push(format!("create, webhook up: {up}, {name}: {outcome:?}"));
        }
    }
    failures
}

/// Attempts to forge updates of alice's agents, and returns the unexpected outcomes.
async fn try_updates(
    alice: &Client,
    client: &Client,
    namespace: &Namespace<'_>,
    up: bool,
) -> Vec<String> {
    let put = |change: Value| ("PATCH", "", change);
    let status = |change: Value| ("PATCH", "/status", change);
    let annotate =
        |key: &str, value: Value| json!({ "metadata": { "annotations": { key: value } } });
    let unchanged = || stored_stamp(ALICE);
    let cases = vec![
        // (name, (method, subresource, body), with the webhook, without)
        ("another stamp", put(annotate(STAMP, json!(MALLORY))), unchanged(), WriteOutcome::Denied),
        ("removed stamp", put(annotate(STAMP, json!(null))), unchanged(), WriteOutcome::Denied),
        (
            "removed annotations",
            put(json!({ "metadata": { "annotations": null } })),
            unchanged(),
            WriteOutcome::Denied,
        ),
        ("binding", put(annotate(SESSION, json!("forged"))), unchanged(), WriteOutcome::Denied),
        (
            "another stamp in status",
            status(annotate(STAMP, json!(MALLORY))),
            WriteOutcome::Denied,
            WriteOutcome::Denied,
        ),
        (
            "removed stamp in status",
            status(annotate(STAMP, json!(null))),
            WriteOutcome::Denied,
            WriteOutcome::Denied,
        ),
        (
            "binding in status",
            status(annotate(SESSION, json!("forged"))),
            WriteOutcome::Denied,
            WriteOutcome::Denied,
        ),
        (
            "removed label",
            put(json!({ "metadata": { "labels": { "app": null } } })),
            WriteOutcome::Denied,
            WriteOutcome::Denied,
        ),
        (
            "additional label",
            put(json!({ "metadata": { "labels": { "team": "a" } } })),
            unchanged(),
            unchanged(),
        ),
        ("additional annotation", put(annotate("team", json!("a"))), unchanged(), unchanged()),
    ];
    let mut failures = Vec::new();
    for (name, (method, subresource, body), with, without) in cases {
        let mut job = targetless_job();
        job["metadata"]["annotations"][STAMP] = json!(ALICE);
        let job = send_request(alice, "POST", &job_path(&namespace.name, ""), &job).await.unwrap();
        assert_eq!(job_stamp(&job).as_deref(), Some(ALICE));
        let path =
            job_path(&namespace.name, job["metadata"]["name"].as_str().unwrap()) + subresource;
        let result = send_request(client, method, &path, &body).await;
        let outcome = write_outcome(result, "'agents.mirrord-sessions'", job_stamp);
        if outcome != if up { with } else { without } {
            failures.push(format!("update, webhook up: {up}, {name}: {outcome:?}"));
        }
    }
    failures
}

/// Attempts to add forged ephemeral agents, and returns the unexpected outcomes.
async fn try_ephemeral_agents(client: &Client, namespace: &Namespace<'_>, up: bool) -> Vec<String> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "generateName": "target-" },
        "spec": { "containers": [{ "name": "main", "image": "example.com/main:1" }], "nodeName": "node-1" },
    });
    let variable = |value: &str| json!({ "name": VARIABLE, "value": value });
    let reference =
        json!({ "name": VARIABLE, "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } });
    let cases = vec![
        // (name, variables, with the webhook, without)
        ("no stamp", json!([]), stored_stamp(MALLORY), WriteOutcome::Stored(None)),
        ("own stamp", json!([variable(MALLORY)]), stored_stamp(MALLORY), stored_stamp(MALLORY)),
        ("forged", json!([variable(ALICE)]), stored_stamp(MALLORY), WriteOutcome::Denied),
        (
            "own, then forged stamp",
            json!([variable(MALLORY), variable(ALICE)]),
            stored_stamp(MALLORY),
            WriteOutcome::Denied,
        ),
        ("stamp by reference", json!([reference]), stored_stamp(MALLORY), WriteOutcome::Denied),
    ];
    let mut failures = Vec::new();
    for (name, variables, with, without) in cases {
        let path = format!("/api/v1/namespaces/{}/pods", namespace.name);
        let pod = send_request(client, "POST", &path, &pod).await.unwrap();
        let pod = pod["metadata"]["name"].as_str().unwrap();
        let mut agent = ephemeral_container("main");
        agent["env"].as_array_mut().unwrap().extend(variables.as_array().unwrap().clone());
        let result = add_ephemeral(client, &namespace.name, pod, agent).await;
        let stamp = |pod: &Value| {
            let env = pod["spec"]["ephemeralContainers"][0]["env"].as_array().unwrap();
            let mut stamps = env.iter().filter(|variable| variable["name"] == VARIABLE);
            let stamp = stamps.next()?;
            assert!(stamps.next().is_none());
            Some(stamp["value"].as_str().unwrap().to_owned())
        };
        let outcome = write_outcome(result, "'ephemeral-agents.mirrord-sessions'", stamp);
        if outcome != if up { with } else { without } {
            failures.push(format!("ephemeral, webhook up: {up}, {name}: {outcome:?}"));
        }
    }
    failures
}

#[tokio::test]
async fn denies_forged_stamps() {
    let cluster = Cluster::start().await.unwrap();
    let alice = client_with_all_permissions(&cluster, "alice", &["devs"]).await;
    let mallory = client_with_all_permissions(&cluster, "mallory", &["a&b%", "devs"]).await;
    let mut failures = Vec::new();
    for up in [true, false] {
        if !up {
            cluster.webhook.kill().unwrap();
        }
        let namespace = create_namespace(&cluster, "stamps").await;
        failures.extend(try_creates(&mallory, &namespace, up).await);
        failures.extend(try_updates(&alice, &mallory, &namespace, up).await);
        failures.extend(try_ephemeral_agents(&mallory, &namespace, up).await);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Checks a developer with minimal permissions against a webhook that does not respond.
#[tokio::test]
async fn starts_run_without_stamp_when_webhook_hangs() {
    let cluster = Cluster::start().await.unwrap();
    let namespace = create_namespace(&cluster, "hangs").await;
    let role =
        include_str!("../../../data/agents/rbac-developer.yaml").replace("shop", &namespace.name);
    cluster.admin(&["apply", "-f", "-"], &role).await.unwrap();
    let args = [
        "create",
        "rolebinding",
        "dev",
        "--role=mirrord-developer",
        "--user=dev",
        "-n",
        &namespace.name,
    ];
    cluster.admin(&args, "").await.unwrap();
    let dev = cluster.plane.client("dev", &[]).await.unwrap();
    let path = job_path(&namespace.name, "");
    let created = eventually("the developer may create agents", || async {
        send_request(&dev, "POST", &path, &targetless_job()).await.ok()
    })
    .await;
    assert_eq!(job_stamp(&created).as_deref(), Some("username=dev&group=system:authenticated"));
    cluster.webhook.freeze().unwrap();
    let created = send_request(&dev, "POST", &path, &targetless_job()).await.unwrap();
    assert_eq!(job_stamp(&created), None);
}
