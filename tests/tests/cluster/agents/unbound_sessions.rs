//! Sessions that are deleted before their agent is bound, while no replica leads.

use k8s_openapi::ByteString;
use kube::Client;
use mirrord_sessions_core::controller::{AgentId, session_name};
use mirrord_sessions_crds::{CONTROLLER_USERNAME, SYSTEM_NAMESPACE, WEBHOOK_NAME};
use mirrord_sessions_tests::{
    agents::{add_ephemeral, ephemeral_container, job_path, send_request, targetless_job},
    cluster::{Cluster, Webhook},
};
use serde_json::{Value, json};

use super::fixtures::{
    admin_client, create_deployment, create_node, developer_client, event_notes, start_agent,
    wait_for_binding, wait_for_deletion, wait_for_event, wait_for_guard,
};
use crate::support::{Namespace, create_namespace, eventually, name_of};

/// Sets the holder of the Lease: an unknown holder blocks all replicas, an empty one none.
async fn set_lease_holder(client: &Client, holder: &str) {
    let path =
        format!("/apis/coordination.k8s.io/v1/namespaces/{SYSTEM_NAMESPACE}/leases/{WEBHOOK_NAME}");
    let spec = json!({ "spec": { "holderIdentity": holder, "leaseDurationSeconds": 3600 } });
    send_request(client, "PATCH", &path, &spec).await.unwrap();
}

/// Creates the Session of an agent as the controller does before it binds the agent.
async fn create_unbound_session(
    cluster: &Cluster,
    home: &Namespace<'_>,
    agent: &str,
    owner: &Value,
) -> String {
    let id: AgentId = agent.parse().unwrap();
    let name = session_name(&id, 0);
    let controller = cluster.plane.client(CONTROLLER_USERNAME, &["system:masters"]).await.unwrap();
    let path = format!("/apis/operator.metalbear.co/v1/namespaces/{}/sessions", home.name);
    let session = json!({
        "apiVersion": "operator.metalbear.co/v1", "kind": "Session",
        "metadata": { "name": name, "annotations": { "operator.metalbear.co/agent": agent } },
        "spec": { "target": "targetless", "owner": owner, "user": owner["username"] },
    });
    send_request(&controller, "POST", &path, &session).await.unwrap();
    name
}

/// Deletes a Session once the remaining replica has observed it.
async fn delete_observed_session(
    cluster: &Cluster,
    client: &Client,
    home: &Namespace<'_>,
    name: &str,
) {
    let tracker = format!(
        "/apis/visibility.operator.metalbear.co/v1/namespaces/{}/sessiontrackers/{name}",
        home.name
    );
    let wait_for_state = async |state: &str| {
        eventually(&format!("the tracker is {state}"), || async {
            let tracker = send_request(client, "GET", &tracker, &Value::Null).await.ok()?;
            (tracker["status"]["state"] == state).then_some(())
        })
        .await;
    };
    wait_for_state("pending").await;
    let delete = ["delete", "session", name, "-n", &home.name];
    cluster.admin(&delete, "").await.unwrap();
    wait_for_state("terminated").await;
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
    set_lease_holder(&client, "no-replica").await;
    eventually("the replica lost leadership", || async {
        let log = cluster.webhook.log_text();
        log.contains("lost leadership").then_some(())
    })
    .await;

    // The next leader observed this deletion.
    let stopped = start_agent(&dev, &home.name, &targetless_job()).await;
    let name = create_unbound_session(&cluster, &home, &job_id(&home, &stopped), &owner).await;
    delete_observed_session(&cluster, &client, &home, &name).await;
    // The agent is not recorded yet, and a deleted Session of another user had its name.
    let unrecorded = start_agent(&dev, &home.name, &targetless_job()).await;
    let stopped_id = job_id(&home, &stopped);
    let taken = session_name(&job_id(&home, &unrecorded).parse().unwrap(), 0);
    let unrelated = json!({
        "apiVersion": "operator.metalbear.co/v1", "kind": "Session",
        "metadata": { "name": taken }, "spec": { "target": "targetless" },
    });
    let create = ["create", "-n", &home.name, "-f", "-"];
    cluster.admin(&create, &unrelated.to_string()).await.unwrap();
    delete_observed_session(&cluster, &client, &home, &taken).await;
    // An ephemeral agent cannot be removed.
    let node = create_node(&client, "untied-1").await;
    let target = create_deployment(&client, &home.name, "web", &node).await;
    let agent = ephemeral_container("main");
    let container = agent["name"].as_str().unwrap().to_owned();
    let pod = add_ephemeral(&client, &home.name, &target.pod, agent).await.unwrap();
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let ephemeral_id = format!("Pod/{}/{}/{uid}/{container}", home.name, target.pod);
    let admin_owner =
        json!({ "username": "admin", "groups": ["system:masters", "system:authenticated"] });
    let ephemeral_session =
        create_unbound_session(&cluster, &home, &ephemeral_id, &admin_owner).await;
    delete_observed_session(&cluster, &client, &home, &ephemeral_session).await;

    set_lease_holder(&client, "").await;
    wait_for_deletion(&client, &job_path(&home.name, name_of(&stopped))).await;
    let event_note = wait_for_event(&home, "SessionStopped").await;
    assert!(
        event_note.contains("of untied@example.com on targetless")
            && event_note.contains("it was stopped by admin"),
        "{event_note}"
    );
    let binding = wait_for_binding(&client, &home.name, name_of(&unrecorded)).await;
    assert_eq!(binding["name"], taken.as_str());
    let event_note = wait_for_event(&home, "AgentRunsOn").await;
    assert!(event_note.contains(&container), "{event_note}");
    let sessions = home.sessions().await;
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    assert!(sessions.iter().all(|session| !session.to_string().contains(&stopped_id)));

    // A replica that starts later reads the deletion from the stored record.
    set_lease_holder(&client, "no-replica").await;
    eventually("the replica lost leadership again", || async {
        let log = cluster.webhook.log_text();
        (log.matches("lost leadership").count() == 2).then_some(())
    })
    .await;
    let home = create_namespace(&cluster, "untied-late").await;
    let dev = developer_client(&cluster, "untied-late@example.com", &[&home.name]).await;
    let owner = json!({ "username": "untied-late@example.com", "groups": ["devs", "system:authenticated"] });
    let stopped = start_agent(&dev, &home.name, &targetless_job()).await;
    let id = job_id(&home, &stopped);
    let name = create_unbound_session(&cluster, &home, &id, &owner).await;
    delete_observed_session(&cluster, &client, &home, &name).await;
    let records = format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/secrets");
    // The API server returns the data of Secrets in base64.
    let encoded = serde_json::to_value(ByteString(id.clone().into_bytes())).unwrap();
    eventually("the deletion is recorded", || async {
        let records = send_request(&client, "GET", &records, &Value::Null).await.ok()?;
        let mut records = records["items"].as_array()?.iter();
        records.any(|record| record["data"]["agent"] == encoded).then_some(())
    })
    .await;
    cluster.webhook.kill().unwrap();
    let next = Webhook::start(&cluster.plane, &cluster.programs).await.unwrap();
    cluster.route_to(&next).await.unwrap();
    set_lease_holder(&client, "").await;
    wait_for_deletion(&client, &job_path(&home.name, name_of(&stopped))).await;
    eventually("an Event SessionStopped is recorded", || async {
        let notes = event_notes(&home, "SessionStopped").await;
        notes.first()?.contains("it was stopped by admin").then_some(())
    })
    .await;
    assert!(home.sessions().await.is_empty());
}
