//! Faults around agents: no controller, no webhook, name collisions, a deleted CRD and quotas.

use std::time::{Duration, Instant};

use mirrord_sessions_core::controller::{AgentId, NAME_CANDIDATES, session_name};
use mirrord_sessions_tests::{
    agents::{job_path, send_request, targetless_job},
    cluster::{Cluster, Webhook},
};
use serde_json::{Value, json};

use super::fixtures::{
    admin_client, event_notes, wait_for_binding, wait_for_deletion, wait_for_event, wait_for_guard,
    wait_for_session, wait_for_sessions,
};
use super::scale::{eventually_under_load, request_counts};
use crate::support::{create_namespace, eventually, eventually_within, name_of};

const UNVERIFIED: &str = "system:mirrord-sessions:unverified";

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

#[tokio::test]
async fn controller_catches_up_after_downtime() {
    let cluster = Cluster::start().await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    let home = create_namespace(&cluster, "away").await;
    let all = job_path(&home.name, "");
    let create_job = async || send_request(&client, "POST", &all, &targetless_job()).await.unwrap();
    let path = |job: &Value| job_path(&home.name, name_of(job));
    let (untouched, ended, stopped) = (create_job().await, create_job().await, create_job().await);
    let before = wait_for_sessions(&home, 3).await;
    for job in [&untouched, &ended, &stopped] {
        wait_for_binding(&client, &home.name, name_of(job)).await;
    }
    let session_of = |sessions: &[Value], job: &Value| {
        let found = sessions.iter().find(|session| session["status"]["agent"]["uid"] == uid(job));
        found.cloned()
    };
    let stopped_session = session_of(&before, &stopped).unwrap();

    cluster.webhook.kill().unwrap();
    let background = |job: &Value| format!("{}?propagationPolicy=Background", path(job));
    send_request(&client, "DELETE", &background(&ended), &Value::Null).await.unwrap();
    // The deletion would fail while the validating webhook is down.
    let delete_configuration =
        ["delete", "validatingwebhookconfiguration", mirrord_sessions_crds::WEBHOOK_NAME];
    cluster.admin(&delete_configuration, "").await.unwrap();
    cluster.delete_webhook_configuration().await.unwrap();
    let delete = ["delete", "session", name_of(&stopped_session), "-n", &home.name];
    eventually("the Session is deleted", || async { cluster.admin(&delete, "").await.ok() }).await;
    // The agent is admitted without a stamp, so its requester is unknown.
    let unstamped = create_job().await;
    assert!(unstamped["metadata"]["annotations"].get("operator.metalbear.co/requester").is_none());
    // Other Sessions hold its first two candidate names, and all names of another agent.
    let id_of = |job: &Value| {
        let id = format!("Job/{}/{}/{}", home.name, name_of(job), uid(job));
        id.parse::<AgentId>().unwrap()
    };
    let crowded = create_job().await;
    let (id, crowded_id) = (id_of(&unstamped), id_of(&crowded));
    let mut taken: Vec<String> = (0..2).map(|n| session_name(&id, n)).collect();
    taken.extend((0..NAME_CANDIDATES).map(|n| session_name(&crowded_id, n)));
    let owner =
        json!({ "username": "admin", "groups": ["system:masters", "system:authenticated"] });
    for name in &taken {
        let unrelated = json!({
            "apiVersion": "operator.metalbear.co/v1", "kind": "Session",
            "metadata": { "name": name },
            "spec": { "target": "targetless", "owner": owner, "user": "admin" },
        });
        let args = ["create", "-n", &home.name, "-f", "-"];
        cluster.admin(&args, &unrelated.to_string()).await.unwrap();
    }

    let next = Webhook::start(&cluster.plane, &cluster.programs).await.unwrap();
    cluster.route_to(&next).await.unwrap();
    let recorded = eventually("the agent without a stamp is recorded", || async {
        session_of(&home.sessions().await, &unstamped)
    })
    .await;
    assert_eq!(name_of(&recorded), session_name(&id, 2));
    assert_eq!(recorded["spec"]["owner"], json!({ "username": UNVERIFIED }));
    let message = recorded["status"]["message"].as_str().unwrap();
    assert!(message.contains("not verified") && message.contains("no stamp"), "{message}");
    let note = wait_for_event(&home, "OwnerUnverified").await;
    assert!(note.contains("no stamp"), "{note}");
    wait_for_deletion(&client, &path(&stopped)).await;
    let note = wait_for_event(&home, "SessionStopped").await;
    assert!(note.contains("of admin on targetless"), "{note}");
    eventually("the Session of the ended agent is deleted", || async {
        session_of(&home.sessions().await, &ended).is_none().then_some(())
    })
    .await;
    wait_for_event(&home, "SessionEnded").await;
    // The Session of the untouched agent is unchanged.
    let after = home.sessions().await;
    assert_eq!(session_of(&after, &untouched), session_of(&before, &untouched));
    send_request(&client, "GET", &path(&untouched), &Value::Null).await.unwrap();
    assert_eq!(after.len(), 12, "ten unrelated Sessions and two of agents");

    // An Event explains that the other agent has no candidate name left, and the agent keeps
    // running.
    let note = wait_for_event(&home, "SessionNamesTaken").await;
    assert!(note.contains("Delete one of them") && note.ends_with(&taken[9]), "{note}");
    assert!(session_of(&home.sessions().await, &crowded).is_none());
    let free = ["delete", "session", &taken[5], "-n", &home.name];
    cluster.admin(&free, "").await.unwrap();
    let recorded_later =
        eventually_within(Duration::from_mins(2), "the other agent is recorded", || async {
            session_of(&home.sessions().await, &crowded)
        })
        .await;
    assert_eq!(name_of(&recorded_later), taken[5]);
    assert_eq!(event_notes(&home, "SessionNamesTaken").await.len(), 1);

    // Deleting the Session of an unverified agent deletes the agent.
    wait_for_binding(&client, &home.name, name_of(&unstamped)).await;
    let delete = ["delete", "session", name_of(&recorded), "-n", &home.name];
    cluster.admin(&delete, "").await.unwrap();
    wait_for_deletion(&client, &path(&unstamped)).await;

    // A binding that was copied to another Job without the guard policy has no effect.
    let binding = send_request(&client, "GET", &path(&untouched), &Value::Null).await.unwrap();
    let binding = &binding["metadata"]["annotations"]["operator.metalbear.co/session"];
    next.freeze().unwrap();
    for name in ["agents.mirrord-sessions", "controller-jobs.mirrord-sessions"] {
        let args = ["delete", "validatingadmissionpolicybinding", name];
        cluster.admin(&args, "").await.unwrap();
    }
    let copy = eventually("the guard policy is no longer enforced", || async {
        let mut copy = targetless_job();
        copy["metadata"]["annotations"]["operator.metalbear.co/session"] = binding.clone();
        send_request(&client, "POST", &all, &copy).await.ok()
    })
    .await;
    next.thaw().unwrap();
    let session = eventually("the copy is recorded as a separate agent", || async {
        session_of(&home.sessions().await, &copy)
    })
    .await;
    assert_eq!(session["spec"]["owner"]["username"], UNVERIFIED);
    let own_binding = eventually("the copy is bound to its own Session", || async {
        let copy = send_request(&client, "GET", &path(&copy), &Value::Null).await.ok()?;
        let own_binding = &copy["metadata"]["annotations"]["operator.metalbear.co/session"];
        (own_binding != binding).then(|| own_binding.clone())
    })
    .await;
    assert!(own_binding.as_str().unwrap().contains(uid(&session)));
}

#[tokio::test]
async fn crd_deletion_stops_no_run() {
    let cluster = Cluster::start().await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    let home = create_namespace(&cluster, "definition").await;
    // A failed list must not delete the agent, because its Session may still exist.
    let unlisted =
        send_request(&client, "POST", &job_path(&home.name, ""), &targetless_job()).await.unwrap();
    let stopped = wait_for_session(&home).await;
    wait_for_binding(&client, &home.name, name_of(&unlisted)).await;
    let roles = revoke_session_list(&cluster).await;
    let delete = ["delete", "session", name_of(&stopped), "-n", &home.name];
    cluster.admin(&delete, "").await.unwrap();
    eventually("the controller fails to look up the Session", || async {
        let log = cluster.webhook.log_text();
        log.contains("failed to list the Session of the agent").then_some(())
    })
    .await;
    let path = job_path(&home.name, name_of(&unlisted));
    send_request(&client, "GET", &path, &Value::Null).await.unwrap();
    assert!(event_notes(&home, "SessionStopped").await.is_empty());
    for role in roles {
        cluster.admin(&["replace", "-f", "-"], &role).await.unwrap();
    }
    wait_for_deletion(&client, &path).await;
    wait_for_event(&home, "SessionStopped").await;

    let job =
        send_request(&client, "POST", &job_path(&home.name, ""), &targetless_job()).await.unwrap();
    let before = wait_for_session(&home).await;
    wait_for_binding(&client, &home.name, name_of(&job)).await;
    let definition = ["delete", "crd", "sessions.operator.metalbear.co", "--timeout=60s"];
    cluster.admin(&definition, "").await.unwrap();
    eventually("the controller reports the missing CRD", || async {
        cluster.webhook.log_text().contains("the Session CRD does not exist").then_some(())
    })
    .await;
    let crd = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/sessions.yaml");
    cluster.admin(&["apply", "-f", crd], "").await.unwrap();
    let established = ["wait", "--for=condition=Established", "crd/sessions.operator.metalbear.co"];
    cluster.admin(&established, "").await.unwrap();
    let after = wait_for_session(&home).await;
    assert_eq!(after["metadata"]["name"], before["metadata"]["name"]);
    assert_ne!(uid(&after), uid(&before));
    let binding = eventually("the agent is bound to the new Session", || async {
        let binding = wait_for_binding(&client, &home.name, name_of(&job)).await;
        (binding["uid"] == uid(&after)).then_some(binding)
    })
    .await;
    assert_eq!(binding["agent"], uid(&job));
    assert_eq!(event_notes(&home, "SessionStopped").await.len(), 1);

    // The CRD can be deleted while the controller is down.
    cluster.webhook.kill().unwrap();
    cluster.admin(&definition, "").await.unwrap();
    send_request(&client, "GET", &job_path(&home.name, name_of(&job)), &Value::Null).await.unwrap();
}

/// Revokes the controller's permission to list Sessions, and returns the original roles.
async fn revoke_session_list(cluster: &Cluster) -> Vec<String> {
    let mut before = Vec::new();
    for name in [mirrord_sessions_crds::WEBHOOK_NAME, "mirrord-sessions-webhook-trackers"] {
        let role = ["get", "clusterrole", name, "-o", "json"];
        let role = cluster.admin(&role, "").await.unwrap();
        let mut role: Value = serde_json::from_str(&role).unwrap();
        role["metadata"]["resourceVersion"] = Value::Null;
        before.push(role.to_string());
        for rule in role["rules"].as_array_mut().unwrap() {
            if rule["resources"] == json!(["sessions"]) {
                let verbs = rule["verbs"].as_array_mut().unwrap();
                verbs.retain(|verb| verb != "list");
            }
        }
        cluster.admin(&["replace", "-f", "-"], &role.to_string()).await.unwrap();
    }
    let controller = mirrord_sessions_crds::CONTROLLER_USERNAME;
    let controller = cluster.plane.client(controller, &[]).await.unwrap();
    let sessions = "/apis/operator.metalbear.co/v1/sessions";
    eventually("the controller may not list Sessions", || async {
        let listed = send_request(&controller, "GET", sessions, &Value::Null).await;
        matches!(listed, Err(kube::Error::Api(status)) if status.code == 403).then_some(())
    })
    .await;
    before
}

#[tokio::test]
async fn reports_quota_denial_and_retries_with_backoff() {
    // Requests are counted for the whole cluster, so the test needs a dedicated one.
    let cluster = Cluster::start().await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    let home = create_namespace(&cluster, "quota").await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" },
        "spec": { "hard": { "count/sessions.operator.metalbear.co": "0" } },
    });
    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", home.name);
    send_request(&client, "POST", &quotas, &quota).await.unwrap();
    let attempt = json!({
        "apiVersion": "operator.metalbear.co/v1", "kind": "Session",
        "metadata": { "generateName": "try-" }, "spec": { "target": "targetless" },
    });
    let path =
        format!("/apis/operator.metalbear.co/v1/namespaces/{}/sessions?dryRun=All", home.name);
    eventually("the quota is enforced", || async {
        send_request(&client, "POST", &path, &attempt).await.err()
    })
    .await;
    let posted = async || {
        let requests = request_counts(&client).await;
        let count = requests.get("POST sessions/ operator.metalbear.co");
        count.copied().unwrap_or_default()
    };
    let (before, start) = (posted().await, Instant::now());
    let job =
        send_request(&client, "POST", &job_path(&home.name, ""), &targetless_job()).await.unwrap();
    let note = wait_for_event(&home, "SessionRefused").await;
    assert!(note.contains("quota"), "{note}");
    // The backoff doubles from 0.5 s, so five attempts take at least 7.5 s.
    let attempts = eventually_under_load("the Session is posted five times", || async {
        let attempts = posted().await - before;
        (attempts >= 5).then_some(attempts)
    })
    .await;
    let elapsed = start.elapsed();
    assert!(
        attempts == 5 && elapsed >= Duration::from_millis(7500),
        "{attempts} attempts in {elapsed:?}"
    );
    // The agent keeps running, and is recorded once the quota is deleted.
    send_request(&client, "GET", &job_path(&home.name, name_of(&job)), &Value::Null).await.unwrap();
    send_request(&client, "DELETE", &format!("{quotas}/none"), &Value::Null).await.unwrap();
    wait_for_session(&home).await;
    let notes = event_notes(&home, "SessionRefused").await;
    assert!(notes.len() <= 2, "an Event was repeated: {notes:?}");
}

#[tokio::test]
async fn never_blocks_cleanup_or_uninstall() {
    let cluster = Cluster::start().await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    let mut homes = Vec::new();
    for _ in 0..2 {
        let home = create_namespace(&cluster, "uninstall").await;
        let job = send_request(&client, "POST", &job_path(&home.name, ""), &targetless_job())
            .await
            .unwrap();
        wait_for_session(&home).await;
        wait_for_binding(&client, &home.name, name_of(&job)).await;
        homes.push((home, job));
    }
    cluster.webhook.kill().unwrap();
    // Deleting a namespace requires discovery of every registered API.
    let api = mirrord_sessions_crds::TRACKER_API_SERVICE;
    cluster.admin(&["delete", "apiservice", api], "").await.unwrap();
    let namespace = ["delete", "namespace", &homes[0].0.name, "--timeout=60s"];
    cluster.admin(&namespace, "").await.unwrap();
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/base");
    let uninstall = ["delete", "-k", base, "--ignore-not-found", "--timeout=60s"];
    cluster.admin(&uninstall, "").await.unwrap();
    let definition = ["delete", "crd", "sessions.operator.metalbear.co", "--timeout=60s"];
    cluster.admin(&definition, "").await.unwrap();
    // The bound agent keeps running and can be deleted like any Job.
    let (home, job) = &homes[1];
    let path = job_path(&home.name, name_of(job));
    send_request(&client, "DELETE", &format!("{path}?propagationPolicy=Foreground"), &Value::Null)
        .await
        .unwrap();
    wait_for_deletion(&client, &path).await;
}
