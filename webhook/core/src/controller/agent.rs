//! An agent as the controller sees it.

use std::{fmt, str::FromStr};

use k8s_openapi::{
    api::{batch::v1::Job, core::v1::PodSpec},
    jiff::Timestamp,
};
use mirrord_sessions_crds::AgentReference;

use crate::agents::{self, Binding, Look, Reach, SESSION, Stamp, job_agent, job_stamp, words};

/// Which object an agent runs in.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AgentKind {
    /// A Job of its own.
    Job,
    /// The target's Pod, as an ephemeral container.
    Pod,
}

/// One agent, now and ever. Written as `Job/NAMESPACE/NAME/UID`, or
/// `Pod/NAMESPACE/NAME/UID/CONTAINER`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AgentId {
    /// Which object it runs in.
    pub kind: AgentKind,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The object's identifier.
    pub uid: String,
    /// Name of the ephemeral container; empty for a Job.
    pub container: String,
}

impl AgentKind {
    /// The kind as Kubernetes spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Job => "Job",
            Self::Pod => "Pod",
        }
    }
}

impl AgentId {
    /// The agent that a Session's status names.
    pub(crate) fn of(reference: &AgentReference) -> Option<Self> {
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

/// What the user's mirrord configuration says in annotations: the user's word, cut to what a
/// Session may hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Words {
    /// Name of the user on their machine.
    pub username: Option<String>,
    /// Name of their machine.
    pub hostname: Option<String>,
    /// The session key.
    pub key: Option<String>,
    /// Name of the Session that was created for the run before its agent. One that is too long is
    /// still too long.
    pub session: Option<String>,
    /// Something of it was cut.
    pub cut: bool,
}

/// An agent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Agent {
    /// Which one.
    pub id: AgentId,
    /// What it reaches.
    pub reach: Reach,
    /// The node that it is meant for.
    pub node: Option<String>,
    /// Who asked for it.
    pub stamp: Stamp,
    /// When its object was created.
    pub created: Option<Timestamp>,
    /// When the controller saw it being added to a Pod that had been there before.
    pub added: Option<Timestamp>,
    /// What the user says.
    pub words: Words,
    /// mirrord's version, from the image.
    pub version: Option<String>,
    /// What ties it to its Session.
    pub binding: Option<Binding>,
    /// It is over, or about to be.
    pub ended: bool,
}

/// The longest word that a Session holds.
const MAX_WORD: usize = 253;

impl Agent {
    /// The agent that a Job is, if it is one.
    #[must_use]
    pub fn of_job(job: &Job) -> Option<Self> {
        let Look::Agent(agents::Agent { reach }) = job_agent(job) else {
            return None;
        };
        let meta = &job.metadata;
        let mut is_cut = false;
        let mut cut = |key: &str, most| {
            let said = meta.annotations.as_ref()?.get(key)?;
            let word: String = said.chars().take(most).collect();
            is_cut |= word.len() < said.len();
            (!word.is_empty()).then_some(word)
        };
        let mut word = |key| cut(key, MAX_WORD);
        let mut words = Words {
            username: word(words::USERNAME),
            hostname: word(words::HOSTNAME),
            key: word(words::KEY),
            session: cut(words::SESSION_NAME, MAX_WORD + 1),
            cut: false,
        };
        words.cut = is_cut;
        let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let image = pod.and_then(|pod| pod.containers.first()?.image.as_deref());
        Some(Self {
            id: AgentId {
                kind: AgentKind::Job,
                namespace: meta.namespace.clone()?,
                name: meta.name.clone()?,
                uid: meta.uid.clone()?,
                container: String::new(),
            },
            reach,
            node: pod.and_then(node),
            stamp: job_stamp(job),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            added: None,
            words,
            version: image.and_then(version),
            binding: meta.annotations.as_ref().and_then(|all| Binding::read(all.get(SESSION)?)),
            ended: meta.deletion_timestamp.is_some() || is_over(job),
        })
    }

    /// What ties it to a Session, if that was written on this very agent.
    #[must_use]
    pub fn bound(&self) -> Option<&Binding> {
        self.binding.as_ref().filter(|binding| binding.agent == self.id.uid)
    }
}

/// mirrord sets one or the other, always, for a target.
pub(crate) fn node(pod: &PodSpec) -> Option<String> {
    let selected = || {
        let selector = pod.node_selector.as_ref()?;
        selector.get("kubernetes.io/hostname").cloned()
    };
    pod.node_name.clone().or_else(selected)
}

/// The Job's pods have ended, or will whatever happens.
fn is_over(job: &Job) -> bool {
    const OVER: [&str; 4] = ["Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"];
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions
        .unwrap_or_default()
        .iter()
        .any(|condition| condition.status == "True" && OVER.contains(&condition.type_.as_str()))
}

/// The tag of an image, where it is a version.
pub(crate) fn version(image: &str) -> Option<String> {
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
    fn of_jobs() {
        let agent = Agent::of_job(&job(RUNNING)).unwrap();
        assert_eq!(agent.node.as_deref(), Some("node-1"));
        assert_eq!(agent.version.as_deref(), Some("3.250.0"));
        assert_eq!(agent.stamp, Stamp::Missing);
        assert!(!agent.ended);
        let id = agent.id.to_string();
        assert_eq!(id, "Job/default/mirrord-agent-hgpswxnb1g/2e7cd1c0-77bd-402c-8934-dc270bd9fad5");
        assert_eq!(id.parse(), Ok(agent.id));
        assert_eq!(Agent::of_job(&job(TARGETLESS)).unwrap().node, None);
    }

    #[test]
    fn over() {
        use k8s_openapi::api::batch::v1::JobCondition;
        for (type_, status, over) in [
            ("Complete", "True", true),
            ("Failed", "True", true),
            ("Complete", "False", false),
            ("Suspended", "True", false),
        ] {
            let mut job = job(RUNNING);
            let status_of = job.status.get_or_insert_default();
            status_of.conditions = Some(vec![JobCondition {
                type_: type_.into(),
                status: status.into(),
                ..JobCondition::default()
            }]);
            assert_eq!(Agent::of_job(&job).unwrap().ended, over, "{type_}={status}");
        }
        let mut job = job(RUNNING);
        job.metadata.deletion_timestamp = job.metadata.creation_timestamp.clone();
        assert!(Agent::of_job(&job).unwrap().ended);
    }

    #[test]
    fn words_are_cut() {
        assert!(!Agent::of_job(&job(RUNNING)).unwrap().words.cut);
        let mut job = job(RUNNING);
        let annotations = job.metadata.annotations.get_or_insert_default();
        annotations.insert(words::USERNAME.into(), "é".repeat(1 << 20));
        annotations.insert(words::HOSTNAME.into(), String::new());
        let words = Agent::of_job(&job).unwrap().words;
        assert_eq!(words.username.unwrap().chars().count(), MAX_WORD);
        assert_eq!((words.hostname, words.key), (None, None));
        assert!(words.cut);
    }

    #[test]
    fn ids_and_versions() {
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
            assert_eq!(version(image).as_deref(), expected, "{image}");
        }
    }
}
