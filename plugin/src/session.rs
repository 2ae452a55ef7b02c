//! A session as it is shown, read from an object of the cluster.
//!
//! Read field by field rather than through the typed Session: an object that somebody else's
//! software wrote, or that another version of the CRD let in, is shown as far as it can be understood
//! instead of failing the whole list.

use std::cmp::Ordering;

use jiff::Timestamp;
use mirrord_sessions_crds::{GROUP, Port, SessionId};
use serde::Deserialize;
use serde_json::Value;

/// A session's agent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Agent {
    /// Job or Pod.
    pub kind: Option<String>,
    /// Namespace of the Job or Pod.
    pub namespace: Option<String>,
    /// Name of the Job or Pod.
    pub name: Option<String>,
    /// Node that it runs on.
    pub node: Option<String>,
}

/// A session as it is shown. What the object doesn't say is `None`, or empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Session {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// kind/name[/container/NAME] of the target.
    pub target: Option<String>,
    /// Who runs it, in one line.
    pub user: Option<String>,
    /// Kubernetes user name of the owner.
    pub owner: Option<String>,
    /// The authenticator's identifier of the owner.
    pub owner_uid: Option<String>,
    /// Kubernetes groups of the owner.
    pub owner_groups: Vec<String>,
    /// Name of the user on the client's machine (the client's word).
    pub client_user: Option<String>,
    /// Name of the client's machine (the client's word).
    pub client_host: Option<String>,
    /// Version of mirrord (the client's word).
    pub version: Option<String>,
    /// The key with which others join.
    pub key: Option<String>,
    /// pending, running or terminated.
    pub state: Option<String>,
    /// One line a port.
    pub ports: Vec<String>,
    /// The ports in one line, as the controller wrote them.
    pub port_summary: Option<String>,
    /// Kubernetes user names of those who joined.
    pub participants: Vec<String>,
    /// When the controller last heard of it.
    pub last_seen: Option<Timestamp>,
    /// mirrord's agent in the cluster.
    pub agent: Option<Agent>,
}

impl Session {
    /// Reads what can be read.
    #[must_use]
    pub fn of_object(object: &Value) -> Self {
        let text = |pointer: &str| text(object.pointer(pointer));
        let list = |pointer: &str| texts(object.pointer(pointer));
        let owner = text("/spec/owner/username");
        Self {
            name: text("/metadata/name").unwrap_or_default(),
            namespace: text("/metadata/namespace").unwrap_or_default(),
            uid: text("/metadata/uid"),
            started: time(object.pointer("/metadata/creationTimestamp")),
            target: text("/spec/target"),
            user: text("/spec/user").or_else(|| owner.clone()),
            owner,
            owner_uid: text("/spec/owner/uid"),
            owner_groups: list("/spec/owner/groups"),
            client_user: text("/spec/client/username"),
            client_host: text("/spec/client/hostname"),
            version: text("/spec/client/version"),
            key: text("/spec/key"),
            state: text("/status/state"),
            ports: ports(object.pointer("/status/ports")),
            port_summary: text("/status/portSummary"),
            participants: list("/status/participants"),
            last_seen: time(object.pointer("/status/lastSeen")),
            agent: object
                .pointer("/status/agent")
                .filter(|agent| agent.is_object())
                .map(|_| Agent {
                    kind: text("/status/agent/kind"),
                    namespace: text("/status/agent/namespace"),
                    name: text("/status/agent/name"),
                    node: text("/status/agent/node"),
                }),
        }
    }

    /// The session's id as people read and type it.
    #[must_use]
    pub fn id(&self) -> SessionId {
        SessionId::of_name(&self.name)
    }

    /// The ports in one line, if there are any.
    #[must_use]
    pub fn port_line(&self) -> Option<String> {
        // The same line as `Port::summary` makes: the controller's own is only there to spare kubectl
        // the work.
        if self.ports.is_empty() {
            self.port_summary.clone()
        } else {
            Some(self.ports.join("; "))
        }
    }

    /// By namespace, then by name: the order of the API server.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        (&self.namespace, &self.name).cmp(&(&other.namespace, &other.name))
    }
}

/// `session.operator.metalbear.co`: how kubectl names the kind in its messages.
#[must_use]
pub fn kind_name() -> String {
    format!("session.{GROUP}")
}

/// A text, or what stands in its place; nothing if there is nothing.
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

fn ports(value: Option<&Value>) -> Vec<String> {
    let Some(Value::Array(items)) = value else {
        return texts(value);
    };
    let line = |item: &Value| {
        Port::deserialize(item).map_or_else(|_| item.to_string(), |port| port.to_string())
    };
    items.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_whole_session() {
        let session = Session::of_object(&json!({
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
        assert_eq!(
            session.agent.unwrap().name.as_deref(),
            Some("mirrord-agent-a")
        );
    }

    #[test]
    fn strange_objects_are_shown_as_far_as_they_go() {
        let cases = [
            (json!(null), ""),
            (json!([1]), ""),
            (json!({ "metadata": { "name": "x" } }), ""),
            (json!({ "spec": "text", "status": 3 }), ""),
            (
                json!({ "spec": { "target": { "deployment": "a" } } }),
                r#"{"deployment":"a"}"#,
            ),
            (
                json!({ "spec": { "target": 5, "owner": [], "client": null } }),
                "5",
            ),
            (
                json!({ "metadata": { "creationTimestamp": "yesterday" }, "spec": { "target": "a" } }),
                "a",
            ),
        ];
        for (object, target) in cases {
            let session = Session::of_object(&object);
            assert_eq!(session.target.unwrap_or_default(), target, "{object}");
            assert_eq!(session.started, None, "{object}");
        }
    }

    #[test]
    fn ports_in_other_shapes() {
        let cases = [
            (json!({}), None),
            (
                json!({ "portSummary": "Port: 1, Type: steal" }),
                Some("Port: 1, Type: steal"),
            ),
            (json!({ "ports": [] }), None),
            (
                json!({ "ports": [[80, "steal", null]] }),
                Some("Port: 80, Type: steal"),
            ),
            (json!({ "ports": "all" }), Some("all")),
            (
                json!({ "ports": [{ "port": 99999, "type": "steal" }] }),
                Some(r#"{"port":99999,"type":"steal"}"#),
            ),
        ];
        for (status, expected) in cases {
            let session = Session::of_object(&json!({ "status": status }));
            assert_eq!(session.port_line().as_deref(), expected, "{status}");
        }
    }
}
