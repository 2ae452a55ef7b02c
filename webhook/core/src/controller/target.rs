//! From a container to what people call the target: Pod → ReplicaSet → Deployment, and so on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::pods::{ContainerView, PodView, controller};

/// What a Session targets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The namespace that the Session goes to.
    pub namespace: String,
    /// `kind/name[/container/NAME]`, targetless, or unresolved.
    pub path: String,
    /// Why it could not be told, or not all of it.
    pub problem: Option<String>,
    /// What else may be meant by it: the Pod, with and without the container.
    also: Vec<String>,
}

/// What something belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    kind: Box<str>,
    name: Box<str>,
    uid: Box<str>,
}

/// The workload that a Pod belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Workload {
    /// Known, as `kind/name`.
    Known(String),
    /// It depends on what this belongs to.
    Above(Above),
}

/// Something between a Pod and its workload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Above {
    /// `ReplicaSet` or `Job`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub uid: String,
}

impl Owner {
    pub(crate) fn of(owner: &OwnerReference) -> Self {
        Self {
            kind: owner.kind.as_str().into(),
            name: owner.name.as_str().into(),
            uid: owner.uid.as_str().into(),
        }
    }

    /// As mirrord writes it; none where it has no word for that.
    fn path(&self) -> Option<String> {
        let kind = self.kind.to_ascii_lowercase();
        let plain = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase());
        let name = self.name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
        });
        // The schema takes 400 characters, with the container's name.
        (plain && name && kind.len() <= 63 && !self.name.is_empty())
            .then(|| format!("{kind}/{}", self.name))
    }
}

/// The workload of a Pod.
#[must_use]
pub fn workload(pod: &PodView) -> Workload {
    let bare = || Workload::Known(format!("pod/{}", pod.name));
    let Some(owner) = &pod.owner else {
        return bare();
    };
    let kind = match &*owner.kind {
        "ReplicaSet" => "ReplicaSet",
        "Job" => "Job",
        // A StatefulSet, a DaemonSet, or what an operator of somebody's makes Pods by. A Node has
        // its static Pods, which nobody calls by it.
        "Node" => return bare(),
        _ => return owner.path().map_or_else(bare, Workload::Known),
    };
    Workload::Above(Above {
        kind,
        namespace: pod.namespace.to_string(),
        name: owner.name.to_string(),
        uid: owner.uid.to_string(),
    })
}

/// The workload that a ReplicaSet or a Job makes Pods for: a Deployment, a Rollout, a CronJob; or
/// itself, where it belongs to nothing or is gone.
#[must_use]
pub fn above(between: &Above, found: Option<&ObjectMeta>) -> String {
    let owner = found
        .filter(|meta| meta.uid.as_deref() == Some(&between.uid))
        .and_then(controller)
        .and_then(|owner| Owner::of(owner).path());
    owner.unwrap_or_else(|| format!("{}/{}", between.kind.to_ascii_lowercase(), between.name))
}

impl Target {
    /// A container of a workload.
    #[must_use]
    pub fn container(pod: &PodView, container: &ContainerView, workload: &str) -> Self {
        let path = if container.first {
            workload.to_owned()
        } else {
            format!("{workload}/container/{}", container.name)
        };
        let pod_path = format!("pod/{}", pod.name);
        let within = |path: &str| format!("{path}/container/{}", container.name);
        Self {
            namespace: pod.namespace.to_string(),
            path,
            problem: None,
            also: vec![workload.to_owned(), within(workload), within(&pod_path), pod_path],
        }
    }

    /// The Pod that an agent was added to.
    #[must_use]
    pub fn pod(pod: &PodView, workload: &str) -> Self {
        Self {
            namespace: pod.namespace.to_string(),
            path: workload.to_owned(),
            problem: None,
            also: vec![format!("pod/{}", pod.name)],
        }
    }

    /// None.
    #[must_use]
    pub fn targetless(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            path: "targetless".to_owned(),
            problem: None,
            also: Vec::new(),
        }
    }

    /// One that can't be told; the Session goes where the agent is.
    #[must_use]
    pub fn unresolved(namespace: &str, problem: String) -> Self {
        Self {
            namespace: namespace.to_owned(),
            path: "unresolved".to_owned(),
            problem: Some(problem),
            also: Vec::new(),
        }
    }

    /// What it is called, by whoever started a session on it.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let names = [&self.path].into_iter().chain(&self.also);
        names.map(String::as_str).collect()
    }

    /// Whether a user may mean it by this path: the container can be left out, and be named where
    /// it is the only one.
    #[must_use]
    pub fn is_meant_by(&self, path: &str) -> bool {
        self.problem.is_none() && (self.path == path || self.also.iter().any(|also| also == path))
    }
}
