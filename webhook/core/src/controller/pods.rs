//! Pods as the controller caches them.
//!
//! Only the owner, the node, the containers and the agents of a Pod are retained. Arguments and
//! environment variables, which may hold secrets, are not.

use k8s_openapi::{
    api::core::v1::EphemeralContainer, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    agent::{Agent, AgentId, AgentKind, ClientInfo, image_version},
    agent_pod::{AgentPhase, AgentPodState, JobPod},
    bounded_map::MemorySize,
    workload_owner::WorkloadOwner,
};
use crate::agents::{ContainerId, NAME_PREFIX, TargetKind, agent_containers, environment_stamp};

/// The maximum number of containers and of agents that are cached of a Pod.
const MAX_CONTAINERS: usize = 64;
/// The maximum length of a container ID, as `RUNTIME://ID`.
const MAX_ID: usize = 256;

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
    pub(super) containers: Vec<PartialContainer>,
    ephemeral_containers: Vec<EphemeralContainer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PartialContainer {
    pub(super) name: String,
}

/// The fields of a Pod's status that are deserialized.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartialPodStatus {
    pub(super) phase: Option<String>,
    pub(super) conditions: Vec<PartialCondition>,
    pub(super) container_statuses: Vec<PartialContainerStatus>,
    init_container_statuses: Vec<PartialContainerStatus>,
    ephemeral_container_statuses: Vec<PartialContainerStatus>,
}

/// A condition of a Pod, without its times.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PartialCondition {
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

/// The status of a container, without its times: a time that this program cannot represent would
/// hide the Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PartialContainerStatus {
    pub(super) name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    pub(super) state: PartialContainerState,
    last_state: PartialContainerState,
}

/// The state of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PartialContainerState {
    #[serde(deserialize_with = "is_set")]
    pub(super) running: bool,
    pub(super) waiting: Option<PartialReason>,
    pub(super) terminated: Option<PartialTerminated>,
}

/// The reason for which a container waits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PartialReason {
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

/// A terminated container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PartialTerminated {
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

/// Deserializes whether a field is set, whatever its value.
fn is_set<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<IgnoredAny>::deserialize(deserializer)?.is_some())
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
    /// The state of the Pod for the Job that controls it.
    pub(crate) job_pod: Option<Box<JobPod>>,
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
            .take(MAX_CONTAINERS)
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
                deletion: None,
                suspended: false,
            })
            .take(MAX_CONTAINERS)
            .collect();
        let owner = WorkloadOwner::from_meta(meta);
        let job_pod = JobPod::from_parts(meta, owner.as_ref(), &spec, &status);
        Some(Self {
            namespace: namespace.into(),
            name: name.into(),
            uid: uid.into(),
            node: spec.node_name,
            owner: owner.map(Box::new),
            containers,
            agents,
            job_pod: job_pod.map(Box::new),
        })
    }

    /// Returns whether an agent runs in the Pod, or may run.
    pub(super) fn has_agent(&self) -> bool {
        let job = self.job_pod.as_ref();
        !self.agents.is_empty() || job.is_some_and(|pod| pod.job.starts_with(NAME_PREFIX))
    }

    /// Returns whether the Pod of a Job is neither being deleted nor finished.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.job_pod.as_ref().is_none_or(|pod| pod.state != AgentPodState::Ended)
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
    fn from_status(
        status: &PartialContainerStatus,
        default_container: Option<&String>,
    ) -> Option<Self> {
        let fits = |id: &&str| id.len() <= MAX_ID;
        let previous = status.last_state.terminated.as_ref();
        let previous_id = previous.and_then(|state| state.container_id.as_deref()).filter(fits);
        let id = status.container_id.as_deref().filter(fits).or(previous_id)?;
        Some(Self {
            name: status.name.as_str().into(),
            id: id.into(),
            previous_id: previous_id.filter(|previous| *previous != id).map(Into::into),
            is_default: default_container == Some(&status.name),
        })
    }
}

fn is_terminated(status: &PartialPodStatus, container: &str) -> bool {
    status
        .ephemeral_container_statuses
        .iter()
        .any(|status| status.name == container && status.state.terminated.is_some())
}

impl MemorySize for CachedPod {
    fn size(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let containers = self.containers.iter().map(|container| {
            size_of::<CachedContainer>()
                + container.name.len()
                + container.id.len()
                + text(&container.previous_id)
        });
        let owner = self.owner.as_ref();
        let owner = owner.map_or(0, |owner| {
            size_of::<WorkloadOwner>() + owner.kind.len() + owner.name.len() + owner.uid.len()
        });
        let job_pod = self.job_pod.as_ref().map_or(0, |pod| {
            let reason = match &pod.state {
                AgentPodState::Live(AgentPhase::Pending(reason)) => reason.len(),
                _ => 0,
            };
            size_of::<JobPod>() + pod.job.len() + pod.job_uid.len() + reason
        });
        size_of::<Self>()
            + self.namespace.len()
            + self.name.len()
            + self.uid.len()
            + text(&self.node)
            + owner
            + job_pod
            + containers.sum::<usize>()
            + self.agents.iter().map(MemorySize::size).sum::<usize>()
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
