//! mirrord's agents as its CLI sends them, from `tests/data/agents`, and targets as a node reports
//! them.

use std::sync::atomic::{AtomicU64, Ordering};

use http::Request;
use kube::Client;
use serde_json::{Value, json};

const JOB: &str = include_str!("../data/agents/default.job-request-body.json");
const TARGETLESS: &str = include_str!("../data/agents/targetless.job-stored.json");
const EPHEMERAL: &str = include_str!("../data/agents/ephemeral.ephemeral-container.json");

/// A number that this process gave nobody yet.
fn number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// An agent's name: the prefix and ten letters and digits.
#[must_use]
pub fn name() -> String {
    format!("mirrord-agent-{:010}", number())
}

/// The id of a container that no other has, as a runtime gives them.
#[must_use]
pub fn container_id() -> String {
    format!("{:064x}", 0xa000_0000_0000_u64 + number())
}

/// A targetless agent's Job, as it is sent: as it is stored, without what the API server added.
#[must_use]
pub fn targetless() -> Value {
    let mut job: Value = serde_json::from_str(TARGETLESS).unwrap_or_default();
    let without = |value: &mut Value, fields: &[&str]| {
        if let Some(object) = value.as_object_mut() {
            object.retain(|field, _| !fields.contains(&field.as_str()));
        }
    };
    without(&mut job, &["status"]);
    without(
        &mut job["metadata"],
        &["creationTimestamp", "generation", "namespace", "resourceVersion", "uid"],
    );
    let spec = &mut job["spec"];
    without(
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
    without(
        &mut spec["template"]["metadata"]["labels"],
        &[
            "batch.kubernetes.io/controller-uid",
            "batch.kubernetes.io/job-name",
            "controller-uid",
            "job-name",
        ],
    );
    let pod = &mut spec["template"]["spec"];
    without(
        pod,
        &["dnsPolicy", "schedulerName", "securityContext", "terminationGracePeriodSeconds"],
    );
    without(&mut pod["containers"][0], &["terminationMessagePath", "terminationMessagePolicy"]);
    job["metadata"]["name"] = name().into();
    job
}

/// The Job of an agent for a container on a node, as it is sent.
#[must_use]
pub fn targeted(container_id: &str, node: &str) -> Value {
    let mut job: Value = serde_json::from_str(JOB).unwrap_or_default();
    job["metadata"]["name"] = name().into();
    let pod = &mut job["spec"]["template"]["spec"];
    pod["containers"][0]["args"][6] = container_id.into();
    pod["nodeSelector"]["kubernetes.io/hostname"] = node.into();
    job
}

/// An agent as an ephemeral container of a Pod, whose container it targets.
#[must_use]
pub fn ephemeral(container: &str) -> Value {
    let mut agent: Value = serde_json::from_str(EPHEMERAL).unwrap_or_default();
    agent["name"] = name().into();
    agent["targetContainerName"] = container.into();
    agent
}

/// Sends a request as mirrord's CLI does: the body as it is, and no more.
///
/// # Errors
/// The API server's answer, or that there is none.
pub async fn send(
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

/// The path of Jobs of a namespace, or of one.
#[must_use]
pub fn jobs(namespace: &str, name: &str) -> String {
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}");
    path.trim_end_matches('/').to_owned()
}

/// What a node reports of a Pod that runs: a status with these containers and their ids.
#[must_use]
pub fn running(containers: &[(&str, &str)]) -> Value {
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

/// Adds an agent to a Pod as mirrord does: what is stored, and one container more.
///
/// # Errors
/// The API server's.
pub async fn add_ephemeral(
    client: &Client,
    namespace: &str,
    pod: &str,
    agent: Value,
) -> Result<Value, kube::Error> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/ephemeralcontainers");
    let mut stored = send(client, "GET", &path, &Value::Null).await?;
    let containers = &mut stored["spec"]["ephemeralContainers"];
    if containers.is_null() {
        *containers = json!([]);
    }
    if let Some(containers) = containers.as_array_mut() {
        containers.push(agent);
    }
    send(client, "PUT", &path, &stored).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the CLI sends with a target, but for what concerns that: these fields come from the
    /// client.
    #[test]
    fn what_is_sent_without_a_target() {
        let (mut with, without) = (targeted("a", "b"), targetless());
        with["metadata"]["name"] = without["metadata"]["name"].clone();
        let pod = &mut with["spec"]["template"]["spec"];
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
        assert_eq!(with, without);
    }
}
