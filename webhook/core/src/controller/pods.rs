//! What the controller keeps of Pods: whose they are, where, and which containers they have;
//! nothing of what these are told or may hold as secrets.

use k8s_openapi::{
    api::core::v1::{ContainerStatus, EphemeralContainer},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use serde::Deserialize;

use super::{
    agent::{Agent, AgentId, AgentKind, Words, version},
    target::Owner,
};
use crate::agents::{ContainerId, Reach, agent_containers, environment_stamp};

/// The parts of a Pod that are read; the rest isn't even parsed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodParts {
    /// Where and of what.
    pub spec: Option<SpecParts>,
    /// What runs.
    pub status: Option<StatusParts>,
}

/// Of a Pod's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SpecParts {
    node_name: Option<Box<str>>,
    containers: Vec<Named>,
    ephemeral_containers: Vec<EphemeralContainer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
}

/// Of a Pod's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusParts {
    phase: Option<String>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// A Pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodView {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its identifier.
    pub uid: Box<str>,
    /// The node that it is on.
    pub node: Option<Box<str>>,
    /// What it belongs to.
    pub(crate) owner: Option<Box<Owner>>,
    /// Its containers.
    pub containers: Box<[ContainerView]>,
    /// The agents in it that haven't ended.
    pub agents: Box<[Agent]>,
}

/// A container of a Pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContainerView {
    /// Its name.
    pub name: Box<str>,
    /// Its id, as `RUNTIME://ID`.
    pub id: Box<str>,
    /// The id that it had before it was started again.
    pub before: Option<Box<str>>,
    /// It is the one that mirrord takes where none is named.
    pub first: bool,
}

/// Which Pod has a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found<'a> {
    /// None.
    None,
    /// This.
    One(&'a PodView, &'a ContainerView),
    /// More than one: some status is wrong.
    Several,
}

impl PodView {
    /// What is kept of a Pod.
    #[must_use]
    pub fn of(meta: &ObjectMeta, parts: &PodParts) -> Option<Self> {
        let namespace = meta.namespace.as_deref()?;
        let name = meta.name.as_deref()?;
        let uid = meta.uid.as_deref()?;
        let spec = parts.spec.clone().unwrap_or_default();
        let status = parts.status.clone().unwrap_or_default();
        let first = spec.containers.first().map(|container| &container.name);
        let containers = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .chain(&status.ephemeral_container_statuses)
            .filter_map(|status| ContainerView::of(status, first))
            .collect();
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let agents = agent_containers(&spec.ephemeral_containers)
            .filter(|(_, container)| !over && !has_ended(&status, &container.name))
            .map(|(_, container)| Agent {
                id: AgentId {
                    kind: AgentKind::Pod,
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    uid: uid.to_owned(),
                    container: container.name.clone(),
                },
                reach: Reach::Pod,
                node: spec.node_name.as_deref().map(str::to_owned),
                stamp: environment_stamp(container),
                created: meta.creation_timestamp.as_ref().map(|time| time.0),
                added: None,
                words: Words::default(),
                version: container.image.as_deref().and_then(version),
                binding: None,
                ended: false,
            })
            .collect();
        Some(Self {
            namespace: namespace.into(),
            name: name.into(),
            uid: uid.into(),
            node: spec.node_name,
            owner: controller(meta).map(|owner| Box::new(Owner::of(owner))),
            containers,
            agents,
        })
    }

    fn container(&self, id: &str) -> Option<&ContainerView> {
        self.containers.iter().find(|container| {
            *container.id == *id || container.before.as_deref().is_some_and(|before| before == id)
        })
    }

    /// Which of these Pods has the container, on the node if that is known.
    pub fn find<'a>(
        pods: impl Iterator<Item = &'a Self>,
        id: &ContainerId,
        node: Option<&str>,
    ) -> Found<'a> {
        let id = id.to_string();
        let mut found = pods
            .filter(|pod| node.is_none_or(|node| pod.node.as_deref() == Some(node)))
            .filter_map(|pod| Some((pod, pod.container(&id)?)));
        match (found.next(), found.next()) {
            (None, _) => Found::None,
            (Some((pod, container)), None) => Found::One(pod, container),
            (Some(_), Some(_)) => Found::Several,
        }
    }
}

impl ContainerView {
    fn of(status: &ContainerStatus, first: Option<&String>) -> Option<Self> {
        let before = status
            .last_state
            .as_ref()
            .and_then(|last| last.terminated.as_ref()?.container_id.as_deref());
        let id = status.container_id.as_deref().or(before)?;
        Some(Self {
            name: status.name.as_str().into(),
            id: id.into(),
            before: before.filter(|before| *before != id).map(Into::into),
            first: first == Some(&status.name),
        })
    }
}

fn has_ended(status: &StatusParts, name: &str) -> bool {
    status.ephemeral_container_statuses.iter().any(|status| {
        let state = status.state.as_ref();
        status.name == name && state.is_some_and(|state| state.terminated.is_some())
    })
}

/// What an object belongs to.
pub(crate) fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true))
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
