//! The resource `sessiontrackers.visibility.operator.metalbear.co/v1`: a Session as a requester may
//! see it.
//!
//! Trackers have no CustomResourceDefinition. The webhook process serves them as a read-only
//! aggregated API, and decides about each object whether the requester may see it.

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AgentReference, Owner, PortType, SessionState};

/// The `status.reason` of a session that a user stopped.
pub const STOPPED: &str = "stopped";
/// The `status.reason` of a session that was deleted for an unknown reason.
pub const DELETED: &str = "deleted";
/// The `status.reason` of a session with contradictory reports about its end. Any client that
/// reaches the webhook can send such a report.
pub const DISPUTED: &str = "disputed";
/// The `status.reason` of a session that expired without reports.
pub const EXPIRED: &str = "expired";

/// The `status.reason` of a session whose agent ended.
pub const AGENT_ENDED: &str = "its agent ended";
/// The `status.reason` of a session whose owner reported the end of its command.
pub const COMMAND_ENDED: &str = "its command ended";

/// The API group of trackers.
pub const TRACKER_GROUP: &str = "visibility.operator.metalbear.co";

/// The version of [`TRACKER_GROUP`].
pub const TRACKER_VERSION: &str = "v1";

/// The resource name of trackers.
pub const TRACKERS: &str = "sessiontrackers";

/// The name of the APIService of trackers.
pub const TRACKER_API_SERVICE: &str = "v1.visibility.operator.metalbear.co";

/// SessionTracker is a Session as a requester may see it. It has the name, namespace, uid and
/// resource version of its Session.
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
    doc = "SessionTracker shows a mirrord session to the users who may see it, with its owner, target, ports and state. It is read-only. Delete the Session of the same name to stop the run."
)]
#[serde(rename_all = "camelCase")]
pub struct SessionTrackerSpec {
    /// ID of the session as users read it: the name, in upper case if it consists of 16 hex digits.
    pub session_id: String,

    /// Kind of the session: job, ephemeral, process or operator.
    pub kind: TrackerKind,

    /// Target of the run as kind/name[/container/NAME], or targetless.
    pub target: String,

    /// User of the run in one line: whoami/kubernetes-user@hostname.
    pub user: String,

    /// Name of the user on the client's machine, as claimed by the client. It is not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,

    /// Name of the client's machine, as claimed by the client. It is not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,

    /// Version of mirrord, as claimed by the client. It is not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_version: Option<String>,

    /// Creator of the session, as authenticated by the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,

    /// Session key of mirrord. It is shown to participants and to users who may join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// TrackerKind is the way in which a session reaches the cluster.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
pub enum TrackerKind {
    /// An agent that runs as a Job.
    Job,
    /// An agent that runs as an ephemeral container of the target.
    Ephemeral,
    /// A process that recorded the Session itself.
    #[default]
    Process,
    /// The operator of mirrord.
    Operator,
}

impl TrackerKind {
    /// Returns the kind of a session with this agent. An agent in a Pod is an ephemeral container.
    /// Without an agent, a process recorded the session itself.
    #[must_use]
    pub fn from_agent(agent: Option<&AgentReference>) -> Self {
        match agent.map(|agent| agent.kind.as_str()) {
            Some("Pod") => Self::Ephemeral,
            Some(_) => Self::Job,
            None => Self::Process,
        }
    }

    /// Returns the kind as the API spells it.
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

/// SessionTrackerStatus is the observed state of a session.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionTrackerStatus {
    /// State of the run: pending, running, terminating or terminated.
    #[serde(default)]
    pub state: SessionState,

    /// Start time of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,

    /// Ports of the target whose traffic the run steals or mirrors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<TrackedPort>,

    /// Ports in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_summary: Option<String>,

    /// Kubernetes user names of the participants: the owner first, then the users who joined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<String>,

    /// Names of the processes of the run, as claimed by the client. They are not verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<String>,

    /// Time of the last report or observation of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,

    /// Agent of mirrord in the cluster, for runs that were recognised by their agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentReference>,

    /// Message about properties of the run that are unknown, such as its owner or target, with the
    /// reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,

    /// Reason for the end of a terminated session: stopped, deleted, expired, disputed (reports
    /// about the end contradict each other), or the part of the session that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,

    /// Kubernetes user who stopped a terminated session, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<String>,

    /// End time of a terminated session, which is shown for some minutes after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
}

/// TrackedPort is a port of the target whose traffic the run takes.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrackedPort {
    /// Number of the port.
    #[schemars(schema_with = "crate::session::port_number")]
    pub port: u16,

    /// Mode of the traffic: steal or mirror.
    #[serde(rename = "type")]
    pub type_: PortType,

    /// Whether the port has a filter of requests.
    pub filtered: bool,

    /// Filter of the requests, as header=REGEX. It is shown to participants and to users who may
    /// join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// Returns the definition of a type, for its schema.
#[must_use]
pub fn custom_resource_definition<K: kube::CustomResourceExt>() -> CustomResourceDefinition {
    K::crd()
}
