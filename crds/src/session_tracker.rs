//! `sessiontrackers.visibility.operator.metalbear.co/v1`: what somebody may see of a Session.
//!
//! Not a CustomResourceDefinition: the webhook process serves it as an aggregated API, read-only,
//! and decides object by object who sees it.

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AgentReference, Owner, PortType, SessionState};

/// `status.reason` of a session that somebody stopped.
pub const STOPPED: &str = "stopped";
/// `status.reason` of a session that was deleted, nobody knows why.
pub const DELETED: &str = "deleted";
/// `status.reason` of a session of which one was told that this user stopped it, and another one
/// that, or that it ended by itself. Whoever reaches the webhook may tell it something.
pub const DISPUTED: &str = "disputed";
/// `status.reason` of a session that was not heard of for too long. Nobody stopped it.
pub const EXPIRED: &str = "expired";

/// `status.reason` of a session whose agent ended.
pub const AGENT_ENDED: &str = "its agent ended";
/// `status.reason` of a session whose owner reported that the command is over. Nobody stopped it.
pub const COMMAND_ENDED: &str = "its command ended";

/// The API group that trackers are served in.
pub const TRACKER_GROUP: &str = "visibility.operator.metalbear.co";

/// The version of [`TRACKER_GROUP`].
pub const TRACKER_VERSION: &str = "v1";

/// The resource name of trackers.
pub const TRACKERS: &str = "sessiontrackers";

/// The name of the APIService through which trackers are served.
pub const TRACKER_API_SERVICE: &str = "v1.visibility.operator.metalbear.co";

/// A session as those see it who may. It has the name, the namespace, the uid and the resource
/// version of its Session.
#[derive(
    CustomResource, Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize,
)]
#[kube(
    group = "visibility.operator.metalbear.co",
    version = "v1",
    kind = "SessionTracker",
    namespaced,
    status = "SessionTrackerStatus",
    shortname = "mst",
    category = "mirrord",
    derive = "PartialEq",
    doc = "SessionTracker shows a mirrord session to those who may see it: who runs it, against which target, and how far it has come. It is read-only; delete the Session of the same name to stop it."
)]
#[serde(rename_all = "camelCase")]
pub struct SessionTrackerSpec {
    /// The session's id as people read it: the name, in upper case where it is of 16 hex digits.
    pub session_id: String,

    /// How the session reaches the cluster.
    pub kind: TrackerKind,

    /// What the run targets, as kind/name[/container/NAME], or targetless.
    pub target: String,

    /// Who runs it, in one line: whoami/kubernetes-user@hostname.
    pub user: String,

    /// Name of the user on the client's machine: the client's word, not verified by anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,

    /// Name of the client's machine: the client's word, not verified by anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,

    /// Version of mirrord: the client's word, not verified by anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_version: Option<String>,

    /// Who created the session, as the API server authenticated them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,

    /// mirrord's session key. Only shown to who takes part or may join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// How a session reaches the cluster.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
pub enum TrackerKind {
    /// By an agent that runs as a Job.
    Job,
    /// By an agent that runs as an ephemeral container of the target.
    Ephemeral,
    /// By a process that recorded the Session itself.
    #[default]
    Process,
    /// By mirrord's operator.
    Operator,
}

impl TrackerKind {
    /// The kind of a session with this agent: one that is a Pod runs in it as an ephemeral
    /// container; without an agent, a process recorded the session itself.
    #[must_use]
    pub fn of(agent: Option<&AgentReference>) -> Self {
        match agent.map(|agent| agent.kind.as_str()) {
            Some("Pod") => Self::Ephemeral,
            Some(_) => Self::Job,
            None => Self::Process,
        }
    }

    /// The kind as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Ephemeral => "ephemeral",
            Self::Process => "process",
            Self::Operator => "operator",
        }
    }
}

/// How far a session has come.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionTrackerStatus {
    /// How far the run has come.
    #[serde(default)]
    pub state: SessionState,

    /// When the session started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,

    /// Ports that the run steals or mirrors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<TrackedPort>,

    /// The ports in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_summary: Option<String>,

    /// Kubernetes user names of those who take part: the owner, then those who joined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<String>,

    /// Names of the processes that run with it: the client's word, not verified by anybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<String>,

    /// When the cluster last heard of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,

    /// mirrord's agent in the cluster, for runs that were recognised by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentReference>,

    /// What could not be told of the run, and why: its owner, its target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,

    /// Why a terminated session ended: stopped, deleted, expired, disputed (it was told in
    /// different ways), or which part of it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,

    /// Kubernetes user that stopped a terminated session, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,

    /// When a terminated session ended. It is shown for some minutes more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
}

/// A port of the target that the run takes traffic of.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrackedPort {
    /// The port's number.
    #[schemars(schema_with = "crate::session::port_number")]
    pub port: u16,

    /// Whether requests are taken from the target or copied.
    #[serde(rename = "type")]
    pub type_: PortType,

    /// Whether only requests that pass a filter are taken.
    pub filtered: bool,

    /// The filter, as header=REGEX. Only shown to who takes part or may join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// The definition of a type, for its schema.
#[must_use]
pub fn custom_resource_definition<K: kube::CustomResourceExt>() -> CustomResourceDefinition {
    K::crd()
}
