//! Sessions that have ended, which are shown for a while.

use mirrord_sessions_tests::cluster::{Cluster, Webhook};
use serde_json::{Value, json};

use crate::support::{
    User, create_developer, create_session, eventually, session_spec, shared, trackers_path,
    wait_for_output,
};

/// The tracker, when its status has these fields.
async fn shown(user: &User<'_>, name: &str, fields: Value) -> Value {
    eventually(&format!("{name} shows {fields}"), || async {
        let output = user.kubectl(&["get", "mst", name, "-o", "json"], "").await;
        let tracker: Value = serde_json::from_str(&output.stdout).ok()?;
        let status = &tracker["status"];
        let as_told =
            fields.as_object().unwrap().iter().all(|(field, value)| status[field] == *value);
        as_told.then_some(tracker)
    })
    .await
}

#[tokio::test]
async fn shows_deletion_reason_and_requester() {
    let (namespace, dev) = create_developer(shared(), "ended").await;
    let other = namespace.user("ended-other@example.com", &[]);
    namespace.bind_role("mirrord-operator-user", &other.name).await;
    create_session(&dev, "one", session_spec()).await;
    create_session(&dev, "two", session_spec()).await;
    wait_for_output(&dev, &["get", "mst"], "two").await;

    // A delete that is only tried ends nothing.
    let tried = other.kubectl(&["delete", "session", "one", "--dry-run=server"], "").await;
    assert!(tried.status.success(), "{tried:?}");
    let output = other.kubectl(&["delete", "session", "one"], "").await;
    assert!(output.status.success(), "{output:?}");
    let expected = json!({ "state": "terminated", "reason": "stopped", "stoppedBy": other.name });
    let tracker = shown(&dev, "one", expected).await;
    assert!(tracker["status"]["endedAt"].is_string(), "{tracker}");
    assert!(!tracker.to_string().contains("s3cret"), "{tracker}");
    assert_eq!(tracker["spec"]["owner"]["username"], dev.name);
    let live = ["get", "mst", "-o", "name", "--field-selector=status.state!=terminated"];
    let listed = dev.kubectl(&live, "").await.stdout;
    assert!(listed.contains("/two") && !listed.contains("/one"), "{listed}");

    // Another session of that name hides it.
    create_session(&dev, "one", json!({ "target": "pod/y" })).await;
    let again = shown(&dev, "one", json!({ "state": "pending" })).await;
    assert_ne!(again["metadata"]["uid"], tracker["metadata"]["uid"]);
    // All at once, by one.
    let path = format!("/apis/operator.metalbear.co/v1/namespaces/{}/sessions", namespace.name);
    let output = dev.kubectl(&["delete", "--raw", &path], "").await;
    assert!(output.status.success(), "{output:?}");
    for name in ["one", "two"] {
        let expected = json!({ "state": "terminated", "stoppedBy": dev.name });
        shown(&dev, name, expected).await;
    }
    // What ended is kept without keys too.
    let records = [
        "get",
        "configmap",
        "-n",
        "mirrord-sessions",
        "-l",
        "visibility.operator.metalbear.co/record=terminated",
        "-o",
        "json",
    ];
    eventually("the three are kept", || async {
        let records = namespace.cluster.admin(&records, "").await.unwrap();
        assert!(!records.contains("s3cret"), "{records}");
        (records.matches(&format!("\\\"namespace\\\":\\\"{}\\\"", namespace.name)).count() == 3)
            .then_some(())
    })
    .await;
}

/// A watch tells `terminated` with the version of the deletion, and a client that comes back there
/// has missed nothing.
#[tokio::test]
async fn watch_emits_terminated_at_deletion_version() {
    let (namespace, dev) = create_developer(shared(), "endwatch").await;
    create_session(&dev, "one", session_spec()).await;
    wait_for_output(&dev, &["get", "mst"], "one").await;
    let base = trackers_path(&namespace.name);
    let raw = async |query: &str| {
        dev.kubectl(&["get", "--raw", &format!("{base}{query}")], "").await.stdout
    };
    let before: Value = serde_json::from_str(&raw("").await).unwrap();
    let version = before["metadata"]["resourceVersion"].as_str().unwrap();
    dev.kubectl(&["delete", "session", "one"], "").await;
    let ended = shown(&dev, "one", json!({ "state": "terminated", "stoppedBy": dev.name })).await;
    let told = raw(&format!("?watch=1&timeoutSeconds=1&resourceVersion={version}")).await;
    let event: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(event["type"], "MODIFIED");
    assert_eq!(event["object"]["status"]["state"], "terminated");
    let at = &ended["metadata"]["resourceVersion"];
    assert_eq!(event["object"]["metadata"]["resourceVersion"], *at);
    assert!(at.as_str().unwrap().parse::<u64>().unwrap() > version.parse().unwrap());
}

/// Every replica shows what ended: one that was there, and one that comes when the others are gone.
#[tokio::test]
async fn serves_ended_sessions_on_every_replica_and_after_restart() {
    let cluster = Cluster::start().await.unwrap();
    let (_namespace, dev) = create_developer(&cluster, "kept").await;
    let start = async |args: &[&str]| {
        Webhook::start_with(&cluster.plane, &cluster.programs, args).await.unwrap()
    };
    let second = start(&[]).await;
    create_session(&dev, "one", session_spec()).await;
    create_session(&dev, "two", session_spec()).await;
    wait_for_output(&dev, &["get", "mst"], "two").await;
    eventually("the second has read the sessions", || async {
        second.log_text().contains("listed sessions").then_some(())
    })
    .await;
    dev.kubectl(&["delete", "session", "one"], "").await;
    let by_dev = json!({ "state": "terminated", "reason": "stopped", "stoppedBy": dev.name });
    let first = shown(&dev, "one", by_dev.clone()).await;

    // The one that was asked, and leads, is gone.
    cluster.webhook.kill().unwrap();
    cluster.route_to(&second).await.unwrap();
    let there = shown(&dev, "one", by_dev.clone()).await;
    assert_eq!(there["metadata"], first["metadata"]);
    // What is deleted past every webhook ended too, for no known reason.
    let configuration = ["delete", "validatingwebhookconfiguration", "mirrord-sessions-webhook"];
    cluster.admin(&configuration, "").await.unwrap();
    eventually("nobody is asked", || async {
        let output = dev.kubectl(&["delete", "session", "two"], "").await;
        output.status.success().then_some(())
    })
    .await;

    // One that has seen nothing of it, when it is kept.
    let records = [
        "get",
        "configmap",
        "-n",
        "mirrord-sessions",
        "-l",
        "visibility.operator.metalbear.co/record",
        "-o",
        "name",
    ];
    eventually("both are kept", || async {
        let records = cluster.admin(&records, "").await.unwrap();
        (records.lines().count() == 2).then_some(())
    })
    .await;
    second.kill().unwrap();
    let third = start(&["--keep-terminated=1h"]).await;
    cluster.route_to(&third).await.unwrap();
    let there = shown(&dev, "one", by_dev).await;
    assert_eq!((&there["metadata"], &there["spec"]), (&first["metadata"], &first["spec"]));
    let two = shown(&dev, "two", json!({ "state": "terminated" })).await;
    assert!(matches!(two["status"]["reason"].as_str(), Some("deleted" | "stopped")), "{two}");

    // When its time is up, it is neither shown nor kept.
    third.kill().unwrap();
    let fourth = start(&["--keep-terminated=1s"]).await;
    cluster.route_to(&fourth).await.unwrap();
    eventually("nothing is shown any more", || async {
        let output = dev.kubectl(&["get", "mst", "-o", "name"], "").await;
        (output.status.success() && output.stdout.is_empty()).then_some(())
    })
    .await;
    eventually("nothing is kept any more", || async {
        let records = cluster.admin(&records, "").await.unwrap();
        records.is_empty().then_some(())
    })
    .await;
}
