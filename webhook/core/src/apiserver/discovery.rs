//! Discovery documents of the API group.

use mirrord_sessions_crds::{TRACKER_GROUP, TRACKER_VERSION, TRACKERS};
use serde_json::{Value, json};

use super::subresource::Subresource;

/// The verbs of trackers.
const VERBS: [&str; 3] = ["get", "list", "watch"];

fn group_version() -> Value {
    json!({ "groupVersion": format!("{TRACKER_GROUP}/{TRACKER_VERSION}"), "version": TRACKER_VERSION })
}

/// Returns the document of `/apis`.
#[must_use]
pub fn groups() -> Value {
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group()] })
}

/// Returns the group without `kind` and `apiVersion`.
fn group() -> Value {
    json!({
        "name": TRACKER_GROUP,
        "versions": [group_version()],
        "preferredVersion": group_version(),
    })
}

/// Returns the document of `/apis/GROUP`.
#[must_use]
pub fn api_group() -> Value {
    let mut group = group();
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    group
}

/// Returns the document of `/apis/GROUP/VERSION`.
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
        }, subresource_resource(Subresource::Join), subresource_resource(Subresource::Report)],
    })
}

fn subresource_resource(subresource: Subresource) -> Value {
    json!({
        "name": format!("{TRACKERS}/{}", subresource.name()),
        "singularName": "",
        "namespaced": true,
        "group": TRACKER_GROUP,
        "version": TRACKER_VERSION,
        "kind": subresource.kind(),
        "verbs": ["create"],
    })
}

/// Returns the aggregated discovery document of `/apis`.
#[must_use]
pub fn aggregated(version: &str) -> Value {
    let kind =
        |kind: &str| json!({ "group": TRACKER_GROUP, "version": TRACKER_VERSION, "kind": kind });
    let subresources = Subresource::ALL.map(|subresource| {
        json!({
            "subresource": subresource.name(),
            "responseKind": kind(subresource.kind()),
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
