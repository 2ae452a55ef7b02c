//! Trackers: sessions as clients see them, serialized once per change.

pub mod bounds;
mod encoded;
mod ending;

use std::collections::BTreeMap;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use mirrord_sessions_crds::{
    Port, Session, SessionId, SessionState, SessionTracker, SessionTrackerSpec,
    SessionTrackerStatus, TrackedPort, TrackerKind,
};
use serde::Serialize;
use serde_json::Value;

pub use encoded::Encoded;
use encoded::{EncodedTracker, with_version, without_labels};
pub use ending::Ending;

use bounds::{MAX_IDENTITY, MAX_PARTICIPANTS, MAX_PROCESSES, MAX_TEXT};

use crate::where_clause;

/// Annotation of a Session that names the agent the controller created it for.
pub const AGENT_ANNOTATION: &str = "operator.metalbear.co/agent";

/// Placeholder for a filter that the requester may not see.
const HIDDEN: &str = "<hidden>";

/// The maximum length of an agent annotation. The controller never writes a longer one.
const MAX_AGENT: usize = 1024;

/// The message of a tracker that was shortened.
const SHORTENED: &str = "the details of this session are not shown: too many sessions are";

/// The memory of a tracker beside its texts: the struct, its allocations and its place in the index.
const OVERHEAD: usize = 1 << 10;

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
    encoded: EncodedTracker,
}

/// A Session or record that cannot be turned into a tracker.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSession {
    /// A metadata field is missing, though the API server always sets it.
    #[error("missing metadata.{0}")]
    Missing(&'static str),
    /// The resource version is not a revision of etcd.
    #[error("the resource version is not a number")]
    Version,
    /// The object is not valid JSON, or cannot be serialized.
    #[error("invalid JSON: {0}")]
    Json(#[from] serde_json::Error),
}

pub use mirrord_sessions_crds::session_tracker::{
    AGENT_ENDED, COMMAND_ENDED, DELETED, DISPUTED, EXPIRED, STOPPED,
};

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

/// Metadata that every tracker has.
struct Identity {
    key: TrackerKey,
    uid: String,
    version: u64,
    labels: BTreeMap<String, String>,
    /// The metadata as JSON.
    json: String,
}

impl Identity {
    fn from_meta(meta: &ObjectMeta) -> Result<Self, InvalidSession> {
        let present = |field: &Option<String>, name| {
            let field = field.clone().filter(|field| !field.is_empty());
            field.ok_or(InvalidSession::Missing(name))
        };
        let name = present(&meta.name, "name")?;
        let namespace = present(&meta.namespace, "namespace")?;
        let uid = present(&meta.uid, "uid")?;
        let version = present(&meta.resource_version, "resourceVersion")?;
        let number = version.parse().map_err(|_| InvalidSession::Version)?;
        let labels = bounds::labels(meta.labels.clone().unwrap_or_default());
        let json = serde_json::to_string(&Metadata {
            name: &name,
            namespace: &namespace,
            uid: &uid,
            resource_version: &version,
            creation_timestamp: serde_json::to_value(&meta.creation_timestamp)?,
            deletion_timestamp: serde_json::to_value(&meta.deletion_timestamp)?,
            labels: &labels,
        })?;
        let key = TrackerKey { namespace: namespace.into(), name: name.into() };
        Ok(Self { key, uid, version: number, labels, json })
    }
}

impl Tracker {
    /// Creates the tracker of a live Session.
    ///
    /// Fields that are over their [`bounds`] are cut.
    ///
    /// # Errors
    /// Returns an error if the Session lacks a field that the API server always sets.
    pub fn new(session: &Session) -> Result<Self, InvalidSession> {
        let meta = &session.metadata;
        let identity = Identity::from_meta(meta)?;
        let spec = bounded_spec(tracker_spec(session, &identity.key.name));
        let status = bounded_status(tracker_status(session));
        let annotations = meta.annotations.as_ref();
        let mut tracker = Self::assemble(identity, spec, status)?;
        tracker.created_at = unix_seconds(meta.creation_timestamp.as_ref());
        tracker.recorded_for = annotations.and_then(|all| valid_agent(all.get(AGENT_ANNOTATION)?));
        Ok(tracker)
    }

    fn assemble(
        identity: Identity,
        spec: SessionTrackerSpec,
        status: SessionTrackerStatus,
    ) -> Result<Self, serde_json::Error> {
        let Identity { key, uid, version, labels, json } = identity;
        let encoded = EncodedTracker::new(&json, &version.to_string(), &spec, &status)?;
        let (created_at, ended_at, recorded_for) = (None, None, None);
        Ok(Self {
            key,
            uid,
            version,
            labels,
            spec,
            status,
            created_at,
            ended_at,
            recorded_for,
            encoded,
        })
    }

    /// Returns the identity of this tracker at another version.
    fn identity_at(&self, version: u64, labels: BTreeMap<String, String>) -> Identity {
        let json = String::from_utf8_lossy(self.encoded.metadata());
        Identity {
            json: with_version(&json, &version.to_string()),
            key: self.key.clone(),
            uid: self.uid.clone(),
            version,
            labels,
        }
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
        let identity = self.identity_at(version, self.labels.clone());
        Ok(Self {
            created_at: self.created_at,
            ended_at: Some(ending.at),
            recorded_for: self.recorded_for.clone(),
            ..Self::assemble(identity, spec, status)?
        })
    }

    /// Returns this tracker without the fields that its owner makes large, for a replica that is
    /// short of memory.
    ///
    /// The fields that policies refer to are complete.
    ///
    /// # Errors
    /// Returns an error if the tracker cannot be serialized.
    pub fn shortened(&self) -> Result<Self, serde_json::Error> {
        let spec = SessionTrackerSpec { key: None, ..self.spec.clone() };
        let mut status = SessionTrackerStatus {
            ports: Vec::new(),
            processes: Vec::new(),
            port_summary: None,
            message: Some(SHORTENED.to_owned()),
            ..self.status.clone()
        };
        // Without labels, a selector does not find the tracker.
        let labels = BTreeMap::new();
        let mut identity = self.identity_at(self.version, labels);
        identity.json = without_labels(&identity.json)?;
        if self.ended_at.is_some() {
            status.message.clone_from(&self.status.message);
        }
        Ok(Self {
            created_at: self.created_at,
            ended_at: self.ended_at,
            recorded_for: self.recorded_for.clone(),
            ..Self::assemble(identity, spec, status)?
        })
    }

    /// Returns whether the tracker was shortened.
    #[must_use]
    pub fn is_shortened(&self) -> bool {
        self.status.message.as_deref() == Some(SHORTENED)
    }

    /// Returns the memory that the tracker takes, in bytes.
    ///
    /// The parsed fields take about as much as their JSON.
    #[must_use]
    pub fn size(&self) -> usize {
        OVERHEAD + 2 * self.encoded.size()
    }

    /// Parses the tracker of an ended session from its record, the JSON of [`Self::encoded`].
    ///
    /// # Errors
    /// Returns an error if the JSON is not a tracker, or if its session has not ended.
    pub fn from_record(json: &str) -> Result<Self, InvalidSession> {
        let record: SessionTracker = serde_json::from_str(json)?;
        let identity = Identity::from_meta(&record.metadata)?;
        // Redact again: the tracker of an ended session must hold no secrets, whatever the record
        // holds.
        let (spec, mut status) =
            redact(&bounded_spec(record.spec), &bounded_status(record.status.unwrap_or_default()));
        status.state = SessionState::Terminated;
        let ended_at = unix_seconds(status.ended_at.as_ref());
        let ended_at = ended_at.ok_or(InvalidSession::Missing("endedAt"))?;
        Ok(Self {
            created_at: unix_seconds(record.metadata.creation_timestamp.as_ref()),
            ended_at: Some(ended_at),
            ..Self::assemble(identity, spec, status)?
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
    pub fn encoded(&self, revealed: bool) -> Encoded<'_> {
        self.encoded.form(revealed)
    }

    /// Returns whether the tracker has a key or a filter.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        self.encoded.has_secrets()
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

fn valid_agent(agent: &str) -> Option<Box<str>> {
    (agent.len() <= MAX_AGENT).then(|| agent.into())
}

fn unix_seconds(time: Option<&Time>) -> Option<i64> {
    time.map(|time| time.0.as_second())
}

fn tracker_spec(session: &Session, name: &str) -> SessionTrackerSpec {
    let spec = &session.spec;
    let client = spec.client.clone().unwrap_or_default();
    let status = session.status.as_ref();
    let agent = status.and_then(|status| status.agent.as_ref());
    let reported_version = status.and_then(|status| status.client_version.clone());
    let non_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
    SessionTrackerSpec {
        session_id: SessionId::from_name(name).to_string(),
        kind: TrackerKind::from_agent(agent),
        target: spec.target.clone(),
        user: spec.user_line().into_owned(),
        login: non_empty(client.username),
        hostname: non_empty(client.hostname),
        client_version: non_empty(client.version).or_else(|| non_empty(reported_version)),
        owner: spec.owner.clone(),
        key: spec.key.clone(),
    }
}

fn tracker_status(session: &Session) -> SessionTrackerStatus {
    let status = session.status.clone().unwrap_or_default();
    let owner = session.spec.owner.as_ref().map(|owner| &owner.username);
    let state = match session.metadata.deletion_timestamp {
        Some(_) => SessionState::Terminating,
        None => status.state,
    };
    let joined = status.participants.iter().filter(|participant| Some(*participant) != owner);
    SessionTrackerStatus {
        state,
        started: session.metadata.creation_timestamp.clone(),
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

/// Cuts the fields of a spec to their bounds.
fn bounded_spec(spec: SessionTrackerSpec) -> SessionTrackerSpec {
    let text = |text| bounds::text(text, MAX_TEXT);
    SessionTrackerSpec {
        target: text(spec.target),
        user: bounds::text(spec.user, MAX_IDENTITY),
        login: spec.login.map(text),
        hostname: spec.hostname.map(text),
        client_version: spec.client_version.map(text),
        owner: spec.owner.map(bounds::owner),
        // A key that was cut would be another key.
        key: spec.key.filter(|key| key.len() <= MAX_TEXT),
        ..spec
    }
}

/// Cuts the fields of a status to their bounds.
fn bounded_status(status: SessionTrackerStatus) -> SessionTrackerStatus {
    let text = |text| bounds::text(text, MAX_TEXT);
    let ports: Vec<Port> = status.ports.iter().map(session_port).collect();
    SessionTrackerStatus {
        port_summary: bounds::port_summary(&ports),
        ports: bounds::ports(status.ports),
        participants: bounds::texts(status.participants, MAX_PARTICIPANTS),
        processes: bounds::texts(status.processes, MAX_PROCESSES),
        agent: bounds::agent(status.agent),
        message: status.message.map(text),
        reason: status.reason.map(text),
        stopped_by: status.stopped_by.map(|user| bounds::text(user, MAX_IDENTITY)),
        ..status
    }
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
    status.port_summary = bounds::port_summary(&ports);
    for port in &mut status.ports {
        port.filter = None;
    }
    (spec, status)
}

#[cfg(test)]
mod tests;
