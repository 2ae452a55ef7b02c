//! One session as it is shown, serialised once when it changes.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use mirrord_sessions_crds::{
    Port, Session, SessionId, SessionState, SessionTracker, SessionTrackerSpec,
    SessionTrackerStatus, TRACKER_GROUP, TRACKER_VERSION, TrackedPort, TrackerKind,
};
use serde::Serialize;
use serde_json::Value;

use crate::{controller::AGENT, where_clause};

/// What stands for a filter or a key where it isn't shown.
const HIDDEN: &str = "<hidden>";

/// Names and identifiers are shorter; more is none of the controller's.
const MAX_AGENT: usize = 1024;

/// Where a tracker is. Ordered by namespace, then name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
}

/// A tracker in every form that it is served in.
#[derive(Debug)]
pub struct Tracker {
    /// Where it is.
    pub key: Key,
    /// The Session's identifier: another one is another session.
    pub uid: String,
    /// The Session's resource version.
    pub version: u64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its spec, with everything in it.
    pub spec: SessionTrackerSpec,
    /// Its status, with everything in it.
    pub status: SessionTrackerStatus,
    /// Seconds since 1970 of its creation.
    pub created: Option<i64>,
    /// Seconds since 1970 of its end, if it has ended.
    pub ended: Option<i64>,
    /// The agent that the controller recorded the Session for, if it did; not shown.
    pub recorded_for: Option<Box<str>>,
    full: Form,
    /// Without key and filters; none where there are neither.
    redacted: Option<Form>,
}

/// A tracker's bytes, as somebody sees it.
#[derive(Debug)]
pub struct Form {
    /// The object as JSON.
    pub object: Bytes,
    /// Where its metadata are in `object`.
    pub metadata: Range<usize>,
    /// Where its resource version is in `object`, without the quotes.
    pub version: Range<usize>,
    /// The cells of its table row before the one that tells its age, as JSON.
    pub cells_before: Box<str>,
    /// The cells after that one.
    pub cells_after: Box<str>,
}

/// A Session that can't be shown.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSession {
    /// The API server always gives these.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// Resource versions of the API server are revisions of etcd.
    #[error("its resource version {0:?} is not a number")]
    Version(String),
    /// Should not happen.
    #[error("it can't be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// How a session ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ending {
    /// Why, in a word or a line.
    pub reason: Box<str>,
    /// Kubernetes user that stopped it, where that is known.
    pub by: Option<Box<str>>,
    /// When, in seconds since 1970.
    pub at: i64,
}

pub use mirrord_sessions_crds::session_tracker::{
    AGENT_ENDED, COMMAND_ENDED, DELETED, DISPUTED, EXPIRED, STOPPED,
};

impl Ending {
    /// Of a session that is gone for reasons unknown.
    #[must_use]
    pub fn unknown(at: i64) -> Self {
        Self { reason: DELETED.into(), by: None, at }
    }

    /// By this user, who asked for it.
    #[must_use]
    pub fn stopped(by: &str, at: i64) -> Self {
        Self { reason: STOPPED.into(), by: Some(by.into()), at }
    }

    /// Of which different things were told.
    #[must_use]
    pub fn disputed(at: i64) -> Self {
        Self { reason: DISPUTED.into(), by: None, at }
    }

    /// Whether both tell the same of it.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        self.reason == other.reason && self.by == other.by
    }

    /// Whether anything is known but that it is over.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.by.is_some() || *self.reason != *DELETED
    }
}

/// Metadata of a tracker: no annotations, since kubectl keeps the whole Session in one, its key
/// too. The resource version goes before what a user chose, so that it is found first.
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
    /// The tracker of a Session.
    ///
    /// # Errors
    /// What the API server would not have stored.
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
        let spec = spec(session, name);
        let status = status(session);
        let full = Form::new(&metadata, resource_version, &spec, &status)?;
        let secret = spec.key.is_some() || status.ports.iter().any(|port| port.filtered);
        let redacted = if secret {
            let (spec, status) = redact(&spec, &status);
            Some(Form::new(&metadata, resource_version, &spec, &status)?)
        } else {
            None
        };
        Ok(Self {
            key: Key { namespace: namespace.into(), name: name.into() },
            uid: uid.to_owned(),
            version,
            labels,
            created: seconds(meta.creation_timestamp.as_ref()),
            ended: None,
            recorded_for: meta.annotations.as_ref().and_then(|all| agent(all.get(AGENT)?)),
            spec,
            status,
            full,
            redacted,
        })
    }

    /// This session after its end: without key and filters, which are of no use any more.
    ///
    /// # Errors
    /// Should not happen.
    pub fn ended(&self, ending: &Ending, version: u64) -> Result<Self, serde_json::Error> {
        let (spec, mut status) = redact(&self.spec, &self.status);
        status.state = SessionState::Terminated;
        status.reason = Some(ending.reason.to_string());
        status.stopped_by = ending.by.as_deref().map(str::to_owned);
        status.ended_at = Timestamp::from_second(ending.at).ok().map(Time);
        let old = String::from_utf8_lossy(&self.full.object[self.full.metadata.clone()]);
        let number = version.to_string();
        let metadata = with_version(&old, &number);
        Ok(Self {
            key: self.key.clone(),
            uid: self.uid.clone(),
            version,
            labels: self.labels.clone(),
            created: self.created,
            ended: Some(ending.at),
            recorded_for: self.recorded_for.clone(),
            full: Form::new(&metadata, &number, &spec, &status)?,
            redacted: None,
            spec,
            status,
        })
    }

    /// The tracker of a session that has ended, from the JSON of [`Self::form`] as somebody kept
    /// it.
    ///
    /// # Errors
    /// It isn't that, or it is that of a session which hasn't ended.
    pub fn kept(json: &str) -> Result<Self, InvalidSession> {
        let kept: SessionTracker = serde_json::from_str(json)?;
        let meta = &kept.metadata;
        let present = |field: &Option<String>, name| {
            let field = field.clone().filter(|field| !field.is_empty());
            field.ok_or(InvalidSession::Missing(name))
        };
        let name = present(&meta.name, "name")?;
        let namespace = present(&meta.namespace, "namespace")?;
        let uid = present(&meta.uid, "uid")?;
        let number = present(&meta.resource_version, "resourceVersion")?;
        let version = number.parse().map_err(|_| InvalidSession::Version(number.clone()))?;
        let labels = meta.labels.clone().unwrap_or_default();
        let metadata = serde_json::to_string(&Metadata {
            name: &name,
            namespace: &namespace,
            uid: &uid,
            resource_version: &number,
            creation_timestamp: serde_json::to_value(&meta.creation_timestamp)?,
            deletion_timestamp: serde_json::to_value(&meta.deletion_timestamp)?,
            labels: &labels,
        })?;
        // Whatever was kept: what is over shows no secrets.
        let (spec, mut status) = redact(&kept.spec, &kept.status.unwrap_or_default());
        status.state = SessionState::Terminated;
        let ended = seconds(status.ended_at.as_ref()).ok_or(InvalidSession::Missing("endedAt"))?;
        Ok(Self {
            key: Key { namespace: namespace.into(), name: name.into() },
            uid,
            version,
            labels,
            created: seconds(meta.creation_timestamp.as_ref()),
            ended: Some(ended),
            recorded_for: None,
            full: Form::new(&metadata, &number, &spec, &status)?,
            redacted: None,
            spec,
            status,
        })
    }

    /// The same, of a Session that was recorded for this agent.
    #[must_use]
    pub fn of_agent(mut self, text: &str) -> Self {
        self.recorded_for = agent(text);
        self
    }

    /// How this session ended, if it has.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        Some(Ending {
            reason: self.status.reason.as_deref().unwrap_or_default().into(),
            by: self.status.stopped_by.as_deref().map(Into::into),
            at: self.ended?,
        })
    }

    /// The bytes for somebody who sees key and filters, or doesn't.
    #[must_use]
    pub fn form(&self, revealed: bool) -> &Form {
        match &self.redacted {
            Some(redacted) if !revealed => redacted,
            _ => &self.full,
        }
    }

    /// Whether there is anything that not everybody sees.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        self.redacted.is_some()
    }

    /// What decisions are made on, but for the name of the cluster.
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

impl Form {
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
        let at = version_at(&object);
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

/// Where the version starts; it goes before what a user chose.
fn version_at(json: &str) -> usize {
    let field = r#""resourceVersion":""#;
    json.find(field).map_or(0, |at| at + field.len())
}

/// Metadata with another version.
fn with_version(metadata: &str, version: &str) -> String {
    let (before, rest) = metadata.split_at(version_at(metadata));
    let after = rest.find('"').map_or("", |end| &rest[end..]);
    format!("{before}{version}{after}")
}

fn agent(text: &str) -> Option<Box<str>> {
    (text.len() <= MAX_AGENT).then(|| text.into())
}

fn seconds(time: Option<&Time>) -> Option<i64> {
    time.map(|time| time.0.as_second())
}

fn spec(session: &Session, name: &str) -> SessionTrackerSpec {
    let spec = &session.spec;
    let client = spec.client.clone().unwrap_or_default();
    let agent = session.status.as_ref().and_then(|s| s.agent.as_ref());
    let word = |word: Option<String>| word.filter(|word| !word.is_empty());
    SessionTrackerSpec {
        session_id: SessionId::of_name(name).to_string(),
        kind: TrackerKind::of(agent),
        target: spec.target.clone(),
        user: spec.user_line().into_owned(),
        login: word(client.username),
        hostname: word(client.hostname),
        client_version: word(client.version),
        owner: spec.owner.clone(),
        key: spec.key.clone(),
    }
}

fn status(session: &Session) -> SessionTrackerStatus {
    let status = session.status.clone().unwrap_or_default();
    let owner = session.spec.owner.as_ref().map(|owner| &owner.username);
    let joined = status.participants.iter().filter(|participant| Some(*participant) != owner);
    SessionTrackerStatus {
        state: status.state,
        started: session.metadata.creation_timestamp.clone(),
        port_summary: summary(&status.ports),
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

/// A port as a Session holds it.
pub(crate) fn port(tracked: &TrackedPort) -> Port {
    Port { port: tracked.port, type_: tracked.type_, filter: tracked.filter.clone() }
}

fn summary(ports: &[Port]) -> Option<String> {
    (!ports.is_empty()).then(|| Port::summary(ports))
}

/// Without what lets somebody join.
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
    status.port_summary = summary(&ports);
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
    fn a_session_in_full_and_redacted() {
        let tracker = session("shop", "487f4f2b6d2376ad")
            .owned_by("alice")
            .key("s3cret")
            .label("resourceVersion", "42")
            .port(80, Some("header=s3cret"))
            .tracker(42);
        for revealed in [true, false] {
            let form = tracker.form(revealed);
            let object: Value = serde_json::from_slice(&form.object).unwrap();
            assert_eq!(&form.object[form.version.clone()], b"42");
            let metadata: Value =
                serde_json::from_slice(&form.object[form.metadata.clone()]).unwrap();
            assert_eq!(metadata, object["metadata"]);
            assert_eq!(object["metadata"]["labels"]["resourceVersion"], "42");
            assert_eq!(object["spec"]["sessionId"], "487F4F2B6D2376AD");
            assert_eq!(object["status"]["participants"][0], "alice");
            assert_eq!(object["status"]["ports"][0]["filtered"], true);
            let shown = format!("{object} {}", form.cells_before);
            assert_eq!(shown.contains("s3cret"), revealed, "{shown}");
            let row = format!("[{},\"3m\",{}]", form.cells_before, form.cells_after);
            let row: Vec<String> = serde_json::from_str(&row).unwrap();
            assert_eq!(row.len(), 10);
        }
        assert!(!session("a", "b").tracker(1).has_secrets());
    }

    #[test]
    fn what_is_over_is_kept_without_secrets() {
        let live = session("shop", "487f4f2b6d2376ad")
            .owned_by("alice")
            .key("s3cret")
            .label("team", "red")
            .port(80, Some("header=s3cret"))
            .tracker(42);
        let ending = Ending::stopped("bob", 1_700_000_000);
        let ended = live.ended(&ending, 77).unwrap();
        let object: Value = serde_json::from_slice(&ended.form(true).object).unwrap();
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

        let json = String::from_utf8(ended.form(false).object.to_vec()).unwrap();
        let kept = Tracker::kept(&json).unwrap();
        assert_eq!(kept.form(true).object, ended.form(true).object);
        assert_eq!(kept.ending(), Some(ending));
        assert_eq!((kept.version, kept.created), (77, ended.created));
        assert_eq!(kept.recorded_for, None);
        let kept = kept.of_agent("Job/a/b/c");
        assert_eq!(kept.recorded_for.as_deref(), Some("Job/a/b/c"));
        assert_eq!(kept.of_agent(&"a".repeat(2000)).recorded_for, None);
        // What isn't ours, or not over, is none.
        let live = String::from_utf8(live.form(true).object.to_vec()).unwrap();
        for other in ["", "{}", "[]", "null", r#"{"metadata":{}}"#, &live] {
            assert!(Tracker::kept(other).is_err(), "{other}");
        }
    }

    #[test]
    fn an_annotation_is_never_shown() {
        let mut session = session("shop", "x").key("s3cret").session(1);
        let annotations = [("last-applied", "s3cret"), (AGENT, "Job/a/s3cret/c")];
        let annotations = annotations.map(|(key, value)| (key.into(), value.into()));
        session.metadata.annotations = Some(annotations.into());
        let tracker = Tracker::new(&session).unwrap();
        assert_eq!(tracker.recorded_for.as_deref(), Some("Job/a/s3cret/c"));
        let shown = String::from_utf8_lossy(&tracker.form(false).object).into_owned();
        assert!(!shown.contains("s3cret"), "{shown}");
        let ended = tracker.ended(&Ending::unknown(1), 2).unwrap();
        assert_eq!(ended.recorded_for, tracker.recorded_for);
    }
}
