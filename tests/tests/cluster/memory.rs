//! Memory of a replica under attack. The limit of its container is 256 MiB.
//!
//! Run `cargo test --package mirrord-sessions-tests --test cluster memory` for this attack alone.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use http::Request;
use kube::{Client, Config};
use mirrord_sessions_crds::CONTROLLER_USERNAME;
use mirrord_sessions_tests::{
    agents::send_request,
    cluster::{Cluster, Webhook},
};
use serde_json::{Value, json};

use crate::support::{
    Namespace, create_namespace, create_session, eventually_within, post, session_manifest,
    session_spec, tracker_path, wait_for_output,
};

const LIMIT: u64 = 256 << 20;
const SESSIONS: usize = 150;

/// Returns a field of the memory statistics of a process, in bytes.
fn memory(webhook: &Webhook, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", webhook.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    let kilobytes: u64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).trim().parse().unwrap();
    kilobytes << 10
}

fn assert_below_limit(webhook: &Webhook, attack: &str) {
    let peak = memory(webhook, "VmHWM");
    println!("{attack}: {} MiB, at most {} MiB", memory(webhook, "VmRSS") >> 20, peak >> 20);
    assert!(peak < LIMIT, "{attack}: {peak} bytes");
}

/// Returns a client that reaches the process without the API server.
fn direct_client(webhook: &Webhook) -> Client {
    let address = format!("https://127.0.0.1:{}", webhook.port());
    let mut config = Config::new(address.parse().unwrap());
    config.accept_invalid_certs = true;
    Client::try_from(config).unwrap()
}

/// Posts deletion reviews of Sessions that do not exist, with a long uid and user name.
async fn post_reviews(webhook: &Webhook, count: usize) {
    let client = direct_client(webhook);
    stream::iter(0..count)
        .for_each_concurrent(4, async |n| {
            let uid = format!("{n}{}", "u".repeat(4_000_000));
            let object = json!({
                "apiVersion": "operator.metalbear.co/v1", "kind": "Session",
                "metadata": { "name": "a", "namespace": "b", "uid": uid, "resourceVersion": "1" },
                "spec": { "target": "targetless" },
            });
            let review = json!({
                "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "request": {
                    "uid": "x", "operation": "DELETE", "name": "a", "namespace": "b",
                    "kind": { "group": "operator.metalbear.co", "version": "v1", "kind": "Session" },
                    "resource": {
                        "group": "operator.metalbear.co", "version": "v1", "resource": "sessions",
                    },
                    "userInfo": { "username": "n".repeat(900_000), "groups": [] },
                    "object": null, "oldObject": object,
                },
            });
            let request = Request::post("/admission/v1/sessions/stop")
                .header("content-type", "application/json")
                .body(review.to_string().into_bytes())
                .unwrap();
            // Any answer will do, also a refusal.
            let _ = client.request_text(request).await;
        })
        .await;
}

/// Creates Sessions with large labels, and statuses as large as the schema allows.
async fn create_large_sessions(namespace: &Namespace<'_>, client: &Client) {
    let path = format!("/apis/operator.metalbear.co/v1/namespaces/{}/sessions", namespace.name);
    let filter = format!("header={}", "x".repeat(4000));
    let ports = vec![json!({ "port": 80, "type": "steal", "filter": filter }); 62];
    let status = json!({ "status": {
        "state": "running", "ports": ports, "portSummary": "y".repeat(250_000),
    } });
    stream::iter(0..SESSIONS)
        .for_each_concurrent(4, async |n| {
            let name = format!("large-{n}");
            let mut session = session_manifest(&name, session_spec());
            let labels = (0..60).map(|n| (format!("l{n}"), json!("v".repeat(63))));
            session["metadata"]["labels"] = Value::Object(labels.collect());
            session["spec"]["owner"] = json!({ "username": "admin" });
            send_request(client, "POST", &path, &session).await.unwrap();
            let path = format!("{path}/{name}/status");
            send_request(client, "PATCH", &path, &status).await.unwrap();
        })
        .await;
}

#[tokio::test]
async fn memory_is_bounded_under_attack() {
    let cluster = Cluster::start().await.unwrap();
    let webhook = &cluster.webhook;
    let namespace = create_namespace(&cluster, "attack").await;
    let dev = namespace.user("attack@example.com", &["devs"]);
    namespace.bind_role("mirrord-operator-user", &dev.name).await;

    post_reviews(webhook, 60).await;
    assert_below_limit(webhook, "reviews of Sessions that do not exist");

    // A report over its bound is refused, and those within it cannot come faster than their rate.
    create_session(&dev, "reported", session_spec()).await;
    wait_for_output(&dev, &["get", "mst"], "reported").await;
    let path = tracker_path(&namespace.name, "reported", "/report");
    let report = |size: usize, n: usize| {
        let filter = format!("header={n}{}", "x".repeat(4000));
        let port = json!({ "port": 80, "type": "steal", "filter": filter });
        let ports = vec![port; size / 4100];
        let kind = "SessionReport";
        let version = "visibility.operator.metalbear.co/v1";
        json!({ "apiVersion": version, "kind": kind, "spec": { "ports": ports } }).to_string()
    };
    let refused = post(&dev, &path, &report(248 << 10, 0)).await.unwrap_err();
    assert!(refused.contains("the body is over 32 KiB"), "{refused:.300}");
    let user = cluster.plane.client(&dev.name, &["devs"]).await.unwrap();
    // The client waits and sends a report again when its rate is over the limit.
    let start = Instant::now();
    let answers: Vec<bool> = stream::iter(0..40)
        .map(|n| {
            let body = serde_json::from_str(&report(14 << 10, n)).unwrap();
            let (user, path) = (user.clone(), path.clone());
            async move { send_request(&user, "POST", &path, &body).await.is_ok() }
        })
        .buffered(4)
        .collect()
        .await;
    let stored = answers.iter().filter(|stored| **stored).count() as u64;
    let seconds = start.elapsed().as_secs();
    assert!((10..=12 + seconds).contains(&stored), "{stored} reports in {seconds} s");
    assert_below_limit(webhook, "reports");

    // Only the controller may write a status, as an earlier release did.
    let client = cluster.plane.client(CONTROLLER_USERNAME, &["system:masters"]).await.unwrap();
    create_large_sessions(&namespace, &client).await;
    wait_for_output(&dev, &["get", "mst", "-o", "name"], &format!("large-{}", SESSIONS - 1)).await;
    assert_below_limit(webhook, "large Sessions");
    stream::iter(0..16)
        .for_each_concurrent(16, async |_| {
            let list = dev.kubectl(&["get", "mst", "-o", "json"], "").await;
            let list: Value = serde_json::from_str(&list.stdout).unwrap();
            assert_eq!(list["items"].as_array().unwrap().len(), SESSIONS + 1);
        })
        .await;
    assert_below_limit(webhook, "concurrent lists");
    let fresh = Webhook::start(&cluster.plane, &cluster.programs).await.unwrap();
    eventually_within(Duration::from_mins(1), "a fresh replica has listed", || async {
        fresh.log_text().contains("listed sessions").then_some(())
    })
    .await;
    assert_below_limit(&fresh, "a fresh replica");
}
