//! Publishing of Kubernetes Events.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
    runtime::events::EventType,
};
use mirrord_sessions_crds::WEBHOOK_NAME;
use tokio::time::timeout;
use tracing::debug;

use crate::redaction::summary;

/// The timeout of publishing an Event, which delays the task that publishes it.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum length of a note in bytes, above which the API server rejects the Event.
const MAX_NOTE: usize = 1024;
/// The maximum length of the name of an Event in bytes.
const MAX_NAME: usize = 253;
/// The namespace of Events about cluster-scoped objects.
const CLUSTER_SCOPED: &str = "default";

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
        let event = build(reference, kind, reason, note, self.pod_name, Timestamp::now());
        let namespace = reference.namespace.as_deref().unwrap_or(CLUSTER_SCOPED);
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams::default();
        match timeout(PUBLISH_TIMEOUT, events.create(&params, &event)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => debug!(error = summary(&error), reason, "failed to publish an Event"),
            Err(_) => debug!(reason, "timed out publishing an Event after {PUBLISH_TIMEOUT:?}"),
        }
    }
}

/// Builds an Event of API group `core`, whose fields are those that clients sort by.
///
/// The API server rejects an Event of `events.k8s.io` with `lastTimestamp` and `count`. Without
/// them, `kubectl get events --sort-by=.lastTimestamp` prints it before all others.
fn build(
    reference: &ObjectReference,
    kind: EventType,
    reason: &str,
    note: &str,
    pod_name: &str,
    now: Timestamp,
) -> Event {
    let suffix = format!(".{:x}", now.as_nanosecond());
    let subject = reference.name.as_deref().unwrap_or(WEBHOOK_NAME);
    let end = subject.floor_char_boundary(MAX_NAME - suffix.len());
    let subject = subject[..end].trim_end_matches(['.', '-']);
    let type_ = match kind {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{subject}{suffix}")),
            namespace: Some(
                reference.namespace.clone().unwrap_or_else(|| CLUSTER_SCOPED.to_owned()),
            ),
            ..ObjectMeta::default()
        },
        involved_object: reference.clone(),
        type_: Some(type_.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(truncate(note, MAX_NOTE)),
        action: Some("Reconcile".to_owned()),
        event_time: Some(MicroTime(now)),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        source: Some(EventSource { component: Some(WEBHOOK_NAME.to_owned()), host: None }),
        reporting_component: Some(WEBHOOK_NAME.to_owned()),
        reporting_instance: Some(pod_name.to_owned()),
        related: None,
        series: None,
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

    #[test]
    fn events_have_the_fields_that_clients_sort_by() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let reference = |name: &str, namespace: Option<&str>| ObjectReference {
            name: Some(name.to_owned()),
            namespace: namespace.map(str::to_owned),
            ..ObjectReference::default()
        };
        for (name, namespace, expected) in [
            ("487f4f2b6d2376ad", Some("shop"), ("487f4f2b6d2376ad.", "shop")),
            ("mirrord-operator-auditor", None, ("mirrord-operator-auditor.", "default")),
            // The name of an Event is limited too.
            (&"a.".repeat(126), Some("shop"), ("a.a.", "shop")),
        ] {
            let reference = reference(name, namespace);
            let event = build(&reference, EventType::Warning, "Reason", "note", "pod-0", now);
            let built = event.metadata.name.unwrap();
            assert!(built.starts_with(expected.0) && built.len() <= MAX_NAME, "{built}");
            assert!(!built.contains(".."), "{built}");
            assert_eq!(event.metadata.namespace.as_deref(), Some(expected.1));
            assert_eq!(event.first_timestamp, Some(Time(now)));
            assert_eq!(event.last_timestamp, Some(Time(now)));
            assert_eq!((event.count, event.type_.as_deref()), (Some(1), Some("Warning")));
            assert_eq!(event.involved_object, reference);
        }
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
