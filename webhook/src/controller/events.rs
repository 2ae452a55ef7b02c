//! Events and log messages about runs.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, runtime::events::EventType};
use mirrord_sessions_core::{
    controller::{AgentId, AgentKind, AgentSession, EventDetail, RunEvent},
    text::printable,
};
use tracing::{debug, warn};

use crate::events::EventPublisher;

/// The maximum length of an error in the log.
const MAX_ERROR: usize = 512;

/// Records Events about runs, and reports each error of an agent once.
pub(crate) struct EventRecorder<'a> {
    publisher: EventPublisher<'a>,
    detail: EventDetail,
    /// The last reported error of each agent.
    last_errors: Mutex<HashMap<AgentId, String>>,
}

/// Returns the reference to a Session for Events.
pub(crate) fn session_reference(namespace: &str, name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("operator.metalbear.co/v1".into()),
        kind: Some("Session".into()),
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        uid: Some(uid.into()),
        ..ObjectReference::default()
    }
}

fn agent_reference(id: &AgentId) -> ObjectReference {
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

impl<'a> EventRecorder<'a> {
    /// Creates a recorder that names this Pod as the source of Events.
    pub(crate) fn new(client: Client, pod_name: &'a str, detail: EventDetail) -> Self {
        let publisher = EventPublisher::new(client, pod_name);
        Self { publisher, detail, last_errors: Mutex::default() }
    }

    /// Records an Event about a Session.
    pub(crate) async fn record_for_session(&self, session: &AgentSession, event: &RunEvent) {
        let reference = session_reference(&session.namespace, &session.name, &session.uid);
        self.record(&reference, event).await;
    }

    /// Records an Event about an agent unless its last reported error is the same.
    pub(crate) async fn record_for_agent(&self, id: &AgentId, error: &str, event: &RunEvent) {
        if !self.is_last_error(id, &printable(error, MAX_ERROR)) {
            self.record(&agent_reference(id), event).await;
        }
    }

    /// Logs an error of an agent, at debug level if it is the same as the last one.
    pub(crate) fn log_error(&self, id: &AgentId, error: &str) {
        let agent = id.to_string();
        let error = printable(error, MAX_ERROR);
        if self.is_last_error(id, &error) {
            debug!(agent, error, "reconciling the agent still fails");
            return;
        }
        warn!(agent, error, "failed to reconcile the agent, retrying with backoff");
        self.with_last_errors(|errors| errors.insert(id.clone(), error));
    }

    /// Forgets the last error of an agent that is gone.
    pub(crate) fn forget(&self, id: &AgentId) {
        self.with_last_errors(|errors| errors.remove(id));
    }

    fn is_last_error(&self, id: &AgentId, error: &str) -> bool {
        self.with_last_errors(|errors| errors.get(id).is_some_and(|last| last == error))
    }

    fn with_last_errors<T>(&self, access: impl FnOnce(&mut HashMap<AgentId, String>) -> T) -> T {
        access(&mut self.last_errors.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records an Event about any object.
    pub(crate) async fn record(&self, reference: &ObjectReference, event: &RunEvent) {
        let kind = if event.warning { EventType::Warning } else { EventType::Normal };
        self.publisher.publish(reference, kind, event.reason, event.note(self.detail)).await;
    }
}
