//! Trackers: sessions as clients see them, serialized once per change.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use mirrord_sessions_crds::{
    Port, Session, SessionId, SessionState, SessionTracker, SessionTrackerSpec,
    SessionTrackerStatus, TRACKER_GROUP, TRACKER_VERSION, TrackedPort, TrackerKind,
};
use serde::Serialize;
use serde_json::Value;

use crate::where_clause;

/// Annotation of a Session that names the agent the controller created it for.
pub const AGENT_ANNOTATION: &str = "operator.metalbear.co/agent";

/// Placeholder for a filter that the requester may not see.
const HIDDEN: &str = "<hidden>";

/// The maximum length of an agent annotation. The controller never writes a longer one.
const MAX_AGENT: usize = 1024;

/// Namespace and name of a tracker, in this order.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TrackerKey {
    /// The `metadata.namespace` of the tracker.
    pub namespace: Box<str>,
    /// The `metadata.name` of the tracker.
    pub name: Box<str>,
}

/// A tracker with its serialized forms.
#[derive(Debug)]
pub struct Tracker {
    /// Namespace and name of the Session.
    pub key: TrackerKey,
    /// `metadata.uid` of the Session.
    pub uid: String,
    /// Resource version of the Session.
    pub version: u64,
    /// Labels of the Session.
    pub labels: BTreeMap<String, String>,
    /// The spec, including secrets.
    pub spec: SessionTrackerSpec,
    /// The status, including secrets.
    pub status: SessionTrackerStatus,
    /// Time of creation, in seconds since 1970.
    pub created_at: Option<i64>,
    /// Time at which the session ended, in seconds since 1970.
    pub ended_at: Option<i64>,
    /// The agent that the controller created the Session for; never served.
    pub recorded_for: Option<Box<str>>,
    full: EncodedTracker,
    /// The form without key and filters; `None` if the tracker has neither.
    redacted: Option<EncodedTracker>,
}

/// Serialized form of a tracker, with or without its secrets.
#[derive(Debug)]
pub struct EncodedTracker {
    /// The object as JSON.
    pub object: Bytes,
    /// Range of the metadata in `object`.
    pub metadata: Range<usize>,
    /// Range of the resource version in `object`, without the quotes.
    pub version: Range<usize>,
    /// Cells of the table row before the age, as JSON.
    pub cells_before: Box<str>,
    /// Cells of the table row after the age, as JSON.
    pub cells_after: Box<str>,
}

/// A Session or record that cannot be turned into a tracker.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSession {
    /// A metadata field is missing, though the API server always sets it.
    #[error("missing metadata.{0}")]
    Missing(&'static str),
    /// The resource version is not a revision of etcd.
    #[error("resource version {0:?} is not a number")]
    Version(String),
    /// The object is not valid JSON, or cannot be serialized.
    #[error("invalid JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reason and time of a session's end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ending {
    /// The reason, in a word or a line.
    pub reason: Box<str>,
    /// The Kubernetes user that stopped the session, if known.
    pub by: Option<Box<str>>,
    /// Time in seconds since 1970.
    pub at: i64,
}

pub use mirrord_sessions_crds::session_tracker::{
    AGENT_ENDED, COMMAND_ENDED, DELETED, DISPUTED, EXPIRED, STOPPED,
};

impl Ending {
    /// Returns the ending of a session deleted for an unknown reason.
    #[must_use]
    pub fn unknown(at: i64) -> Self {
        Self { reason: DELETED.into(), by: None, at }
    }

    /// Returns the ending of a session that a user stopped.
    #[must_use]
    pub fn stopped(by: &str, at: i64) -> Self {
        Self { reason: STOPPED.into(), by: Some(by.into()), at }
    }

    /// Returns the ending of a session for which sources reported different reasons.
    #[must_use]
    pub fn disputed(at: i64) -> Self {
        Self { reason: DISPUTED.into(), by: None, at }
    }

    /// Returns whether both endings have the same reason and user.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        self.reason == other.reason && self.by == other.by
    }

    /// Returns whether the reason or the user is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.by.is_some() || *self.reason != *DELETED
    }
}

/// Metadata of a tracker.
///
/// Annotations are left out, since kubectl stores the whole Session in one of them, including its
/// key. The resource version precedes every field that a user controls, so that a text search finds
/// it first.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
    resource_version: &'a str,
    #[serde(skip_serializing_if = "Value::is_null")]
    creation_timestamp: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    deletion_timestamp: Value,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
}

impl Tracker {
    /// Creates the tracker of a live Session.
    ///
    /// # Errors
    /// Returns an error if the Session lacks a field that the API server always sets.
    pub fn new(session: &Session) -> Result<Self, InvalidSession> {
        fn present<'a>(
            field: Option<&'a String>,
            name: &'static str,
        ) -> Result<&'a str, InvalidSession> {
            let text = field.map(String::as_str);
            text.ok_or(InvalidSession::Missing(name))
        }
        let meta = &session.metadata;
        let name = present(meta.name.as_ref(), "name")?;
        let namespace = present(meta.namespace.as_ref(), "namespace")?;
        let uid = present(meta.uid.as_ref(), "uid")?;
        let resource_version = present(meta.resource_version.as_ref(), "resourceVersion")?;
        let version = resource_version
            .parse()
            .map_err(|_| InvalidSession::Version(resource_version.to_owned()))?;
        let labels = meta.labels.clone().unwrap_or_default();
        let metadata = serde_json::to_string(&Metadata {
            name,
            namespace,
            uid,
            resource_version,
            creation_timestamp: serde_json::to_value(&meta.creation_timestamp)?,
            deletion_timestamp: serde_json::to_value(&meta.deletion_timestamp)?,
            labels: &labels,
        })?;
        let spec = tracker_spec(session, name);
        let status = tracker_status(session);
        let full = EncodedTracker::new(&metadata, resource_version, &spec, &status)?;
        let has_secrets = spec.key.is_some() || status.ports.iter().any(|port| port.filtered);
        let redacted = if has_secrets {
            let (spec, status) = redact(&spec, &status);
            Some(EncodedTracker::new(&metadata, resource_version, &spec, &status)?)
        } else {
            None
        };
        Ok(Self {
            key: TrackerKey { namespace: namespace.into(), name: name.into() },
            uid: uid.to_owned(),
            version,
            labels,
            created_at: unix_seconds(meta.creation_timestamp.as_ref()),
            ended_at: None,
            recorded_for: meta
                .annotations
                .as_ref()
                .and_then(|all| valid_agent(all.get(AGENT_ANNOTATION)?)),
            spec,
            status,
            full,
            redacted,
        })
    }

    /// Returns the tracker of this session after its end, without key and filters.
    ///
    /// # Errors
    /// Returns an error if the tracker cannot be serialized.
    pub fn terminated(&self, ending: &Ending, version: u64) -> Result<Self, serde_json::Error> {
        let (spec, mut status) = redact(&self.spec, &self.status);
        status.state = SessionState::Terminated;
        status.reason = Some(ending.reason.to_string());
        status.stopped_by = ending.by.as_deref().map(str::to_owned);
        status.ended_at = Timestamp::from_second(ending.at).ok().map(Time);
        let old = String::from_utf8_lossy(&self.full.object[self.full.metadata.clone()]);
        let version_text = version.to_string();
        let metadata = with_version(&old, &version_text);
        Ok(Self {
            key: self.key.clone(),
            uid: self.uid.clone(),
            version,
            labels: self.labels.clone(),
            created_at: self.created_at,
            ended_at: Some(ending.at),
            recorded_for: self.recorded_for.clone(),
            full: EncodedTracker::new(&metadata, &version_text, &spec, &status)?,
            redacted: None,
            spec,
            status,
        })
    }

    /// Parses the tracker of an ended session from its record, the JSON of [`Self::encoded`].
    ///
    /// # Errors
    /// Returns an error if the JSON is not a tracker, or if its session has not ended.
    pub fn from_record(json: &str) -> Result<Self, InvalidSession> {
        let record: SessionTracker = serde_json::from_str(json)?;
        let meta = &record.metadata;
        let present = |field: &Option<String>, name| {
            let field = field.clone().filter(|field| !field.is_empty());
            field.ok_or(InvalidSession::Missing(name))
        };
        let name = present(&meta.name, "name")?;
        let namespace = present(&meta.namespace, "namespace")?;
        let uid = present(&meta.uid, "uid")?;
        let version_text = present(&meta.resource_version, "resourceVersion")?;
        let version =
            version_text.parse().map_err(|_| InvalidSession::Version(version_text.clone()))?;
        let labels = meta.labels.clone().unwrap_or_default();
        let metadata = serde_json::to_string(&Metadata {
            name: &name,
            namespace: &namespace,
            uid: &uid,
            resource_version: &version_text,
            creation_timestamp: serde_json::to_value(&meta.creation_timestamp)?,
            deletion_timestamp: serde_json::to_value(&meta.deletion_timestamp)?,
            labels: &labels,
        })?;
        // Redact again: the tracker of an ended session must hold no secrets, whatever the record
        // holds.
        let (spec, mut status) = redact(&record.spec, &record.status.unwrap_or_default());
        status.state = SessionState::Terminated;
        let ended_at =
            unix_seconds(status.ended_at.as_ref()).ok_or(InvalidSession::Missing("endedAt"))?;
        Ok(Self {
            key: TrackerKey { namespace: namespace.into(), name: name.into() },
            uid,
            version,
            labels,
            created_at: unix_seconds(meta.creation_timestamp.as_ref()),
            ended_at: Some(ended_at),
            recorded_for: None,
            full: EncodedTracker::new(&metadata, &version_text, &spec, &status)?,
            redacted: None,
            spec,
            status,
        })
    }

    /// Sets the agent that the controller created the Session for.
    #[must_use]
    pub fn with_agent(mut self, agent: &str) -> Self {
        self.recorded_for = valid_agent(agent);
        self
    }

    /// Returns how the session ended, or `None` if it is live.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        Some(Ending {
            reason: self.status.reason.as_deref().unwrap_or_default().into(),
            by: self.status.stopped_by.as_deref().map(Into::into),
            at: self.ended_at?,
        })
    }

    /// Returns the serialized tracker, with key and filters if `revealed`.
    #[must_use]
    pub fn encoded(&self, revealed: bool) -> &EncodedTracker {
        match &self.redacted {
            Some(redacted) if !revealed => redacted,
            _ => &self.full,
        }
    }

    /// Returns whether the tracker has a key or a filter.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        self.redacted.is_some()
    }

    /// Returns the fields that policies can refer to, except the name of the cluster.
    #[must_use]
    pub fn view(&self) -> where_clause::Tracker<'_> {
        let owner = self.spec.owner.as_ref();
        let participants = &self.status.participants;
        where_clause::Tracker {
            session_id: &self.key.name,
            kind: self.spec.kind.as_str(),
            state: self.status.state.as_str(),
            hostname: self.spec.hostname.as_deref().unwrap_or_default(),
            login: self.spec.login.as_deref().unwrap_or_default(),
            namespace: &self.key.namespace,
            target: &self.spec.target,
            cluster: "",
            kube_cluster: "",
            host_user: owner.map_or("", |owner| &owner.username),
            host_roles: owner.map_or(&[], |owner| &owner.groups),
            joined: participants.get(usize::from(owner.is_some())..).unwrap_or_default(),
        }
    }
}

impl EncodedTracker {
    fn new(
        metadata: &str,
        version: &str,
        spec: &SessionTrackerSpec,
        status: &SessionTrackerStatus,
    ) -> Result<Self, serde_json::Error> {
        let start = format!(
            r#"{{"kind":"SessionTracker","apiVersion":"{TRACKER_GROUP}/{TRACKER_VERSION}","metadata":"#
        );
        let object = format!(
            r#"{start}{metadata},"spec":{},"status":{}}}"#,
            serde_json::to_string(spec)?,
            serde_json::to_string(status)?
        );
        let at = version_offset(&object);
        let cell = |text: &str| serde_json::to_string(text);
        let owner = spec.owner.as_ref().map_or("", |owner| &owner.username);
        let before = [
            cell(&spec.session_id)?,
            cell(&spec.target)?,
            cell(&spec.user)?,
            cell(status.port_summary.as_deref().unwrap_or_default())?,
        ];
        let after = [
            cell(status.state.as_str())?,
            cell(spec.kind.as_str())?,
            cell(owner)?,
            cell(&status.participants.join(","))?,
            cell(spec.client_version.as_deref().unwrap_or_default())?,
        ];
        Ok(Self {
            metadata: start.len()..start.len() + metadata.len(),
            version: at..at + version.len(),
            object: object.into(),
            cells_before: before.join(",").into(),
            cells_after: after.join(",").into(),
        })
    }
}

/// Returns the offset of the resource version, which precedes every field that a user controls.
fn version_offset(json: &str) -> usize {
    let field = r#""resourceVersion":""#;
    json.find(field).map_or(0, |at| at + field.len())
}

/// Replaces the resource version of serialized metadata.
fn with_version(metadata: &str, version: &str) -> String {
    let (before, rest) = metadata.split_at(version_offset(metadata));
    let after = rest.find('"').map_or("", |end| &rest[end..]);
    format!("{before}{version}{after}")
}

fn valid_agent(agent: &str) -> Option<Box<str>> {
    (agent.len() <= MAX_AGENT).then(|| agent.into())
}

fn unix_seconds(time: Option<&Time>) -> Option<i64> {
    time.map(|time| time.0.as_second())
}

fn tracker_spec(session: &Session, name: &str) -> SessionTrackerSpec {
    let spec = &session.spec;
    let client = spec.client.clone().unwrap_or_default();
    let agent = session.status.as_ref().and_then(|s| s.agent.as_ref());
    let non_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
    SessionTrackerSpec {
        session_id: SessionId::from_name(name).to_string(),
        kind: TrackerKind::from_agent(agent),
        target: spec.target.clone(),
        user: spec.user_line().into_owned(),
        login: non_empty(client.username),
        hostname: non_empty(client.hostname),
        client_version: non_empty(client.version),
        owner: spec.owner.clone(),
        key: spec.key.clone(),
    }
}

fn tracker_status(session: &Session) -> SessionTrackerStatus {
    let status = session.status.clone().unwrap_or_default();
    let owner = session.spec.owner.as_ref().map(|owner| &owner.username);
    let joined = status.participants.iter().filter(|participant| Some(*participant) != owner);
    SessionTrackerStatus {
        state: status.state,
        started: session.metadata.creation_timestamp.clone(),
        port_summary: port_summary(&status.ports),
        participants: owner.into_iter().chain(joined).cloned().collect(),
        ports: status
            .ports
            .into_iter()
            .map(|port| TrackedPort {
                port: port.port,
                type_: port.type_,
                filtered: port.filter.is_some(),
                filter: port.filter,
            })
            .collect(),
        processes: status.processes,
        last_seen: status.last_seen,
        agent: status.agent,
        message: status.message,
        ..SessionTrackerStatus::default()
    }
}

/// Converts a tracked port to a port of a Session.
pub(crate) fn session_port(tracked: &TrackedPort) -> Port {
    Port { port: tracked.port, type_: tracked.type_, filter: tracked.filter.clone() }
}

fn port_summary(ports: &[Port]) -> Option<String> {
    (!ports.is_empty()).then(|| Port::summary(ports))
}

/// Removes key and filters, which would allow any reader to join the session.
fn redact(
    spec: &SessionTrackerSpec,
    status: &SessionTrackerStatus,
) -> (SessionTrackerSpec, SessionTrackerStatus) {
    let (mut spec, mut status) = (spec.clone(), status.clone());
    spec.key = None;
    let ports: Vec<Port> = status
        .ports
        .iter()
        .map(|port| Port {
            port: port.port,
            type_: port.type_,
            filter: port.filtered.then(|| HIDDEN.to_owned()),
        })
        .collect();
    status.port_summary = port_summary(&ports);
    for port in &mut status.ports {
        port.filter = None;
    }
    (spec, status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::fixtures::session;

    #[test]
    fn serializes_with_and_without_secrets() {
        let tracker = session("shop", "487f4f2b6d2376ad")
            .owned_by("alice")
            .key("s3cret")
            .label("resourceVersion", "42")
            .port(80, Some("header=s3cret"))
            .tracker(42);
        for revealed in [true, false] {
            let encoded = tracker.encoded(revealed);
            let object: Value = serde_json::from_slice(&encoded.object).unwrap();
            assert_eq!(&encoded.object[encoded.version.clone()], b"42");
            let metadata: Value =
                serde_json::from_slice(&encoded.object[encoded.metadata.clone()]).unwrap();
            assert_eq!(metadata, object["metadata"]);
            assert_eq!(object["metadata"]["labels"]["resourceVersion"], "42");
            assert_eq!(object["spec"]["sessionId"], "487F4F2B6D2376AD");
            assert_eq!(object["status"]["participants"][0], "alice");
            assert_eq!(object["status"]["ports"][0]["filtered"], true);
            let text = format!("{object} {}", encoded.cells_before);
            assert_eq!(text.contains("s3cret"), revealed, "{text}");
            let row = format!("[{},\"3m\",{}]", encoded.cells_before, encoded.cells_after);
            let row: Vec<String> = serde_json::from_str(&row).unwrap();
            assert_eq!(row.len(), 10);
        }
        assert!(!session("a", "b").tracker(1).has_secrets());
    }

    #[test]
    fn records_of_ended_sessions_hold_no_secrets() {
        let live = session("shop", "487f4f2b6d2376ad")
            .owned_by("alice")
            .key("s3cret")
            .label("team", "red")
            .port(80, Some("header=s3cret"))
            .tracker(42);
        let ending = Ending::stopped("bob", 1_700_000_000);
        let ended = live.terminated(&ending, 77).unwrap();
        let object: Value = serde_json::from_slice(&ended.encoded(true).object).unwrap();
        assert!(!object.to_string().contains("s3cret"), "{object}");
        assert!(!ended.has_secrets());
        assert_eq!(object["metadata"]["resourceVersion"], "77");
        assert_eq!(object["metadata"]["labels"]["team"], "red");
        assert_eq!(object["status"]["ports"][0]["filtered"], true);
        assert_eq!(
            (&object["status"]["state"], &object["status"]["stoppedBy"]),
            (&"terminated".into(), &"bob".into())
        );
        assert_eq!(object["status"]["endedAt"], "2023-11-14T22:13:20Z");
        assert_eq!(ended.view().participants().count(), live.view().participants().count());

        let json = String::from_utf8(ended.encoded(false).object.to_vec()).unwrap();
        let restored = Tracker::from_record(&json).unwrap();
        assert_eq!(restored.encoded(true).object, ended.encoded(true).object);
        assert_eq!(restored.ending(), Some(ending));
        assert_eq!((restored.version, restored.created_at), (77, ended.created_at));
        assert_eq!(restored.recorded_for, None);
        let restored = restored.with_agent("Job/a/b/c");
        assert_eq!(restored.recorded_for.as_deref(), Some("Job/a/b/c"));
        assert_eq!(restored.with_agent(&"a".repeat(2000)).recorded_for, None);
        // Other JSON is rejected, and so is the tracker of a live session.
        let live = String::from_utf8(live.encoded(true).object.to_vec()).unwrap();
        for other in ["", "{}", "[]", "null", r#"{"metadata":{}}"#, &live] {
            assert!(Tracker::from_record(other).is_err(), "{other}");
        }
    }

    #[test]
    fn never_serves_annotations() {
        let mut session = session("shop", "x").key("s3cret").session(1);
        let annotations = [("last-applied", "s3cret"), (AGENT_ANNOTATION, "Job/a/s3cret/c")];
        let annotations = annotations.map(|(key, value)| (key.into(), value.into()));
        session.metadata.annotations = Some(annotations.into());
        let tracker = Tracker::new(&session).unwrap();
        assert_eq!(tracker.recorded_for.as_deref(), Some("Job/a/s3cret/c"));
        let text = String::from_utf8_lossy(&tracker.encoded(false).object).into_owned();
        assert!(!text.contains("s3cret"), "{text}");
        let ended = tracker.terminated(&Ending::unknown(1), 2).unwrap();
        assert_eq!(ended.recorded_for, tracker.recorded_for);
    }
}
