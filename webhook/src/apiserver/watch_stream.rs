//! A watch as the body of an answer.
//!
//! The body is asked for more when the client has taken what was sent, and looks at the shared
//! history only then: a slow client costs nothing but its place in it.

use std::{
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::{FutureExt, Stream, stream};
use hyper::body::Frame;
use mirrord_sessions_core::{
    apiserver::{
        Failure,
        watch::{Events, Step, Watch},
    },
    identity::Requester,
    policy::{PolicySet, Verb},
};
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
    time::{Instant, Interval, MissedTickBehavior},
};

use crate::sessions::{
    join_rights::{Asked, REMEMBERED, Rights},
    store::Store,
};

/// Bytes a frame, some more.
const FRAME: usize = 64 << 10;
/// How often a watch that wants bookmarks gets one, as in the API server.
const BOOKMARKS: Duration = Duration::from_mins(1);
/// Before its end, a watch gets a last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// Watches ask later than they could by up to this.
const SPREAD: Duration = Duration::from_secs(2);

/// What goes on while a watch is open.
pub(crate) struct Open {
    pub(crate) store: Arc<Store>,
    pub(crate) requester: Arc<Requester>,
    pub(crate) namespace: Option<String>,
    pub(crate) policies: Arc<PolicySet>,
    pub(crate) rights: Arc<Rights>,
    pub(crate) asked: Asked,
    pub(crate) watch: Watch,
    pub(crate) events: Events,
    pub(crate) bookmarks: bool,
    pub(crate) ends: Instant,
    pub(crate) changes: watch::Receiver<u64>,
    pub(crate) generations: watch::Receiver<Option<Arc<PolicySet>>>,
    pub(crate) closing: watch::Receiver<bool>,
    /// Changes when another front proxy is to be believed, or none.
    pub(crate) believed: watch::Receiver<()>,
}

struct Running {
    open: Open,
    bookmark: Interval,
    last_bookmark: Option<Instant>,
    /// When it is asked again where the requester may join.
    ask_at: Instant,
    /// The question that is open. Until it is answered what was answered last goes on.
    asking: Option<Asking>,
    /// Whether who decides, or where the requester may join, has changed.
    anew: bool,
    /// Why it ends, when the client has been told what went.
    refused: Option<Failure>,
    over: bool,
}

/// A question, asked beside the events: in a task of its own, since others may wait for the same
/// answer, and this watch goes on only when its client reads.
struct Asking {
    answer: JoinHandle<Asked>,
    /// To be asked once more, since it was asked on other policies or sessions than there are now.
    stale: bool,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The frames of a watch, until it ends.
pub(crate) fn frames(open: Open) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let start = Instant::now() + BOOKMARKS;
    let mut bookmark = tokio::time::interval_at(start, BOOKMARKS);
    bookmark.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let last_bookmark =
        open.ends.checked_sub(LAST_BOOKMARK).filter(|at| open.bookmarks && *at > Instant::now());
    let running = Running {
        open,
        bookmark,
        last_bookmark,
        ask_at: ask_again(),
        asking: None,
        anew: false,
        refused: None,
        over: false,
    };
    stream::unfold(running, |mut running| async {
        let bytes = running.next().await?;
        Some((Ok(Frame::data(bytes)), running))
    })
}

/// Not all watches at once.
fn ask_again() -> Instant {
    let spread = u64::try_from(SPREAD.as_millis()).unwrap_or(u64::MAX);
    let chance = RandomState::new().hash_one(0) % spread;
    Instant::now() + REMEMBERED + Duration::from_millis(chance)
}

impl Running {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.over {
            let disbelieved = self.open.believed.has_changed().unwrap_or(true);
            if *self.open.closing.borrow() || disbelieved || Instant::now() >= self.open.ends {
                return None;
            }
            // Also where there is always something to tell.
            if let Some(asking) = &mut self.asking
                && let Some(answer) = (&mut asking.answer).now_or_never()
            {
                self.answered(answer);
            }
            if Instant::now() >= self.ask_at {
                self.ask();
            }
            self.open.events.set_now(now());
            self.step();
            let bytes = std::mem::take(&mut self.open.events.bytes);
            if !bytes.is_empty() {
                return Some(bytes.into());
            }
            if self.over {
                return None;
            }
            self.wait().await;
        }
        None
    }

    /// Asks where the requester may join. Rights change without notice.
    fn ask(&mut self) {
        self.ask_at = ask_again();
        if let Some(asking) = &mut self.asking {
            asking.stale = true;
            return;
        }
        let open = &self.open;
        let (rights, store) = (Arc::clone(&open.rights), Arc::clone(&open.store));
        let (requester, policies) = (Arc::clone(&open.requester), Arc::clone(&open.policies));
        let scope = open.namespace.clone();
        let answer = tokio::spawn(async move {
            let scope = scope.as_deref();
            rights.of(&requester, &policies, &store, scope).await
        });
        self.asking = Some(Asking { answer, stale: false });
    }

    /// One that failed is asked again in its time.
    fn answered(&mut self, answer: Result<Asked, JoinError>) {
        let stale = self.asking.take().is_some_and(|asking| asking.stale);
        self.ask_at = ask_again();
        let asked = answer.unwrap_or_default();
        self.anew |= asked.joins != self.open.asked.joins;
        self.open.asked = asked;
        if stale {
            self.ask();
        }
    }

    /// Takes in what has happened, as far as it fits a frame.
    fn step(&mut self) {
        // Marked before the index is read: what comes later is noticed.
        self.open.changes.mark_unchanged();
        let generation = if self.open.generations.has_changed().unwrap_or_default() {
            self.open.generations.borrow_and_update().clone()
        } else {
            None
        };
        if let Some(policies) = generation {
            self.open.policies = policies;
            self.anew = true;
            // By other policies, other sessions may be joined.
            self.ask();
        }
        let open = &mut self.open;
        let index = open.store.index();
        if std::mem::take(&mut self.anew) {
            let joins = open.asked.joins.clone();
            let viewer = open.policies.viewer(&open.requester, joins);
            self.refused = viewer
                .refuses(Verb::List)
                .map(|why| Failure::forbidden(&open.requester.username, "watch", &why));
            if let Err(gone) = open.watch.decide_anew(&index, viewer) {
                open.events.error(&gone);
                self.over = true;
                return;
            }
        }
        let ends = match open.watch.step(&index, &mut open.events, FRAME) {
            Step::Gone(failure) => Some(failure),
            // Who may see nothing any more is told what went, and that it is over.
            Step::Idle => self.refused.take(),
            Step::More => None,
        };
        if let Some(failure) = ends {
            open.events.error(&failure);
            self.over = true;
        }
        // Where there was nothing to join until now, nobody was asked.
        let withheld = open.watch.take_withheld();
        let unasked = !withheld.is_subset(&open.asked.about);
        drop(index);
        if unasked {
            self.ask();
        }
    }

    async fn wait(&mut self) {
        let open = &mut self.open;
        let last = self.last_bookmark;
        let asking = self.asking.as_mut();
        let answer = async {
            match asking {
                Some(asking) => (&mut asking.answer).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = open.changes.changed() => {}
            _ = open.generations.changed() => open.generations.mark_changed(),
            _ = open.closing.changed() => {}
            _ = open.believed.changed() => open.believed.mark_changed(),
            answer = answer => self.answered(answer),
            () = tokio::time::sleep_until(self.ask_at) => {}
            () = tokio::time::sleep_until(open.ends) => {}
            _ = self.bookmark.tick(), if open.bookmarks => self.add_bookmark(),
            () = tokio::time::sleep_until(last.unwrap_or(open.ends)), if last.is_some() => {
                self.last_bookmark = None;
                self.add_bookmark();
            }
        }
    }

    fn add_bookmark(&mut self) {
        if let Some(version) = self.open.watch.bookmark() {
            self.open.events.bookmark(version, false);
        }
    }
}
