//! Look-up of agents' targets in the API server.
//!
//! The controller looks up the target of an agent that it creates a Session for. Admission looks up
//! the target of an agent that is about to start.

use std::{net::IpAddr, time::Duration};

use k8s_openapi::{
    api::{apps::v1::ReplicaSet, batch::v1::Job},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Client;
use mirrord_sessions_core::controller::{
    CachedContainer, CachedPod, ContainerMatch, OwnerToResolve, Target, TargetHint, Workload,
    workload_of_owner, workload_of_pod,
};
use tokio::{sync::Semaphore, time::timeout};
use tracing::debug;

use crate::{
    list_watch::{self, ListWatch},
    redaction::summary,
    stored_objects::{StoredPod, get_metadata},
};

/// The timeout of look-ups for admission. A developer waits for it, and the API server times out
/// the review of an agent after 2 s.
const TIMEOUT: Duration = Duration::from_millis(500);
/// The maximum number of concurrent look-ups for admission. Beyond it they are skipped.
const MAX_CONCURRENT: usize = 16;

/// Lists the Pods of a node, or only those with the given address.
pub(crate) async fn pods_on_node(
    client: &Client,
    node: &str,
    address: Option<IpAddr>,
    from_cache: bool,
) -> Result<Vec<CachedPod>, list_watch::Error> {
    let address = address.map_or_else(String::new, |ip| format!(",status.podIP={ip}"));
    let pods: ListWatch<StoredPod> =
        ListWatch::all(client.clone()).with_fields(&format!("spec.nodeName={node}{address}"));
    let mut list = if from_cache { pods.allow_stale() } else { pods }.list();
    let mut pods = Vec::new();
    while let Some(pod) = list.next().await? {
        pods.extend(pod.ok().and_then(StoredPod::into_cached));
    }
    Ok(pods)
}

/// Returns the workload of a Pod.
///
/// An owner that does not exist or may not be read counts as the workload itself.
pub(crate) async fn workload_of(client: &Client, pod: &CachedPod) -> Result<String, kube::Error> {
    Ok(match workload_of_pod(pod) {
        Workload::Known(path) => path,
        Workload::NeedsOwner(owner) => {
            workload_of_owner(&owner, owner_metadata(client, &owner).await?.as_ref())
        }
    })
}

async fn owner_metadata(
    client: &Client,
    owner: &OwnerToResolve,
) -> Result<Option<ObjectMeta>, kube::Error> {
    let OwnerToResolve { namespace, name, .. } = owner;
    let found = if owner.kind == "Job" {
        get_metadata::<Job>(client, Some(namespace), name).await
    } else {
        get_metadata::<ReplicaSet>(client, Some(namespace), name).await
    };
    match found {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            debug!(kind = owner.kind, name, "forbidden to read the owner of a pod");
            Ok(None)
        }
        found => found,
    }
}

/// Looks up targets for admission within a short timeout.
pub(crate) struct TargetLookup {
    client: Client,
    permits: Semaphore,
}

impl TargetLookup {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, permits: Semaphore::new(MAX_CONCURRENT) }
    }

    /// Returns the target, or `None` if it is not found in time.
    pub(crate) async fn find(&self, hint: &TargetHint) -> Option<Target> {
        let _permit = self.permits.try_acquire().ok()?;
        match timeout(TIMEOUT, find(&self.client, hint)).await {
            Ok(Ok(target)) => target,
            Ok(Err(error)) => {
                debug!(%error, "failed to look up the target of an agent");
                None
            }
            Err(_) => {
                debug!("timed out looking up the target of an agent");
                None
            }
        }
    }
}

/// A look-up that failed. The text holds nothing of an object.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error(transparent)]
    List(#[from] list_watch::Error),
    #[error("{}", summary(.0))]
    Get(#[from] kube::Error),
}

async fn find(client: &Client, hint: &TargetHint) -> Result<Option<Target>, LookupError> {
    let (id, node, address) = match hint {
        TargetHint::Pod(pod) => {
            let workload = workload_of(client, pod).await?;
            return Ok(Some(Target::pod(pod, &workload)));
        }
        TargetHint::Container { id, node, address } => (id, node, address),
    };
    // Selecting by address avoids reading all Pods of the node. It finds the Pod only if the
    // address is the Pod's primary one.
    let attempts = [*address, None];
    for address in attempts.into_iter().skip(usize::from(address.is_none())) {
        // Read from the watch cache: a running target is not new.
        let pods = pods_on_node(client, node, address, true).await?;
        let found: Option<(&CachedPod, &CachedContainer)> =
            match CachedPod::find(pods.iter(), id, Some(node)) {
                ContainerMatch::None => continue,
                ContainerMatch::One(pod, container) => Some((pod, container)),
                ContainerMatch::Ambiguous => None,
            };
        let Some((pod, container)) = found else {
            return Ok(None);
        };
        let workload = workload_of(client, pod).await?;
        return Ok(Some(Target::container(pod, container, &workload)));
    }
    Ok(None)
}

#[cfg(test)]
#[path = "targets_tests.rs"]
mod tests;
