//! The `report` subresource of trackers.

use serde_json::{Value, json};

use crate::support::{
    create_developer, create_session, eventually, post, session_spec, shared, tracker_path,
    wait_for_output,
};

fn report(spec: &Value) -> String {
    json!({
        "apiVersion": "visibility.operator.metalbear.co/v1",
        "kind": "SessionReport",
        "spec": spec,
    })
    .to_string()
}

#[tokio::test]
async fn accepts_reports_of_owner() {
    let (namespace, dev) = create_developer(shared(), "reporting").await;
    create_session(&dev, "one", session_spec()).await;
    wait_for_output(&dev, &["get", "mst"], "one").await;
    let path = tracker_path(&namespace.name, "one", "/report");
    let ports = json!({
        "ports": [
            { "port": 80, "type": "steal", "filter": "header=baggage: .*mirrord-session=s3cret.*" },
            { "port": 9000, "type": "mirror" },
        ],
        "processes": ["node"],
    });
    let answer = post(&dev, &path, &report(&ports)).await.unwrap();
    assert_eq!(answer["kind"], "SessionReport");
    assert_eq!(answer["status"]["periodSeconds"], 20);
    let session = namespace.sessions().await.remove(0);
    let status = &session["status"];
    assert_eq!(
        (&status["state"], &status["ports"], &status["processes"]),
        (&json!("running"), &ports["ports"], &ports["processes"])
    );
    assert_eq!(status["lastSeen"], answer["status"]["lastSeen"]);
    let summary = "Port: 80, Type: steal, Filter: header=baggage: .*mirrord-session=s3cret.*; Port: 9000, Type: mirror";
    assert_eq!(status["portSummary"], summary);
    wait_for_output(&dev, &["get", "mst", "-o", "wide"], "running").await;

    // An immediate identical report writes nothing.
    let repeated = post(&dev, &path, &report(&ports)).await.unwrap();
    assert_eq!(repeated["status"], answer["status"]);
    let version = |session: &Value| session["metadata"]["resourceVersion"].clone();
    let now = namespace.sessions().await.remove(0);
    assert_eq!(version(&now), version(&session));

    // A report without ports removes the reported ports.
    post(&dev, &path, &report(&json!({}))).await.unwrap();
    let status = namespace.sessions().await.remove(0)["status"].clone();
    assert_eq!(status["ports"], json!([]));
    assert!(status["portSummary"].is_null(), "{status}");

    // Reports for an ended session are rejected with the reason.
    dev.kubectl(&["delete", "session", "one"], "").await;
    eventually("a report for the ended session is rejected", || async {
        let refused = post(&dev, &path, &report(&json!({}))).await.err()?;
        let reason = format!("has ended: stopped by {}", dev.name);
        refused.contains(&reason).then_some(())
    })
    .await;
}

#[tokio::test]
async fn rejects_invalid_and_unauthorized_reports() {
    let (namespace, dev) = create_developer(shared(), "reporter").await;
    create_session(&dev, "one", session_spec()).await;
    let other = namespace.user("reporter-other@example.com", &[]);
    namespace.bind_role("mirrord-operator-user", &other.name).await;
    let unprivileged = namespace.user("reporter-nobody@example.com", &[]);
    wait_for_output(&dev, &["get", "mst"], "one").await;
    let path = tracker_path(&namespace.name, "one", "/report");
    let valid = report(&json!({ "ports": [] }));
    let many = report(&json!({ "ports": vec![json!({ "port": 1, "type": "mirror" }); 1025] }));
    let escape =
        report(&json!({ "ports": [{ "port": 1, "type": "steal", "filter": "\u{1b}[2J" }] }));
    for (name, user, path, body, text) in [
        ("another user", &other, &path, &valid, "only the owner of a session may report on it"),
        ("no permission", &unprivileged, &path, &valid, "Forbidden"),
        ("no such session", &dev, &path.replace("/one/", "/two/"), &valid, "\"two\" not found"),
        ("too many ports", &dev, &path, &many, "at most 1024 items"),
        ("terminal escape sequence", &dev, &path, &escape, "control or invisible characters"),
        ("no spec", &dev, &path, &valid.replace("spec", "sepc"), "Required value"),
        ("spec that is not an object", &dev, &path, &report(&json!([1])), "expected an object"),
        (
            "truncated JSON",
            &dev,
            &path,
            &valid[..valid.len() - 2].to_owned(),
            "is not a SessionReport",
        ),
    ] {
        let refused = post(user, path, body).await.unwrap_err();
        assert!(refused.contains(text), "{name}: {refused:.600}");
    }
    let session = namespace.sessions().await.remove(0);
    assert!(session["status"]["lastSeen"].is_null(), "{session}");
}
