//! Sessions that were created for a run before its agent, as `kubectl mirrord-sessions run` does.

use mirrord_sessions_tests::{
    agents::{jobs, send, targeted, targetless},
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

/// The job of an agent whose run has a Session of that name already.
fn of_session(mut job: Value, name: &str) -> Value {
    job["metadata"]["annotations"]["operator.metalbear.co/session-name"] = json!(name);
    job
}

async fn create(user: &User<'_>, name: &str, target: &str) {
    let manifest = session_manifest(name, json!({ "target": target })).to_string();
    let created = user.kubectl(&["create", "-f", "-"], &manifest).await;
    assert!(created.status.success(), "{created:?}");
}

/// The Session of that name, once it says that it has this agent; or none, if that is empty.
async fn with_agent(namespace: &Namespace<'_>, name: &str, agent: &str) -> Value {
    eventually("the Session has its agent", || async {
        let sessions = namespace.sessions().await;
        let session = sessions.into_iter().find(|it| name_of(it) == name)?;
        let shown = session["status"]["agent"]["name"].as_str();
        (shown.unwrap_or_default() == agent).then_some(session)
    })
    .await
}

async fn end(client: &kube::Client, job: &str) {
    let path = format!("{job}?propagationPolicy=Background");
    send(client, "DELETE", &path, &Value::Null).await.unwrap();
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
    let own = || of_session(targeted(&target.container, &node), NAME);

    let job = start_agent(&dev, &home.name, &own()).await;
    let wrapper = with_agent(&shop, NAME, name_of(&job)).await;
    assert_eq!(wrapper["status"]["state"], "running");
    let binding = wait_for_binding(&client, &home.name, name_of(&job)).await;
    assert_eq!(binding["uid"], wrapper["metadata"]["uid"]);
    assert_eq!(binding["owner"], alice.name.as_str());

    // Others that name it get their own: a second agent, a stranger, one elsewhere, one of a
    // hostile name.
    let mallory = developer_client(cluster, "wrapped-mallory@example.com", &[&home.name]).await;
    let others = [
        start_agent(&dev, &home.name, &own()).await,
        start_agent(&mallory, &home.name, &own()).await,
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
        start_agent(&dev, &home.name, &of_session(targetless(), name)).await;
    }
    wait_for_sessions(&home, 3).await;

    // Its agent's end isn't the wrapper's, which may start another.
    for other in &others {
        end(&client, &jobs(&home.name, name_of(other))).await;
    }
    end(&client, &jobs(&home.name, name_of(&job))).await;
    with_agent(&shop, NAME, "").await;
    eventually("the others' Sessions are closed", || async {
        (shop.sessions().await.len() == 1).then_some(())
    })
    .await;
    let again = start_agent(&dev, &home.name, &own()).await;
    let same = with_agent(&shop, NAME, name_of(&again)).await;
    assert_eq!(same["metadata"]["uid"], wrapper["metadata"]["uid"]);
    wait_for_binding(&client, &home.name, name_of(&again)).await;
    assert_eq!(shop.sessions().await.len(), 1);

    // Somebody stops it, and the agent with it.
    cluster.admin(&["delete", "session", NAME, "-n", &shop.name], "").await.unwrap();
    wait_for_deletion(&client, &jobs(&home.name, name_of(&again))).await;
    let told = wait_for_event(&shop, "SessionStopped").await;
    assert!(told.contains("it was stopped by admin"), "{told}");
    assert!(shop.sessions().await.is_empty());

    // Its command ends before the agent does: nobody stopped it, and nobody but its owner may say
    // so.
    create(&alice, NAME, "deployment/ip-visit-counter").await;
    let last = start_agent(&dev, &home.name, &own()).await;
    with_agent(&shop, NAME, name_of(&last)).await;
    wait_for_binding(&client, &home.name, name_of(&last)).await;
    let path = tracker_path(&shop.name, NAME, "/report");
    let over = json!({
        "apiVersion": "visibility.operator.metalbear.co/v1", "kind": "SessionReport",
        "spec": { "ended": true },
    })
    .to_string();
    let bob = shop.user("wrapped-bob@example.com", &["devs"]);
    shop.bind_role("mirrord-operator-user", &bob.name).await;
    let refused = post(&bob, &path, &over).await.unwrap_err();
    assert!(refused.contains("only the owner"), "{refused}");
    assert_eq!(shop.sessions().await.len(), 1);
    post(&alice, &path, &over).await.unwrap();
    wait_for_deletion(&client, &jobs(&home.name, name_of(&last))).await;
    eventually("an Event tells that the command ended", || async {
        let notes = event_notes(&shop, "SessionEnded").await;
        notes.into_iter().find(|note| note.ends_with(": its command ended."))
    })
    .await;
    assert_eq!(event_notes(&shop, "SessionStopped").await.len(), 1, "the one of before");
    assert!(shop.sessions().await.is_empty());
}

const REFUSAL: &str = "refused.example.com";

/// Nobody deletes Sessions in this namespace until the binding is gone.
async fn refuse_deletes(cluster: &Cluster, namespace: &str) {
    let kind = "admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": kind, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": REFUSAL },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": ["operator.metalbear.co"], "apiVersions": ["*"],
                "operations": ["DELETE"], "resources": ["sessions"],
            }] },
            "validations": [{ "expression": format!("request.namespace != '{namespace}'") }],
        },
    });
    let binding = json!({
        "apiVersion": kind, "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": REFUSAL },
        "spec": { "policyName": REFUSAL, "validationActions": ["Deny"] },
    });
    for object in [policy, binding] {
        let args = ["create", "-f", "-"];
        cluster.admin(&args, &object.to_string()).await.unwrap();
    }
    let delete = ["delete", "session", "never-reported", "--dry-run=server", "-n", namespace];
    eventually("deletes are refused", || async { cluster.admin(&delete, "").await.err() }).await;
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
    let names = ["silent", "talking", "never-reported", "promised"];
    for name in names {
        let mut manifest = session_manifest(name, json!({ "target": "targetless" }));
        if name == "promised" {
            // The answer to its creation was lost, and whoever created it is gone.
            manifest["metadata"]["annotations"] =
                json!({ "operator.metalbear.co/reports": "true" });
        }
        let args = ["create", "-n", &home.name, "-f", "-"];
        cluster.admin(&args, &manifest.to_string()).await.unwrap();
    }
    refuse_deletes(&cluster, &home.name).await;
    let report = async |name: &str| {
        let body = json!({
            "apiVersion": "visibility.operator.metalbear.co/v1", "kind": "SessionReport", "spec": {},
        });
        let path = tracker_path(&home.name, name, "/report");
        send(&client, "POST", &path, &body).await.ok()
    };
    for name in &names[..2] {
        let answer = eventually("it is reported about", || report(name)).await;
        assert_eq!(answer["status"]["periodSeconds"], 1, "{answer}");
    }
    // What can't be deleted for a while is tried again.
    eventually("it could not be closed", || async {
        report("talking").await;
        let log = webhook.log_text();
        log.contains("failed to delete an expired Session").then_some(())
    })
    .await;
    assert_eq!(home.sessions().await.len(), names.len());
    let allow = ["delete", "validatingadmissionpolicybinding", REFUSAL];
    cluster.admin(&allow, "").await.unwrap();
    // One goes on to report for longer than the other takes to expire.
    let left = || async {
        let sessions = home.sessions().await;
        let names = sessions.iter().map(|it| name_of(it).to_owned());
        names.collect::<Vec<_>>()
    };
    let still = eventually("the silent ones are closed", || async {
        report("talking").await;
        let left = left().await;
        let is_left = |name: &str| left.iter().any(|left| left == name);
        (!is_left("silent") && !is_left("promised")).then_some(left)
    })
    .await;
    assert_eq!(still, ["never-reported", "talking"]);
    let path = tracker_path(&home.name, "silent", "");
    let tracker = send(&client, "GET", &path, &Value::Null).await.unwrap();
    assert_eq!(tracker["status"]["state"], "terminated");
    assert_eq!(tracker["status"]["reason"], "expired");
    assert!(tracker["status"]["stoppedBy"].is_null(), "{tracker}");
    let told = eventually("both are told of", || async {
        let mut told = event_notes(&home, "SessionExpired").await;
        told.sort();
        (told.len() == 2).then_some(told)
    })
    .await;
    assert!(told[0].contains("Session promised of"), "{told:?}");
    let told = &told[1];
    assert!(
        told.contains("Session silent of admin on targetless ended after")
            && told.ends_with("it expired without reports, which does not stop its process."),
        "{told}"
    );
    eventually("the other is closed when it falls silent", || async {
        (left().await == ["never-reported"]).then_some(())
    })
    .await;
}
