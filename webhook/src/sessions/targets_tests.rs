use std::convert::Infallible;

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::testing::api_server;

const PODS_ON_NODE: &str = "/api/v1/pods?&fieldSelector=spec.nodeName%3Dnode-1";

/// Returns the target hint of the fixture's agent.
fn hint() -> TargetHint {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/agents/default.job-request-body.json");
    let job: Job = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    TargetHint::from_job(&job).unwrap()
}

fn pod(name: &str, container: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "shop", "uid": name, "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "set", "controller": true,
        }] },
        "spec": { "nodeName": "node-1", "containers": [{ "name": "main" }] },
        "status": { "containerStatuses": [{
            "name": "main", "image": "x", "imageID": "x", "ready": true, "restartCount": 0,
            "containerID": format!("containerd://{container}"),
        }] },
    })
}

fn pods(items: &[Value]) -> (u16, Value) {
    let list = json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items });
    (200, list)
}

/// Returns the target and the number of requests.
///
/// The fake API server lists `by_address` for the agent's address and `on_node` for its node. It
/// returns the ReplicaSet of these Pods.
async fn find_target(
    by_address: &[Value],
    on_node: &[Value],
    code: u16,
) -> (Option<Target>, usize) {
    let (by_address, on_node) = (by_address.to_vec(), on_node.to_vec());
    let (client, requests) = api_server(move |request, _| {
        if code != 200 {
            return (code, json!({ "kind": "Status", "code": code, "message": "no" }));
        }
        let set = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": { "name": "web-1", "namespace": "shop", "uid": "set", "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true,
            }] },
        });
        match request {
            request if request.starts_with("GET /apis/apps/v1/") => (200, set),
            request if request.contains("status.podIP%3D10.1.0.10") => pods(&by_address),
            _ => pods(&on_node),
        }
    });
    let target = TargetLookup::new(client).find(&hint()).await;
    let requests = requests.lock().unwrap();
    for (request, _) in requests.iter().filter(|(request, _)| request.contains("/pods")) {
        assert!(
            request.starts_with(&format!("GET {PODS_ON_NODE}"))
                && request.contains("resourceVersion=0"),
            "{request}"
        );
    }
    (target, requests.len())
}

#[tokio::test]
async fn finds_target_by_address_or_node() {
    let id = "a1b2c3d4".repeat(8);
    let (own, other) = (pod("web-1-a", &id), pod("web-1-b", "other"));
    let duplicate = pod("web-1-c", &id);
    let all = [other.clone(), own.clone()];
    for (name, by_address, on_node, code, is_found, expected_requests) in [
        ("its own address", &all[1..], &all[..], 200, true, 2),
        ("another's address", &all[..1], &all[..], 200, true, 3),
        ("no address", &[], &all[..], 200, true, 3),
        ("nowhere", &[], &all[..1], 200, false, 2),
        ("two pods with the container", &[own.clone(), duplicate], &[], 200, false, 1),
        ("forbidden", &[], &[], 403, false, 1),
        ("server error", &[], &[], 500, false, 1),
    ] {
        let (target, requests) = find_target(by_address, on_node, code).await;
        let expected = is_found.then_some(("shop", "deployment/web"));
        let target = target.as_ref().map(|target| (&*target.namespace, &*target.path));
        assert_eq!(target, expected, "{name}");
        assert_eq!(requests, expected_requests, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn times_out_and_limits_concurrency() {
    let hangs = tower::service_fn(|_: Request<Body>| {
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    let client = Client::new(hangs, "default");
    let targets = TargetLookup::new(client);
    let start = tokio::time::Instant::now();
    let hint = hint();
    let all = (0..=MAX_CONCURRENT).map(|_| async {
        let target = targets.find(&hint).await;
        assert_eq!(target, None);
        start.elapsed()
    });
    let waited = futures::future::join_all(all).await;
    let timed_out = waited.iter().filter(|waited| **waited >= TIMEOUT).count();
    assert_eq!(timed_out, MAX_CONCURRENT, "{waited:?}");
    assert!(waited.iter().all(|waited| *waited < TIMEOUT * 2), "{waited:?}");
}
