//! What agents target, asked of the API server: by the controller, of an agent that it records, and
//! by admission, of one that is about to start.

use std::{net::IpAddr, time::Duration};

use k8s_openapi::{
    api::{apps::v1::ReplicaSet, batch::v1::Job},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::ListParams};
use mirrord_sessions_core::{
    controller::{Above, ContainerView, Found, PodView, Sought, Target, Workload, above, workload},
    text::printable,
};
use tokio::{sync::Semaphore, time::timeout};
use tracing::debug;

use crate::stored_objects::StoredPod;

/// How long admission waits for it at most: a developer does meanwhile, and the API server gives up
/// on an agent's review after 2 s.
const PATIENCE: Duration = Duration::from_millis(500);
/// Agents whose targets are looked for at once. More aren't waited for.
const AT_ONCE: usize = 16;

/// The Pods of a node; those with this address, if one is given.
pub(crate) async fn pods_of(
    client: &Client,
    node: &str,
    address: Option<IpAddr>,
    params: ListParams,
) -> Result<Vec<PodView>, kube::Error> {
    let address = address.map_or_else(String::new, |it| format!(",status.podIP={it}"));
    let params = params.fields(&format!("spec.nodeName={node}{address}"));
    let pods: Api<StoredPod> = Api::all(client.clone());
    let pods = pods.list(&params).await?;
    Ok(pods.items.into_iter().filter_map(StoredPod::view).collect())
}

/// The workload of a Pod. What it belongs to and isn't ours to read, or is gone, is called by
/// itself.
pub(crate) async fn workload_of(client: &Client, pod: &PodView) -> Result<String, kube::Error> {
    Ok(match workload(pod) {
        Workload::Known(path) => path,
        Workload::Above(between) => above(&between, metadata(client, &between).await?.as_ref()),
    })
}

async fn metadata(client: &Client, between: &Above) -> Result<Option<ObjectMeta>, kube::Error> {
    let Above { namespace, name, .. } = between;
    let client = client.clone();
    let found = if between.kind == "Job" {
        let jobs: Api<Job> = Api::namespaced(client, namespace);
        jobs.get_metadata_opt(name).await.map(|found| found.map(|object| object.metadata))
    } else {
        let sets: Api<ReplicaSet> = Api::namespaced(client, namespace);
        sets.get_metadata_opt(name).await.map(|found| found.map(|object| object.metadata))
    };
    match found {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            debug!(kind = between.kind, name, "the workload above can't be read");
            Ok(None)
        }
        found => found,
    }
}

/// Finds targets for admission: soon, or not at all.
#[derive(Debug)]
pub(crate) struct Targets {
    pods: Api<StoredPod>,
    turns: Semaphore,
}

impl Targets {
    pub(crate) fn new(client: Client) -> Self {
        Self { pods: Api::all(client), turns: Semaphore::new(AT_ONCE) }
    }

    /// The target, if it is found in time.
    pub(crate) async fn find(&self, sought: &Sought) -> Option<Target> {
        let client = self.pods.clone().into_client();
        let _turn = self.turns.try_acquire().ok()?;
        match timeout(PATIENCE, find(&client, sought)).await {
            Ok(Ok(target)) => target,
            Ok(Err(error)) => {
                let error = printable(&error.to_string(), 256);
                debug!(error, "an agent's target can't be looked for");
                None
            }
            Err(_) => {
                debug!("an agent's target was not found in time");
                None
            }
        }
    }
}

async fn find(client: &Client, sought: &Sought) -> Result<Option<Target>, kube::Error> {
    let (id, node, address) = match sought {
        Sought::Pod(pod) => {
            let workload = workload_of(client, pod).await?;
            return Ok(Some(Target::pod(pod, &workload)));
        }
        Sought::Container { id, node, address } => (id, node, address),
    };
    // Its address spares reading the others of the node, where it is the one that Pods are selected
    // by.
    let tries = [*address, None];
    for address in tries.into_iter().skip(usize::from(address.is_none())) {
        // As the API server has it in memory: what runs has been there for a while.
        let params = ListParams::default().match_any();
        let pods = pods_of(client, node, address, params).await?;
        let found: Option<(&PodView, &ContainerView)> =
            match PodView::find(pods.iter(), id, Some(node)) {
                Found::None => continue,
                Found::One(pod, container) => Some((pod, container)),
                Found::Several => None,
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
