//! Trackers of ended sessions, which are retained for some time.

use mirrord_sessions_tests::cluster::{Cluster, Webhook};
use serde_json::{Value, json};

use crate::support::{
    User, create_developer, create_session, eventually, session_spec, shared, trackers_path,
    wait_for_output,
};

/// Label of the Secrets that store ended sessions.
const RECORD_LABEL: &str = "visibility.operator.metalbear.co/record";

/// Prints the stored records of ended sessions that a label selector selects.
async fn records(cluster: &Cluster, selector: &str, format: &str) -> String {
    let args = ["get", "secret", "-n", "mirrord-sessions", "-l", selector, "-o", format];
    cluster.admin(&args, "").await.unwrap()
}

/// Waits until the status of a tracker has these fields, and returns the tracker.
async fn wait_for_status(user: &User<'_>, name: &str, fields: Value) -> Value {
    eventually(&format!("the status of {name} contains {fields}"), || async {
        let output = user.kubectl(&["get", "mst", name, "-o", "json"], "").await;
        let tracker: Value = serde_json::from_str(&output.stdout).ok()?;
        let status = &tracker["status"];
        let matches =
            fields.as_object().unwrap().iter().all(|(field, value)| status[field] == *value);
        matches.then_some(tracker)
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

    // A dry run does not end the session.
    let output = other.kubectl(&["delete", "session", "one", "--dry-run=server"], "").await;
    assert!(output.status.success(), "{output:?}");
    let output = other.kubectl(&["delete", "session", "one"], "").await;
    assert!(output.status.success(), "{output:?}");
    let expected = json!({ "state": "terminated", "reason": "stopped", "stoppedBy": other.name });
    let tracker = wait_for_status(&dev, "one", expected).await;
    assert!(tracker["status"]["endedAt"].is_string(), "{tracker}");
    assert!(!tracker.to_string().contains("s3cret"), "{tracker}");
    assert_eq!(tracker["spec"]["owner"]["username"], dev.name);
    let live = ["get", "mst", "-o", "name", "--field-selector=status.state!=terminated"];
    let listed = dev.kubectl(&live, "").await.stdout;
    assert!(listed.contains("/two") && !listed.contains("/one"), "{listed}");

    // A new session of the same name replaces the ended one.
    create_session(&dev, "one", json!({ "target": "pod/y" })).await;
    let replacement = wait_for_status(&dev, "one", json!({ "state": "pending" })).await;
    assert_ne!(replacement["metadata"]["uid"], tracker["metadata"]["uid"]);
    // One delete-collection ends all sessions.
    let path = format!("/apis/operator.metalbear.co/v1/namespaces/{}/sessions", namespace.name);
    let output = dev.kubectl(&["delete", "--raw", &path], "").await;
    assert!(output.status.success(), "{output:?}");
    for name in ["one", "two"] {
        let expected = json!({ "state": "terminated", "stoppedBy": dev.name });
        wait_for_status(&dev, name, expected).await;
    }
    // The stored records do not contain keys.
    let decoded = "go-template={{range .items}}{{.data.tracker | base64decode}}\n{{end}}";
    eventually("three records are stored", || async {
        let label = format!("{RECORD_LABEL}=terminated");
        let records = records(namespace.cluster, &label, decoded).await;
        assert!(!records.contains("s3cret"), "{records}");
        (records.matches(&format!("\"namespace\":\"{}\"", namespace.name)).count() == 3)
            .then_some(())
    })
    .await;
}

/// Checks that a watch sends `terminated` with the resource version of the deletion.
///
/// A client that resumes from this version misses no event.
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
    let ended =
        wait_for_status(&dev, "one", json!({ "state": "terminated", "stoppedBy": dev.name })).await;
    let events = raw(&format!("?watch=1&timeoutSeconds=1&resourceVersion={version}")).await;
    let event: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    assert_eq!(event["type"], "MODIFIED");
    assert_eq!(event["object"]["status"]["state"], "terminated");
    let version_at_end = &ended["metadata"]["resourceVersion"];
    assert_eq!(event["object"]["metadata"]["resourceVersion"], *version_at_end);
    assert!(version_at_end.as_str().unwrap().parse::<u64>().unwrap() > version.parse().unwrap());
}

/// Checks a replica that ran during the deletion and one that starts after all others are killed.
#[tokio::test]
async fn serves_ended_sessions_on_every_replica_and_after_restart() {
    let cluster = Cluster::start().await.unwrap();
    let (_namespace, dev) = create_developer(&cluster, "retained").await;
    let start = async |args: &[&str]| {
        Webhook::start_with(&cluster.plane, &cluster.programs, args).await.unwrap()
    };
    let second = start(&[]).await;
    create_session(&dev, "one", session_spec()).await;
    create_session(&dev, "two", session_spec()).await;
    wait_for_output(&dev, &["get", "mst"], "two").await;
    eventually("the second replica has listed the sessions", || async {
        second.log_text().contains("listed sessions").then_some(())
    })
    .await;
    dev.kubectl(&["delete", "session", "one"], "").await;
    let by_dev = json!({ "state": "terminated", "reason": "stopped", "stoppedBy": dev.name });
    let first = wait_for_status(&dev, "one", by_dev.clone()).await;

    // The leader, which also admitted the deletion, is killed.
    cluster.webhook.kill().unwrap();
    cluster.route_to(&second).await.unwrap();
    let tracker = wait_for_status(&dev, "one", by_dev.clone()).await;
    assert_eq!(tracker["metadata"], first["metadata"]);
    // A session that is deleted without the webhook ends without a known requester.
    let configuration = ["delete", "validatingwebhookconfiguration", "mirrord-sessions-webhook"];
    cluster.admin(&configuration, "").await.unwrap();
    eventually("sessions can be deleted without the webhook", || async {
        let output = dev.kubectl(&["delete", "session", "two"], "").await;
        output.status.success().then_some(())
    })
    .await;

    // A new replica reads the stored records.
    eventually("both records are stored", || async {
        let records = records(&cluster, RECORD_LABEL, "name").await;
        (records.lines().count() == 2).then_some(())
    })
    .await;
    second.kill().unwrap();
    let third = start(&["--keep-terminated=1h"]).await;
    cluster.route_to(&third).await.unwrap();
    let tracker = wait_for_status(&dev, "one", by_dev).await;
    assert_eq!((&tracker["metadata"], &tracker["spec"]), (&first["metadata"], &first["spec"]));
    let two = wait_for_status(&dev, "two", json!({ "state": "terminated" })).await;
    assert!(matches!(two["status"]["reason"].as_str(), Some("deleted" | "stopped")), "{two}");

    // Expired records are neither served nor stored.
    third.kill().unwrap();
    let fourth = start(&["--keep-terminated=1s"]).await;
    cluster.route_to(&fourth).await.unwrap();
    eventually("no tracker is served", || async {
        let output = dev.kubectl(&["get", "mst", "-o", "name"], "").await;
        (output.status.success() && output.stdout.is_empty()).then_some(())
    })
    .await;
    eventually("no record is stored", || async {
        let records = records(&cluster, RECORD_LABEL, "name").await;
        records.is_empty().then_some(())
    })
    .await;
}
