//! A session as it is shown, read from an object of the cluster.
//!
//! Read field by field rather than through the typed Session: an object that somebody else's
//! software wrote, or that another version of the CRD let in, is shown as far as it can be
//! understood instead of failing the whole list.

mod operator;

use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};
use mirrord_sessions_crds::{GROUP, SessionId, TrackerKind};
use serde_json::Value;

use crate::render::duration::{age, exact_age};

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

/// A port that a session takes traffic of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Port {
    /// Its number.
    pub number: Option<u64>,
    /// The port with its filter, in mirrord's words: `Port: 80, Type: steal, Filter: …`.
    pub line: String,
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
    /// `metadata.labels`, by name.
    pub labels: Vec<(String, String)>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// For how long it has been running, where only that is known.
    pub lasted: Option<SignedDuration>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Why it ended.
    pub reason: Option<String>,
    /// Who stopped it.
    pub stopped_by: Option<String>,
    /// How it reaches the cluster: job, ephemeral, process or operator.
    pub kind: Option<String>,
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
    /// Its ports.
    pub ports: Vec<Port>,
    /// The ports in one line, as the controller wrote them.
    pub port_summary: Option<String>,
    /// Header filter of all its ports.
    pub header_filter: Option<String>,
    /// Kubernetes user names of those who take part: the owner, then those who joined.
    pub participants: Vec<String>,
    /// Names of the processes that run with it (the client's word).
    pub processes: Vec<String>,
    /// What the cluster could not tell of it, and why.
    pub message: Option<String>,
    /// When the controller last heard of it.
    pub last_seen: Option<Timestamp>,
    /// mirrord's agent in the cluster.
    pub agent: Option<Agent>,
}

impl Session {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The labels as `a=b,c=d`, if there are any.
    #[must_use]
    pub fn label_line(&self) -> Option<String> {
        let pairs = self.labels.iter().map(|(name, value)| format!("{name}={value}"));
        let line = pairs.collect::<Vec<_>>().join(",");
        Some(line).filter(|line| !line.is_empty())
    }

    /// Reads what can be read: of a Session, of a tracker, or of what mirrord's operator serves.
    #[must_use]
    pub fn of_object(object: &Value) -> Self {
        if object.pointer("/spec/session").is_some_and(Value::is_object) {
            return operator::read(object);
        }
        let text = |pointer: &str| text(object.pointer(pointer));
        let list = |pointer: &str| texts(object.pointer(pointer));
        let owner = text("/spec/owner/username");
        let mut participants = list("/status/participants");
        if let Some(owner) = &owner {
            // Trackers have the owner among them, Sessions don't.
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
            kind: text("/spec/kind").or_else(|| kind_by(agent.as_ref(), object)),
            target: text("/spec/target"),
            user: text("/spec/user").or_else(|| owner.clone()),
            owner,
            owner_uid: text("/spec/owner/uid"),
            owner_groups: list("/spec/owner/groups"),
            client_user: text("/spec/client/username").or_else(|| text("/spec/login")),
            client_host: text("/spec/client/hostname").or_else(|| text("/spec/hostname")),
            version: text("/spec/client/version").or_else(|| text("/spec/clientVersion")),
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

    /// The session's id as people read and type it.
    #[must_use]
    pub fn id(&self) -> SessionId {
        SessionId::of_name(&self.name)
    }

    /// The ports in one line, if there are any.
    #[must_use]
    pub fn port_line(&self) -> Option<String> {
        // The same line as `Port::summary` makes: the controller's own is only there to spare
        // kubectl the work.
        if self.ports.is_empty() {
            self.port_summary.clone()
        } else {
            let lines: Vec<&str> = self.ports.iter().map(|port| port.line.as_str()).collect();
            Some(lines.join("; "))
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.as_deref() == Some("terminated")
    }

    /// For how long it has been running, or ran, as kubectl tells ages.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> String {
        age(self.began(now), self.ended.unwrap_or(now))
    }

    /// For how long it has been running, or ran, as mirrord tells it.
    #[must_use]
    pub fn exact_age(&self, now: Timestamp) -> String {
        exact_age(self.began(now), self.ended.unwrap_or(now))
    }

    /// When it started, as far as that can be told.
    #[must_use]
    pub fn began(&self, now: Timestamp) -> Option<Timestamp> {
        self.started.or_else(|| now.checked_sub(self.lasted?).ok())
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

/// How a Session reaches the cluster, by its agent.
fn kind_by(agent: Option<&Agent>, object: &Value) -> Option<String> {
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

/// A port in any of the shapes that have been served: `{port, type, filter}`, a tracker's, which
/// may only tell that there is a filter, mirrord's `{port, kind, filter}`, and `[port, kind,
/// filter]`.
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
        assert_eq!(session.agent.unwrap().name.as_deref(), Some("mirrord-agent-a"));
    }

    #[test]
    fn strange_objects_are_shown_as_far_as_they_go() {
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
            let session = Session::of_object(&object);
            assert_eq!(session.target.unwrap_or_default(), target, "{object}");
            assert_eq!(session.started, None, "{object}");
        }
    }

    #[test]
    fn ports_in_other_shapes() {
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
            let session = Session::of_object(&json!({ "status": status }));
            assert_eq!(session.port_line().as_deref(), expected, "{status}");
        }
    }
}
