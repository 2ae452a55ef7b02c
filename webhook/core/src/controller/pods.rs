//! Pods as the controller caches them.
//!
//! Only the owner, the node, the containers and the agents of a Pod are retained. Arguments and
//! environment variables, which may hold secrets, are not.

use k8s_openapi::{
    api::core::v1::{ContainerStatus, EphemeralContainer},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::Deserialize;

use super::{
    agent::{Agent, AgentId, AgentKind, ClientInfo, image_version},
    workload_owner::WorkloadOwner,
};
use crate::agents::{ContainerId, TargetKind, agent_containers, environment_stamp};

/// The fields of a Pod that are deserialized.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartialPod {
    /// The fields of the spec.
    pub spec: Option<PartialPodSpec>,
    /// The fields of the status.
    pub status: Option<PartialPodStatus>,
}

/// The fields of a Pod's spec that are deserialized.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartialPodSpec {
    node_name: Option<Box<str>>,
    containers: Vec<PartialContainer>,
    ephemeral_containers: Vec<EphemeralContainer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PartialContainer {
    name: String,
}

/// The fields of a Pod's status that are deserialized.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartialPodStatus {
    phase: Option<String>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// A Pod in the cache.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CachedPod {
    /// The namespace of the Pod.
    pub namespace: Box<str>,
    /// The name of the Pod.
    pub name: Box<str>,
    /// The UID of the Pod.
    pub uid: Box<str>,
    /// The node that the Pod runs on.
    pub node: Option<Box<str>>,
    /// The owner that controls the Pod.
    pub(crate) owner: Option<Box<WorkloadOwner>>,
    /// The containers that have an ID.
    pub containers: Box<[CachedContainer]>,
    /// The ephemeral agents that have not ended.
    pub agents: Box<[Agent]>,
}

/// A container of a cached Pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CachedContainer {
    /// The name of the container.
    pub name: Box<str>,
    /// The container's ID, as `RUNTIME://ID`.
    pub id: Box<str>,
    /// The container's ID before its last restart.
    pub previous_id: Option<Box<str>>,
    /// Set for the first container, which mirrord selects if the user names none.
    pub is_default: bool,
}

/// The result of a search for the Pod that has a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ContainerMatch<'a> {
    /// No Pod has the container.
    None,
    /// Exactly one Pod has the container.
    One(&'a CachedPod, &'a CachedContainer),
    /// Several Pods list the container, so some status is wrong.
    Ambiguous,
}

impl CachedPod {
    /// Builds a cached Pod, or returns `None` if its namespace, name or UID is missing.
    #[must_use]
    pub fn from_parts(meta: &ObjectMeta, pod: &PartialPod) -> Option<Self> {
        let namespace = meta.namespace.as_deref()?;
        let name = meta.name.as_deref()?;
        let uid = meta.uid.as_deref()?;
        let spec = pod.spec.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let default_container = spec.containers.first().map(|container| &container.name);
        let containers = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .chain(&status.ephemeral_container_statuses)
            .filter_map(|status| CachedContainer::from_status(status, default_container))
            .collect();
        let is_finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let agents = agent_containers(&spec.ephemeral_containers)
            .filter(|(_, container)| !is_finished && !is_terminated(&status, &container.name))
            .map(|(_, container)| Agent {
                id: AgentId {
                    kind: AgentKind::Pod,
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    uid: uid.to_owned(),
                    container: container.name.clone(),
                },
                target_kind: TargetKind::Pod,
                node: spec.node_name.as_deref().map(str::to_owned),
                stamp: environment_stamp(container),
                created_at: meta.creation_timestamp.as_ref().map(|time| time.0),
                added_at: None,
                client_info: ClientInfo::default(),
                version: container.image.as_deref().and_then(image_version),
                binding: None,
                ended: false,
            })
            .collect();
        Some(Self {
            namespace: namespace.into(),
            name: name.into(),
            uid: uid.into(),
            node: spec.node_name,
            owner: WorkloadOwner::from_meta(meta).map(Box::new),
            containers,
            agents,
        })
    }

    fn container(&self, id: &str) -> Option<&CachedContainer> {
        self.containers.iter().find(|container| {
            *container.id == *id || container.previous_id.as_deref().is_some_and(|old| old == id)
        })
    }

    /// Finds the Pod that has the container, on the given node if one is given.
    pub fn find<'a>(
        pods: impl Iterator<Item = &'a Self>,
        id: &ContainerId,
        node: Option<&str>,
    ) -> ContainerMatch<'a> {
        let id = id.to_string();
        let mut matches = pods
            .filter(|pod| node.is_none_or(|node| pod.node.as_deref() == Some(node)))
            .filter_map(|pod| Some((pod, pod.container(&id)?)));
        match (matches.next(), matches.next()) {
            (None, _) => ContainerMatch::None,
            (Some((pod, container)), None) => ContainerMatch::One(pod, container),
            (Some(_), Some(_)) => ContainerMatch::Ambiguous,
        }
    }
}

impl CachedContainer {
    fn from_status(status: &ContainerStatus, default_container: Option<&String>) -> Option<Self> {
        let previous_id = status
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref()?.container_id.as_deref());
        let id = status.container_id.as_deref().or(previous_id)?;
        Some(Self {
            name: status.name.as_str().into(),
            id: id.into(),
            previous_id: previous_id.filter(|previous| *previous != id).map(Into::into),
            is_default: default_container == Some(&status.name),
        })
    }
}

fn is_terminated(status: &PartialPodStatus, container: &str) -> bool {
    status.ephemeral_container_statuses.iter().any(|status| {
        let state = status.state.as_ref();
        status.name == container && state.is_some_and(|state| state.terminated.is_some())
    })
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
