//! Cluster faults: killed processes, several replicas, damaged Secrets and changed configurations.

use std::time::{Duration, Instant};

use mirrord_sessions_tests::cluster::{Cluster, Webhook};
use serde_json::{Value, json};

use crate::{
    plugin::{bin, plugin},
    support::{
        Namespace, User, admin_json, create_namespace, create_session, eventually,
        eventually_within, session_manifest, wait_for_output,
    },
};

const CONFIGURATION: &str = "mutatingwebhookconfiguration/mirrord-sessions-webhook";
const SECRET: [&str; 3] = ["secret/mirrord-sessions-webhook-ca", "-n", "mirrord-sessions"];

async fn create(namespace: &Namespace<'_>, name: &str) -> Result<String, String> {
    let args = ["create", "-n", &namespace.name, "-f", "-"];
    let manifest = session_manifest(name, json!({ "target": "a/b" })).to_string();
    namespace.cluster.admin(&args, &manifest).await.map_err(|error| error.to_string())
}

/// Creates a Session and asserts that every Session of the namespace has the requester as owner.
async fn assert_sessions_are_stamped(namespace: &Namespace<'_>) {
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
    // Label changes do not call the webhook.
    let label = ["label", "session", "before", "-n", &dead.name, "team=payments"];
    cluster.admin(&label, "").await.unwrap();
    // Single Sessions cannot be deleted, because the webhook evaluates policies on deletion.
    let delete = ["delete", "session", "before", "-n", &dead.name];
    let error = cluster.admin(&delete, "").await.unwrap_err().to_string();
    assert!(
        error.contains("failed calling webhook \"stop.sessions.operator.metalbear.co\""),
        "{error}"
    );
    // A namespace can be deleted with its Sessions. The namespace controller requires discovery of
    // every registered API, so the APIService of trackers must be deleted first.
    let api = mirrord_sessions_crds::TRACKER_API_SERVICE;
    cluster.admin(&["delete", "apiservice", api], "").await.unwrap();
    cluster.admin(&["delete", "namespace", &dead.name, "--timeout=60s"], "").await.unwrap();

    // Another replica takes over with the CA of the first.
    let trusted_bundle = bundle(&cluster).await;
    let next = Webhook::start(&cluster.plane, &cluster.programs).await.unwrap();
    cluster.route_to(&next).await.unwrap();
    assert_sessions_are_stamped(&create_namespace(&cluster, "after").await).await;
    assert_eq!(bundle(&cluster).await, trusted_bundle);

    // The replica shuts down gracefully.
    assert!(next.terminate().unwrap().success());
    assert!(next.log_text().contains("stopped"));

    // The CRD and its Sessions can be deleted without a webhook.
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
    // The API server already trusts the certificate of the second replica.
    let trusted_bundle = bundle(&cluster).await;
    cluster.route_to(&second).await.unwrap();
    assert_eq!(bundle(&cluster).await, trusted_bundle);
    let namespace = create_namespace(&cluster, "replicas").await;
    assert_sessions_are_stamped(&namespace).await;

    // The Secret is emptied: one replica creates a new CA and both use it.
    let empty_secret =
        [&["patch"], &SECRET[..], &["--type=json", r#"-p=[{"op":"remove","path":"/data"}]"#]]
            .concat();
    cluster.admin(&empty_secret, "").await.unwrap();
    eventually("the new CA is trusted", || async {
        let secret = get(&cluster, &SECRET).await;
        let stored = secret["data"].get("ca.crt")?.clone();
        let bundle = bundle(&cluster).await;
        (bundle == stored && bundle != trusted_bundle).then_some(())
    })
    .await;
    assert_sessions_are_stamped(&namespace).await;
    eventually("both replicas have issued new certificates", || async {
        let issued =
            |webhook: &Webhook| webhook.log_text().matches("issued a serving certificate").count();
        (issued(first) == 2 && issued(&second) == 2).then_some(())
    })
    .await;

    // An invalid key in the Secret is replaced.
    let invalid_key =
        [&["patch"], &SECRET[..], &["--type=merge", r#"-p={"data":{"ca.key":"bm9uc2Vuc2U="}}"#]]
            .concat();
    cluster.admin(&invalid_key, "").await.unwrap();
    eventually("the invalid key is replaced", || async {
        (get(&cluster, &SECRET).await["data"]["ca.key"] != "bm9uc2Vuc2U=").then_some(())
    })
    .await;
    assert_sessions_are_stamped(&namespace).await;

    // A removed CA bundle is restored.
    assert_bundle_is_restored(&cluster).await;
    assert_sessions_are_stamped(&namespace).await;

    // A recreated configuration without a CA bundle is completed.
    cluster.delete_webhook_configuration().await.unwrap();
    cluster.route_to(&second).await.unwrap();
    assert_sessions_are_stamped(&namespace).await;
}

#[tokio::test]
async fn reconnects_after_api_server_restart() {
    let cluster = Cluster::start().await.unwrap();
    cluster.plane.start_apiserver().unwrap();
    assert_sessions_are_stamped(&create_namespace(&cluster, "restart").await).await;
    // The watches of the webhook are re-established.
    assert_bundle_is_restored(&cluster).await;
}

/// Runs the plugin as a developer on a cluster whose webhook does not answer, and asserts that each
/// command says so within seconds.
async fn assert_plugin_reports_hanging_webhook(cluster: &Cluster, dev: &User<'_>, phase: &str) {
    let bin = bin(cluster);
    for (args, expected, limit) in [
        // The developer has the role that an error about missing rights would advise.
        (&["list"][..], "sessiontrackers.visibility.operator.metalbear.co is not available now", 8),
        (&["describe", "487f4f2b6d2376ad"], "is not available now", 8),
        (&["join", "487f4f2b6d2376ad"], "is not available now", 8),
        (
            &["run", "--", "true"],
            "the webhook \"stamp.sessions.operator.metalbear.co\" did not answer in time: try again later",
            10,
        ),
        (
            &["delete", "487f4f2b6d2376ad"],
            "the webhook \"stop.sessions.operator.metalbear.co\" did not answer in time: try again later",
            12,
        ),
        (
            &["status"],
            "the API server can't reach it: the webhook \"stamp.sessions.operator.metalbear.co\" did not answer in time",
            9,
        ),
    ] {
        let args = [args, &["-n", dev.namespace()]].concat();
        // The namespace of `run` precedes its command.
        let args = if args[0] == "run" {
            ["run", "-n", dev.namespace(), "--", "true"].to_vec()
        } else {
            args
        };
        let start = Instant::now();
        let output = plugin(&bin, dev.kubeconfig(), &args).await;
        let elapsed = start.elapsed();
        let text = format!("{phase}: {args:?} after {elapsed:?}: {output:?}");
        assert!(!output.status.success(), "{text}");
        let printed = format!("{}{}", output.stdout, output.stderr);
        assert!(printed.contains(expected), "{text}");
        for wrong in ["rolebinding", "does not serve", "InternalError): Internal"] {
            assert!(!printed.contains(wrong), "{text}");
        }
        assert!(elapsed.as_secs() < limit, "{text}");
    }
}

#[tokio::test]
async fn plugin_reports_hanging_webhook_within_seconds() {
    let cluster = Cluster::start().await.unwrap();
    let namespace = create_namespace(&cluster, "hanging").await;
    let dev = namespace.user("hanging-dev", &[]);
    namespace.bind_role("mirrord-operator-user", &dev.name).await;
    create_session(&dev, "487f4f2b6d2376ad", json!({ "target": "a/b" })).await;
    let trackers = ["get", "sessiontrackers", "-o", "name"];
    wait_for_output(&dev, &trackers, "487f4f2b6d2376ad").await;
    cluster.webhook.freeze().unwrap();
    assert_plugin_reports_hanging_webhook(&cluster, &dev, "before the aggregator notices").await;
    let api = mirrord_sessions_crds::TRACKER_API_SERVICE;
    eventually_within(Duration::from_mins(2), "the APIService is unavailable", || async {
        let service = get(&cluster, &["apiservice", api]).await;
        let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_unavailable =
            |condition: &Value| condition["type"] == "Available" && condition["status"] == "False";
        conditions.iter().any(is_unavailable).then_some(())
    })
    .await;
    assert_plugin_reports_hanging_webhook(&cluster, &dev, "after the aggregator noticed").await;
    cluster.webhook.thaw().unwrap();
    eventually("the plugin lists again", || async {
        let output =
            plugin(&bin(&cluster), dev.kubeconfig(), &["list", "-n", dev.namespace()]).await;
        output.stdout.contains("487F4F2B6D2376AD").then_some(())
    })
    .await;
}
