//! Agents and Sessions that are valid for the API server and hard on the controller.

use mirrord_sessions_tests::agents::{job_path, running_status, send_request, targetless_job};
use serde_json::{Value, json};

use super::fixtures::{
    admin_client, event_notes, report_running, wait_for_binding, wait_for_deletion, wait_for_event,
    wait_for_guard, wait_for_session,
};
use crate::support::{Namespace, create_namespace, eventually, name_of, shared, wait_for_output};

/// A time that the API server stores and that this program cannot represent.
const LATE: &str = "9999-12-31T23:59:59Z";

/// Starts an agent with the Job as it is, and returns the stored Job and its Session.
async fn start(namespace: &Namespace<'_>, job: &Value) -> (Value, Value) {
    let client = admin_client(namespace.cluster).await;
    let path = job_path(&namespace.name, "");
    let job = send_request(&client, "POST", &path, job).await.unwrap();
    let session = wait_for_session(namespace).await;
    wait_for_binding(&client, &namespace.name, name_of(&job)).await;
    (job, session)
}

async fn delete_session(namespace: &Namespace<'_>, session: &Value, args: &[&str]) {
    let delete = ["delete", "session", name_of(session), "-n", &namespace.name];
    namespace.cluster.admin(&[&delete[..], args].concat(), "").await.unwrap();
}

fn pods_of(namespace: &Namespace<'_>, job: &Value) -> String {
    let selector = format!("labelSelector=job-name={}", name_of(job));
    format!("/api/v1/namespaces/{}/pods?{selector}", namespace.name)
}

/// Waits until the only Pod of an agent is deleted or is being deleted.
async fn wait_for_pod_deletion(namespace: &Namespace<'_>, job: &Value) {
    let client = admin_client(namespace.cluster).await;
    let path = pods_of(namespace, job);
    eventually("the Pod of the agent is being deleted", || async {
        let pods = send_request(&client, "GET", &path, &Value::Null).await.ok()?;
        let pods = pods["items"].as_array()?;
        pods.iter().all(|pod| pod["metadata"]["deletionTimestamp"].is_string()).then_some(())
    })
    .await;
}

async fn remove_finalizers(namespace: &Namespace<'_>, kind: &str, name: &str) {
    let patch = r#"{"metadata":{"finalizers":null}}"#;
    let args = ["patch", kind, name, "-n", &namespace.name, "--type=merge", "-p", patch];
    namespace.cluster.admin(&args, "").await.unwrap();
}

#[tokio::test]
async fn stops_agent_with_times_that_cannot_be_parsed() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let home = create_namespace(cluster, "late").await;
    let mut job = targetless_job();
    let pod = &mut job["spec"]["template"];
    pod["metadata"]["creationTimestamp"] = LATE.into();
    let environment = pod["spec"]["containers"][0]["env"].as_array_mut().unwrap();
    environment.push(json!({ "name": "TOKEN", "value": "s3cret-of-a-job" }));
    let (job, session) = start(&home, &job).await;
    delete_session(&home, &session, &[]).await;
    wait_for_deletion(&client, &job_path(&home.name, name_of(&job))).await;
    wait_for_event(&home, "SessionStopped").await;
    let log = cluster.webhook.log_text();
    assert!(!log.contains("s3cret-of-a-job") && !log.contains("9999-12-31"), "{log}");
}

#[tokio::test]
async fn finalizer_on_job_does_not_keep_its_pod() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let home = create_namespace(cluster, "held-job").await;
    let mut job = targetless_job();
    job["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let (job, session) = start(&home, &job).await;
    let client = admin_client(cluster).await;
    report_running(&client, &home.name, &format!("job-name={}", name_of(&job))).await;
    delete_session(&home, &session, &[]).await;
    wait_for_pod_deletion(&home, &job).await;
    wait_for_event(&home, "SessionStopped").await;
    remove_finalizers(&home, "job", name_of(&job)).await;
    wait_for_deletion(&client, &job_path(&home.name, name_of(&job))).await;
}

#[tokio::test]
async fn session_outlives_deleted_job_whose_pod_runs() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let home = create_namespace(cluster, "held-pod").await;
    let mut job = targetless_job();
    job["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let (job, _) = start(&home, &job).await;
    report_running(&client, &home.name, &format!("job-name={}", name_of(&job))).await;
    // In the background, the Pod would run until the finalizer is removed.
    let path = job_path(&home.name, name_of(&job));
    let background = format!("{path}?propagationPolicy=Background");
    send_request(&client, "DELETE", &background, &Value::Null).await.unwrap();
    wait_for_pod_deletion(&home, &job).await;
    let note = wait_for_event(&home, "SessionEnded").await;
    assert!(note.ends_with(": its agent ended."), "{note}");
    assert_eq!(event_notes(&home, "SessionStopped").await, Vec::<String>::new());
    remove_finalizers(&home, "job", name_of(&job)).await;
    wait_for_deletion(&client, &path).await;
}

#[tokio::test]
async fn session_that_is_being_deleted_stops_its_agent() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let home = create_namespace(cluster, "held-session").await;
    let (job, session) = start(&home, &targetless_job()).await;
    let user = home.user("held-session@example.com", &[]);
    home.bind_role("mirrord-operator-user", &user.name).await;
    let dependent = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "dependent", "finalizers": ["example.com/hold"],
            "ownerReferences": [{
                "apiVersion": "operator.metalbear.co/v1", "kind": "Session",
                "name": name_of(&session), "uid": session["metadata"]["uid"],
                "blockOwnerDeletion": true,
            }],
        },
    });
    let create = ["create", "-n", &home.name, "-f", "-"];
    cluster.admin(&create, &dependent.to_string()).await.unwrap();
    delete_session(&home, &session, &["--cascade=foreground", "--wait=false"]).await;
    wait_for_output(&user, &["get", "mst", "-o", "wide"], "terminating").await;
    wait_for_deletion(&client, &job_path(&home.name, name_of(&job))).await;
    let note = wait_for_event(&home, "SessionStopped").await;
    assert!(note.contains("it was stopped by admin"), "{note}");
    assert_eq!(home.sessions().await.len(), 1, "the dependent still holds the Session");
    remove_finalizers(&home, "configmap", "dependent").await;
    eventually("the Session is deleted", || async {
        home.sessions().await.is_empty().then_some(())
    })
    .await;
    wait_for_output(&user, &["get", "mst", "-o", "json"], "\"stoppedBy\": \"admin\"").await;
}

#[tokio::test]
async fn states_why_an_agent_does_not_run() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let home = create_namespace(cluster, "pending").await;
    let mut job = targetless_job();
    job["spec"]["suspend"] = json!(true);
    let sidecar = json!({ "name": "istio-proxy", "image": "istio/proxyv2:1.20.0" });
    let containers = job["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
    containers.insert(0, sidecar);
    let (job, session) = start(&home, &job).await;
    assert_eq!(session["spec"]["client"]["version"], "3.250.0", "not that of the sidecar");
    let wait_for_status = async |state: &str, message: Option<&str>| {
        eventually(&format!("the Session is {state}: {message:?}"), || async {
            let status = home.sessions().await.pop()?["status"].clone();
            let is_shown = status["message"].as_str() == message;
            (status["state"] == state && is_shown).then_some(())
        })
        .await;
    };
    let suspended = "The agent does not run yet: its Job is suspended.";
    wait_for_status("pending", Some(suspended)).await;
    let path = job_path(&home.name, name_of(&job));
    let resume = json!({ "spec": { "suspend": false } });
    send_request(&client, "PATCH", &path, &resume).await.unwrap();
    let pods = pods_of(&home, &job);
    let pod = eventually("the agent has a Pod", || async {
        let pods = send_request(&client, "GET", &pods, &Value::Null).await.ok()?;
        Some(name_of(pods["items"].as_array()?.first()?).to_owned())
    })
    .await;
    let report = async |status: &Value| {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/status", home.name);
        send_request(&client, "PATCH", &path, status).await.unwrap();
    };
    let mut status = running_status(&[("istio-proxy", "a"), ("mirrord-agent", "b")]);
    let running = status["status"]["containerStatuses"][1]["state"].clone();
    let mut state = |state: Value| {
        status["status"]["containerStatuses"][1]["state"] = state;
        status.clone()
    };
    report(&state(json!({ "waiting": { "reason": "ErrImagePull", "message": "no such image" } })))
        .await;
    let waiting = "The agent does not run yet: its container waits: ErrImagePull: no such image.";
    wait_for_status("pending", Some(waiting)).await;
    report(&state(running)).await;
    wait_for_status("running", None).await;
    // The sidecar keeps running.
    report(&state(json!({ "terminated": { "exitCode": 0 } }))).await;
    let note = wait_for_event(&home, "SessionEnded").await;
    assert!(note.ends_with(": its agent ended."), "{note}");
}
