//! What goes wrong: nobody looks, the webhook is down, names are taken, definitions and quotas
//! stand in the way.

use std::time::{Duration, Instant};

use mirrord_sessions_core::controller::{AgentId, NAME_CANDIDATES, session_name};
use mirrord_sessions_tests::{
    agents::{jobs, send, targetless},
    cluster::{Cluster, Webhook},
};
use serde_json::{Value, json};

use super::fixtures::{
    admin_client, event_notes, wait_for_binding, wait_for_deletion, wait_for_event, wait_for_guard,
    wait_for_session, wait_for_sessions,
};
use super::scale::{eventually_under_load, requests};
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
    let all = jobs(&home.name, "");
    let start = async || send(&client, "POST", &all, &targetless()).await.unwrap();
    let path = |job: &Value| jobs(&home.name, name_of(job));
    let (kept, ended, stopped) = (start().await, start().await, start().await);
    let before = wait_for_sessions(&home, 3).await;
    for job in [&kept, &ended, &stopped] {
        wait_for_binding(&client, &home.name, name_of(job)).await;
    }
    let of = |sessions: &[Value], job: &Value| {
        let found = sessions.iter().find(|session| session["status"]["agent"]["uid"] == uid(job));
        found.cloned()
    };
    let stopped_session = of(&before, &stopped).unwrap();

    cluster.webhook.kill().unwrap();
    let background = |job: &Value| format!("{}?propagationPolicy=Background", path(job));
    send(&client, "DELETE", &background(&ended), &Value::Null).await.unwrap();
    // The webhook that is down would have to be asked.
    let ask_nobody =
        ["delete", "validatingwebhookconfiguration", mirrord_sessions_crds::WEBHOOK_NAME];
    cluster.admin(&ask_nobody, "").await.unwrap();
    cluster.delete_webhook_configuration().await.unwrap();
    let delete = ["delete", "session", name_of(&stopped_session), "-n", &home.name];
    eventually("the Session is deleted", || async { cluster.admin(&delete, "").await.ok() }).await;
    // The webhook is down: it runs nevertheless, and nobody can say whose it is.
    let unstamped = start().await;
    assert!(unstamped["metadata"]["annotations"].get("operator.metalbear.co/requester").is_none());
    // Its Session's first two names are taken by somebody, and all of another's.
    let id_of = |job: &Value| {
        let id = format!("Job/{}/{}/{}", home.name, name_of(job), uid(job));
        id.parse::<AgentId>().unwrap()
    };
    let crowded = start().await;
    let (id, crowded_id) = (id_of(&unstamped), id_of(&crowded));
    let mut taken: Vec<String> = (0..2).map(|n| session_name(&id, n)).collect();
    taken.extend((0..NAME_CANDIDATES).map(|n| session_name(&crowded_id, n)));
    let owner =
        json!({ "username": "admin", "groups": ["system:masters", "system:authenticated"] });
    for name in &taken {
        let stranger = json!({
            "apiVersion": "operator.metalbear.co/v1", "kind": "Session",
            "metadata": { "name": name },
            "spec": { "target": "targetless", "owner": owner, "user": "admin" },
        });
        let args = ["create", "-n", &home.name, "-f", "-"];
        cluster.admin(&args, &stranger.to_string()).await.unwrap();
    }

    let next = Webhook::start(&cluster.plane, &cluster.programs).await.unwrap();
    cluster.route_to(&next).await.unwrap();
    let recorded = eventually("the run without a stamp is recorded", || async {
        of(&home.sessions().await, &unstamped)
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
    eventually("the Session of the run that ended is closed", || async {
        of(&home.sessions().await, &ended).is_none().then_some(())
    })
    .await;
    wait_for_event(&home, "SessionEnded").await;
    // What nothing happened to is as it was.
    let after = home.sessions().await;
    assert_eq!(of(&after, &kept), of(&before, &kept));
    send(&client, "GET", &path(&kept), &Value::Null).await.unwrap();
    assert_eq!(after.len(), 12, "ten of strangers, and two of runs");

    // The other's has no name left, which is told with what to do; and goes on.
    let note = wait_for_event(&home, "SessionNamesTaken").await;
    assert!(note.contains("Delete one of them") && note.ends_with(&taken[9]), "{note}");
    assert!(of(&home.sessions().await, &crowded).is_none());
    let free = ["delete", "session", &taken[5], "-n", &home.name];
    cluster.admin(&free, "").await.unwrap();
    let recorded_late = eventually_within(Duration::from_mins(2), "it has one", || async {
        of(&home.sessions().await, &crowded)
    })
    .await;
    assert_eq!(name_of(&recorded_late), taken[5]);
    assert_eq!(event_notes(&home, "SessionNamesTaken").await.len(), 1);

    // An unverified run can be stopped like any other.
    wait_for_binding(&client, &home.name, name_of(&unstamped)).await;
    let delete = ["delete", "session", name_of(&recorded), "-n", &home.name];
    cluster.admin(&delete, "").await.unwrap();
    wait_for_deletion(&client, &path(&unstamped)).await;

    // A binding that was copied to another Job, where no guard stood in the way, binds nothing.
    let binding = send(&client, "GET", &path(&kept), &Value::Null).await.unwrap();
    let binding = &binding["metadata"]["annotations"]["operator.metalbear.co/session"];
    next.freeze().unwrap();
    for name in ["agents.mirrord-sessions", "controller-jobs.mirrord-sessions"] {
        let args = ["delete", "validatingadmissionpolicybinding", name];
        cluster.admin(&args, "").await.unwrap();
    }
    let copy = eventually("the guard is gone", || async {
        let mut copy = targetless();
        copy["metadata"]["annotations"]["operator.metalbear.co/session"] = binding.clone();
        send(&client, "POST", &all, &copy).await.ok()
    })
    .await;
    next.thaw().unwrap();
    let session = eventually("the copy is recorded as a run of its own", || async {
        of(&home.sessions().await, &copy)
    })
    .await;
    assert_eq!(session["spec"]["owner"]["username"], UNVERIFIED);
    let own = eventually("it is tied to its own Session", || async {
        let copy = send(&client, "GET", &path(&copy), &Value::Null).await.ok()?;
        let own = &copy["metadata"]["annotations"]["operator.metalbear.co/session"];
        (own != binding).then(|| own.clone())
    })
    .await;
    assert!(own.as_str().unwrap().contains(uid(&session)));
}

#[tokio::test]
async fn crd_deletion_stops_no_run() {
    let cluster = Cluster::start().await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    let home = create_namespace(&cluster, "definition").await;
    // Nor does a list that fails: nobody can say then whether the Session is there.
    let unlisted = send(&client, "POST", &jobs(&home.name, ""), &targetless()).await.unwrap();
    let stopped = wait_for_session(&home).await;
    wait_for_binding(&client, &home.name, name_of(&unlisted)).await;
    let roles = forbid_lists(&cluster).await;
    let delete = ["delete", "session", name_of(&stopped), "-n", &home.name];
    cluster.admin(&delete, "").await.unwrap();
    eventually("the controller can't look for the Session", || async {
        let log = cluster.webhook.log_text();
        log.contains("failed to list the Session of the agent").then_some(())
    })
    .await;
    let path = jobs(&home.name, name_of(&unlisted));
    send(&client, "GET", &path, &Value::Null).await.unwrap();
    assert!(event_notes(&home, "SessionStopped").await.is_empty());
    for role in roles {
        cluster.admin(&["replace", "-f", "-"], &role).await.unwrap();
    }
    wait_for_deletion(&client, &path).await;
    wait_for_event(&home, "SessionStopped").await;

    let job = send(&client, "POST", &jobs(&home.name, ""), &targetless()).await.unwrap();
    let before = wait_for_session(&home).await;
    wait_for_binding(&client, &home.name, name_of(&job)).await;
    let definition = ["delete", "crd", "sessions.operator.metalbear.co", "--timeout=60s"];
    cluster.admin(&definition, "").await.unwrap();
    eventually("the controller has missed the Session", || async {
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
    let binding = eventually("the agent is tied to the new one", || async {
        let binding = wait_for_binding(&client, &home.name, name_of(&job)).await;
        (binding["uid"] == uid(&after)).then_some(binding)
    })
    .await;
    assert_eq!(binding["agent"], uid(&job));
    assert_eq!(event_notes(&home, "SessionStopped").await.len(), 1);

    // It goes as well with the controller gone, and all else of us there.
    cluster.webhook.kill().unwrap();
    cluster.admin(&definition, "").await.unwrap();
    send(&client, "GET", &jobs(&home.name, name_of(&job)), &Value::Null).await.unwrap();
}

/// Takes the right to list Sessions from the controller; its roles as they were.
async fn forbid_lists(cluster: &Cluster) -> Vec<String> {
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
        let listed = send(&controller, "GET", sessions, &Value::Null).await;
        matches!(listed, Err(kube::Error::Api(status)) if status.code == 403).then_some(())
    })
    .await;
    before
}

#[tokio::test]
async fn reports_quota_denial_and_retries_with_backoff() {
    // Its own: all Sessions that anybody tries to create are counted.
    let cluster = Cluster::start().await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    let home = create_namespace(&cluster, "quota").await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" },
        "spec": { "hard": { "count/sessions.operator.metalbear.co": "0" } },
    });
    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", home.name);
    send(&client, "POST", &quotas, &quota).await.unwrap();
    let attempt = json!({
        "apiVersion": "operator.metalbear.co/v1", "kind": "Session",
        "metadata": { "generateName": "try-" }, "spec": { "target": "targetless" },
    });
    let path =
        format!("/apis/operator.metalbear.co/v1/namespaces/{}/sessions?dryRun=All", home.name);
    eventually("the quota holds", || async { send(&client, "POST", &path, &attempt).await.err() })
        .await;
    let posted = async || {
        let requests = requests(&client).await;
        let count = requests.get("POST sessions/ operator.metalbear.co");
        count.copied().unwrap_or_default()
    };
    let (before, start) = (posted().await, Instant::now());
    let job = send(&client, "POST", &jobs(&home.name, ""), &targetless()).await.unwrap();
    let note = wait_for_event(&home, "SessionRefused").await;
    assert!(note.contains("quota"), "{note}");
    // Half a second after the first, a second after that one, and so on: 7.5 s.
    let tried = eventually_under_load("it is tried five times", || async {
        let tried = posted().await - before;
        (tried >= 5).then_some(tried)
    })
    .await;
    let took = start.elapsed();
    assert!(tried == 5 && took >= Duration::from_millis(7500), "{tried} tries in {took:?}");
    // The run goes on, and is recorded when there is room.
    send(&client, "GET", &jobs(&home.name, name_of(&job)), &Value::Null).await.unwrap();
    send(&client, "DELETE", &format!("{quotas}/none"), &Value::Null).await.unwrap();
    wait_for_session(&home).await;
    let told = event_notes(&home, "SessionRefused").await;
    assert!(told.len() <= 2, "each reason once: {told:?}");
}

#[tokio::test]
async fn never_blocks_cleanup_or_uninstall() {
    let cluster = Cluster::start().await.unwrap();
    wait_for_guard(&cluster).await;
    let client = admin_client(&cluster).await;
    let mut homes = Vec::new();
    for _ in 0..2 {
        let home = create_namespace(&cluster, "uninstall").await;
        let job = send(&client, "POST", &jobs(&home.name, ""), &targetless()).await.unwrap();
        wait_for_session(&home).await;
        wait_for_binding(&client, &home.name, name_of(&job)).await;
        homes.push((home, job));
    }
    cluster.webhook.kill().unwrap();
    // The aggregated API of trackers would have to tell what it serves.
    let api = mirrord_sessions_crds::TRACKER_API_SERVICE;
    cluster.admin(&["delete", "apiservice", api], "").await.unwrap();
    let namespace = ["delete", "namespace", &homes[0].0.name, "--timeout=60s"];
    cluster.admin(&namespace, "").await.unwrap();
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/base");
    let uninstall = ["delete", "-k", base, "--ignore-not-found", "--timeout=60s"];
    cluster.admin(&uninstall, "").await.unwrap();
    let definition = ["delete", "crd", "sessions.operator.metalbear.co", "--timeout=60s"];
    cluster.admin(&definition, "").await.unwrap();
    // The run that was bound goes on without us, and ends like any Job.
    let (home, job) = &homes[1];
    let path = jobs(&home.name, name_of(job));
    send(&client, "DELETE", &format!("{path}?propagationPolicy=Foreground"), &Value::Null)
        .await
        .unwrap();
    wait_for_deletion(&client, &path).await;
}
