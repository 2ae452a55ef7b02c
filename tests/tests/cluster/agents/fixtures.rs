//! Fixtures of the agent tests: targets with a reported status, developers and wait functions.

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use mirrord_sessions_tests::{
    agents::{container_id, job_path, running_status, send_request},
    cluster::Cluster,
};
use serde_json::{Value, json};

use crate::support::{Namespace, eventually};

/// Container of a Pod whose status is reported as running.
pub(super) struct Target {
    pub(super) pod: String,
    pub(super) container: String,
    pub(super) node: String,
}

pub(super) async fn admin_client(cluster: &Cluster) -> Client {
    cluster.plane.admin().client().await.unwrap()
}

/// Creates a node that Pods can be assigned to.
pub(super) async fn create_node(client: &Client, name: &str) -> String {
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": {
        "name": name, "labels": { "kubernetes.io/hostname": name },
    } });
    send_request(client, "POST", "/api/v1/nodes", &node).await.unwrap();
    name.to_owned()
}

/// Returns the spec of a Pod on a node.
pub(super) fn pod_spec(node: &str, containers: &[&str]) -> Value {
    let containers: Vec<Value> = containers
        .iter()
        .map(|name| json!({ "name": name, "image": "example.com/ip-visit-counter:1" }))
        .collect();
    // These nodes never become ready.
    let tolerations = json!([{ "operator": "Exists" }]);
    json!({ "nodeName": node, "containers": containers, "tolerations": tolerations })
}

/// Returns the manifest of a workload with a Pod template.
pub(super) fn workload(version: &str, kind: &str, name: &str, node: &str) -> Value {
    json!({
        "apiVersion": version, "kind": kind, "metadata": { "name": name },
        "spec": {
            "selector": { "matchLabels": { "run": name } },
            "template": { "metadata": { "labels": { "run": name } }, "spec": pod_spec(node, &["main", "sidecar"]) },
        },
    })
}

/// Reports the selected Pod as running, and returns its name and the ids of its containers in
/// order.
pub(super) async fn report_running(
    client: &Client,
    namespace: &str,
    selector: &str,
) -> (String, Vec<String>) {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let selected = format!("{path}?labelSelector={selector}");
    let pod = eventually("the Pod exists", || async {
        let pods = send_request(client, "GET", &selected, &Value::Null).await.ok()?;
        pods["items"].as_array()?.first().cloned()
    })
    .await;
    let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
    let containers = pod["spec"]["containers"].as_array().unwrap();
    let ids: Vec<String> = containers.iter().map(|_| container_id()).collect();
    let named = containers.iter().map(|container| container["name"].as_str().unwrap());
    let named: Vec<(&str, &str)> = named.zip(ids.iter().map(String::as_str)).collect();
    let status = running_status(&named);
    send_request(client, "PATCH", &format!("{path}/{name}/status"), &status).await.unwrap();
    (name, ids)
}

/// Creates a Deployment and reports its Pod as running.
pub(super) async fn create_deployment(
    client: &Client,
    namespace: &str,
    name: &str,
    node: &str,
) -> Target {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let deployment = workload("apps/v1", "Deployment", name, node);
    send_request(client, "POST", &path, &deployment).await.unwrap();
    let (pod, ids) = report_running(client, namespace, &format!("run={name}")).await;
    Target { pod, container: ids[0].clone(), node: node.to_owned() }
}

/// Returns a client for a developer with the minimal permissions of mirrord in these namespaces.
pub(super) async fn developer_client(cluster: &Cluster, name: &str, namespaces: &[&str]) -> Client {
    for namespace in namespaces {
        let role =
            include_str!("../../../data/agents/rbac-developer.yaml").replace("shop", namespace);
        cluster.admin(&["apply", "-f", "-"], &role).await.unwrap();
        let user = format!("--user={name}");
        let binding = format!("mirrord-{}", name.replace(['@', '.'], "-"));
        let args =
            ["create", "rolebinding", &binding, "--role=mirrord-developer", &user, "-n", namespace];
        cluster.admin(&args, "").await.unwrap();
    }
    cluster.plane.client(name, &["devs"]).await.unwrap()
}

/// Creates an agent as soon as RBAC allows the developer to.
pub(super) async fn start_agent(developer: &Client, namespace: &str, job: &Value) -> Value {
    eventually("the agent is created", || async {
        send_request(developer, "POST", &job_path(namespace, ""), job).await.ok()
    })
    .await
}

/// Waits until the guard policy is old enough for the controller to trust stamps.
pub(super) async fn wait_for_guard(cluster: &Cluster) {
    let client = admin_client(cluster).await;
    for resource in ["policies", "policybindings"] {
        let path = format!(
            "/apis/admissionregistration.k8s.io/v1/validatingadmission{resource}/agents.mirrord-sessions"
        );
        let policy = send_request(&client, "GET", &path, &Value::Null).await.unwrap();
        let created = policy["metadata"]["creationTimestamp"].as_str().unwrap();
        let created: Timestamp = created.parse().unwrap();
        eventually("the guard policy is older than 6 seconds", || async {
            (Timestamp::now().duration_since(created).as_secs() > 6).then_some(())
        })
        .await;
    }
}

/// Waits until a namespace has a number of Sessions of agents, and returns them.
///
/// An agent whose Pod no test reports as running is pending.
pub(super) async fn wait_for_sessions(namespace: &Namespace<'_>, count: usize) -> Vec<Value> {
    eventually(&format!("{count} Sessions have a status"), || async {
        let sessions = namespace.sessions().await;
        let has_agent = |session: &Value| session["status"]["agent"].is_object();
        (sessions.len() == count && sessions.iter().all(has_agent)).then_some(sessions)
    })
    .await
}

/// Waits for the only Session of a namespace.
pub(super) async fn wait_for_session(namespace: &Namespace<'_>) -> Value {
    wait_for_sessions(namespace, 1).await.remove(0)
}

/// Waits until an agent is bound to its Session, and returns the binding.
pub(super) async fn wait_for_binding(client: &Client, namespace: &str, name: &str) -> Value {
    eventually("the agent is bound to its Session", || async {
        let job =
            send_request(client, "GET", &job_path(namespace, name), &Value::Null).await.ok()?;
        let binding = job["metadata"]["annotations"].get("operator.metalbear.co/session")?;
        serde_json::from_str(binding.as_str()?).ok()
    })
    .await
}

/// Waits for an Event with a reason and returns its note.
pub(crate) async fn wait_for_event(namespace: &Namespace<'_>, reason: &str) -> String {
    eventually(&format!("an Event {reason} is recorded"), || async {
        event_notes(namespace, reason).await.pop()
    })
    .await
}

/// Returns the notes of the Events with a reason.
pub(crate) async fn event_notes(namespace: &Namespace<'_>, reason: &str) -> Vec<String> {
    let selector = format!("--field-selector=reason={reason}");
    let args = ["get", "events", "-n", &namespace.name, &selector, "-o", "json"];
    let events = namespace.cluster.admin(&args, "").await.unwrap();
    let events: Value = serde_json::from_str(&events).unwrap();
    let events = events["items"].as_array().unwrap().iter();
    events.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

/// Waits until an object is deleted.
pub(super) async fn wait_for_deletion(client: &Client, path: &str) {
    eventually(&format!("{path} is deleted"), || async {
        let response = send_request(client, "GET", path, &Value::Null).await;
        matches!(response, Err(kube::Error::Api(status)) if status.code == 404).then_some(())
    })
    .await;
}
