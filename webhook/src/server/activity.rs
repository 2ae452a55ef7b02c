//! Whether anything goes on on a connection.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// How many requests are under way, and when the last one ended.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    under_way: usize,
    since: Instant,
}

/// A request under way; over when dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Activity>);

impl Activity {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { under_way: 0, since: Instant::now() }))
    }

    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.change(|state| state.under_way += 1);
        UnderWay(Arc::clone(self))
    }

    /// Done when nothing has been under way for that long, from now on.
    pub(super) async fn idle_for(&self, limit: Duration) {
        let start = Instant::now();
        loop {
            let until = self.change(|state| match state.under_way {
                0 => state.since.max(start) + limit,
                _ => Instant::now() + limit,
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

/// The body of an answer, which goes on with its request.
pub(super) struct Sending<B> {
    body: B,
    _under_way: UnderWay,
}

impl UnderWay {
    /// Goes on until the body is sent, or given up.
    pub(super) fn until_sent<B>(self, body: B) -> Sending<B> {
        Sending { body, _under_way: self }
    }
}

impl<B: Body + Unpin> Body for Sending<B> {
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

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.under_way -= 1;
            state.since = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_connection_is_idle_when_nothing_is_under_way() {
        let activity = Arc::new(Activity::new());
        activity.idle_for(LIMIT).await;
        let request = activity.begin();
        let other = activity.begin();
        drop(other);
        let waited = tokio::time::timeout(LIMIT * 5, activity.idle_for(LIMIT)).await;
        assert!(waited.is_err(), "a request is under way");
        let over = Instant::now();
        drop(request);
        activity.idle_for(LIMIT).await;
        assert!(over.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn a_body_that_is_being_sent_is_under_way() {
        let activity = Arc::new(Activity::new());
        let body = http_body_util::Empty::<bytes::Bytes>::new();
        let body = activity.begin().until_sent(body);
        let waited = tokio::time::timeout(LIMIT * 5, activity.idle_for(LIMIT)).await;
        assert!(waited.is_err(), "a watch may be silent");
        drop(body);
        activity.idle_for(LIMIT).await;
    }
}
