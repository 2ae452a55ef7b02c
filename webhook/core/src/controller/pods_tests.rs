// One row a case, with its name.
#![allow(clippy::needless_pass_by_value)]

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::{
    agents::{
        Stamp,
        fixtures::{EPHEMERAL, value},
    },
    controller::{Above, Target, Workload, above, fixtures::container_id, workload},
};

fn pod(object: Value) -> PodView {
    let meta: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
    let parts: PodParts = serde_json::from_value(object).unwrap();
    PodView::of(&meta, &parts).unwrap()
}

/// A Pod with a main container and a sidecar, which was started again.
fn shop(name: &str, owner: Value) -> Value {
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
fn containers_are_found_by_their_id() {
    let mut elsewhere = shop("b", json!([]));
    elsewhere["spec"]["nodeName"] = json!("node-2");
    let mut twin = shop("c", json!([]));
    twin["status"]["containerStatuses"][1]["containerID"] = json!("containerd://b-main");
    let pods = [pod(shop("a", json!([]))), pod(elsewhere), pod(twin)];
    let cases = [
        // (id, node, path or what is wrong)
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
        match (PodView::find(pods.iter(), &container_id(id), node), expected) {
            (Found::One(pod, container), Ok(path)) => {
                let Workload::Known(workload) = workload(pod) else {
                    panic!("{id}");
                };
                assert_eq!(Target::container(pod, container, &workload).path, path);
            }
            (Found::None, Err(several)) => assert!(!several, "{id}"),
            (Found::Several, Err(several)) => assert!(several, "{id}"),
            (found, _) => panic!("{id} on {node:?}: {found:?}"),
        }
    }
}

#[test]
fn workloads() {
    let found = |kind: &str, name: &str, uid: &str| ObjectMeta {
        uid: Some(uid.into()),
        owner_references: serde_json::from_value(owned(kind, name)).unwrap(),
        ..ObjectMeta::default()
    };
    let bare = ObjectMeta { uid: Some("o".into()), ..ObjectMeta::default() };
    let cases = [
        // (what owns the Pod, what is above that, path)
        (json!([]), None, "pod/p"),
        (owned("StatefulSet", "db"), None, "statefulset/db"),
        (owned("DaemonSet", "log"), None, "daemonset/log"),
        (owned("CloneSet", "clones"), None, "cloneset/clones"),
        (owned("Node", "node-1"), None, "pod/p"),
        (owned("Web2", "strange"), None, "pod/p"),
        (owned("Web", "Strange Name"), None, "pod/p"),
        (owned("ReplicaSet", "rs"), Some(found("Deployment", "d", "o")), "deployment/d"),
        (owned("ReplicaSet", "rs"), Some(found("Rollout", "r", "o")), "rollout/r"),
        (owned("ReplicaSet", "rs"), Some(bare.clone()), "replicaset/rs"),
        (owned("ReplicaSet", "rs"), None, "replicaset/rs"),
        (owned("ReplicaSet", "rs"), Some(found("Deployment", "d", "another")), "replicaset/rs"),
        (owned("Job", "j"), Some(found("CronJob", "c", "o")), "cronjob/c"),
        (owned("Job", "j"), Some(bare), "job/j"),
        // Belongs to it, and isn't controlled by it.
        (
            json!([{ "apiVersion": "v1", "kind": "ReplicaSet", "name": "x", "uid": "o" }]),
            None,
            "pod/p",
        ),
    ];
    for (owner, found, path) in cases {
        let name = owner.to_string();
        let path_of = match workload(&pod(shop("p", owner))) {
            Workload::Known(path) => path,
            Workload::Above(between) => {
                assert_eq!(between.namespace, "shop");
                above(&between, found.as_ref())
            }
        };
        assert_eq!(path_of, path, "{name}");
    }
    let between =
        Above { kind: "Job", namespace: "shop".into(), name: "j".into(), uid: "o".into() };
    assert_eq!(above(&between, None), "job/j");
}

#[test]
fn ephemeral_agents() {
    let mut object = value(EPHEMERAL);
    let agents = |object: &Value| pod(object.clone()).agents;
    let found = agents(&object);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id.container, "mirrord-agent-w6vxft9ixh");
    assert_eq!(found[0].stamp, Stamp::Missing);
    assert_eq!(found[0].version.as_deref(), Some("3.250.0"));
    assert_eq!(found[0].created, Some("2026-11-22T18:25:22Z".parse::<Timestamp>().unwrap()));
    let mut status = json!({
        "name": "mirrord-agent-w6vxft9ixh", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "containerID": "containerd://x", "state": { "running": {} },
    });
    object["status"]["ephemeralContainerStatuses"] = json!([status]);
    assert_eq!(agents(&object).len(), 1);
    status["state"] = json!({ "terminated": { "exitCode": 0 } });
    object["status"]["ephemeralContainerStatuses"] = json!([status]);
    assert!(agents(&object).is_empty());
    let mut over = value(EPHEMERAL);
    over["status"]["phase"] = json!("Succeeded");
    assert!(agents(&over).is_empty());
}

/// What ten thousand Pods cost: told in ARCHITECTURE.md, and held to it here.
#[test]
fn ten_thousand_pods() {
    fn of(pod: &PodView) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let container = |container: &ContainerView| {
            size_of::<ContainerView>()
                + container.name.len()
                + container.id.len()
                + text(&container.before)
        };
        size_of::<PodView>()
            + pod.namespace.len()
            + pod.name.len()
            + pod.uid.len()
            + text(&pod.node)
            + pod.owner.as_ref().map_or(0, |_| size_of::<Owner>() + 80)
            + pod.containers.iter().map(container).sum::<usize>()
    }
    let id = |n: usize, c: usize| format!("containerd://{n:056x}{c:08x}");
    let bytes: usize = (0..10_000)
        .map(|n| {
            let name = format!("ip-visit-counter-5d9c7b6f4-{n:05}");
            let mut object = shop(&name, owned("ReplicaSet", "ip-visit-counter-5d9c7b6f4"));
            object["metadata"]["uid"] = json!("1c60f187-708c-47dd-800a-0bea9942673d");
            object["spec"]["containers"][0]["env"] =
                json!([{ "name": "SECRET", "value": "x".repeat(4096) }]);
            for (c, status) in
                object["status"]["containerStatuses"].as_array_mut().unwrap().iter_mut().enumerate()
            {
                status["containerID"] = json!(id(n, c));
            }
            of(&pod(object))
        })
        .sum();
    assert!(bytes < 10 << 20, "{bytes}");
}
