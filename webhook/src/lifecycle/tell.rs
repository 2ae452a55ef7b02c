//! Tells of runs, in Events and in the log.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use mirrord_sessions_core::{
    lifecycle::{AgentId, AgentKind, Recorded, Told},
    text::printable,
};
use mirrord_sessions_crds::WEBHOOK_NAME;
use tokio::time::timeout;
use tracing::{debug, warn};

/// How much of a failure is told, and remembered.
const SHOWN: usize = 512;
/// How long an Event may take: nothing else that is done waits longer for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The API server refuses an Event with a longer note.
const MAX_NOTE: usize = 1024;

/// Who tells.
pub(super) struct Teller<'a> {
    client: Client,
    pod: &'a str,
    /// What was told last of an agent that could not be dealt with.
    told: Mutex<HashMap<AgentId, String>>,
}

/// A Session, as Events refer to it.
pub(super) fn session(namespace: &str, name: &str, uid: &str) -> ObjectReference {
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
    pub(super) fn new(client: Client, pod: &'a str) -> Self {
        Self {
            client,
            pod,
            told: Mutex::default(),
        }
    }

    /// Of a Session.
    pub(super) async fn of_session(&self, about: &Recorded, told: &Told) {
        let about = session(&about.namespace, &about.name, &about.uid);
        self.publish(&about, told).await;
    }

    /// An agent has no Session, and why; once for each reason.
    pub(super) async fn refused(&self, id: &AgentId, text: &str, told: &Told) {
        let text = printable(text, SHOWN);
        if !self.with(|told| told.get(id) == Some(&text)) {
            self.publish(&agent(id), told).await;
        }
    }

    /// Once for each reason.
    pub(super) fn log_failure(&self, id: &AgentId, text: &str) {
        let agent = id.to_string();
        let text = printable(text, SHOWN);
        if self.with(|told| told.get(id) == Some(&text)) {
            debug!(agent, error = text, "still not looked after");
            return;
        }
        warn!(
            agent,
            error = text,
            "an agent could not be looked after, and will be again"
        );
        self.with(|told| told.insert(id.clone(), text));
    }

    /// The agent is gone.
    pub(super) fn forget(&self, id: &AgentId) {
        self.with(|told| told.remove(id));
    }

    fn with<T>(&self, with: impl FnOnce(&mut HashMap<AgentId, String>) -> T) -> T {
        with(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A namespace that is going takes no Events, which is nobody's fault.
    pub(super) async fn publish(&self, about: &ObjectReference, told: &Told) {
        let event = Event {
            type_: if told.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: told.reason.to_owned(),
            note: Some(cut(&told.note)),
            action: "Reconcile".into(),
            secondary: None,
        };
        let reporter = Reporter {
            controller: WEBHOOK_NAME.into(),
            instance: Some(self.pod.to_owned()),
        };
        // A new recorder each time: one that remembers would need the right to patch Events.
        let recorder = Recorder::new(self.client.clone(), reporter);
        match timeout(PATIENCE, recorder.publish(&event, about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                debug!(%error, reason = told.reason, "an Event could not be published");
            }
            Err(_) => debug!(
                reason = told.reason,
                "an Event was not published in {PATIENCE:?}"
            ),
        }
    }
}

fn cut(note: &str) -> String {
    if note.len() <= MAX_NOTE {
        return note.to_owned();
    }
    let end = note.floor_char_boundary(MAX_NOTE - '…'.len_utf8());
    format!("{}…", &note[..end])
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use kube::client::Body;
    use tokio::time::Instant;
    use tower::service_fn;

    use super::*;

    /// In a cluster kube's client waits for ever.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_an_event_for_long() {
        let silent = service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let teller = Teller::new(Client::new(silent, "default"), "webhook-0");
        let start = Instant::now();
        let told = Told::refused("exceeded quota");
        teller.publish(&session("shop", "a", "1"), &told).await;
        assert_eq!(start.elapsed().as_secs(), PATIENCE.as_secs());
    }
}
