//! Publishing of Kubernetes Events.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use mirrord_sessions_crds::WEBHOOK_NAME;
use tokio::time::timeout;
use tracing::debug;

use crate::redaction::summary;

/// The timeout of publishing an Event, which delays the task that publishes it.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum length of a note in bytes, above which the API server rejects the Event.
const MAX_NOTE: usize = 1024;

/// Publishes Events in the name of a Pod.
pub(crate) struct EventPublisher<'a> {
    client: Client,
    pod_name: &'a str,
}

impl<'a> EventPublisher<'a> {
    /// Creates a publisher that names this Pod as the source of its Events.
    pub(crate) fn new(client: Client, pod_name: &'a str) -> Self {
        Self { client, pod_name }
    }

    /// Publishes an Event about an object.
    ///
    /// A failure is only logged. A namespace that is being deleted, for example, rejects all
    /// Events.
    pub(crate) async fn publish(
        &self,
        reference: &ObjectReference,
        kind: EventType,
        reason: &str,
        note: &str,
    ) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(truncate(note, MAX_NOTE)),
            action: "Reconcile".into(),
            secondary: None,
        };
        let reporter =
            Reporter { controller: WEBHOOK_NAME.into(), instance: Some(self.pod_name.to_owned()) };
        // A recorder that lives longer aggregates Events and needs the right to patch them.
        let recorder = Recorder::new(self.client.clone(), reporter);
        match timeout(PUBLISH_TIMEOUT, recorder.publish(&event, reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(error = summary(&error), reason, "failed to publish an Event"),
            Err(_) => debug!(reason, "timed out publishing an Event after {PUBLISH_TIMEOUT:?}"),
        }
    }
}

/// Truncates the text to a number of bytes and marks the cut with an ellipsis.
fn truncate(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes - '…'.len_utf8());
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use kube::client::Body;
    use tokio::time::Instant;
    use tower::service_fn;

    use super::*;

    #[test]
    fn truncates_to_bytes() {
        assert_eq!(truncate("abc", 3), "abc");
        assert_eq!(truncate("abcdef", 5), "ab…");
        assert_eq!(truncate("éééé", 6), "é…");
    }

    /// Checks the timeout, because kube's client in a cluster has none.
    #[tokio::test(start_paused = true)]
    async fn gives_up_publishing_after_timeout() {
        let hanging = service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let publisher = EventPublisher::new(Client::new(hanging, "default"), "webhook-0");
        let start = Instant::now();
        let reference = ObjectReference::default();
        publisher.publish(&reference, EventType::Warning, "SessionRefused", "exceeded quota").await;
        assert_eq!(start.elapsed().as_secs(), PUBLISH_TIMEOUT.as_secs());
    }
}
