//! `sessions.operator.metalbear.co/v1`: one mirrord run.

// kube's `printcolumn` is repeated by design; clippy takes its fields for duplicates.
#![allow(clippy::duplicated_attributes)]

use std::{borrow::Cow, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How many may join a session.
pub const MAX_PARTICIPANTS: usize = 256;

/// How many ports a session may have.
pub const MAX_PORTS: usize = 1024;

/// How long, in characters, the filter of a port may be.
pub const MAX_FILTER: usize = 4096;

/// How many processes a session may name.
pub const MAX_PROCESSES: usize = 64;

/// A mirrord run: who runs it, against which target, since when (`metadata.creationTimestamp`).
/// Delete it to stop the run.
#[derive(
    CustomResource, Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize,
)]
#[kube(
    group = "operator.metalbear.co",
    version = "v1",
    kind = "Session",
    namespaced,
    status = "SessionStatus",
    shortname = "msn",
    category = "mirrord",
    derive = "PartialEq",
    doc = "Session is one mirrord run: who runs it, against which target, and since when. It lives in the target's namespace. Delete it to stop the run.",
    selectable = ".spec.target",
    selectable = ".spec.owner.username",
    printcolumn(
        name = "Target",
        type_ = "string",
        description = "What the run targets, as kind/name[/container/NAME]",
        json_path = ".spec.target"
    ),
    printcolumn(
        name = "User",
        type_ = "string",
        description = "Who runs it, as whoami/kubernetes-user@hostname",
        json_path = ".spec.user"
    ),
    printcolumn(
        name = "Ports",
        type_ = "string",
        description = "Which ports it steals or mirrors, with their filters",
        json_path = ".status.portSummary"
    ),
    printcolumn(
        name = "Session Duration",
        type_ = "date",
        description = "For how long it has been running",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "State",
        type_ = "string",
        description = "pending, running or terminated",
        json_path = ".status.state",
        priority = "1"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        description = "Version of mirrord, as the client tells it",
        json_path = ".spec.client.version",
        priority = "1"
    ),
    printcolumn(
        name = "Agent",
        type_ = "string",
        description = "Name of the agent's Job or Pod",
        json_path = ".status.agent.name",
        priority = "1"
    ),
    printcolumn(
        name = "Node",
        type_ = "string",
        description = "Node that the agent runs on",
        json_path = ".status.agent.node",
        priority = "1"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        description = "What could not be told of the run, and why",
        json_path = ".status.message",
        priority = "1"
    )
)]
#[schemars(
    description = "What the run is. Immutable: a Session is deleted and another created.",
    extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "the spec of a Session is immutable: delete the Session and create another",
    }])
)]
#[serde(rename_all = "camelCase")]
pub struct SessionSpec {
    /// What the run targets, in mirrord's own syntax: kind/name[/container/NAME], as
    /// deployment/ip-visit-counter, or targetless; unresolved where the cluster could not tell it
    /// of a run that it recorded itself, in which case the status says why.
    #[schemars(
        length(min = 1, max = 400),
        regex(
            pattern = r"^(targetless|unresolved|[a-z]+/[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/container/[a-z0-9]([-a-z0-9]*[a-z0-9])?)?)$"
        )
    )]
    pub target: String,

    /// What the client says of itself: not verified by anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,

    /// mirrord's session key, if the run has one. Who knows the key can join the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\p{C}\p{Zl}\p{Zp}]*$"))]
    pub key: Option<String>,

    /// Who created the Session, as the API server authenticated them. Written by the cluster on
    /// creation, whatever the request said, and never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,

    /// Who runs it, in one line: whoami/kubernetes-user@hostname, or the user alone where the
    /// client says neither. Written by the cluster from client and owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What the client says of itself: not verified by anybody.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// Name of the user on the client's machine, as whoami tells it. It may not hold a slash, nor
    /// what looks like one, so that spec.user can be read in one way only; and nothing invisible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 253),
        regex(pattern = r"^[^/\x{2044}\x{2215}\x{29F8}\x{FF0F}\p{C}\p{Zl}\p{Zp}]*$")
    )]
    pub username: Option<String>,

    /// Name of the client's machine. It may hold neither a slash nor an at sign, and nothing
    /// invisible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^[^/@\p{C}\p{Zl}\p{Zp}]*$"))]
    pub hostname: Option<String>,

    /// Version of mirrord.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^[^\p{C}\p{Zl}\p{Zp}]*$"))]
    pub version: Option<String>,
}

/// The creator of a Session, as the API server authenticated them.
// No upper bound on any of these: they are not the user's to choose, and a user with many groups or
// a long name must not be locked out.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Kubernetes user name; system:mirrord-sessions:unverified where the cluster recorded a run
    /// whose owner it could not verify.
    #[schemars(length(min = 1))]
    pub username: String,

    /// The authenticator's identifier of the user, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub uid: Option<String>,

    /// Kubernetes groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub groups: Vec<String>,
}

/// What the cluster has seen of the run. Written by the controller alone.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// How far the run has come.
    #[serde(default)]
    pub state: SessionState,

    /// Ports that the run steals or mirrors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PORTS))]
    pub ports: Vec<Port>,

    /// The ports in one line, for the printer column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_summary: Option<String>,

    /// Kubernetes user names of those who joined. The owner takes part always and isn't listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PARTICIPANTS))]
    pub participants: Vec<String>,

    /// Names of the processes that run with it: the client's word, not verified by anybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PROCESSES))]
    pub processes: Vec<String>,

    /// When the controller last heard of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,

    /// mirrord's agent in the cluster, for runs that were recognised by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentReference>,

    /// What could not be told of the run, and why: its owner, its target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
pub enum SessionState {
    /// Created, and nothing heard of it yet.
    #[default]
    Pending,
    /// Running.
    Running,
    /// Over.
    Terminated,
}

impl SessionState {
    /// The state as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Terminated => "terminated",
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A port of the target that the run takes traffic of.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The port's number.
    #[schemars(schema_with = "port_number")]
    pub port: u16,

    /// Whether requests are taken from the target or copied.
    #[serde(rename = "type")]
    pub type_: PortType,

    /// Which requests: all, if there is no filter. As header=REGEX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_FILTER))]
    pub filter: Option<String>,
}

/// One line in the words of mirrord's status table: `Port: 80, Type: steal, Filter: header=…`.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port: {}, Type: {}", self.port, self.type_.as_str())?;
        self.filter.as_ref().map_or(Ok(()), |filter| write!(f, ", Filter: {filter}"))
    }
}

impl Port {
    /// Several ports in one line, as `status.portSummary` holds them.
    #[must_use]
    pub fn summary(ports: &[Self]) -> String {
        let lines: Vec<String> = ports.iter().map(Self::to_string).collect();
        lines.join("; ")
    }
}

/// Whether requests are taken from the target or copied.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
pub enum PortType {
    /// Requests go to the local process instead of the target.
    Steal,
    /// The local process gets a copy of each request.
    Mirror,
}

impl PortType {
    /// The type as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steal => "steal",
            Self::Mirror => "mirror",
        }
    }
}

/// mirrord's agent in the cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentReference {
    /// Job, or Pod for an agent that runs as an ephemeral container.
    pub kind: String,
    /// Namespace of the agent, which need not be the target's.
    pub namespace: String,
    /// Name of the Job or Pod.
    pub name: String,
    /// Identifier of the Job or Pod.
    pub uid: String,
    /// Name of the ephemeral container that the agent is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Node that the agent runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl SessionSpec {
    /// The line that says who runs it: what the cluster composed, or else the owner's name, or
    /// else that nobody is known.
    #[must_use]
    pub fn user_line(&self) -> Cow<'_, str> {
        match (&self.user, &self.owner) {
            (Some(user), _) => Cow::Borrowed(user),
            (None, Some(owner)) => Cow::Borrowed(&owner.username),
            (None, None) => Cow::Borrowed("<unknown>"),
        }
    }
}

// schemars names u16's format `uint16`, which the API server warns about on every install.
pub(crate) fn port_number(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 65535 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_lines_read_like_mirrords_status_table() {
        let stolen = Port {
            port: 80,
            type_: PortType::Steal,
            filter: Some("header=baggage: .*mirrord-session=Avi.+".into()),
        };
        let mirrored = Port { port: 8080, type_: PortType::Mirror, filter: None };
        assert_eq!(
            stolen.to_string(),
            "Port: 80, Type: steal, Filter: header=baggage: .*mirrord-session=Avi.+"
        );
        assert_eq!(
            Port::summary(&[mirrored, stolen]),
            "Port: 8080, Type: mirror; Port: 80, Type: steal, Filter: header=baggage: .*mirrord-session=Avi.+"
        );
        assert_eq!(Port::summary(&[]), "");
    }
}
