//! Tells of runs, in Events and in the log.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, runtime::events::EventType};
use mirrord_sessions_core::{
    controller::{AgentId, AgentKind, Recorded, Told},
    text::printable,
};
use tracing::{debug, warn};

use crate::events::Publisher;

/// How much of a failure is told, and remembered.
const SHOWN: usize = 512;

/// Who tells.
pub(crate) struct Teller<'a> {
    events: Publisher<'a>,
    /// What was told last of an agent that could not be dealt with.
    told: Mutex<HashMap<AgentId, String>>,
}

/// A Session, as Events refer to it.
pub(crate) fn session(namespace: &str, name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("operator.metalbear.co/v1".into()),
        kind: Some("Session".into()),
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        uid: Some(uid.into()),
        ..ObjectReference::default()
    }
}

/// An agent, as Events refer to it.
fn agent(id: &AgentId) -> ObjectReference {
    let version = match id.kind {
        AgentKind::Job => "batch/v1",
        AgentKind::Pod => "v1",
    };
    ObjectReference {
        api_version: Some(version.into()),
        kind: Some(id.kind.as_str().into()),
        namespace: Some(id.namespace.clone()),
        name: Some(id.name.clone()),
        uid: Some(id.uid.clone()),
        ..ObjectReference::default()
    }
}

impl<'a> Teller<'a> {
    pub(crate) fn new(client: Client, pod: &'a str) -> Self {
        Self { events: Publisher::new(client, pod), told: Mutex::default() }
    }

    /// Of a Session.
    pub(crate) async fn of_session(&self, about: &Recorded, told: &Told) {
        let about = session(&about.namespace, &about.name, &about.uid);
        self.publish(&about, told).await;
    }

    /// An agent has no Session, and why; once for each reason.
    pub(crate) async fn refused(&self, id: &AgentId, text: &str, told: &Told) {
        let text = printable(text, SHOWN);
        if !self.with(|told| told.get(id) == Some(&text)) {
            self.publish(&agent(id), told).await;
        }
    }

    /// Once for each reason.
    pub(crate) fn log_failure(&self, id: &AgentId, text: &str) {
        let agent = id.to_string();
        let text = printable(text, SHOWN);
        if self.with(|told| told.get(id) == Some(&text)) {
            debug!(agent, error = text, "still not looked after");
            return;
        }
        warn!(agent, error = text, "an agent could not be looked after, and will be again");
        self.with(|told| told.insert(id.clone(), text));
    }

    /// The agent is gone.
    pub(crate) fn forget(&self, id: &AgentId) {
        self.with(|told| told.remove(id));
    }

    fn with<T>(&self, with: impl FnOnce(&mut HashMap<AgentId, String>) -> T) -> T {
        with(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) async fn publish(&self, about: &ObjectReference, told: &Told) {
        let kind = if told.warning { EventType::Warning } else { EventType::Normal };
        self.events.publish(about, kind, told.reason, &told.note).await;
    }
}
