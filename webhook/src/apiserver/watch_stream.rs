//! Bodies of watch responses.
//!
//! A body is polled only when the client has taken the previous frame, and reads the shared history
//! only then. A slow client therefore costs no memory besides its position in the history.

use std::{
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, Stream, stream};
use hyper::body::Frame;
use mirrord_sessions_core::{
    apiserver::{
        ApiError,
        watch::{StepOutcome, Watch},
        watch_events::EventBuffer,
    },
    identity::Requester,
    policy::{PolicySet, Verb},
};
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
    time::{Instant, Interval, MissedTickBehavior},
};

use crate::{
    clock::unix_now,
    sessions::{
        join_rights::{JoinAuthorizer, ReviewedRights, VERDICT_TTL},
        store::Store,
    },
};

/// The approximate size of a frame in bytes.
const FRAME_SIZE: usize = 64 << 10;
/// The interval between bookmarks, as in the API server.
const BOOKMARK_INTERVAL: Duration = Duration::from_mins(1);
/// Time between the last bookmark and the end of a watch.
const LAST_BOOKMARK_LEAD: Duration = Duration::from_secs(2);

/// The maximum random delay of a review, so that watches do not all send reviews at once.
const MAX_JITTER: Duration = Duration::from_secs(2);

/// The dependencies and the state of an open watch.
pub(super) struct OpenWatch {
    pub(crate) store: Arc<Store>,
    pub(crate) requester: Arc<Requester>,
    pub(crate) namespace: Option<String>,
    pub(crate) policies: Arc<PolicySet>,
    pub(crate) join_authorizer: Arc<JoinAuthorizer>,
    pub(crate) reviewed: ReviewedRights,
    pub(crate) watch: Watch,
    pub(crate) events: EventBuffer,
    pub(crate) bookmarks: bool,
    pub(crate) deadline: Instant,
    pub(crate) index_changes: watch::Receiver<u64>,
    pub(crate) policy_changes: watch::Receiver<Option<Arc<PolicySet>>>,
    pub(crate) shutdown: watch::Receiver<bool>,
    /// Notified when the front proxy that authenticated the requester is replaced.
    pub(crate) front_proxy_changes: watch::Receiver<()>,
}

struct WatchBody {
    open: OpenWatch,
    bookmark: Interval,
    last_bookmark: Option<Instant>,
    /// Time of the next review of the join rights.
    review_due: Instant,
    /// The review in flight. Until it completes, the previous rights stay valid.
    review: Option<PendingReview>,
    /// True if the policies or the join rights have changed.
    viewer_changed: bool,
    /// Error that ends the watch once the client has received all DELETED events.
    forbidden: Option<ApiError>,
    ended: bool,
}

/// A review of the join rights in flight.
///
/// The review has a task of its own: other requests may wait for the same verdict, and this body is
/// polled only when its client reads.
struct PendingReview {
    task: JoinHandle<ReviewedRights>,
    /// True if policies or sessions have changed since, so that the review must be repeated.
    is_stale: bool,
}

impl Drop for PendingReview {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the frames of a watch.
pub(super) fn frames(open: OpenWatch) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let start = Instant::now() + BOOKMARK_INTERVAL;
    let mut bookmark = tokio::time::interval_at(start, BOOKMARK_INTERVAL);
    bookmark.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let last_bookmark = open
        .deadline
        .checked_sub(LAST_BOOKMARK_LEAD)
        .filter(|at| open.bookmarks && *at > Instant::now());
    let body = WatchBody {
        open,
        bookmark,
        last_bookmark,
        review_due: next_review(),
        review: None,
        viewer_changed: false,
        forbidden: None,
        ended: false,
    };
    stream::unfold(body, |mut body| async {
        let bytes = body.next().await?;
        Some((Ok(Frame::data(bytes)), body))
    })
}

/// Returns the time of the next review, with a random delay.
fn next_review() -> Instant {
    let max_jitter = u64::try_from(MAX_JITTER.as_millis()).unwrap_or(u64::MAX);
    let jitter = RandomState::new().hash_one(0) % max_jitter;
    Instant::now() + VERDICT_TTL + Duration::from_millis(jitter)
}

impl WatchBody {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            let front_proxy_changed = self.open.front_proxy_changes.has_changed().unwrap_or(true);
            if *self.open.shutdown.borrow()
                || front_proxy_changed
                || Instant::now() >= self.open.deadline
            {
                return None;
            }
            // A watch that always has events never reaches `wait`, so check the review here too.
            if let Some(review) = &mut self.review
                && let Some(result) = (&mut review.task).now_or_never()
            {
                self.finish_review(result);
            }
            if Instant::now() >= self.review_due {
                self.start_review();
            }
            self.open.events.set_now(unix_now());
            self.step();
            let bytes = std::mem::take(&mut self.open.events.bytes);
            if !bytes.is_empty() {
                return Some(bytes.into());
            }
            if self.ended {
                return None;
            }
            self.wait().await;
        }
        None
    }

    /// Starts a review of the join rights. RBAC sends no notice of changes.
    fn start_review(&mut self) {
        self.review_due = next_review();
        if let Some(review) = &mut self.review {
            review.is_stale = true;
            return;
        }
        let open = &self.open;
        let (authorizer, store) = (Arc::clone(&open.join_authorizer), Arc::clone(&open.store));
        let (requester, policies) = (Arc::clone(&open.requester), Arc::clone(&open.policies));
        let namespace = open.namespace.clone();
        let task = tokio::spawn(async move {
            authorizer.join_rights(&requester, &policies, &store, namespace.as_deref()).await
        });
        self.review = Some(PendingReview { task, is_stale: false });
    }

    /// Applies the result of a review. A failed review counts as a denial until the next one.
    fn finish_review(&mut self, result: Result<ReviewedRights, JoinError>) {
        let is_stale = self.review.take().is_some_and(|review| review.is_stale);
        self.review_due = next_review();
        let reviewed = result.unwrap_or_default();
        self.viewer_changed |= reviewed.rights != self.open.reviewed.rights;
        self.open.reviewed = reviewed;
        if is_stale {
            self.start_review();
        }
    }

    /// Processes pending changes, up to the size of a frame.
    fn step(&mut self) {
        // Mark before reading the index, so that no later change is missed.
        self.open.index_changes.mark_unchanged();
        let new_policies = if self.open.policy_changes.has_changed().unwrap_or_default() {
            self.open.policy_changes.borrow_and_update().clone()
        } else {
            None
        };
        if let Some(policies) = new_policies {
            self.open.policies = policies;
            self.viewer_changed = true;
            // Under other policies, the right to join may reveal other sessions.
            self.start_review();
        }
        let open = &mut self.open;
        let index = open.store.index();
        if std::mem::take(&mut self.viewer_changed) {
            let rights = open.reviewed.rights.clone();
            let viewer = open.policies.viewer(&open.requester, rights);
            self.forbidden = viewer
                .forbidden_reason(Verb::List)
                .map(|reason| ApiError::forbidden(&open.requester.username, "watch", &reason));
            if let Err(error) = open.watch.set_viewer(&index, viewer) {
                open.events.push_error(&error);
                self.ended = true;
                return;
            }
        }
        let error = match open.watch.step(&index, &mut open.events, FRAME_SIZE) {
            StepOutcome::Ended(error) => Some(error),
            // A requester who may no longer see any tracker first receives the DELETED events.
            StepOutcome::Idle => self.forbidden.take(),
            StepOutcome::More => None,
        };
        if let Some(error) = error {
            open.events.push_error(&error);
            self.ended = true;
        }
        // Review again if a namespace that was not reviewed has its first hidden secret.
        let withheld = open.watch.take_withheld_namespaces();
        let needs_review = !withheld.is_subset(&open.reviewed.namespaces);
        drop(index);
        if needs_review {
            self.start_review();
        }
    }

    async fn wait(&mut self) {
        let open = &mut self.open;
        let last_bookmark = self.last_bookmark;
        let pending = self.review.as_mut();
        let review = async {
            match pending {
                Some(review) => (&mut review.task).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = open.index_changes.changed() => {}
            _ = open.policy_changes.changed() => open.policy_changes.mark_changed(),
            _ = open.shutdown.changed() => {}
            _ = open.front_proxy_changes.changed() => open.front_proxy_changes.mark_changed(),
            result = review => self.finish_review(result),
            () = tokio::time::sleep_until(self.review_due) => {}
            () = tokio::time::sleep_until(open.deadline) => {}
            _ = self.bookmark.tick(), if open.bookmarks => self.add_bookmark(),
            () = tokio::time::sleep_until(last_bookmark.unwrap_or(open.deadline)), if last_bookmark.is_some() => {
                self.last_bookmark = None;
                self.add_bookmark();
            }
        }
    }

    fn add_bookmark(&mut self) {
        if let Some(version) = self.open.watch.bookmark_version() {
            self.open.events.push_bookmark(version, false);
        }
    }
}
