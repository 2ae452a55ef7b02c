//! Builder of Sessions for tests.

use std::sync::Arc;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use mirrord_sessions_crds::{
    AgentReference, Owner, Port, PortType, Session, SessionSpec, SessionState, SessionStatus,
};

use super::{Tracker, index::Index};

pub(crate) struct Fixture(Session);

pub(crate) fn session(namespace: &str, name: &str) -> Fixture {
    let spec =
        SessionSpec { target: "deployment/ip-visit-counter".into(), ..SessionSpec::default() };
    let mut session = Session::new(name, spec);
    session.metadata.namespace = Some(namespace.into());
    session.metadata.uid = Some(format!("uid-{name}"));
    Fixture(session)
}

/// Returns an index at resource version 10 with four trackers in three namespaces.
pub(crate) fn four_trackers() -> Index {
    let mut index = Index::default();
    let trackers = [("a", "x", 3), ("a", "y", 4), ("a-b", "x", 5), ("b", "x", 6)];
    let trackers =
        trackers.map(|(namespace, name, version)| session(namespace, name).tracker(version));
    index.replace(trackers.into(), 10);
    index
}

impl Fixture {
    pub(crate) fn target(mut self, target: &str) -> Self {
        self.0.spec.target = target.into();
        self
    }

    pub(crate) fn owned_by(mut self, username: &str) -> Self {
        self.0.spec.owner = Some(Owner { username: username.into(), ..Owner::default() });
        self
    }

    pub(crate) fn key(mut self, key: &str) -> Self {
        self.0.spec.key = Some(key.into());
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        let labels = self.0.metadata.labels.get_or_insert_default();
        labels.insert(key.into(), value.into());
        self
    }

    pub(crate) fn port(mut self, port: u16, filter: Option<&str>) -> Self {
        let status = self.0.status.get_or_insert_with(SessionStatus::default);
        status.ports.push(Port { port, type_: PortType::Steal, filter: filter.map(Into::into) });
        self
    }

    /// Sets the kind of the agent.
    pub(crate) fn agent(mut self, kind: &str) -> Self {
        let status = self.0.status.get_or_insert_default();
        status.agent = Some(AgentReference { kind: kind.into(), ..AgentReference::default() });
        self
    }

    pub(crate) fn uid(mut self, uid: &str) -> Self {
        self.0.spec.owner.get_or_insert_default().uid = Some(uid.into());
        self
    }

    pub(crate) fn joined(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let status = self.0.status.get_or_insert_default();
        status.participants = names.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn last_seen(mut self, at: Timestamp, state: SessionState) -> Self {
        let status = self.0.status.get_or_insert_default();
        status.last_seen = Some(Time(at));
        status.state = state;
        self
    }

    pub(crate) fn session(mut self, version: u64) -> Session {
        self.0.metadata.resource_version = Some(version.to_string());
        self.0
    }

    pub(crate) fn tracker(self, version: u64) -> Arc<Tracker> {
        Arc::new(Tracker::new(&self.session(version)).unwrap())
    }
}
