//! Sessions that a wrapper creates before its agent, as `kubectl mirrord-sessions run` does.

use mirrord_sessions_tests::{
    agents::{job_path, send_request, targeted_job, targetless_job},
    cluster::{Cluster, Webhook},
};
use serde_json::{Value, json};

use super::fixtures::{
    admin_client, create_deployment, create_node, developer_client, event_notes, start_agent,
    wait_for_binding, wait_for_deletion, wait_for_event, wait_for_guard, wait_for_sessions,
};
use crate::support::{
    Namespace, User, create_namespace, eventually, name_of, post, session_manifest, shared,
    tracker_path,
};

const NAME: &str = "487f4f2b6d2376ad";

/// Adds the name of an existing Session to the Job of an agent.
fn with_session_name(mut job: Value, name: &str) -> Value {
    job["metadata"]["annotations"]["operator.metalbear.co/session-name"] = json!(name);
    job
}

async fn create(user: &User<'_>, name: &str, target: &str) {
    let manifest = session_manifest(name, json!({ "target": target })).to_string();
    let created = user.kubectl(&["create", "-f", "-"], &manifest).await;
    assert!(created.status.success(), "{created:?}");
}

/// Waits until the status of a Session names an agent, or no agent for an empty name.
async fn wait_for_agent(namespace: &Namespace<'_>, name: &str, agent: &str) -> Value {
    eventually("the Session names its agent", || async {
        let sessions = namespace.sessions().await;
        let session = sessions.into_iter().find(|session| name_of(session) == name)?;
        let current = session["status"]["agent"]["name"].as_str();
        (current.unwrap_or_default() == agent).then_some(session)
    })
    .await
}

async fn delete_agent(client: &kube::Client, job: &str) {
    let path = format!("{job}?propagationPolicy=Background");
    send_request(client, "DELETE", &path, &Value::Null).await.unwrap();
}

#[tokio::test]
async fn binds_agent_to_wrapper_session() {
    let cluster = shared();
    wait_for_guard(cluster).await;
    let client = admin_client(cluster).await;
    let (home, shop) = (
        create_namespace(cluster, "wrapped-home").await,
        create_namespace(cluster, "wrapped-shop").await,
    );
    let node = create_node(&client, "wrapped-1").await;
    let target = create_deployment(&client, &shop.name, "ip-visit-counter", &node).await;
    let alice = shop.user("wrapped@example.com", &["devs"]);
    shop.bind_role("mirrord-operator-user", &alice.name).await;
    let dev = developer_client(cluster, &alice.name, &[&home.name]).await;
    create(&alice, NAME, "deployment/ip-visit-counter").await;
    let wrapped_agent = || with_session_name(targeted_job(&target.container, &node), NAME);

    let job = start_agent(&dev, &home.name, &wrapped_agent()).await;
    let wrapper = wait_for_agent(&shop, NAME, name_of(&job)).await;
    assert_eq!(wrapper["status"]["state"], "running");
    let binding = wait_for_binding(&client, &home.name, name_of(&job)).await;
    assert_eq!(binding["uid"], wrapper["metadata"]["uid"]);
    assert_eq!(binding["owner"], alice.name.as_str());

    // Other agents with this name get Sessions of their own: a second agent of the run, an agent of
    // another user, one in another namespace and one with a malicious name.
    let mallory = developer_client(cluster, "wrapped-mallory@example.com", &[&home.name]).await;
    let others = [
        start_agent(&dev, &home.name, &wrapped_agent()).await,
        start_agent(&mallory, &home.name, &wrapped_agent()).await,
    ];
    let mut all = wait_for_sessions(&shop, 3).await;
    all.retain(|session| name_of(session) != NAME);
    for session in &all {
        assert!(
            session["metadata"]["annotations"]["operator.metalbear.co/agent"].is_string(),
            "{session}"
        );
    }
    for name in [NAME, "../../../pods", "\u{1b}[2J"] {
        start_agent(&dev, &home.name, &with_session_name(targetless_job(), name)).await;
    }
    wait_for_sessions(&home, 3).await;

    // The Session outlives its agent, because the wrapper may start another one.
    for other in &others {
        delete_agent(&client, &job_path(&home.name, name_of(other))).await;
    }
    delete_agent(&client, &job_path(&home.name, name_of(&job))).await;
    wait_for_agent(&shop, NAME, "").await;
    eventually("the Sessions of the other agents are deleted", || async {
        (shop.sessions().await.len() == 1).then_some(())
    })
    .await;
    let next = start_agent(&dev, &home.name, &wrapped_agent()).await;
    let reused = wait_for_agent(&shop, NAME, name_of(&next)).await;
    assert_eq!(reused["metadata"]["uid"], wrapper["metadata"]["uid"]);
    wait_for_binding(&client, &home.name, name_of(&next)).await;
    assert_eq!(shop.sessions().await.len(), 1);

    // Deleting the Session deletes the agent.
    cluster.admin(&["delete", "session", NAME, "-n", &shop.name], "").await.unwrap();
    wait_for_deletion(&client, &job_path(&home.name, name_of(&next))).await;
    let event_note = wait_for_event(&shop, "SessionStopped").await;
    assert!(event_note.contains("it was stopped by admin"), "{event_note}");
    assert!(shop.sessions().await.is_empty());

    // The command ends before the agent does. Only the owner of the Session may report this.
    create(&alice, NAME, "deployment/ip-visit-counter").await;
    let last = start_agent(&dev, &home.name, &wrapped_agent()).await;
    wait_for_agent(&shop, NAME, name_of(&last)).await;
    wait_for_binding(&client, &home.name, name_of(&last)).await;
    let path = tracker_path(&shop.name, NAME, "/report");
    let ended = json!({
        "apiVersion": "visibility.operator.metalbear.co/v1", "kind": "SessionReport",
        "spec": { "ended": true },
    })
    .to_string();
    let bob = shop.user("wrapped-bob@example.com", &["devs"]);
    shop.bind_role("mirrord-operator-user", &bob.name).await;
    let denial = post(&bob, &path, &ended).await.unwrap_err();
    assert!(denial.contains("only the owner"), "{denial}");
    assert_eq!(shop.sessions().await.len(), 1);
    post(&alice, &path, &ended).await.unwrap();
    wait_for_deletion(&client, &job_path(&home.name, name_of(&last))).await;
    eventually("an Event records the end of the command", || async {
        let notes = event_notes(&shop, "SessionEnded").await;
        notes.into_iter().find(|event_note| event_note.ends_with(": its command ended."))
    })
    .await;
    assert_eq!(event_notes(&shop, "SessionStopped").await.len(), 1, "no second Event is recorded");
    assert!(shop.sessions().await.is_empty());
}

const DENY_POLICY: &str = "refused.example.com";

/// Denies deletions of Sessions in a namespace until the binding of the policy is deleted.
async fn deny_deletions(cluster: &Cluster, namespace: &str) {
    let kind = "admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": kind, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": DENY_POLICY },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["operator.metalbear.co"], "apiVersions": ["*"],
                "operations": ["DELETE"], "resources": ["sessions"],
            }] },
            "validations": [{ "expression": format!("request.namespace != '{namespace}'") }],
        },
    });
    let binding = json!({
        "apiVersion": kind, "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": DENY_POLICY },
        "spec": { "policyName": DENY_POLICY, "validationActions": ["Deny"] },
    });
    for object in [policy, binding] {
        let args = ["create", "-f", "-"];
        cluster.admin(&args, &object.to_string()).await.unwrap();
    }
    let delete = ["delete", "session", "never-reported", "--dry-run=server", "-n", namespace];
    eventually("deletions are denied", || async { cluster.admin(&delete, "").await.err() }).await;
}

#[tokio::test]
async fn expires_session_without_heartbeat() {
    let cluster = Cluster::start().await.unwrap();
    cluster.webhook.terminate().unwrap();
    let webhook = Webhook::start_with(&cluster.plane, &cluster.programs, &["--report-period=1s"])
        .await
        .unwrap();
    cluster.route_to(&webhook).await.unwrap();
    let client = admin_client(&cluster).await;
    let home = create_namespace(&cluster, "expiring").await;
    let names = ["silent", "talking", "never-reported", "announced"];
    for name in names {
        let mut manifest = session_manifest(name, json!({ "target": "targetless" }));
        if name == "announced" {
            // The client announced heartbeats, but never received the response to its create
            // request.
            manifest["metadata"]["annotations"] =
                json!({ "operator.metalbear.co/reports": "true" });
        }
        let args = ["create", "-n", &home.name, "-f", "-"];
        cluster.admin(&args, &manifest.to_string()).await.unwrap();
    }
    deny_deletions(&cluster, &home.name).await;
    let report = async |name: &str| {
        let body = json!({
            "apiVersion": "visibility.operator.metalbear.co/v1", "kind": "SessionReport", "spec": {},
        });
        let path = tracker_path(&home.name, name, "/report");
        send_request(&client, "POST", &path, &body).await.ok()
    };
    for name in &names[..2] {
        let response = eventually("the report is accepted", || report(name)).await;
        assert_eq!(response["status"]["periodSeconds"], 1, "{response}");
    }
    // Denied deletions are retried.
    eventually("the deletion of an expired Session is denied", || async {
        report("talking").await;
        let log = webhook.log_text();
        log.contains("failed to delete an expired Session").then_some(())
    })
    .await;
    assert_eq!(home.sessions().await.len(), names.len());
    let allow = ["delete", "validatingadmissionpolicybinding", DENY_POLICY];
    cluster.admin(&allow, "").await.unwrap();
    // One Session keeps sending heartbeats until the others have expired.
    let remaining_names = || async {
        let sessions = home.sessions().await;
        let names = sessions.iter().map(|session| name_of(session).to_owned());
        names.collect::<Vec<_>>()
    };
    let remaining = eventually("the Sessions without heartbeats are deleted", || async {
        report("talking").await;
        let names = remaining_names().await;
        let remains = |name: &str| names.iter().any(|other| other == name);
        (!remains("silent") && !remains("announced")).then_some(names)
    })
    .await;
    assert_eq!(remaining, ["never-reported", "talking"]);
    let path = tracker_path(&home.name, "silent", "");
    let tracker = send_request(&client, "GET", &path, &Value::Null).await.unwrap();
    assert_eq!(tracker["status"]["state"], "terminated");
    assert_eq!(tracker["status"]["reason"], "expired");
    assert!(tracker["status"]["stoppedBy"].is_null(), "{tracker}");
    let notes = eventually("two Events SessionExpired are recorded", || async {
        let mut notes = event_notes(&home, "SessionExpired").await;
        notes.sort();
        (notes.len() == 2).then_some(notes)
    })
    .await;
    assert!(notes[0].contains("Session announced of"), "{notes:?}");
    let event_note = &notes[1];
    assert!(
        event_note.contains("Session silent of admin on targetless ended after")
            && event_note.ends_with("it expired without reports, which does not stop its process."),
        "{event_note}"
    );
    eventually("the other Session expires without heartbeats", || async {
        (remaining_names().await == ["never-reported"]).then_some(())
    })
    .await;
}
