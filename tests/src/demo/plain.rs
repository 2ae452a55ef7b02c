//! Developers who run plain mirrord and know nothing of all this. There is no node: what one would
//! report is written in its stead.

use std::path::Path;

use anyhow::{Context, ensure};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::stage::{Stage, Step};
use crate::agents;

const NODE: &str = "node-1";
/// A namespace that has agents in it and no targets.
const ELSEWHERE: &str = "tools";

/// A Pod that runs, as far as the cluster is told.
struct Target {
    pod: String,
    container: String,
}

/// A run in the target's namespace, and its end; others without a target, and in another namespace;
/// and one that can't be stopped.
pub(super) async fn mirrord(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let target = target(stage).await?;
    let name = one_run(stage, &target).await?;
    others(stage, &target).await?;
    stopped(stage, &name).await?;
    ephemeral(stage, &target).await
}

/// The name of the Session that fits this condition of JSONPath, once there is one.
async fn session_where(stage: &Stage<'_>, condition: &str) -> anyhow::Result<String> {
    let names = format!("jsonpath={{.items[?({condition})].metadata.name}}");
    let get = ["kubectl", "get", "sessions", "-o", &names];
    stage.until(&get, |name| !name.is_empty()).await
}

async fn one_run(stage: &mut Stage<'_>, target: &Target) -> anyhow::Result<String> {
    let agent = file(stage, "agent", &agents::targeted(&target.container, NODE))?;
    stage
        .show(Step {
            shows: &["job.batch/mirrord-agent-", "created"],
            ..Step::new(
                "A developer runs plain mirrord exec, which starts an agent: this is the Job that it sends.",
                &["kubectl", "--context", "developer-1", "create", "-f", &agent],
            )
        })
        .await?;
    let name = session_where(stage, "@.status.state=='running'").await?;
    stage
        .show(Step {
            shows: &[&name, "deployment/ip-visit-counter", "developer-1"],
            ..Step::new(
                "It is a session of theirs: what it targets was found out from the id of a container.",
                &["kubectl", "get", "sessions"],
            )
        })
        .await?;
    Ok(name)
}

async fn others(stage: &mut Stage<'_>, target: &Target) -> anyhow::Result<()> {
    let known = ["kubectl", "get", "sessiontrackers", "-o", "name"];
    stage.until(&known, |known| !known.is_empty()).await?;
    let namespace = ["kubectl", "create", "namespace", ELSEWHERE];
    stage.run(&namespace, None).await?;
    let second = file(stage, "second", &agents::targeted(&target.container, NODE))?;
    let create = ["kubectl", "--context", "developer-2", "-n", ELSEWHERE, "create", "-f"];
    stage
        .show(Step {
            shows: &["Warning: developer-1 already has a session on deployment/ip-visit-counter"],
            ..Step::new(
                "A second developer's agent runs in another namespace. Whoever else is on its target is told.",
                &[&create[..], &[&second]].concat(),
            )
        })
        .await?;
    let targetless = file(stage, "targetless", &agents::targetless())?;
    stage
        .show(Step {
            shows: &["created"],
            hides: &["Warning"],
            ..Step::new("And one that has no target.", &[&create[..], &[&targetless]].concat())
        })
        .await?;
    let running = [
        "kubectl",
        "get",
        "sessions",
        "-A",
        "-o",
        "jsonpath={.items[?(@.status.state=='running')].metadata.namespace}",
    ];
    stage.until(&running, |running| running == "default default tools").await?;
    stage
        .show(Step {
            shows: &["developer-1", "developer-2", "targetless", ELSEWHERE],
            ..Step::new(
                "Each is where its target is, not where its agent is.",
                &["kubectl", "get", "sessions", "-A"],
            )
        })
        .await?;
    stage
        .show(Step {
            shows: &["deleted"],
            ..Step::new(
                "All of somebody's end at once.",
                &["kubectl", "mirrord-sessions", "kill", "-A", "--user", "developer-2", "--yes"],
            )
        })
        .await?;
    let jobs = ["kubectl", "get", "jobs", "-n", ELSEWHERE, "-o", "name"];
    stage.until(&jobs, str::is_empty).await?;
    Ok(())
}

async fn stopped(stage: &mut Stage<'_>, name: &str) -> anyhow::Result<()> {
    stage
        .show(Step {
            shows: &["deleted"],
            ..Step::new("Stopping one …", &["kubectl", "delete", "session", name])
        })
        .await?;
    let jobs = ["kubectl", "get", "jobs", "-o", "name"];
    stage.until(&jobs, str::is_empty).await?;
    let about = format!("--field-selector=reason=SessionStopped,involvedObject.name={name}");
    let events =
        ["kubectl", "get", "events", &about, "-o", "jsonpath={.items[*].message}{\"\\n\"}"];
    stage.until(&events, |events| !events.is_empty()).await?;
    stage
        .show(Step {
            shows: &[
                "of developer-1 on deployment/ip-visit-counter ended after",
                "its agent was deleted",
            ],
            ..Step::new("… ended its agent, and with it the developer's process.", &events)
        })
        .await?;
    Ok(())
}

async fn ephemeral(stage: &mut Stage<'_>, target: &Target) -> anyhow::Result<()> {
    let get = ["get", "pod", &target.pod, "-n", "default", "-o", "json"];
    let pod = stage.cluster.admin(&get, "").await?;
    let mut pod: Value = serde_json::from_str(&pod).context("the target's Pod")?;
    let agent = agents::ephemeral("main");
    let container = agent["name"].clone();
    pod["spec"]["ephemeralContainers"] = json!([agent]);
    let added = file(stage, "ephemeral", &pod)?;
    let path = format!("/api/v1/namespaces/default/pods/{}/ephemeralcontainers", target.pod);
    // As mirrord does: the Pod with one container more. The answer is all of it again.
    let put = ["kubectl", "--context", "developer-2", "replace", "--raw", &path, "-f", &added];
    let (added, output) = stage.run(&put, None).await?;
    ensure!(added, "the agent could not be added: {output}");
    stage
        .show(Step {
            shows: &["username=developer-2"],
            ..Step::new(
                "An agent may also be a container of the target's own Pod. Who asked for it is written there.",
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
    let name = session_where(stage, "@.status.agent.kind=='Pod'").await?;
    stage
        .show(Step {
            shows: &["Warning: ", "Kubernetes can't remove its agent", &target.pod],
            ..Step::new(
                "Such a one Kubernetes can't remove, and whoever stops the session is told.",
                &["kubectl", "delete", "session", &name],
            )
        })
        .await?;
    // Its session comes back, until its container ends.
    let status = json!({ "status": { "ephemeralContainerStatuses": [{
        "name": container, "image": "x", "imageID": "x", "ready": false, "restartCount": 0,
        "state": { "terminated": { "exitCode": 0 } },
    }] } });
    patch_status(stage, &target.pod, &status).await?;
    let sessions = ["kubectl", "get", "sessions", "-o", "name"];
    stage.until(&sessions, str::is_empty).await?;
    Ok(())
}

/// A Deployment's Pod, once it is there and stamps count.
async fn target(stage: &Stage<'_>) -> anyhow::Result<Target> {
    let container = agents::container_id();
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
        stage.cluster.admin(&create, &object.to_string()).await?;
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
    let pod = stage.until(&pod, |pod| !pod.is_empty()).await?;
    patch_status(stage, &pod, &agents::running(&[("main", &container)])).await?;
    until_stamps_count(stage).await?;
    Ok(Target { pod, container })
}

async fn patch_status(stage: &Stage<'_>, pod: &str, status: &Value) -> anyhow::Result<()> {
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
    stage.cluster.admin(&patch, "").await?;
    Ok(())
}

/// Stamps count on what is some seconds younger than the guard policy.
async fn until_stamps_count(stage: &Stage<'_>) -> anyhow::Result<()> {
    let policy = [
        "kubectl",
        "get",
        "validatingadmissionpolicybinding",
        "agents.mirrord-sessions",
        "-o",
        "jsonpath={.metadata.creationTimestamp}",
    ];
    let (_, created) = stage.run(&policy, None).await?;
    let created: Timestamp = created.parse().context("the age of the guard policy")?;
    while Timestamp::now().duration_since(created).as_secs() <= 6 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The file of what mirrord sends.
fn file(stage: &Stage<'_>, name: &str, object: &Value) -> anyhow::Result<String> {
    let folder: &Path = stage.cluster.plane.folder();
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, object.to_string()).context("a file for an agent")?;
    Ok(file.to_string_lossy().into_owned())
}
