//! Steps with agents of unmodified mirrord.
//!
//! The control plane has no node, so these steps write the statuses that a kubelet would report.

use std::path::Path;

use anyhow::{Context, ensure};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::runner::{Runner, Step};
use crate::agents;

const NODE: &str = "node-1";
/// Namespace with agents and without targets.
const AGENT_NAMESPACE: &str = "tools";

/// A Pod whose reported status is running, and the ID of its container.
struct Target {
    pod: String,
    container_id: String,
}

/// Runs the steps with agents in Jobs, in another namespace, without a target, and in a Pod.
pub(super) async fn run(runner: &mut Runner<'_>) -> anyhow::Result<()> {
    let target = create_target(runner).await?;
    let name = start_agent(runner, &target).await?;
    start_concurrent_agents(runner, &target).await?;
    stop_session(runner, &name).await?;
    run_ephemeral_agent(runner, &target).await
}

/// Waits for a Session that meets a JSONPath condition, and returns its name.
async fn wait_for_session(runner: &Runner<'_>, condition: &str) -> anyhow::Result<String> {
    let names = format!("jsonpath={{.items[?({condition})].metadata.name}}");
    let get = ["kubectl", "get", "sessions", "-o", &names];
    runner.wait_for_output(&get, |name| !name.is_empty()).await
}

async fn start_agent(runner: &mut Runner<'_>, target: &Target) -> anyhow::Result<String> {
    let agent = write_manifest(runner, "agent", &agents::targeted_job(&target.container_id, NODE))?;
    runner
        .run_step(Step {
            expects: &["job.batch/mirrord-agent-", "created"],
            ..Step::new(
                "A developer runs `mirrord exec`, which creates this Job for its agent.",
                &["kubectl", "--context", "developer-1", "create", "-f", &agent],
            )
        })
        .await?;
    let name = wait_for_session(runner, "@.status.agent.kind=='Job'").await?;
    runner
        .run_step(Step {
            expects: &[&name, "deployment/ip-visit-counter", "developer-1"],
            ..Step::new(
                "The cluster records a session. It derives the target from a container ID in the Job.",
                &["kubectl", "get", "sessions"],
            )
        })
        .await?;
    Ok(name)
}

async fn start_concurrent_agents(runner: &mut Runner<'_>, target: &Target) -> anyhow::Result<()> {
    let trackers = ["kubectl", "get", "sessiontrackers", "-o", "name"];
    runner.wait_for_output(&trackers, |names| !names.is_empty()).await?;
    let namespace = ["kubectl", "create", "namespace", AGENT_NAMESPACE];
    runner.run(&namespace, None).await?;
    let second =
        write_manifest(runner, "second", &agents::targeted_job(&target.container_id, NODE))?;
    let create = ["kubectl", "--context", "developer-2", "-n", AGENT_NAMESPACE, "create", "-f"];
    runner
        .run_step(Step {
            expects: &["Warning: another user already has a session on deployment/ip-visit-counter"],
            ..Step::new(
                "A second developer starts an agent in another namespace, and is warned of the first, without a name.",
                &[&create[..], &[&second]].concat(),
            )
        })
        .await?;
    let targetless = write_manifest(runner, "targetless", &agents::targetless_job())?;
    runner
        .run_step(Step {
            expects: &["created"],
            forbids: &["Warning"],
            ..Step::new(
                "An agent may also run without a target.",
                &[&create[..], &[&targetless]].concat(),
            )
        })
        .await?;
    let recorded = [
        "kubectl",
        "get",
        "sessions",
        "-A",
        "-o",
        "jsonpath={.items[?(@.status.agent.name)].metadata.namespace}",
    ];
    runner.wait_for_output(&recorded, |namespaces| namespaces == "default default tools").await?;
    runner
        .run_step(Step {
            expects: &["developer-1", "developer-2", "targetless", AGENT_NAMESPACE],
            ..Step::new(
                "Each session is in the namespace of its target, not of its agent.",
                &["kubectl", "get", "sessions", "-A"],
            )
        })
        .await?;
    runner
        .run_step(Step {
            expects: &["deleted"],
            ..Step::new(
                "An administrator stops all sessions of one user.",
                &["kubectl", "mirrord-sessions", "kill", "-A", "--user", "developer-2", "--yes"],
            )
        })
        .await?;
    let jobs = ["kubectl", "get", "jobs", "-n", AGENT_NAMESPACE, "-o", "name"];
    runner.wait_for_output(&jobs, str::is_empty).await?;
    Ok(())
}

async fn stop_session(runner: &mut Runner<'_>, name: &str) -> anyhow::Result<()> {
    runner
        .run_step(Step {
            expects: &["deleted"],
            ..Step::new(
                "An administrator stops the session of the first developer.",
                &["kubectl", "delete", "session", name],
            )
        })
        .await?;
    let jobs = ["kubectl", "get", "jobs", "-o", "name"];
    runner.wait_for_output(&jobs, str::is_empty).await?;
    let about = format!("--field-selector=reason=SessionStopped,involvedObject.name={name}");
    let events =
        ["kubectl", "get", "events", &about, "-o", "jsonpath={.items[*].message}{\"\\n\"}"];
    runner.wait_for_output(&events, |events| !events.is_empty()).await?;
    runner
        .run_step(Step {
            expects: &[
                "of developer-1 on deployment/ip-visit-counter ended after",
                "its agent was deleted",
            ],
            ..Step::new(
                "The controller deleted its agent, which also ends the developer's process.",
                &events,
            )
        })
        .await?;
    Ok(())
}

async fn run_ephemeral_agent(runner: &mut Runner<'_>, target: &Target) -> anyhow::Result<()> {
    let get = ["get", "pod", &target.pod, "-n", "default", "-o", "json"];
    let pod = runner.cluster.admin(&get, "").await?;
    let mut pod: Value = serde_json::from_str(&pod).context("parse the target's Pod")?;
    let agent = agents::ephemeral_container("main");
    let container = agent["name"].clone();
    pod["spec"]["ephemeralContainers"] = json!([agent]);
    let manifest = write_manifest(runner, "ephemeral", &pod)?;
    let path = format!("/api/v1/namespaces/default/pods/{}/ephemeralcontainers", target.pod);
    // mirrord also sends the Pod with an added container. The response is the whole Pod.
    let put = ["kubectl", "--context", "developer-2", "replace", "--raw", &path, "-f", &manifest];
    let (succeeded, output) = runner.run(&put, None).await?;
    ensure!(succeeded, "cannot add the agent: {output}");
    runner
        .run_step(Step {
            expects: &["username=developer-2"],
            ..Step::new(
                "mirrord can also add its agent to the target's Pod. The cluster records the requester.",
                &[
                    "kubectl",
                    "get",
                    "pod",
                    &target.pod,
                    "-o",
                    "jsonpath={.spec.ephemeralContainers[*].env[?(@.name=='MIRRORD_SESSIONS_REQUESTER')].value}{\"\\n\"}",
                ],
            )
        })
        .await?;
    let name = wait_for_session(runner, "@.status.agent.kind=='Pod'").await?;
    runner
        .run_step(Step {
            expects: &["Warning: ", "Kubernetes can't remove its agent", &target.pod],
            ..Step::new(
                "Kubernetes cannot remove such a container. Stopping the session prints a warning.",
                &["kubectl", "delete", "session", &name],
            )
        })
        .await?;
    // The controller recreates the session until the container has terminated.
    let status = json!({ "status": { "ephemeralContainerStatuses": [{
        "name": container, "image": "x", "imageID": "x", "ready": false, "restartCount": 0,
        "state": { "terminated": { "exitCode": 0 } },
    }] } });
    patch_status(runner, &target.pod, &status).await?;
    let sessions = ["kubectl", "get", "sessions", "-o", "name"];
    runner.wait_for_output(&sessions, str::is_empty).await?;
    Ok(())
}

/// Creates a Deployment and waits for its Pod, and until stamps on agents are trusted.
async fn create_target(runner: &Runner<'_>) -> anyhow::Result<Target> {
    let container_id = agents::container_id();
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE } });
    let labels = json!({ "run": "ip-visit-counter" });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "ip-visit-counter" },
        "spec": { "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels },
            "spec": { "nodeName": NODE, "containers": [{ "name": "main", "image": "example.com/ip-visit-counter:1" }] },
        } },
    });
    for object in [node, deployment] {
        let create = ["create", "-n", "default", "-f", "-"];
        runner.cluster.admin(&create, &object.to_string()).await?;
    }
    let pod = [
        "kubectl",
        "get",
        "pods",
        "-l",
        "run=ip-visit-counter",
        "-o",
        "jsonpath={.items[*].metadata.name}",
    ];
    let pod = runner.wait_for_output(&pod, |pod| !pod.is_empty()).await?;
    patch_status(runner, &pod, &agents::running_status(&[("main", &container_id)])).await?;
    wait_until_stamps_are_trusted(runner).await?;
    Ok(Target { pod, container_id })
}

async fn patch_status(runner: &Runner<'_>, pod: &str, status: &Value) -> anyhow::Result<()> {
    let status = status.to_string();
    let patch = [
        "patch",
        "pod",
        pod,
        "-n",
        "default",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    runner.cluster.admin(&patch, "").await?;
    Ok(())
}

/// Waits until new agents are young enough for their stamps to be trusted.
///
/// The controller trusts a stamp only on an object that is some seconds younger than the policy.
async fn wait_until_stamps_are_trusted(runner: &Runner<'_>) -> anyhow::Result<()> {
    let policy = [
        "kubectl",
        "get",
        "validatingadmissionpolicybinding",
        "agents.mirrord-sessions",
        "-o",
        "jsonpath={.metadata.creationTimestamp}",
    ];
    let (_, created) = runner.run(&policy, None).await?;
    let created: Timestamp =
        created.parse().context("parse the creation time of the guard policy")?;
    while Timestamp::now().duration_since(created).as_secs() <= 6 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Writes an object to a file and returns the path.
fn write_manifest(runner: &Runner<'_>, name: &str, object: &Value) -> anyhow::Result<String> {
    let folder: &Path = runner.cluster.plane.folder();
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, object.to_string()).context("write the manifest of an agent")?;
    Ok(file.to_string_lossy().into_owned())
}
