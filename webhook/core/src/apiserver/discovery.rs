//! The documents by which clients learn what is served.

use mirrord_sessions_crds::{TRACKER_GROUP, TRACKER_VERSION, TRACKERS};
use serde_json::{Value, json};

use super::subresource::Subresource;

/// What may be done with trackers.
const VERBS: [&str; 3] = ["get", "list", "watch"];

fn group_version() -> Value {
    json!({ "groupVersion": format!("{TRACKER_GROUP}/{TRACKER_VERSION}"), "version": TRACKER_VERSION })
}

/// `/apis`
#[must_use]
pub fn groups() -> Value {
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group()] })
}

/// `/apis/GROUP`, without the fields that say what it is.
fn group() -> Value {
    json!({
        "name": TRACKER_GROUP,
        "versions": [group_version()],
        "preferredVersion": group_version(),
    })
}

/// `/apis/GROUP`
#[must_use]
pub fn this_group() -> Value {
    let mut group = group();
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    group
}

/// `/apis/GROUP/VERSION`
#[must_use]
pub fn resources() -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{TRACKER_GROUP}/{TRACKER_VERSION}"),
        "resources": [{
            "name": TRACKERS,
            "singularName": "sessiontracker",
            "namespaced": true,
            "kind": "SessionTracker",
            "verbs": VERBS,
            "shortNames": ["mst"],
            "categories": ["mirrord"],
        }, subresource(Subresource::Join), subresource(Subresource::Report)],
    })
}

fn subresource(one: Subresource) -> Value {
    json!({
        "name": format!("{TRACKERS}/{}", one.name()),
        "singularName": "",
        "namespaced": true,
        "group": TRACKER_GROUP,
        "version": TRACKER_VERSION,
        "kind": one.kind(),
        "verbs": ["create"],
    })
}

/// `/apis`, in one document with everything.
#[must_use]
pub fn aggregated(version: &str) -> Value {
    let kind =
        |kind: &str| json!({ "group": TRACKER_GROUP, "version": TRACKER_VERSION, "kind": kind });
    let subresources = Subresource::ALL.map(|one| {
        json!({
            "subresource": one.name(),
            "responseKind": kind(one.kind()),
            "verbs": ["create"],
        })
    });
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": [{
            "metadata": { "name": TRACKER_GROUP, "creationTimestamp": null },
            "versions": [{
                "version": TRACKER_VERSION,
                "freshness": "Current",
                "resources": [{
                    "resource": TRACKERS,
                    "responseKind": kind("SessionTracker"),
                    "scope": "Namespaced",
                    "singularResource": "sessiontracker",
                    "verbs": VERBS,
                    "shortNames": ["mst"],
                    "categories": ["mirrord"],
                    "subresources": subresources,
                }],
            }],
        }],
    })
}
