//! What the Pods of a cluster cost the leader in memory, beside what they weigh in the API.
//!
//! `cargo bench --package mirrord-sessions-tests --bench pods`; `PODS` says how many, 10,000
//! without it.
#![allow(clippy::unwrap_used, missing_docs)]
// Megabytes, to be read.
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

/// Pods of a node, as the kubelet's default has it at most.
const OF_A_NODE: usize = 100;
const NAMESPACES: usize = 20;

#[tokio::main]
async fn main() {
    let pods = std::env::var("PODS").ok();
    let pods: usize = pods.map_or(10_000, |count| count.parse().unwrap());
    let programs = Programs::build_optimized().unwrap();
    let cluster = Cluster::install(ControlPlane::start().unwrap(), programs).await.unwrap();
    let client = cluster.plane.admin().client().await.unwrap();
    leads(&cluster.webhook).await;
    let empty = memory(&cluster.webhook);
    println!("leader without Pods: {} in memory", mb(empty.now));

    let start = Instant::now();
    let last = fill(&client, pods).await;
    println!(
        "created {pods} Pods with two containers, {:.0} a second",
        pods as f64 / start.elapsed().as_secs_f64()
    );
    // Nothing but the watch tells of this agent: once it has, the leader has seen all before it.
    add_ephemeral(&client, "pods-0", &last, ephemeral_container("main")).await.unwrap();
    let path = "/apis/operator.metalbear.co/v1/namespaces/pods-0/sessions";
    until("the leader has seen them", async || {
        let sessions = send_request(&client, "GET", path, &Value::Null).await.ok()?;
        (!sessions["items"].as_array()?.is_empty()).then_some(())
    })
    .await;
    told("the leader that saw them come", &cluster.webhook, &empty, pods);

    // One that lists them all at once, and one that only waits to lead.
    let waiting = Webhook::start(&cluster.plane, &cluster.programs).await.unwrap();
    println!("a replica that doesn't lead: {} in memory", mb(memory(&waiting).now));
    cluster.webhook.kill().unwrap();
    leads(&waiting).await;
    told("a leader that found them", &waiting, &empty, pods);

    let args = ["get", "pods", "-A", "-o", "json"];
    let weight = cluster.admin(&args, "").await.unwrap().len();
    println!(
        "kubectl get pods -A -o json: {}, {:.1} kB a Pod",
        mb(weight),
        weight as f64 / pods as f64 / 1e3
    );
}

fn told(who: &str, webhook: &Webhook, empty: &Memory, pods: usize) {
    let Memory { now, most } = memory(webhook);
    let more = now.saturating_sub(empty.now);
    println!(
        "{who}: {} in memory, {} at most; {} more than without, {:.0} bytes a Pod",
        mb(now),
        mb(most),
        mb(more),
        more as f64 / pods as f64
    );
}

/// Creates them; the name of the last one of the first namespace.
async fn fill(client: &Client, pods: usize) -> String {
    let post = async |path: &str, object: Value| {
        send_request(client, "POST", path, &object).await.unwrap()
    };
    for node in 0..=pods / OF_A_NODE {
        let node =
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node_name(node) } });
        post("/api/v1/nodes", node).await;
    }
    let mut owners = Vec::new();
    for at in 0..NAMESPACES {
        let name = format!("pods-{at}");
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        post("/api/v1/namespaces", namespace).await;
        // What no controller makes Pods for, and the garbage collector finds.
        let owner = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "ip-visit-counter-6f8d5c7b9" } });
        let path = format!("/api/v1/namespaces/{name}/configmaps");
        owners.push(post(&path, owner).await["metadata"]["uid"].clone());
        let path = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        until("its service account is there", async || {
            send_request(client, "GET", &path, &Value::Null).await.ok()
        })
        .await;
    }
    stream::iter(0..pods)
        .for_each_concurrent(16, |at| {
            let owner = &owners[at % NAMESPACES];
            async move {
                let path = format!("/api/v1/namespaces/pods-{}/pods", at % NAMESPACES);
                send_request(client, "POST", &path, &pod(at, owner)).await.unwrap();
                let (main, sidecar) = (container_id(), container_id());
                let status = running_status(&[("main", &main), ("sidecar", &sidecar)]);
                let path = format!("{path}/{}/status", pod_name(at));
                send_request(client, "PATCH", &path, &status).await.unwrap();
            }
        })
        .await;
    pod_name((pods - 1) / NAMESPACES * NAMESPACES)
}

fn node_name(at: usize) -> String {
    format!("ip-10-0-{}-{}.eu-west-1.compute.internal", at / 256, at % 256)
}

fn pod_name(at: usize) -> String {
    format!("ip-visit-counter-6f8d5c7b9-{at:05}")
}

/// A Pod as a Deployment's are: some variables, probes, volumes and labels.
fn pod(at: usize, owner: &Value) -> Value {
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
            "name": pod_name(at),
            "labels": { "app.kubernetes.io/name": "ip-visit-counter", "pod-template-hash": "6f8d5c7b9", "team": "shop" },
            "annotations": { "prometheus.io/scrape": "true", "checksum/config": "a".repeat(64) },
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "ConfigMap", "name": "ip-visit-counter-6f8d5c7b9", "uid": owner, "controller": true,
            }],
        },
        "spec": {
            "nodeName": node_name(at / OF_A_NODE),
            "containers": [container("main"), container("sidecar")],
            "volumes": [{ "name": "config", "configMap": { "name": "ip-visit-counter" } }],
            "tolerations": [{ "operator": "Exists" }],
        },
    })
}

async fn leads(webhook: &Webhook) {
    until("it leads and has listed everything", async || {
        webhook.log_text().contains("starting to reconcile agents").then_some(())
    })
    .await;
}

async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_mins(3), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Bytes that a process holds.
struct Memory {
    now: usize,
    most: usize,
}

fn memory(webhook: &Webhook) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{}/status", webhook.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes << 10
    };
    Memory { now: field("VmRSS:"), most: field("VmHWM:") }
}

fn mb(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
