//! Lifecycle of the Session of a plain mirrord run, from the creation to the end of its agent.

use mirrord_sessions_tests::agents::{
    add_ephemeral, ephemeral_container, job_path, send_request, targeted_job, targetless_job,
};
use serde_json::{Value, json};

use super::fixtures::{
    admin_client, create_deployment, create_node, developer_client, report_running, start_agent,
    wait_for_binding, wait_for_deletion, wait_for_event, wait_for_guard, wait_for_session,
    wait_for_sessions,
};
use crate::support::{create_namespace, eventually, name_of, shared};

#[tokio::test]
async fn session_lasts_until_agent_ends() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let (home, shop) =
        (create_namespace(cluster, "home").await, create_namespace(cluster, "shop").await);
    let node = create_node(&client, "lifecycle-1").await;
    let target = create_deployment(&client, &shop.name, "ip-visit-counter", &node).await;
    let dev = developer_client(cluster, "avi@example.com", &[&home.name]).await;
    let mut job = targeted_job(&target.container, &node);
    job["metadata"]["annotations"]["operator.metalbear.co/username"] = json!("Aviram Hassan");
    job["metadata"]["annotations"]["operator.metalbear.co/hostname"] = json!("mac\u{1b}.local");
    job["metadata"]["annotations"]["operator.metalbear.co/key"] = json!("avi");
    let job = start_agent(&dev, &home.name, &job).await;

    let session = wait_for_session(&shop).await;
    let spec = &session["spec"];
    assert_eq!(spec["target"], "deployment/ip-visit-counter");
    assert_eq!(
        spec["owner"],
        json!({ "username": "avi@example.com", "groups": ["devs", "system:authenticated"] })
    );
    assert_eq!(spec["user"], "Aviram Hassan/avi@example.com@mac.local");
    assert_eq!(spec["key"], "avi");
    assert_eq!(spec["client"]["version"], "3.250.0");
    let (state, agent) = (&session["status"]["state"], &session["status"]["agent"]);
    assert_eq!(
        *agent,
        json!({
            "kind": "Job", "namespace": home.name, "name": name_of(&job),
            "uid": job["metadata"]["uid"], "node": node,
        })
    );
    let message = session["status"]["message"].as_str().unwrap();
    assert_eq!(*state, "pending");
    assert!(message.starts_with("The agent does not run yet: its "), "{message}");
    let agent_selector = format!("job-name={}", name_of(&job));
    report_running(&client, &home.name, &agent_selector).await;
    eventually("the Session is running, without a message", || async {
        let status = shop.sessions().await.pop()?["status"].clone();
        (status["state"] == "running" && status["message"].is_null()).then_some(())
    })
    .await;
    let binding = wait_for_binding(&client, &home.name, name_of(&job)).await;
    assert_eq!(binding["uid"], session["metadata"]["uid"]);
    assert_eq!(home.sessions().await, Vec::<Value>::new());

    // The run ends: the agent's Pod succeeds, and Kubernetes deletes the Job after its TTL.
    let pods = format!("/api/v1/namespaces/{}/pods", home.name);
    let agent_pods = format!("{pods}?labelSelector={agent_selector}");
    let pod = eventually("the agent has a Pod", || async {
        let pods = send_request(&client, "GET", &agent_pods, &Value::Null).await.ok()?;
        Some(name_of(pods["items"].as_array()?.first()?).to_owned())
    })
    .await;
    let succeeded = json!({ "status": { "phase": "Succeeded" } });
    send_request(&client, "PATCH", &format!("{pods}/{pod}/status"), &succeeded).await.unwrap();
    eventually("the Session is deleted", || async {
        shop.sessions().await.is_empty().then_some(())
    })
    .await;
    wait_for_deletion(&client, &job_path(&home.name, name_of(&job))).await;
    let event_note = wait_for_event(&shop, "SessionEnded").await;
    assert!(
        event_note.contains(
            "of Aviram Hassan/avi@example.com@mac.local on deployment/ip-visit-counter ended after"
        ) && event_note.ends_with(": its agent ended."),
        "{event_note}"
    );
}

#[tokio::test]
async fn deleting_session_stops_run() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let home = create_namespace(cluster, "stopping").await;
    let dev = developer_client(cluster, "stopping@example.com", &[&home.name]).await;
    let job = start_agent(&dev, &home.name, &targetless_job()).await;
    let session = wait_for_session(&home).await;
    assert_eq!(session["spec"]["target"], "targetless");
    wait_for_binding(&client, &home.name, name_of(&job)).await;
    let pods =
        format!("/api/v1/namespaces/{}/pods?labelSelector=job-name={}", home.name, name_of(&job));
    let pod = eventually("the agent has a Pod", || async {
        let pods = send_request(&client, "GET", &pods, &Value::Null).await.ok()?;
        let pod = pods["items"].as_array()?.first()?;
        Some(name_of(pod).to_owned())
    })
    .await;
    let delete = ["delete", "session", name_of(&session), "-n", &home.name];
    cluster.admin(&delete, "").await.unwrap();
    wait_for_deletion(&client, &job_path(&home.name, name_of(&job))).await;
    // The agent's Pods are deleted with the Job, at once because no kubelet runs them.
    wait_for_deletion(&client, &format!("/api/v1/namespaces/{}/pods/{pod}", home.name)).await;
    let event_note = wait_for_event(&home, "SessionStopped").await;
    assert!(
        event_note.contains("of stopping@example.com on targetless ended after"),
        "{event_note}"
    );
    assert!(event_note.contains("it was stopped by admin"), "{event_note}");
    assert!(home.sessions().await.is_empty());
}

#[tokio::test]
async fn recreates_session_until_ephemeral_agent_ends() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let shop = create_namespace(cluster, "ephemeral").await;
    let node = create_node(&client, "lifecycle-2").await;
    let target = create_deployment(&client, &shop.name, "ip-visit-counter", &node).await;
    let agent = ephemeral_container("main");
    let name = agent["name"].as_str().unwrap().to_owned();
    let pod = add_ephemeral(&client, &shop.name, &target.pod, agent).await.unwrap();
    let first = wait_for_session(&shop).await;
    assert_eq!(first["spec"]["target"], "deployment/ip-visit-counter");
    assert_eq!(first["spec"]["owner"]["username"], "admin");
    assert_eq!(
        first["status"]["agent"],
        json!({
            "kind": "Pod", "namespace": shop.name, "name": target.pod, "node": node,
            "uid": pod["metadata"]["uid"], "container": name,
        })
    );

    // An ephemeral container cannot be removed, so the controller recreates the Session.
    let delete = ["delete", "session", name_of(&first), "-n", &shop.name];
    let output = cluster.plane.kubectl(cluster.plane.admin().path(), &delete).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.contains("Kubernetes can't remove its agent"), "{output:?}");
    let second = eventually("the Session is recreated", || async {
        let session = shop.sessions().await.pop()?;
        (session["metadata"]["uid"] != first["metadata"]["uid"]).then_some(session)
    })
    .await;
    assert_eq!(second["metadata"]["name"], first["metadata"]["name"]);
    let event_note = wait_for_event(&shop, "AgentRunsOn").await;
    assert!(event_note.contains(&name) && event_note.contains(&target.pod), "{event_note}");

    // A second ephemeral agent in the same Pod has a Session of its own.
    let again = ephemeral_container("main");
    let other = again["name"].as_str().unwrap().to_owned();
    add_ephemeral(&client, &shop.name, &target.pod, again).await.unwrap();
    wait_for_sessions(&shop, 2).await;

    // The Sessions end with their containers.
    let status = |names: &[&str]| -> Value {
        let ended = names.iter().map(|name| {
            json!({
                "name": name, "image": "x", "imageID": "x", "ready": false, "restartCount": 0,
                "containerID": "containerd://e", "state": { "terminated": { "exitCode": 0 } },
            })
        });
        json!({ "status": { "ephemeralContainerStatuses": ended.collect::<Vec<_>>() } })
    };
    let path = format!("/api/v1/namespaces/{}/pods/{}/status", shop.name, target.pod);
    send_request(&client, "PATCH", &path, &status(&[&name])).await.unwrap();
    let remaining = wait_for_session(&shop).await;
    assert_eq!(remaining["status"]["agent"]["container"], other);
    send_request(&client, "PATCH", &path, &status(&[&name, &other])).await.unwrap();
    eventually("both Sessions are deleted", || async {
        shop.sessions().await.is_empty().then_some(())
    })
    .await;
}
