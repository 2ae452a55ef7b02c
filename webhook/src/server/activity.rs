//! Activity of a connection: requests in flight, and the time since the last one.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use mirrord_sessions_core::server::connections::ConnectionState;
use tokio::time::Instant;

/// The requests in flight on a connection, and when the last one ended.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    established: bool,
    trusted: bool,
    /// Start of each request in flight, by number: the first is the oldest.
    in_flight: BTreeMap<u64, Instant>,
    next_request: u64,
    since: Instant,
}

/// A request in flight, which ends on drop.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    request: u64,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            established: false,
            trusted: false,
            in_flight: BTreeMap::new(),
            next_request: 0,
            since: Instant::now(),
        }))
    }

    /// Records that the handshake is finished.
    pub(super) fn establish(&self) {
        self.change(|state| state.established = true);
    }

    /// Records whether the peer is the front proxy.
    pub(super) fn set_trusted(&self, trusted: bool) {
        self.change(|state| state.trusted = trusted);
    }

    /// Returns the use of the connection.
    pub(super) fn state(&self, now: Instant) -> ConnectionState {
        self.change(|state| match state.in_flight.values().next() {
            _ if state.trusted => ConnectionState::Trusted,
            Some(start) => ConnectionState::Busy(now.saturating_duration_since(*start)),
            None if state.established => {
                ConnectionState::Idle(now.saturating_duration_since(state.since))
            }
            None => ConnectionState::Handshake(now.saturating_duration_since(state.since)),
        })
    }

    /// Registers the start of a request.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        let request = self.change(|state| {
            state.next_request += 1;
            state.in_flight.insert(state.next_request, Instant::now());
            state.next_request
        });
        InFlight { activity: Arc::clone(self), request }
    }

    /// Completes when a request is in flight for `limit`. Requests of the front proxy have no
    /// limit, since watches are open for long.
    pub(super) async fn overdue(&self, limit: Duration) {
        loop {
            let until = self.change(|state| match state.in_flight.values().next() {
                Some(start) if !state.trusted => *start + limit,
                _ => Instant::now() + limit,
            });
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// Completes when no request has been in flight for `limit`, counted from this call on.
    pub(super) async fn idle_for(&self, limit: Duration) {
        let start = Instant::now();
        loop {
            let until = self.change(|state| {
                if state.in_flight.is_empty() {
                    state.since.max(start) + limit
                } else {
                    Instant::now() + limit
                }
            });
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The body of a response, which keeps its request in flight until it is sent.
pub(super) struct TrackedBody<B> {
    body: B,
    _in_flight: InFlight,
}

impl InFlight {
    /// Keeps the request in flight until the body is sent or dropped.
    pub(super) fn until_sent<B>(self, body: B) -> TrackedBody<B> {
        TrackedBody { body, _in_flight: self }
    }
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.activity.change(|state| {
            state.in_flight.remove(&self.request);
            state.since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn connection_is_idle_without_requests_in_flight() {
        let activity = Arc::new(Activity::new());
        activity.idle_for(LIMIT).await;
        let request = activity.begin();
        let other = activity.begin();
        drop(other);
        let waited = tokio::time::timeout(LIMIT * 5, activity.idle_for(LIMIT)).await;
        assert!(waited.is_err(), "a request is in flight");
        let ended = Instant::now();
        drop(request);
        activity.idle_for(LIMIT).await;
        assert!(ended.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn request_is_in_flight_until_its_body_is_sent() {
        let activity = Arc::new(Activity::new());
        let body = http_body_util::Empty::<bytes::Bytes>::new();
        let body = activity.begin().until_sent(body);
        let waited = tokio::time::timeout(LIMIT * 5, activity.idle_for(LIMIT)).await;
        assert!(waited.is_err(), "the body of a watch is not sent yet");
        drop(body);
        activity.idle_for(LIMIT).await;
    }

    #[tokio::test]
    async fn reports_its_use_and_overdue_requests() {
        let activity = Arc::new(Activity::new());
        let state = || activity.state(Instant::now());
        assert!(matches!(state(), ConnectionState::Handshake(_)));
        activity.establish();
        assert!(matches!(state(), ConnectionState::Idle(_)));
        let watch = activity.begin();
        assert!(matches!(state(), ConnectionState::Busy(_)));
        activity.overdue(LIMIT).await;
        activity.set_trusted(true);
        assert_eq!(state(), ConnectionState::Trusted);
        let waited = tokio::time::timeout(LIMIT * 5, activity.overdue(LIMIT)).await;
        assert!(waited.is_err(), "a watch of the front proxy has no limit");
        activity.set_trusted(false);
        drop(watch);
        let waited = tokio::time::timeout(LIMIT * 5, activity.overdue(LIMIT)).await;
        assert!(waited.is_err(), "no request is in flight");
    }
}
