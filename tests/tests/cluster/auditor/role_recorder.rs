//! Records all changes of the auditor role from a watch.

use std::pin::pin;

use futures::TryStreamExt;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{
    Api, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
};
use tokio::task::JoinHandle;

use super::*;

/// Type of a watch event and the number of rules that the role had.
pub(super) type Change = (&'static str, usize);

/// Background task that records changes of the role until it is stopped.
pub(super) struct RoleRecorder<'a> {
    cluster: &'a Cluster,
    task: JoinHandle<Vec<Change>>,
}

/// Name of an unused role whose creation marks the end of the recording.
const END_MARKER: &str = "the-recorder-stops-here";

impl<'a> RoleRecorder<'a> {
    /// Starts to record changes from the current resource version on.
    pub(super) async fn start(cluster: &'a Cluster) -> Self {
        let client = cluster.plane.admin().client().await.unwrap();
        let roles: Api<ClusterRole> = Api::all(client);
        let list = roles.list_metadata(&ListParams::default()).await.unwrap();
        let version = list.metadata.resource_version.unwrap();
        Self { cluster, task: tokio::spawn(record(roles, version)) }
    }

    /// Stops the recording and returns all changes in order.
    pub(super) async fn stop(self) -> Vec<Change> {
        let marker = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": END_MARKER },
        });
        self.cluster.admin(&["create", "-f", "-"], &marker.to_string()).await.unwrap();
        let recorded = tokio::time::timeout(std::time::Duration::from_mins(1), self.task);
        let changes = recorded.await.unwrap().unwrap();
        self.cluster.admin(&["delete", "clusterrole", END_MARKER], "").await.unwrap();
        changes
    }
}

async fn record(roles: Api<ClusterRole>, mut version: String) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        // A watch may end at any time, and the next resumes at the last resource version.
        let stream = roles.watch(&WatchParams::default(), &version).await;
        let mut stream = pin!(stream.unwrap());
        while let Some(event) = stream.try_next().await.unwrap() {
            let (kind, role) = match event {
                WatchEvent::Added(role) => ("added", role),
                WatchEvent::Modified(role) => ("modified", role),
                WatchEvent::Deleted(role) => ("deleted", role),
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => panic!("{status:?}"),
            };
            version = role.resource_version().unwrap();
            match role.name_any().as_str() {
                END_MARKER => return changes,
                ROLE => changes.push((kind, role.rules.unwrap_or_default().len())),
                _ => {}
            }
        }
    }
}
