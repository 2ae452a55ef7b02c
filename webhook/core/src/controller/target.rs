//! Resolution of a container to its target: from the Pod via a ReplicaSet or Job to the workload.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    pods::{CachedContainer, CachedPod},
    workload_owner::WorkloadOwner,
};

/// The target of a Session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The namespace of the Session.
    pub namespace: String,
    /// The path `kind/name[/container/NAME]`, `targetless`, or `unresolved`.
    pub path: String,
    /// The reason for which the target is not or only partly resolved.
    pub problem: Option<String>,
    /// Other paths that a user may write for this target, such as its Pod or its container.
    aliases: Vec<String>,
}

/// The workload of a Pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Workload {
    /// The resolved workload, as `kind/name`.
    Known(String),
    /// A workload that depends on the owner of this ReplicaSet or Job.
    NeedsOwner(OwnerToResolve),
}

/// A ReplicaSet or Job between a Pod and its workload, whose own owner has to be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnerToResolve {
    /// The kind, `ReplicaSet` or `Job`.
    pub kind: &'static str,
    /// The namespace of the object.
    pub namespace: String,
    /// The name of the object.
    pub name: String,
    /// The UID of the object.
    pub uid: String,
}

/// Returns the workload of a Pod as far as its owner reference identifies it.
#[must_use]
pub fn workload_of_pod(pod: &CachedPod) -> Workload {
    let bare_pod = || Workload::Known(format!("pod/{}", pod.name));
    let Some(owner) = &pod.owner else {
        return bare_pod();
    };
    let kind = match &*owner.kind {
        "ReplicaSet" => "ReplicaSet",
        "Job" => "Job",
        // A Node owns static Pods, which users address by the Pod.
        "Node" => return bare_pod(),
        // A StatefulSet, a DaemonSet, or a custom resource that creates Pods directly.
        _ => return owner.path().map_or_else(bare_pod, Workload::Known),
    };
    Workload::NeedsOwner(OwnerToResolve {
        kind,
        namespace: pod.namespace.to_string(),
        name: owner.name.to_string(),
        uid: owner.uid.to_string(),
    })
}

/// Returns the workload that owns a ReplicaSet or Job: a Deployment, a Rollout, a CronJob.
///
/// Returns the ReplicaSet or Job itself if it has no owner, or if `found` is missing or belongs to
/// another object of the same name.
#[must_use]
pub fn workload_of_owner(owner: &OwnerToResolve, found: Option<&ObjectMeta>) -> String {
    let workload = found
        .filter(|meta| meta.uid.as_deref() == Some(&owner.uid))
        .and_then(WorkloadOwner::from_meta)
        .and_then(|workload| workload.path());
    workload.unwrap_or_else(|| format!("{}/{}", owner.kind.to_ascii_lowercase(), owner.name))
}

impl Target {
    /// Creates the target for a container of a workload.
    #[must_use]
    pub fn container(pod: &CachedPod, container: &CachedContainer, workload: &str) -> Self {
        let path = if container.is_default {
            workload.to_owned()
        } else {
            format!("{workload}/container/{}", container.name)
        };
        let pod_path = format!("pod/{}", pod.name);
        let with_container = |path: &str| format!("{path}/container/{}", container.name);
        let aliases = vec![
            workload.to_owned(),
            with_container(workload),
            with_container(&pod_path),
            pod_path,
        ];
        Self { namespace: pod.namespace.to_string(), path, problem: None, aliases }
    }

    /// Creates the target for an agent that runs in an ephemeral container of the Pod.
    #[must_use]
    pub fn pod(pod: &CachedPod, workload: &str) -> Self {
        Self {
            namespace: pod.namespace.to_string(),
            path: workload.to_owned(),
            problem: None,
            aliases: vec![format!("pod/{}", pod.name)],
        }
    }

    /// Creates the target of a targetless agent.
    #[must_use]
    pub fn targetless(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            path: "targetless".to_owned(),
            problem: None,
            aliases: Vec::new(),
        }
    }

    /// Creates an unresolved target, whose Session goes to the namespace of the agent.
    #[must_use]
    pub fn unresolved(namespace: &str, problem: String) -> Self {
        Self {
            namespace: namespace.to_owned(),
            path: "unresolved".to_owned(),
            problem: Some(problem),
            aliases: Vec::new(),
        }
    }

    /// Returns every path by which a Session may name this target.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        [&self.path].into_iter().chain(&self.aliases).map(String::as_str).collect()
    }

    /// Returns whether a path written by a user refers to this target.
    ///
    /// The path may omit the default container or name it.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.problem.is_none() && self.paths().contains(&path)
    }
}
