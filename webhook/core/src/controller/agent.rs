//! A mirrord agent as the controller caches it.

use std::{fmt, str::FromStr};

use k8s_openapi::{
    api::{batch::v1::Job, core::v1::PodSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use mirrord_sessions_crds::{AgentReference, annotations};

use super::bounded_map::MemorySize;
use crate::agents::{
    AGENT_CONTAINER, Binding, JobClass, SESSION_ANNOTATION, Stamp, TargetKind, classify_job,
    job_stamp,
};

/// The kind of object that an agent runs in.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AgentKind {
    /// A Job that mirrord created for the agent.
    Job,
    /// The Pod of the target, with the agent as an ephemeral container.
    Pod,
}

/// The identity of an agent, which is never reused.
///
/// Written as `Job/NAMESPACE/NAME/UID` or `Pod/NAMESPACE/NAME/UID/CONTAINER`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AgentId {
    /// The kind of object that the agent runs in.
    pub kind: AgentKind,
    /// The namespace of the object.
    pub namespace: String,
    /// The name of the object.
    pub name: String,
    /// The UID of the object.
    pub uid: String,
    /// The name of the ephemeral container, or empty for a Job.
    pub container: String,
}

impl AgentKind {
    /// Returns the kind as Kubernetes spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Job => "Job",
            Self::Pod => "Pod",
        }
    }
}

impl AgentId {
    /// Returns the agent that the status of a Session refers to.
    pub(crate) fn from_reference(reference: &AgentReference) -> Option<Self> {
        let AgentReference { kind, namespace, name, uid, container, .. } = reference;
        let object = format!("{kind}/{namespace}/{name}/{uid}");
        let agent = match container {
            Some(container) => format!("{object}/{container}"),
            None => object,
        };
        agent.parse().ok()
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, uid, container, .. } = self;
        write!(f, "{}/{namespace}/{name}/{uid}", self.kind.as_str())?;
        if container.is_empty() {
            return Ok(());
        }
        write!(f, "/{container}")
    }
}

impl FromStr for AgentId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, namespace, name, uid, container) = match parts[..] {
            ["Job", namespace, name, uid] => (AgentKind::Job, namespace, name, uid, ""),
            ["Pod", namespace, name, uid, container] => {
                (AgentKind::Pod, namespace, name, uid, container)
            }
            _ => return Err(()),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(());
        }
        Ok(Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            container: container.to_owned(),
        })
    }
}

/// Information about the client from the annotations that its mirrord configuration sets.
///
/// The user controls these values. They are truncated to the lengths that a Session can hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientInfo {
    /// The user name on the client's machine.
    pub username: Option<String>,
    /// The hostname of the client's machine.
    pub hostname: Option<String>,
    /// The session key of the run.
    pub key: Option<String>,
    /// The name of a Session that the client created for the run before its agent.
    ///
    /// A name that is too long stays too long after truncation and is rejected later.
    pub session_name: Option<String>,
    /// Set if a value was truncated.
    pub truncated: bool,
}

/// A mirrord agent in a Job or a Pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Agent {
    /// The identity of the agent.
    pub id: AgentId,
    /// The kind of target, from the agent's arguments.
    pub target_kind: TargetKind,
    /// The node that the agent is scheduled to.
    pub node: Option<String>,
    /// The stamp that names the requester of the agent.
    pub stamp: Stamp,
    /// The creation time of the Job or Pod.
    pub created_at: Option<Timestamp>,
    /// The time at which a watch event showed the agent in a Pod that existed before.
    pub added_at: Option<Timestamp>,
    /// The client's information about itself.
    pub client_info: ClientInfo,
    /// The mirrord version, from the tag of the image.
    pub version: Option<String>,
    /// The binding to a Session, from the annotation of the Job.
    pub binding: Option<Binding>,
    /// Set if the Job of the agent has finished.
    pub ended: bool,
    /// The deletion of the Job, if it is being deleted.
    pub deletion: Option<Deletion>,
    /// Set if the Job is suspended, so that it gets no Pod.
    pub suspended: bool,
}

/// The deletion of a Job that waits for finalizers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deletion {
    /// The Pods run on until the finalizers of the Job are removed.
    JobOnly,
    /// The garbage collector deletes the Pods before the Job.
    WithPods,
}

impl Deletion {
    /// The finalizer of an object that is deleted after its dependents.
    const FOREGROUND: &str = "foregroundDeletion";

    fn from_meta(meta: &ObjectMeta) -> Self {
        let mut finalizers = meta.finalizers.iter().flatten();
        if finalizers.any(|name| name == Self::FOREGROUND) { Self::WithPods } else { Self::JobOnly }
    }
}

/// The maximum length of a [`ClientInfo`] value in a Session, in characters.
const MAX_CLIENT_INFO: usize = 253;

impl Agent {
    /// Returns the agent in a Job, or `None` for any other Job.
    #[must_use]
    pub fn from_job(job: &Job) -> Option<Self> {
        let JobClass::Agent(target_kind) = classify_job(job) else {
            return None;
        };
        let meta = &job.metadata;
        let mut truncated = false;
        let mut read = |annotation: &str, limit| {
            let value = meta.annotations.as_ref()?.get(annotation)?;
            let text: String = value.chars().take(limit).collect();
            truncated |= text.len() < value.len();
            (!text.is_empty()).then_some(text)
        };
        let mut client_info = ClientInfo {
            username: read(annotations::USERNAME, MAX_CLIENT_INFO),
            hostname: read(annotations::HOSTNAME, MAX_CLIENT_INFO),
            key: read(annotations::KEY, MAX_CLIENT_INFO),
            session_name: read(annotations::SESSION_NAME, MAX_CLIENT_INFO + 1),
            truncated: false,
        };
        client_info.truncated = truncated;
        let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        // Injected containers may come first.
        let containers = pod.map_or(&[][..], |pod| &pod.containers);
        let container = containers.iter().find(|container| container.name == AGENT_CONTAINER);
        let image = container.and_then(|container| container.image.as_deref());
        let binding = meta.annotations.as_ref().and_then(|all| all.get(SESSION_ANNOTATION));
        Some(Self {
            id: AgentId {
                kind: AgentKind::Job,
                namespace: meta.namespace.clone()?,
                name: meta.name.clone()?,
                uid: meta.uid.clone()?,
                container: String::new(),
            },
            target_kind,
            node: pod.and_then(pod_node),
            stamp: job_stamp(job),
            created_at: meta.creation_timestamp.as_ref().map(|time| time.0),
            added_at: None,
            client_info,
            version: image.and_then(image_version),
            binding: binding.and_then(|text| Binding::parse(text)),
            ended: is_finished(job),
            deletion: meta.deletion_timestamp.as_ref().map(|_| Deletion::from_meta(meta)),
            suspended: job.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or_default(),
        })
    }

    /// Returns the binding if it was written for this very agent, not copied from another.
    #[must_use]
    pub fn valid_binding(&self) -> Option<&Binding> {
        self.binding.as_ref().filter(|binding| binding.agent_uid == self.id.uid)
    }
}

impl MemorySize for Agent {
    fn size(&self) -> usize {
        let AgentId { namespace, name, uid, container, .. } = &self.id;
        let ClientInfo { username, hostname, key, session_name, .. } = &self.client_info;
        let texts = [&self.node, &self.version, username, hostname, key, session_name];
        let stamp = match &self.stamp {
            Stamp::Requester(owner) => {
                owner.username.len()
                    + owner.uid.as_ref().map_or(0, String::len)
                    + owner.groups.iter().map(|group| group.len() + 40).sum::<usize>()
            }
            Stamp::Missing | Stamp::Invalid => 0,
        };
        let binding = self.binding.as_ref().map_or(0, |binding| binding.encode().len());
        size_of::<Self>()
            + [namespace, name, uid, container].iter().map(|text| text.len()).sum::<usize>()
            + texts.into_iter().flatten().map(String::len).sum::<usize>()
            + stamp
            + binding
    }
}

/// Returns the node that a Pod is scheduled to.
///
/// For an agent with a target, mirrord sets either the node name or the node selector.
pub(crate) fn pod_node(pod: &PodSpec) -> Option<String> {
    let selected = || {
        let selector = pod.node_selector.as_ref()?;
        selector.get("kubernetes.io/hostname").cloned()
    };
    pod.node_name.clone().or_else(selected)
}

/// Returns whether the Pods of the Job ended or are certain to end.
fn is_finished(job: &Job) -> bool {
    const FINISHED: [&str; 4] = ["Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"];
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| condition.status == "True" && FINISHED.contains(&condition.type_.as_str()))
}

/// Returns the tag of an image if it is a version.
pub(crate) fn image_version(image: &str) -> Option<String> {
    let tag = image.rsplit_once('/').map_or(image, |(_, name)| name);
    let tag = tag.split('@').next()?.split_once(':')?.1;
    let is_version = tag.starts_with(|c: char| c.is_ascii_digit());
    (is_version && tag.len() <= 64).then(|| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::fixtures::{RUNNING, TARGETLESS, job};

    #[test]
    fn reads_agent_from_job() {
        let agent = Agent::from_job(&job(RUNNING)).unwrap();
        assert_eq!(agent.node.as_deref(), Some("node-1"));
        assert_eq!(agent.version.as_deref(), Some("3.250.0"));
        assert_eq!(agent.stamp, Stamp::Missing);
        assert!(!agent.ended);
        let id = agent.id.to_string();
        assert_eq!(id, "Job/default/mirrord-agent-hgpswxnb1g/2e7cd1c0-77bd-402c-8934-dc270bd9fad5");
        assert_eq!(id.parse(), Ok(agent.id));
        assert_eq!(Agent::from_job(&job(TARGETLESS)).unwrap().node, None);
    }

    #[test]
    fn detects_ended_jobs() {
        use k8s_openapi::api::batch::v1::JobCondition;
        for (type_, status, ended) in [
            ("Complete", "True", true),
            ("Failed", "True", true),
            ("Complete", "False", false),
            ("Suspended", "True", false),
        ] {
            let mut job = job(RUNNING);
            let job_status = job.status.get_or_insert_default();
            job_status.conditions = Some(vec![JobCondition {
                type_: type_.into(),
                status: status.into(),
                ..JobCondition::default()
            }]);
            assert_eq!(Agent::from_job(&job).unwrap().ended, ended, "{type_}={status}");
        }
        let mut job = job(RUNNING);
        job.metadata.deletion_timestamp = job.metadata.creation_timestamp.clone();
        let agent = Agent::from_job(&job).unwrap();
        assert_eq!((agent.deletion, agent.ended), (Some(Deletion::JobOnly), false));
        let finalizers = ["example.com/hold", Deletion::FOREGROUND];
        job.metadata.finalizers = Some(finalizers.map(Into::into).into());
        assert_eq!(Agent::from_job(&job).unwrap().deletion, Some(Deletion::WithPods));
    }

    #[test]
    fn reads_version_of_the_agents_container() {
        let mut job = job(RUNNING);
        let pod = job.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
        let mut sidecar = pod.containers[0].clone();
        sidecar.name = "istio-proxy".into();
        sidecar.image = Some("istio/proxyv2:1.20.0".into());
        pod.containers.insert(0, sidecar);
        assert_eq!(Agent::from_job(&job).unwrap().version.as_deref(), Some("3.250.0"));
    }

    #[test]
    fn truncates_client_info() {
        assert!(!Agent::from_job(&job(RUNNING)).unwrap().client_info.truncated);
        let mut job = job(RUNNING);
        let annotations = job.metadata.annotations.get_or_insert_default();
        annotations.insert(annotations::USERNAME.into(), "é".repeat(1 << 20));
        annotations.insert(annotations::HOSTNAME.into(), String::new());
        let info = Agent::from_job(&job).unwrap().client_info;
        assert_eq!(info.username.unwrap().chars().count(), MAX_CLIENT_INFO);
        assert_eq!((info.hostname, info.key), (None, None));
        assert!(info.truncated);
    }

    #[test]
    fn rejects_malformed_ids_and_versions() {
        for text in ["", "Job/a/b", "Job/a/b/c/d", "Pod/a/b/c", "Pod/a/b/c/", "Node/a/b/c"] {
            assert_eq!(text.parse::<AgentId>(), Err(()), "{text}");
        }
        for (image, expected) in [
            ("ghcr.io/metalbear-co/mirrord:3.250.0", Some("3.250.0")),
            ("localhost:5000/mirrord:3.250.0@sha256:abc", Some("3.250.0")),
            ("localhost:5000/mirrord", None),
            ("mirrord:latest", None),
            ("", None),
        ] {
            assert_eq!(image_version(image).as_deref(), expected, "{image}");
        }
    }
}
