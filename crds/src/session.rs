//! The resource `sessions.operator.metalbear.co/v1`: one mirrord run.

// kube's `printcolumn` is repeated by design, which clippy reports as duplicated attributes.
#![allow(clippy::duplicated_attributes)]

use std::{borrow::Cow, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The maximum number of users who join a session.
pub const MAX_PARTICIPANTS: usize = 256;

/// The maximum number of ports of a session.
pub const MAX_PORTS: usize = 1024;

/// The maximum length of the filter of a port, in characters.
pub const MAX_FILTER: usize = 4096;

/// The maximum length of a version of mirrord, in characters.
pub const MAX_VERSION: usize = 64;

/// The maximum number of process names of a session.
pub const MAX_PROCESSES: usize = 64;

/// Session is a mirrord run: its owner, its target and its ports. It starts at
/// metadata.creationTimestamp. Delete the Session to stop the run.
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
    doc = "Session is a mirrord run: its owner, its target and its ports. It is in the namespace of the target. Delete the Session to stop the run.",
    selectable = ".spec.target",
    selectable = ".spec.owner.username",
    printcolumn(
        name = "Target",
        type_ = "string",
        description = "Target of the run, as kind/name[/container/NAME]",
        json_path = ".spec.target"
    ),
    printcolumn(
        name = "User",
        type_ = "string",
        description = "User of the run, as whoami/kubernetes-user@hostname",
        json_path = ".spec.user"
    ),
    printcolumn(
        name = "Ports",
        type_ = "string",
        description = "Ports that the run steals or mirrors, with their filters",
        json_path = ".status.portSummary"
    ),
    printcolumn(
        name = "Session Duration",
        type_ = "date",
        description = "Duration of the run",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "State",
        type_ = "string",
        description = "State of the run: pending, running, terminating or terminated",
        json_path = ".status.state",
        priority = "1"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        description = "Version of mirrord, as claimed by the client",
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
        description = "Properties of the run that are unknown, with the reason",
        json_path = ".status.message",
        priority = "1"
    )
)]
#[schemars(
    description = "Desired properties of the run. Immutable: delete the Session and create another to change them.",
    extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "the spec of a Session is immutable: delete the Session and create another",
    }])
)]
#[serde(rename_all = "camelCase")]
pub struct SessionSpec {
    /// Target of the run in mirrord's syntax: kind/name[/container/NAME], for example
    /// deployment/ip-visit-counter, or targetless. The value is unresolved for a run that the
    /// cluster recorded itself without finding the target; the status contains the reason.
    #[schemars(
        length(min = 1, max = 400),
        regex(
            pattern = r"^(targetless|unresolved|[a-z]+/[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/container/[a-z0-9]([-a-z0-9]*[a-z0-9])?)?)$"
        )
    )]
    pub target: String,

    /// Description of the client by itself. It is not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,

    /// Session key of mirrord, if the run has one. Users who know the key can join the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\p{C}\p{Zl}\p{Zp}]*$"))]
    pub key: Option<String>,

    /// Creator of the Session, as authenticated by the API server. The cluster writes the owner on
    /// creation, whatever the request contains, and never changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,

    /// User of the run in one line: whoami/kubernetes-user@hostname, or the user name alone if the
    /// client sent neither. The cluster composes it from client and owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Client describes the client of a run by its own claims, which are not verified.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// Name of the user on the client's machine, as reported by whoami. It contains no slash, nor a
    /// character that looks like one, so that spec.user parses in one way only. It contains no
    /// invisible characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 253),
        regex(pattern = r"^[^/\x{2044}\x{2215}\x{29F8}\x{FF0F}\p{C}\p{Zl}\p{Zp}]*$")
    )]
    pub username: Option<String>,

    /// Name of the client's machine. It contains neither a slash nor an at sign, and no invisible
    /// characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^[^/@\p{C}\p{Zl}\p{Zp}]*$"))]
    pub hostname: Option<String>,

    /// Version of mirrord on the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_VERSION), regex(pattern = r"^[^\p{C}\p{Zl}\p{Zp}]*$"))]
    pub version: Option<String>,
}

/// Owner is the creator of a Session, as authenticated by the API server.
// No field has an upper bound: users do not choose these values, and a user with many groups or a
// long name must not be locked out.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Kubernetes user name. The value is system:mirrord-sessions:unverified for a run whose owner
    /// the cluster could not verify.
    #[schemars(length(min = 1))]
    pub username: String,

    /// Identifier of the user at the authenticator, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub uid: Option<String>,

    /// Kubernetes groups of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub groups: Vec<String>,
}

/// SessionStatus is the observed state of a run. Only the controller writes it.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// State of the run: pending, running, terminating or terminated.
    #[serde(default)]
    pub state: SessionState,

    /// Ports of the target whose traffic the run steals or mirrors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PORTS))]
    pub ports: Vec<Port>,

    /// Ports in one line, for the printer column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_summary: Option<String>,

    /// Kubernetes user names of the users who joined. The owner is always a participant and is not
    /// listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PARTICIPANTS))]
    pub participants: Vec<String>,

    /// Names of the processes of the run, as claimed by the client. They are not verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PROCESSES))]
    pub processes: Vec<String>,

    /// Time of the last report or observation of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,

    /// Agent of mirrord in the cluster, for runs that were recognised by their agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentReference>,

    /// Version of mirrord, as found by the owner of the run after the Session was created. It is not
    /// verified, and a version in the spec takes precedence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_VERSION))]
    pub client_version: Option<String>,

    /// Message about properties of the run that are unknown, such as its owner or target, with the
    /// reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// SessionState is the state of a run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
pub enum SessionState {
    /// Created, without a report or an agent yet.
    #[default]
    Pending,
    /// Running, with an agent or reports.
    Running,
    /// Deleted, but still stored: a finalizer or a foreground deletion holds it.
    Terminating,
    /// Terminated, and shown for some minutes.
    Terminated,
}

impl SessionState {
    /// Returns the state as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
        }
    }
}

impl SessionState {
    /// Returns whether the run has ended or is being stopped.
    #[must_use]
    pub fn is_ending(self) -> bool {
        matches!(self, Self::Terminating | Self::Terminated)
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Port is a port of the target whose traffic the run takes.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Number of the port.
    #[schemars(schema_with = "port_number")]
    pub port: u16,

    /// Mode of the traffic: steal or mirror.
    #[serde(rename = "type")]
    pub type_: PortType,

    /// Filter of the requests, as header=REGEX. Without a filter, all requests are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_FILTER))]
    pub filter: Option<String>,
}

/// Formats the port like mirrord's status table: `Port: 80, Type: steal, Filter: header=…`.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port: {}, Type: {}", self.port, self.type_.as_str())?;
        self.filter.as_ref().map_or(Ok(()), |filter| write!(f, ", Filter: {filter}"))
    }
}

impl Port {
    /// Returns several ports in one line, as stored in `status.portSummary`.
    #[must_use]
    pub fn summary(ports: &[Self]) -> String {
        let lines: Vec<String> = ports.iter().map(Self::to_string).collect();
        lines.join("; ")
    }
}

/// PortType is the mode in which a run takes traffic.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "camelCase")]
pub enum PortType {
    /// Requests are sent to the local process instead of the target.
    Steal,
    /// Requests are copied to the local process.
    Mirror,
}

impl PortType {
    /// Returns the type as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steal => "steal",
            Self::Mirror => "mirror",
        }
    }
}

/// AgentReference refers to the agent of a run.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentReference {
    /// Kind of the object: Job, or Pod for an agent that runs as an ephemeral container.
    pub kind: String,
    /// Namespace of the agent, which can differ from that of the target.
    pub namespace: String,
    /// Name of the Job or Pod.
    pub name: String,
    /// UID of the Job or Pod.
    pub uid: String,
    /// Name of the ephemeral container of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Name of the node that runs the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl SessionSpec {
    /// Returns the user of the run in one line: the composed line, or else the owner's name, or
    /// else a text for an unknown user.
    #[must_use]
    pub fn user_line(&self) -> Cow<'_, str> {
        match (&self.user, &self.owner) {
            (Some(user), _) => Cow::Borrowed(user),
            (None, Some(owner)) => Cow::Borrowed(&owner.username),
            (None, None) => Cow::Borrowed("<unknown>"),
        }
    }
}

// schemars names the format of u16 `uint16`, about which the API server warns on every
// installation.
pub(crate) fn port_number(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 65535 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_ports_like_mirrords_status_table() {
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
