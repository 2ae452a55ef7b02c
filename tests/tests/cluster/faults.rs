//! What goes wrong in clusters: a killed process, a second replica, a Secret that is emptied, a
//! configuration that is changed or deleted.

use mirrord_sessions_tests::cluster::{Cluster, Webhook};
use serde_json::{Value, json};

use crate::support::{Namespace, admin_json, create_namespace, eventually, session_manifest};

const CONFIGURATION: &str = "mutatingwebhookconfiguration/mirrord-sessions-webhook";
const SECRET: [&str; 3] = ["secret/mirrord-sessions-webhook-ca", "-n", "mirrord-sessions"];

async fn create(namespace: &Namespace<'_>, name: &str) -> Result<String, String> {
    let args = ["create", "-n", &namespace.name, "-f", "-"];
    let manifest = session_manifest(name, json!({ "target": "a/b" })).to_string();
    namespace.cluster.admin(&args, &manifest).await.map_err(|error| error.to_string())
}

async fn stamped(namespace: &Namespace<'_>) {
    eventually("a Session is stamped", || async {
        create(namespace, &format!("s{}", namespace.sessions().await.len())).await.ok()
    })
    .await;
    for session in namespace.sessions().await {
        assert_eq!(session["spec"]["owner"]["username"], "admin");
    }
}

async fn get(cluster: &Cluster, args: &[&str]) -> Value {
    admin_json(cluster, &[&["get", "-o", "json"], args].concat()).await
}

async fn bundle(cluster: &Cluster) -> Value {
    get(cluster, &[CONFIGURATION]).await["webhooks"][0]["clientConfig"]["caBundle"].clone()
}

/// Removes the CA bundle and waits until a replica restores it.
async fn assert_bundle_is_restored(cluster: &Cluster) {
    let remove_bundle = [
        "patch",
        CONFIGURATION,
        "--type=json",
        r#"-p=[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]"#,
    ];
    cluster.admin(&remove_bundle, "").await.unwrap();
    eventually("the CA bundle is restored", || async {
        (!bundle(cluster).await.is_null()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn dead_webhook_blocks_session_writes_but_not_cleanup() {
    let cluster = Cluster::start().await.unwrap();
    let dead = create_namespace(&cluster, "dead").await;
    create(&dead, "before").await.unwrap();
    create(&dead, "with-the-namespace").await.unwrap();
    cluster.webhook.kill().unwrap();
    let error = create(&dead, "during").await.unwrap_err();
    assert!(
        error.contains("failed calling webhook \"stamp.sessions.operator.metalbear.co\""),
        "{error}"
    );
    // A label doesn't ask the webhook.
    let label = ["label", "session", "before", "-n", &dead.name, "team=payments"];
    cluster.admin(&label, "").await.unwrap();
    // Who may delete what is decided by policies, so one by one nothing is deleted.
    let delete = ["delete", "session", "before", "-n", &dead.name];
    let error = cluster.admin(&delete, "").await.unwrap_err().to_string();
    assert!(
        error.contains("failed calling webhook \"stop.sessions.operator.metalbear.co\""),
        "{error}"
    );
    // A namespace goes with all that is in it. The namespace controller only waits for every API
    // that is registered, trackers too, to tell what it serves.
    let api = mirrord_sessions_crds::TRACKER_API_SERVICE;
    cluster.admin(&["delete", "apiservice", api], "").await.unwrap();
    cluster.admin(&["delete", "namespace", &dead.name, "--timeout=60s"], "").await.unwrap();

    // Another takes over, with the CA of the first.
    let trusted = bundle(&cluster).await;
    let next = Webhook::start(&cluster.plane, &cluster.programs).await.unwrap();
    cluster.route_to(&next).await.unwrap();
    stamped(&create_namespace(&cluster, "after").await).await;
    assert_eq!(bundle(&cluster).await, trusted);

    // And ends in order.
    assert!(next.terminate().unwrap().success());
    assert!(next.log_text().contains("stopped"));

    // Uninstalling needs no webhook: the definition goes, and what was stored with it.
    cluster
        .admin(&["delete", "crd", "sessions.operator.metalbear.co", "--timeout=60s"], "")
        .await
        .unwrap();
}

#[tokio::test]
async fn replicas_share_ca_and_restore_changed_configuration() {
    let cluster = Cluster::start().await.unwrap();
    let first = &cluster.webhook;
    let second = Webhook::start(&cluster.plane, &cluster.programs).await.unwrap();
    eventually("the second replica has a certificate", || async {
        second.log_text().contains("issued a serving certificate").then_some(())
    })
    .await;
    assert!(!second.log_text().contains("storing a new certificate authority"));
    // The API server is led to the second, whose certificate it trusts already.
    let trusted = bundle(&cluster).await;
    cluster.route_to(&second).await.unwrap();
    assert_eq!(bundle(&cluster).await, trusted);
    let namespace = create_namespace(&cluster, "replicas").await;
    stamped(&namespace).await;

    // An emptied Secret: one of the two makes a new CA, both use it.
    let emptied =
        [&["patch"], &SECRET[..], &["--type=json", r#"-p=[{"op":"remove","path":"/data"}]"#]]
            .concat();
    cluster.admin(&emptied, "").await.unwrap();
    eventually("the new CA is trusted", || async {
        let secret = get(&cluster, &SECRET).await;
        let stored = secret["data"].get("ca.crt")?.clone();
        let bundle = bundle(&cluster).await;
        (bundle == stored && bundle != trusted).then_some(())
    })
    .await;
    stamped(&namespace).await;
    eventually("both replicas issued anew", || async {
        let issued =
            |webhook: &Webhook| webhook.log_text().matches("issued a serving certificate").count();
        (issued(first) == 2 && issued(&second) == 2).then_some(())
    })
    .await;

    // A Secret that holds nonsense is replaced just so.
    let nonsense =
        [&["patch"], &SECRET[..], &["--type=merge", r#"-p={"data":{"ca.key":"bm9uc2Vuc2U="}}"#]]
            .concat();
    cluster.admin(&nonsense, "").await.unwrap();
    eventually("the nonsense is gone", || async {
        (get(&cluster, &SECRET).await["data"]["ca.key"] != "bm9uc2Vuc2U=").then_some(())
    })
    .await;
    stamped(&namespace).await;

    // A bundle that somebody erased is put back.
    assert_bundle_is_restored(&cluster).await;
    stamped(&namespace).await;

    // A configuration that was deleted and applied again, without a bundle, is filled in.
    cluster.delete_webhook_configuration().await.unwrap();
    cluster.route_to(&second).await.unwrap();
    stamped(&namespace).await;
}

#[tokio::test]
async fn reconnects_after_api_server_restart() {
    let cluster = Cluster::start().await.unwrap();
    cluster.plane.start_apiserver().unwrap();
    stamped(&create_namespace(&cluster, "restart").await).await;
    // The watches are back too.
    assert_bundle_is_restored(&cluster).await;
}
