use std::convert::Infallible;

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::testing::api_server;

const NODE: &str = "/api/v1/pods?&fieldSelector=spec.nodeName%3Dnode-1";

/// What the fixture's agent is for.
fn sought() -> Sought {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/agents/default.job-request-body.json");
    let job: Job = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    Sought::of_job(&job).unwrap()
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

/// The target, by an API server that has these Pods at the address, those on all of the node, and
/// the Pods' ReplicaSet; and how often it was asked.
async fn found(by_address: &[Value], on_node: &[Value], code: u16) -> (Option<Target>, usize) {
    let (by_address, on_node) = (by_address.to_vec(), on_node.to_vec());
    let (client, seen) = api_server(move |what, _| {
        if code != 200 {
            return (code, json!({ "kind": "Status", "code": code, "message": "no" }));
        }
        let set = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": { "name": "web-1", "namespace": "shop", "uid": "set", "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true,
            }] },
        });
        match what {
            what if what.starts_with("GET /apis/apps/v1/") => (200, set),
            what if what.contains("status.podIP%3D10.1.0.10") => pods(&by_address),
            _ => pods(&on_node),
        }
    });
    let target = Targets::new(client).find(&sought()).await;
    let seen = seen.lock().unwrap();
    for (what, _) in seen.iter().filter(|(what, _)| what.contains("/pods")) {
        assert!(
            what.starts_with(&format!("GET {NODE}")) && what.contains("resourceVersion=0"),
            "{what}"
        );
    }
    (target, seen.len())
}

#[tokio::test]
async fn targets() {
    let id = "a1b2c3d4".repeat(8);
    let (own, other) = (pod("web-1-a", &id), pod("web-1-b", "other"));
    let twin = pod("web-1-c", &id);
    let all = [other.clone(), own.clone()];
    for (name, by_address, on_node, code, is_found, asked) in [
        ("by its address", &all[1..], &all[..], 200, true, 2),
        ("another's address", &all[..1], &all[..], 200, true, 3),
        ("no address", &[], &all[..], 200, true, 3),
        ("nowhere", &[], &all[..1], 200, false, 2),
        ("of two", &[own.clone(), twin], &[], 200, false, 1),
        ("forbidden", &[], &[], 403, false, 1),
        ("broken", &[], &[], 500, false, 1),
    ] {
        let (target, requests) = found(by_address, on_node, code).await;
        let expected = is_found.then_some(("shop", "deployment/web"));
        let target = target.as_ref().map(|it| (&*it.namespace, &*it.path));
        assert_eq!(target, expected, "{name}");
        assert_eq!(requests, asked, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_that() {
    let hangs = tower::service_fn(|_: Request<Body>| {
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    let client = Client::new(hangs, "default");
    let targets = Targets::new(client);
    let start = tokio::time::Instant::now();
    let sought = sought();
    let all = (0..=AT_ONCE).map(|_| async {
        let target = targets.find(&sought).await;
        assert_eq!(target, None);
        start.elapsed()
    });
    let waited = futures::future::join_all(all).await;
    let longest = waited.iter().filter(|it| **it >= PATIENCE).count();
    assert_eq!(longest, AT_ONCE, "{waited:?}");
    assert!(waited.iter().all(|it| *it < PATIENCE * 2), "{waited:?}");
}
