// The tables have one row per case.
#![allow(clippy::needless_pass_by_value)]

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::{
    agents::{
        Stamp,
        fixtures::{EPHEMERAL, value},
    },
    controller::{
        OwnerToResolve, Target, Workload, fixtures::container_id, workload_of_owner,
        workload_of_pod,
    },
};

fn pod(object: Value) -> CachedPod {
    let meta: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
    let parts: PartialPod = serde_json::from_value(object).unwrap();
    CachedPod::from_parts(&meta, &parts).unwrap()
}

/// Returns a Pod with a main container and a sidecar that was restarted.
fn pod_with_sidecar(name: &str, owner: Value) -> Value {
    json!({
        "metadata": {
            "namespace": "shop", "name": name, "uid": format!("uid-{name}"),
            "creationTimestamp": "2026-11-22T18:36:43Z",
            "ownerReferences": owner,
        },
        "spec": { "nodeName": "node-1", "containers": [{ "name": "main" }, { "name": "sidecar" }] },
        "status": {
            "phase": "Running",
            "containerStatuses": [
                { "name": "sidecar", "image": "", "imageID": "", "ready": true, "restartCount": 1,
                  "containerID": format!("containerd://{name}-new"),
                  "lastState": { "terminated": { "exitCode": 1, "containerID": format!("containerd://{name}-old") } } },
                { "name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                  "containerID": format!("containerd://{name}-main") },
            ],
        },
    })
}

fn owned(kind: &str, name: &str) -> Value {
    json!([{ "apiVersion": "x/v1", "kind": kind, "name": name, "uid": "o", "controller": true }])
}

#[test]
fn finds_containers_by_id() {
    let mut on_other_node = pod_with_sidecar("b", json!([]));
    on_other_node["spec"]["nodeName"] = json!("node-2");
    let mut duplicate = pod_with_sidecar("c", json!([]));
    duplicate["status"]["containerStatuses"][1]["containerID"] = json!("containerd://b-main");
    let pods = [pod(pod_with_sidecar("a", json!([]))), pod(on_other_node), pod(duplicate)];
    let cases = [
        // (id, node, Ok(path) or Err(ambiguous))
        ("a-main", Some("node-1"), Ok("pod/a")),
        ("a-main", None, Ok("pod/a")),
        ("a-new", Some("node-1"), Ok("pod/a/container/sidecar")),
        ("a-old", Some("node-1"), Ok("pod/a/container/sidecar")),
        ("a-main", Some("node-2"), Err(false)),
        ("nothing", None, Err(false)),
        ("a", None, Err(false)),
        ("b-main", None, Err(true)),
        ("b-main", Some("node-2"), Ok("pod/b")),
    ];
    for (id, node, expected) in cases {
        match (CachedPod::find(pods.iter(), &container_id(id), node), expected) {
            (ContainerMatch::One(pod, container), Ok(path)) => {
                let Workload::Known(workload) = workload_of_pod(pod) else {
                    panic!("{id}");
                };
                assert_eq!(Target::container(pod, container, &workload).path, path);
            }
            (ContainerMatch::None, Err(ambiguous)) => assert!(!ambiguous, "{id}"),
            (ContainerMatch::Ambiguous, Err(ambiguous)) => assert!(ambiguous, "{id}"),
            (found, _) => panic!("{id} on {node:?}: {found:?}"),
        }
    }
}

#[test]
fn resolves_workloads() {
    let found = |kind: &str, name: &str, uid: &str| ObjectMeta {
        uid: Some(uid.into()),
        owner_references: serde_json::from_value(owned(kind, name)).unwrap(),
        ..ObjectMeta::default()
    };
    let without_owner = ObjectMeta { uid: Some("o".into()), ..ObjectMeta::default() };
    let cases = [
        // (owner of the Pod, metadata of that owner, path)
        (json!([]), None, "pod/p"),
        (owned("StatefulSet", "db"), None, "statefulset/db"),
        (owned("DaemonSet", "log"), None, "daemonset/log"),
        (owned("CloneSet", "clones"), None, "cloneset/clones"),
        (owned("Node", "node-1"), None, "pod/p"),
        (owned("Web2", "strange"), None, "pod/p"),
        (owned("Web", "Strange Name"), None, "pod/p"),
        (owned("ReplicaSet", "rs"), Some(found("Deployment", "d", "o")), "deployment/d"),
        (owned("ReplicaSet", "rs"), Some(found("Rollout", "r", "o")), "rollout/r"),
        (owned("ReplicaSet", "rs"), Some(without_owner.clone()), "replicaset/rs"),
        (owned("ReplicaSet", "rs"), None, "replicaset/rs"),
        (owned("ReplicaSet", "rs"), Some(found("Deployment", "d", "another")), "replicaset/rs"),
        (owned("Job", "j"), Some(found("CronJob", "c", "o")), "cronjob/c"),
        (owned("Job", "j"), Some(without_owner), "job/j"),
        // An owner reference without `controller: true`.
        (
            json!([{ "apiVersion": "v1", "kind": "ReplicaSet", "name": "x", "uid": "o" }]),
            None,
            "pod/p",
        ),
    ];
    for (owner, found, path) in cases {
        let name = owner.to_string();
        let workload = match workload_of_pod(&pod(pod_with_sidecar("p", owner))) {
            Workload::Known(path) => path,
            Workload::NeedsOwner(owner) => {
                assert_eq!(owner.namespace, "shop");
                workload_of_owner(&owner, found.as_ref())
            }
        };
        assert_eq!(workload, path, "{name}");
    }
    let owner =
        OwnerToResolve { kind: "Job", namespace: "shop".into(), name: "j".into(), uid: "o".into() };
    assert_eq!(workload_of_owner(&owner, None), "job/j");
}

#[test]
fn lists_running_ephemeral_agents() {
    let mut object = value(EPHEMERAL);
    let agents = |object: &Value| pod(object.clone()).agents;
    let found = agents(&object);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id.container, "mirrord-agent-w6vxft9ixh");
    assert_eq!(found[0].stamp, Stamp::Missing);
    assert_eq!(found[0].version.as_deref(), Some("3.250.0"));
    assert_eq!(found[0].created_at, Some("2026-11-22T18:25:22Z".parse::<Timestamp>().unwrap()));
    let mut status = json!({
        "name": "mirrord-agent-w6vxft9ixh", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "containerID": "containerd://x", "state": { "running": {} },
    });
    object["status"]["ephemeralContainerStatuses"] = json!([status]);
    assert_eq!(agents(&object).len(), 1);
    status["state"] = json!({ "terminated": { "exitCode": 0 } });
    object["status"]["ephemeralContainerStatuses"] = json!([status]);
    assert!(agents(&object).is_empty());
    let mut finished = value(EPHEMERAL);
    finished["status"]["phase"] = json!("Succeeded");
    assert!(agents(&finished).is_empty());
}

/// Checks that a cached Pod takes about one kilobyte, without its environment variables.
#[test]
fn ten_thousand_pods_fit_in_ten_megabytes() {
    let id = |n: usize, c: usize| format!("containerd://{n:056x}{c:08x}");
    let bytes: usize = (0..10_000)
        .map(|n| {
            let name = format!("ip-visit-counter-5d9c7b6f4-{n:05}");
            let mut object =
                pod_with_sidecar(&name, owned("ReplicaSet", "ip-visit-counter-5d9c7b6f4"));
            object["metadata"]["uid"] = json!("1c60f187-708c-47dd-800a-0bea9942673d");
            object["spec"]["containers"][0]["env"] =
                json!([{ "name": "SECRET", "value": "x".repeat(4096) }]);
            for (c, status) in
                object["status"]["containerStatuses"].as_array_mut().unwrap().iter_mut().enumerate()
            {
                status["containerID"] = json!(id(n, c));
            }
            pod(object).size()
        })
        .sum();
    assert!(bytes < 10 << 20, "{bytes}");
}
