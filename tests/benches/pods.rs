//! Benchmark of the memory that the leader spends on the cluster's Pods, with their size in the
//! API.
//!
//! Run `cargo bench --package mirrord-sessions-tests --bench pods`. `PODS` sets the number of Pods
//! (default 10,000).
#![allow(clippy::unwrap_used, missing_docs)]
// Sizes are only printed.
#![allow(clippy::cast_precision_loss)]

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use kube::Client;
use mirrord_sessions_tests::{
    agents::{add_ephemeral, container_id, ephemeral_container, running_status, send_request},
    cluster::{Cluster, Programs, Webhook},
    control_plane::ControlPlane,
};
use serde_json::{Value, json};

/// Pods on a node, close to the kubelet's default limit of 110.
const PODS_PER_NODE: usize = 100;
const NAMESPACES: usize = 20;

#[tokio::main]
async fn main() {
    let pods = std::env::var("PODS").ok();
    let pods: usize = pods.map_or(10_000, |count| count.parse().unwrap());
    let programs = Programs::build_optimized().unwrap();
    let cluster = Cluster::install(ControlPlane::start().unwrap(), programs).await.unwrap();
    let client = cluster.plane.admin().client().await.unwrap();
    wait_for_leadership(&cluster.webhook).await;
    let baseline = memory(&cluster.webhook);
    println!("leader without Pods: {} resident", mb(baseline.current));

    let start = Instant::now();
    let last = create_pods(&client, pods).await;
    println!(
        "created {pods} Pods with two containers, {:.0} a second",
        pods as f64 / start.elapsed().as_secs_f64()
    );
    // The leader learns of this agent only from its watch of Pods, after all earlier events.
    add_ephemeral(&client, "pods-0", &last, ephemeral_container("main")).await.unwrap();
    let path = "/apis/operator.metalbear.co/v1/namespaces/pods-0/sessions";
    wait_until("the leader has processed all Pods", async || {
        let sessions = send_request(&client, "GET", path, &Value::Null).await.ok()?;
        (!sessions["items"].as_array()?.is_empty()).then_some(())
    })
    .await;
    print_memory("leader that watched their creation", &cluster.webhook, &baseline, pods);

    // A standby replica, which lists all Pods at once when it becomes the leader.
    let standby = Webhook::start(&cluster.plane, &cluster.programs).await.unwrap();
    println!("standby replica: {} resident", mb(memory(&standby).current));
    cluster.webhook.kill().unwrap();
    wait_for_leadership(&standby).await;
    print_memory("leader that listed them", &standby, &baseline, pods);

    let args = ["get", "pods", "-A", "-o", "json"];
    let size = cluster.admin(&args, "").await.unwrap().len();
    println!(
        "kubectl get pods -A -o json: {}, {:.1} kB a Pod",
        mb(size),
        size as f64 / pods as f64 / 1e3
    );
}

fn print_memory(replica: &str, webhook: &Webhook, baseline: &Memory, pods: usize) {
    let Memory { current, peak } = memory(webhook);
    let growth = current.saturating_sub(baseline.current);
    println!(
        "{replica}: {} resident, peak {}, growth {}, {:.0} bytes a Pod",
        mb(current),
        mb(peak),
        mb(growth),
        growth as f64 / pods as f64
    );
}

/// Creates Nodes, namespaces and Pods, and returns the name of the last Pod of the first namespace.
async fn create_pods(client: &Client, pods: usize) -> String {
    let post = async |path: &str, object: Value| {
        send_request(client, "POST", path, &object).await.unwrap()
    };
    for node in 0..=pods / PODS_PER_NODE {
        let node =
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node_name(node) } });
        post("/api/v1/nodes", node).await;
    }
    let mut owners = Vec::new();
    for index in 0..NAMESPACES {
        let name = format!("pods-{index}");
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        post("/api/v1/namespaces", namespace).await;
        // An owner that no controller scales, and that the garbage collector finds.
        let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "ip-visit-counter-6f8d5c7b9" } });
        let path = format!("/api/v1/namespaces/{name}/configmaps");
        owners.push(post(&path, owner).await["metadata"]["uid"].clone());
        let path = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        wait_until("the namespace has a service account", async || {
            send_request(client, "GET", &path, &Value::Null).await.ok()
        })
        .await;
    }
    stream::iter(0..pods)
        .for_each_concurrent(16, |index| {
            let owner = &owners[index % NAMESPACES];
            async move {
                let path = format!("/api/v1/namespaces/pods-{}/pods", index % NAMESPACES);
                send_request(client, "POST", &path, &pod(index, owner)).await.unwrap();
                let (main, sidecar) = (container_id(), container_id());
                let status = running_status(&[("main", &main), ("sidecar", &sidecar)]);
                let path = format!("{path}/{}/status", pod_name(index));
                send_request(client, "PATCH", &path, &status).await.unwrap();
            }
        })
        .await;
    pod_name((pods - 1) / NAMESPACES * NAMESPACES)
}

fn node_name(index: usize) -> String {
    format!("ip-10-0-{}-{}.eu-west-1.compute.internal", index / 256, index % 256)
}

fn pod_name(index: usize) -> String {
    format!("ip-visit-counter-6f8d5c7b9-{index:05}")
}

/// Returns a typical Pod of a Deployment, with variables, probes, volumes and labels.
fn pod(index: usize, owner: &Value) -> Value {
    let variables: Vec<Value> = (0..12)
        .map(|n| json!({ "name": format!("SETTING_{n}"), "value": format!("https://service-{n}.example.com/path") }))
        .collect();
    let probe = json!({ "httpGet": { "path": "/healthz", "port": 8080 }, "periodSeconds": 10 });
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/shop/{name}:1.2.3"), "env": variables,
            "ports": [{ "containerPort": 8080, "name": "http" }],
            "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
            "livenessProbe": probe, "readinessProbe": probe,
            "volumeMounts": [{ "name": "config", "mountPath": "/etc/config" }],
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": pod_name(index),
            "labels": { "app.kubernetes.io/name": "ip-visit-counter", "pod-template-hash": "6f8d5c7b9", "team": "shop" },
            "annotations": { "prometheus.io/scrape": "true", "checksum/config": "a".repeat(64) },
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "ConfigMap", "name": "ip-visit-counter-6f8d5c7b9", "uid": owner, "controller": true,
            }],
        },
        "spec": {
            "nodeName": node_name(index / PODS_PER_NODE),
            "containers": [container("main"), container("sidecar")],
            "volumes": [{ "name": "config", "configMap": { "name": "ip-visit-counter" } }],
            "tolerations": [{ "operator": "Exists" }],
        },
    })
}

async fn wait_for_leadership(webhook: &Webhook) {
    wait_until("the replica leads and has listed everything", async || {
        webhook.log_text().contains("starting to reconcile agents").then_some(())
    })
    .await;
}

async fn wait_until<T>(condition: &str, check: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(start.elapsed() < Duration::from_mins(3), "timed out waiting until {condition}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Resident memory of a process in bytes.
struct Memory {
    current: usize,
    peak: usize,
}

fn memory(webhook: &Webhook) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{}/status", webhook.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes << 10
    };
    Memory { current: field("VmRSS:"), peak: field("VmHWM:") }
}

fn mb(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
