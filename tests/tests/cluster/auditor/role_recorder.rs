//! Everything that becomes of the role, from a watch: nothing is missed in proxy.

use std::pin::pin;

use futures::TryStreamExt;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{
    Api, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
};
use tokio::task::JoinHandle;

use super::*;

/// What happened, and how many rules the role had then.
pub(super) type Change = (&'static str, usize);

/// Records until it is stopped.
pub(super) struct RoleRecorder<'a> {
    cluster: &'a Cluster,
    task: JoinHandle<Vec<Change>>,
}

/// A role that nobody uses, whose creation tells that all before it has been seen.
const LAST: &str = "the-recorder-stops-here";

impl<'a> RoleRecorder<'a> {
    /// From now on.
    pub(super) async fn start(cluster: &'a Cluster) -> Self {
        let client = cluster.plane.admin().client().await.unwrap();
        let roles: Api<ClusterRole> = Api::all(client);
        let list = roles.list_metadata(&ListParams::default()).await.unwrap();
        let version = list.metadata.resource_version.unwrap();
        Self { cluster, task: tokio::spawn(record(roles, version)) }
    }

    /// Everything up to now, in order.
    pub(super) async fn stop(self) -> Vec<Change> {
        let last = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": LAST },
        });
        self.cluster.admin(&["create", "-f", "-"], &last.to_string()).await.unwrap();
        let waited = tokio::time::timeout(std::time::Duration::from_mins(1), self.task);
        let seen = waited.await.unwrap().unwrap();
        self.cluster.admin(&["delete", "clusterrole", LAST], "").await.unwrap();
        seen
    }
}

async fn record(roles: Api<ClusterRole>, mut version: String) -> Vec<Change> {
    let mut seen = Vec::new();
    loop {
        // A watch may end at any time; the next begins where it was.
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
                LAST => return seen,
                ROLE => seen.push((kind, role.rules.unwrap_or_default().len())),
                _ => {}
            }
        }
    }
}
