//! A Session that is deleted before its agent was tied to it, while nobody leads.

use kube::Client;
use mirrord_sessions_core::controller::{AgentId, session_name};
use mirrord_sessions_crds::{CONTROLLER_USERNAME, SYSTEM_NAMESPACE, WEBHOOK_NAME};
use mirrord_sessions_tests::{
    agents::{add_ephemeral, ephemeral, jobs, send, targetless},
    cluster::{Cluster, Webhook},
};
use serde_json::{Value, json};

use super::fixtures::{
    admin_client, create_deployment, create_node, developer_client, event_notes, start_agent,
    wait_for_binding, wait_for_deletion, wait_for_event, wait_for_guard,
};
use crate::support::{Namespace, create_namespace, eventually, name_of};

/// Gives the Lease to somebody who does nothing with it, or to whoever takes it.
async fn leads(client: &Client, holder: &str) {
    let path =
        format!("/apis/coordination.k8s.io/v1/namespaces/{SYSTEM_NAMESPACE}/leases/{WEBHOOK_NAME}");
    let spec = json!({ "spec": { "holderIdentity": holder, "leaseDurationSeconds": 3600 } });
    send(client, "PATCH", &path, &spec).await.unwrap();
}

/// What a leader does before it dies: the Session of an agent, which isn't tied to it yet.
async fn record(cluster: &Cluster, home: &Namespace<'_>, agent: &str, owner: &Value) -> String {
    let id: AgentId = agent.parse().unwrap();
    let name = session_name(&id, 0);
    let controller = cluster.plane.client(CONTROLLER_USERNAME, &["system:masters"]).await.unwrap();
    let path = format!("/apis/operator.metalbear.co/v1/namespaces/{}/sessions", home.name);
    let session = json!({
        "apiVersion": "operator.metalbear.co/v1", "kind": "Session",
        "metadata": { "name": name, "annotations": { "operator.metalbear.co/agent": agent } },
        "spec": { "target": "targetless", "owner": owner, "user": owner["username"] },
    });
    send(&controller, "POST", &path, &session).await.unwrap();
    name
}

/// Deletes it, once the replica that is left has seen it.
async fn stop(cluster: &Cluster, client: &Client, home: &Namespace<'_>, name: &str) {
    let tracker = format!(
        "/apis/visibility.operator.metalbear.co/v1/namespaces/{}/sessiontrackers/{name}",
        home.name
    );
    let shows = async |state: &str| {
        eventually(&format!("its tracker is {state}"), || async {
            let tracker = send(client, "GET", &tracker, &Value::Null).await.ok()?;
            (tracker["status"]["state"] == state).then_some(())
        })
        .await;
    };
    shows("pending").await;
    let delete = ["delete", "session", name, "-n", &home.name];
    cluster.admin(&delete, "").await.unwrap();
    shows("terminated").await;
}

fn job_id(home: &Namespace<'_>, job: &Value) -> String {
    let uid = job["metadata"]["uid"].as_str().unwrap();
    format!("Job/{}/{}/{uid}", home.name, name_of(job))
}

#[tokio::test]
async fn deletion_missed_by_leader_still_stops_run() {
    let cluster = Cluster::start().await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    let home = create_namespace(&cluster, "untied").await;
    let dev = developer_client(&cluster, "untied@example.com", &[&home.name]).await;
    let owner =
        json!({ "username": "untied@example.com", "groups": ["devs", "system:authenticated"] });
    leads(&client, "nobody").await;
    eventually("nobody leads", || async {
        let log = cluster.webhook.log_text();
        log.contains("lost leadership").then_some(())
    })
    .await;

    // Known to the replica that leads next.
    let stopped = start_agent(&dev, &home.name, &targetless()).await;
    let name = record(&cluster, &home, &job_id(&home, &stopped), &owner).await;
    stop(&cluster, &client, &home, &name).await;
    // Not yet recorded, and somebody else had a Session by the name that it will get.
    let new = start_agent(&dev, &home.name, &targetless()).await;
    let other = job_id(&home, &stopped);
    let taken = session_name(&job_id(&home, &new).parse().unwrap(), 0);
    let forged = json!({
        "apiVersion": "operator.metalbear.co/v1", "kind": "Session",
        "metadata": { "name": taken }, "spec": { "target": "targetless" },
    });
    let create = ["create", "-n", &home.name, "-f", "-"];
    cluster.admin(&create, &forged.to_string()).await.unwrap();
    stop(&cluster, &client, &home, &taken).await;
    // What can't be removed.
    let node = create_node(&client, "untied-1").await;
    let target = create_deployment(&client, &home.name, "web", &node).await;
    let agent = ephemeral("main");
    let container = agent["name"].as_str().unwrap().to_owned();
    let pod = add_ephemeral(&client, &home.name, &target.pod, agent).await.unwrap();
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let in_pod = format!("Pod/{}/{}/{uid}/{container}", home.name, target.pod);
    let admins =
        json!({ "username": "admin", "groups": ["system:masters", "system:authenticated"] });
    let in_pods = record(&cluster, &home, &in_pod, &admins).await;
    stop(&cluster, &client, &home, &in_pods).await;

    leads(&client, "").await;
    wait_for_deletion(&client, &jobs(&home.name, name_of(&stopped))).await;
    let told = wait_for_event(&home, "SessionStopped").await;
    assert!(
        told.contains("of untied@example.com on targetless")
            && told.contains("it was stopped by admin"),
        "{told}"
    );
    let binding = wait_for_binding(&client, &home.name, name_of(&new)).await;
    assert_eq!(binding["name"], taken.as_str());
    let told = wait_for_event(&home, "AgentRunsOn").await;
    assert!(told.contains(&container), "{told}");
    let sessions = home.sessions().await;
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    assert!(sessions.iter().all(|it| !it.to_string().contains(&other)));

    // The replica that starts later knows it from the record.
    leads(&client, "nobody").await;
    eventually("nobody leads again", || async {
        let log = cluster.webhook.log_text();
        (log.matches("lost leadership").count() == 2).then_some(())
    })
    .await;
    let home = create_namespace(&cluster, "untied-late").await;
    let dev = developer_client(&cluster, "untied-late@example.com", &[&home.name]).await;
    let owner = json!({ "username": "untied-late@example.com", "groups": ["devs", "system:authenticated"] });
    let stopped = start_agent(&dev, &home.name, &targetless()).await;
    let id = job_id(&home, &stopped);
    let name = record(&cluster, &home, &id, &owner).await;
    stop(&cluster, &client, &home, &name).await;
    let records = format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/configmaps");
    eventually("its end is kept", || async {
        let records = send(&client, "GET", &records, &Value::Null).await.ok()?;
        let mut records = records["items"].as_array()?.iter();
        records.any(|record| record["data"]["agent"] == *id).then_some(())
    })
    .await;
    cluster.webhook.kill().unwrap();
    let next = Webhook::start(&cluster.plane, &cluster.programs).await.unwrap();
    cluster.route_to(&next).await.unwrap();
    leads(&client, "").await;
    wait_for_deletion(&client, &jobs(&home.name, name_of(&stopped))).await;
    eventually("it is told", || async {
        let notes = event_notes(&home, "SessionStopped").await;
        notes.first()?.contains("it was stopped by admin").then_some(())
    })
    .await;
    assert!(home.sessions().await.is_empty());
}
