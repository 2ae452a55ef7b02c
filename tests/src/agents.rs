//! Fixtures: agents as mirrord's CLI sends them, and target statuses as a kubelet reports them.

use std::sync::atomic::{AtomicU64, Ordering};

use http::Request;
use kube::Client;
use serde_json::{Value, json};

const JOB: &str = include_str!("../data/agents/default.job-request-body.json");
const TARGETLESS: &str = include_str!("../data/agents/targetless.job-stored.json");
const EPHEMERAL: &str = include_str!("../data/agents/ephemeral.ephemeral-container.json");

/// Returns a number that is unique in this process.
fn next_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// Returns a unique agent name: mirrord's prefix and ten characters.
#[must_use]
pub fn agent_name() -> String {
    format!("mirrord-agent-{:010}", next_number())
}

/// Returns a unique container ID in the form of a container runtime.
#[must_use]
pub fn container_id() -> String {
    format!("{:064x}", 0xa000_0000_0000_u64 + next_number())
}

/// Returns the Job of a targetless agent as mirrord sends it.
///
/// The Job is derived from a stored one, without the fields that the API server adds.
#[must_use]
pub fn targetless_job() -> Value {
    let mut job: Value = serde_json::from_str(TARGETLESS).unwrap_or_default();
    let remove = |value: &mut Value, fields: &[&str]| {
        if let Some(object) = value.as_object_mut() {
            object.retain(|field, _| !fields.contains(&field.as_str()));
        }
    };
    remove(&mut job, &["status"]);
    remove(
        &mut job["metadata"],
        &["creationTimestamp", "generation", "namespace", "resourceVersion", "uid"],
    );
    let spec = &mut job["spec"];
    remove(
        spec,
        &[
            "completionMode",
            "completions",
            "manualSelector",
            "parallelism",
            "podReplacementPolicy",
            "selector",
            "suspend",
        ],
    );
    remove(
        &mut spec["template"]["metadata"]["labels"],
        &[
            "batch.kubernetes.io/controller-uid",
            "batch.kubernetes.io/job-name",
            "controller-uid",
            "job-name",
        ],
    );
    let pod = &mut spec["template"]["spec"];
    remove(
        pod,
        &["dnsPolicy", "schedulerName", "securityContext", "terminationGracePeriodSeconds"],
    );
    remove(&mut pod["containers"][0], &["terminationMessagePath", "terminationMessagePolicy"]);
    job["metadata"]["name"] = agent_name().into();
    job
}

/// Returns the Job of an agent for a container on a node, as mirrord sends it.
#[must_use]
pub fn targeted_job(container_id: &str, node: &str) -> Value {
    let mut job: Value = serde_json::from_str(JOB).unwrap_or_default();
    job["metadata"]["name"] = agent_name().into();
    let pod = &mut job["spec"]["template"]["spec"];
    pod["containers"][0]["args"][6] = container_id.into();
    pod["nodeSelector"]["kubernetes.io/hostname"] = node.into();
    job
}

/// Returns an ephemeral agent container that targets a container of the same Pod.
#[must_use]
pub fn ephemeral_container(container: &str) -> Value {
    let mut agent: Value = serde_json::from_str(EPHEMERAL).unwrap_or_default();
    agent["name"] = agent_name().into();
    agent["targetContainerName"] = container.into();
    agent
}

/// Sends a request with an unmodified body, as mirrord's CLI does.
///
/// # Errors
/// Returns the error of the API server or of the connection.
pub async fn send_request(
    client: &Client,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<Value, kube::Error> {
    let content_type =
        if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

/// Returns the API path of a Job, or of all Jobs in the namespace if `name` is empty.
#[must_use]
pub fn job_path(namespace: &str, name: &str) -> String {
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}");
    path.trim_end_matches('/').to_owned()
}

/// Returns the status of a running Pod with the given container names and IDs.
#[must_use]
pub fn running_status(containers: &[(&str, &str)]) -> Value {
    let statuses: Vec<Value> = containers
        .iter()
        .map(|(name, id)| {
            json!({
                "name": name, "image": "x", "imageID": "x", "ready": true, "restartCount": 0,
                "containerID": format!("containerd://{id}"),
                "state": { "running": { "startedAt": "2026-11-22T18:00:05Z" } },
            })
        })
        .collect();
    json!({ "status": { "phase": "Running", "containerStatuses": statuses } })
}

/// Adds an agent container to a stored Pod, as mirrord does.
///
/// # Errors
/// Returns the error of the API server or of the connection.
pub async fn add_ephemeral(
    client: &Client,
    namespace: &str,
    pod: &str,
    agent: Value,
) -> Result<Value, kube::Error> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/ephemeralcontainers");
    let mut stored = send_request(client, "GET", &path, &Value::Null).await?;
    let containers = &mut stored["spec"]["ephemeralContainers"];
    if containers.is_null() {
        *containers = json!([]);
    }
    if let Some(containers) = containers.as_array_mut() {
        containers.push(agent);
    }
    send_request(client, "PUT", &path, &stored).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both Jobs come from the CLI, so they differ only in the fields of the target.
    #[test]
    fn targetless_job_lacks_only_the_fields_of_a_target() {
        let (mut targeted, targetless) = (targeted_job("a", "b"), targetless_job());
        targeted["metadata"]["name"] = targetless["metadata"]["name"].clone();
        let pod = &mut targeted["spec"]["template"]["spec"];
        let fields = pod.as_object_mut().unwrap();
        for field in ["hostPID", "nodeSelector", "tolerations", "volumes"] {
            fields.remove(field).unwrap();
        }
        let container = pod["containers"][0].as_object_mut().unwrap();
        container.remove("securityContext").unwrap();
        container.remove("volumeMounts").unwrap();
        container["args"] = json!(["-l", "50723", "-t", "30", "targetless"]);
        let variables = container["env"].as_array_mut().unwrap();
        variables.retain(|variable| variable["name"] != "MIRRORD_AGENT_POD_IPS");
        assert_eq!(targeted, targetless);
    }
}
