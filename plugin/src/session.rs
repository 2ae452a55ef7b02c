//! A session as the plugin shows it, parsed from an object of the cluster.
//!
//! The parser reads field by field instead of using the typed Session. An object of other software
//! or of another version of the definition is then shown as far as it can be parsed, and never
//! fails the list.

mod operator;

use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};
use mirrord_sessions_crds::{GROUP, SessionId, TrackerKind};
use serde_json::Value;

use crate::render::duration::{age, exact_age};

pub use self::operator::strip_operator_prefix;

/// The agent of a session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Agent {
    /// The kind of the agent: Job or Pod.
    pub kind: Option<String>,
    /// The namespace of the Job or Pod.
    pub namespace: Option<String>,
    /// The name of the Job or Pod.
    pub name: Option<String>,
    /// The node of the agent.
    pub node: Option<String>,
}

/// A port of a session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Port {
    /// The number of the port.
    pub number: Option<u64>,
    /// The port with its filter in mirrord's format: `Port: 80, Type: steal, Filter: …`.
    pub line: String,
}

/// A session as the plugin shows it. Absent fields are `None` or empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Session {
    /// The field `metadata.name` of the object.
    pub name: String,
    /// The field `metadata.namespace` of the object.
    pub namespace: String,
    /// The field `metadata.uid` of the object.
    pub uid: Option<String>,
    /// The field `metadata.labels`, ordered by name.
    pub labels: Vec<(String, String)>,
    /// The start time of the session.
    pub started: Option<Timestamp>,
    /// The duration of the session, if the start time is unknown.
    pub lasted: Option<SignedDuration>,
    /// The end time of the session.
    pub ended: Option<Timestamp>,
    /// The reason of the end.
    pub reason: Option<String>,
    /// The user who stopped the session.
    pub stopped_by: Option<String>,
    /// The kind of the session: job, ephemeral, process or operator.
    pub kind: Option<String>,
    /// The target as kind/name[/container/NAME].
    pub target: Option<String>,
    /// The user in one line: whoami/user@hostname.
    pub user: Option<String>,
    /// The Kubernetes user name of the owner.
    pub owner: Option<String>,
    /// The authenticator's identifier of the owner.
    pub owner_uid: Option<String>,
    /// The Kubernetes groups of the owner.
    pub owner_groups: Vec<String>,
    /// The user name on the client's machine, as claimed by the client.
    pub client_user: Option<String>,
    /// The name of the client's machine, as claimed by the client.
    pub client_host: Option<String>,
    /// The version of mirrord, as claimed by the client.
    pub version: Option<String>,
    /// The key by which other users join.
    pub key: Option<String>,
    /// The state: pending, running or terminated.
    pub state: Option<String>,
    /// The ports of the session.
    pub ports: Vec<Port>,
    /// The ports in one line, as composed by the controller.
    pub port_summary: Option<String>,
    /// The header filter of all ports.
    pub header_filter: Option<String>,
    /// The Kubernetes user names of the participants: the owner first, then those who joined.
    pub participants: Vec<String>,
    /// The names of the session's processes, as claimed by the client.
    pub processes: Vec<String>,
    /// The message about unknown properties of the session.
    pub message: Option<String>,
    /// The time of the last report or observation.
    pub last_seen: Option<Timestamp>,
    /// The agent of the session in the cluster.
    pub agent: Option<Agent>,
}

impl Session {
    /// Returns the value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the labels as `a=b,c=d`, if there are any.
    #[must_use]
    pub fn label_line(&self) -> Option<String> {
        let pairs = self.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let line = pairs.collect::<Vec<_>>().join(",");
        Some(line).filter(|line| !line.is_empty())
    }

    /// Parses a Session, a tracker, or a session of mirrord's operator as far as possible.
    #[must_use]
    pub fn from_object(object: &Value) -> Self {
        if object.pointer("/spec/session").is_some_and(Value::is_object) {
            return operator::read(object);
        }
        let text = |pointer: &str| text(object.pointer(pointer));
        let list = |pointer: &str| texts(object.pointer(pointer));
        let owner = text("/spec/owner/username");
        let mut participants = list("/status/participants");
        if let Some(owner) = &owner {
            // Trackers list the owner among the participants, Sessions don't.
            participants.retain(|name| name != owner);
            participants.insert(0, owner.clone());
        }
        let agent =
            object.pointer("/status/agent").filter(|agent| agent.is_object()).map(|_| Agent {
                kind: text("/status/agent/kind"),
                namespace: text("/status/agent/namespace"),
                name: text("/status/agent/name"),
                node: text("/status/agent/node"),
            });
        Self {
            name: text("/metadata/name").unwrap_or_default(),
            namespace: text("/metadata/namespace").unwrap_or_default(),
            uid: text("/metadata/uid"),
            labels: labels(object.pointer("/metadata/labels")),
            started: time(object.pointer("/status/started"))
                .or_else(|| time(object.pointer("/metadata/creationTimestamp"))),
            lasted: None,
            ended: time(object.pointer("/status/endedAt")),
            reason: text("/status/reason"),
            stopped_by: text("/status/stoppedBy"),
            kind: text("/spec/kind").or_else(|| kind_of_agent(agent.as_ref(), object)),
            target: text("/spec/target"),
            user: text("/spec/user").or_else(|| owner.clone()),
            owner,
            owner_uid: text("/spec/owner/uid"),
            owner_groups: list("/spec/owner/groups"),
            client_user: text("/spec/client/username").or_else(|| text("/spec/login")),
            client_host: text("/spec/client/hostname").or_else(|| text("/spec/hostname")),
            version: text("/spec/client/version")
                .or_else(|| text("/spec/clientVersion"))
                .or_else(|| text("/status/clientVersion")),
            key: text("/spec/key"),
            state: text("/status/state"),
            ports: ports(object.pointer("/status/ports")),
            port_summary: text("/status/portSummary"),
            header_filter: None,
            participants,
            processes: list("/status/processes"),
            message: text("/status/message"),
            last_seen: time(object.pointer("/status/lastSeen")),
            agent,
        }
    }

    /// Returns the ID as users read and type it.
    #[must_use]
    pub fn id(&self) -> SessionId {
        SessionId::from_name(&self.name)
    }

    /// Returns the ports in one line, if there are any.
    #[must_use]
    pub fn port_line(&self) -> Option<String> {
        // The line equals that of `Port::summary`. The controller stores its own for the columns of
        // kubectl.
        if self.ports.is_empty() {
            self.port_summary.clone()
        } else {
            let lines: Vec<&str> = self.ports.iter().map(|port| port.line.as_str()).collect();
            Some(lines.join("; "))
        }
    }

    /// Returns whether the session has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.as_deref() == Some("terminated")
    }

    /// Returns the duration of the session in kubectl's format of ages.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> String {
        age(self.start_time(now), self.ended.unwrap_or(now))
    }

    /// Returns the duration of the session in mirrord's format.
    #[must_use]
    pub fn exact_age(&self, now: Timestamp) -> String {
        exact_age(self.start_time(now), self.ended.unwrap_or(now))
    }

    /// Returns the start time, derived from the duration if necessary.
    #[must_use]
    pub fn start_time(&self, now: Timestamp) -> Option<Timestamp> {
        self.started.or_else(|| now.checked_sub(self.lasted?).ok())
    }

    /// Compares by namespace, then by name, like the API server.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        (&self.namespace, &self.name).cmp(&(&other.namespace, &other.name))
    }
}

/// Returns `session.operator.metalbear.co`, the name of the kind in kubectl's messages.
#[must_use]
pub fn kind_name() -> String {
    format!("session.{GROUP}")
}

/// Returns a value as text, or nothing if it is absent.
fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(|item| text(Some(item))).collect(),
        other => text(other).into_iter().collect(),
    }
}

fn time(value: Option<&Value>) -> Option<Timestamp> {
    value?.as_str()?.parse().ok()
}

/// Returns the kind of a session, derived from its agent.
fn kind_of_agent(agent: Option<&Agent>, object: &Value) -> Option<String> {
    let kind = match agent.map(|agent| agent.kind.as_deref()) {
        Some(Some("Pod")) => TrackerKind::Ephemeral,
        Some(Some(_)) => TrackerKind::Job,
        None if object["kind"] == "Session" => TrackerKind::Process,
        _ => return None,
    };
    Some(kind.as_str().to_owned())
}

fn labels(value: Option<&Value>) -> Vec<(String, String)> {
    let labels = value.and_then(Value::as_object).into_iter().flatten();
    let pair = |(name, value): (&String, &Value)| {
        (name.clone(), value.as_str().unwrap_or_default().to_owned())
    };
    labels.map(pair).collect()
}

fn ports(value: Option<&Value>) -> Vec<Port> {
    match value {
        Some(Value::Array(items)) => items.iter().map(port).collect(),
        other => texts(other).into_iter().map(|line| Port { number: None, line }).collect(),
    }
}

/// Parses a port in any served form: `{port, type, filter}`, a tracker's, which may only contain
/// that there is a filter, mirrord's `{port, kind, filter}`, and `[port, kind, filter]`.
fn port(value: &Value) -> Port {
    let field = |name: &str, at: usize| match value {
        Value::Array(items) => items.get(at),
        other => other.get(name),
    };
    let number =
        field("port", 0).and_then(Value::as_u64).filter(|number| *number <= u16::MAX.into());
    let kind = text(field("type", 1)).or_else(|| text(field("kind", 1)));
    let (Some(number), Some(kind)) = (number, kind) else {
        return Port { number, line: value.to_string() };
    };
    let hidden = || (value["filtered"] == true).then(|| "<hidden>".to_owned());
    let filter = text(field("filter", 2)).or_else(hidden);
    let filter = filter.map_or_else(String::new, |filter| format!(", Filter: {filter}"));
    Port { number: Some(number), line: format!("Port: {number}, Type: {kind}{filter}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parses_a_complete_session() {
        let session = Session::from_object(&json!({
            "metadata": {
                "name": "487f4f2b6d2376ad", "namespace": "default", "uid": "u",
                "creationTimestamp": "1970-01-01T00:00:10Z",
            },
            "spec": {
                "target": "deployment/a",
                "user": "Avi/avi@x@host",
                "owner": { "username": "avi@x", "uid": "1", "groups": ["dev"] },
                "client": { "username": "Avi", "hostname": "host", "version": "3.250.0" },
            },
            "status": {
                "state": "running",
                "ports": [{ "port": 80, "type": "steal", "filter": "header=a" }, { "port": 81, "type": "mirror" }],
                "agent": { "kind": "Job", "namespace": "n", "name": "mirrord-agent-a", "uid": "2" },
            },
        }));
        assert_eq!(session.id().to_string(), "487F4F2B6D2376AD");
        assert_eq!(session.started, Timestamp::from_second(10).ok());
        assert_eq!(
            session.port_line().as_deref(),
            Some("Port: 80, Type: steal, Filter: header=a; Port: 81, Type: mirror")
        );
        assert_eq!(session.agent.unwrap().name.as_deref(), Some("mirrord-agent-a"));
    }

    #[test]
    fn parses_malformed_objects_partially() {
        let cases = [
            (json!(null), ""),
            (json!([1]), ""),
            (json!({ "metadata": { "name": "x" } }), ""),
            (json!({ "spec": "text", "status": 3 }), ""),
            (json!({ "spec": { "target": { "deployment": "a" } } }), r#"{"deployment":"a"}"#),
            (json!({ "spec": { "target": 5, "owner": [], "client": null } }), "5"),
            (
                json!({ "metadata": { "creationTimestamp": "yesterday" }, "spec": { "target": "a" } }),
                "a",
            ),
        ];
        for (object, target) in cases {
            let session = Session::from_object(&object);
            assert_eq!(session.target.unwrap_or_default(), target, "{object}");
            assert_eq!(session.started, None, "{object}");
        }
    }

    #[test]
    fn parses_ports_of_every_form() {
        let cases = [
            (json!({}), None),
            (json!({ "portSummary": "Port: 1, Type: steal" }), Some("Port: 1, Type: steal")),
            (json!({ "ports": [] }), None),
            (json!({ "ports": [[80, "steal", null]] }), Some("Port: 80, Type: steal")),
            (json!({ "ports": "all" }), Some("all")),
            (
                json!({ "ports": [{ "port": 80, "type": "steal", "filtered": true }, { "port": 81, "type": "mirror", "filtered": false }] }),
                Some("Port: 80, Type: steal, Filter: <hidden>; Port: 81, Type: mirror"),
            ),
            (
                json!({ "ports": [{ "port": 80, "type": "steal", "filtered": true, "filter": "header=a" }] }),
                Some("Port: 80, Type: steal, Filter: header=a"),
            ),
            (
                json!({ "ports": [{ "port": 99999, "type": "steal" }] }),
                Some(r#"{"port":99999,"type":"steal"}"#),
            ),
        ];
        for (status, expected) in cases {
            let session = Session::from_object(&json!({ "status": status }));
            assert_eq!(session.port_line().as_deref(), expected, "{status}");
        }
    }
}
