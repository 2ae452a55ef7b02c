//! Events, as this process publishes them.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use mirrord_sessions_crds::WEBHOOK_NAME;
use tokio::time::timeout;
use tracing::debug;

/// How long an Event may take: nothing else that is done waits longer for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The API server refuses an Event with a longer note.
const MAX_NOTE: usize = 1024;

/// Who publishes.
pub(crate) struct Publisher<'a> {
    client: Client,
    pod: &'a str,
}

impl<'a> Publisher<'a> {
    /// In the name of this Pod.
    pub(crate) fn new(client: Client, pod: &'a str) -> Self {
        Self { client, pod }
    }

    /// One that can't be published is logged: a namespace that is going takes none, which is
    /// nobody's fault.
    pub(crate) async fn publish(
        &self,
        about: &ObjectReference,
        kind: EventType,
        reason: &str,
        note: &str,
    ) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(cut(note, MAX_NOTE)),
            action: "Reconcile".into(),
            secondary: None,
        };
        let reporter =
            Reporter { controller: WEBHOOK_NAME.into(), instance: Some(self.pod.to_owned()) };
        // A new recorder each time: one that remembers would need the right to patch Events.
        let recorder = Recorder::new(self.client.clone(), reporter);
        match timeout(PATIENCE, recorder.publish(&event, about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, reason, "an Event could not be published"),
            Err(_) => debug!(reason, "an Event was not published in {PATIENCE:?}"),
        }
    }
}

/// At most so many bytes of the text.
fn cut(text: &str, bytes: usize) -> String {
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
    fn cut_to_bytes() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcdef", 5), "ab…");
        assert_eq!(cut("éééé", 6), "é…");
    }

    /// In a cluster kube's client waits for ever.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_an_event_for_long() {
        let silent = service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let publisher = Publisher::new(Client::new(silent, "default"), "webhook-0");
        let start = Instant::now();
        let about = ObjectReference::default();
        publisher.publish(&about, EventType::Warning, "SessionRefused", "exceeded quota").await;
        assert_eq!(start.elapsed().as_secs(), PATIENCE.as_secs());
    }
}
