//! A watch as the body of an answer.
//!
//! The body is asked for more when the client has taken what was sent, and looks at the shared
//! history only then: a slow client costs nothing but its place in it.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::{Stream, stream};
use hyper::body::Frame;
use mirrord_sessions_core::{
    identity::Requester,
    policy::{PolicySet, Verb},
    trackers::{
        Failure,
        watch::{Events, Step, Watch},
    },
};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior},
};

use super::{
    rights::{Asked, REMEMBERED, Rights},
    store::Store,
};

/// Bytes a frame, some more.
const FRAME: usize = 64 << 10;
/// How often a watch that wants bookmarks gets one, as in the API server.
const BOOKMARKS: Duration = Duration::from_mins(1);
/// Before its end, a watch gets a last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// What goes on while a watch is open.
pub(super) struct Open {
    pub(super) store: Arc<Store>,
    pub(super) requester: Arc<Requester>,
    pub(super) namespace: Option<String>,
    pub(super) policies: Arc<PolicySet>,
    pub(super) rights: Arc<Rights>,
    pub(super) asked: Asked,
    pub(super) watch: Watch,
    pub(super) events: Events,
    pub(super) bookmarks: bool,
    pub(super) ends: Instant,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) generations: watch::Receiver<Option<Arc<PolicySet>>>,
    pub(super) closing: watch::Receiver<bool>,
    /// Changes when another front proxy is to be believed, or none.
    pub(super) believed: watch::Receiver<()>,
}

struct Running {
    open: Open,
    bookmark: Interval,
    last_bookmark: Option<Instant>,
    ask_again: Interval,
    /// Whether it is to be asked again where the requester may join.
    ask: bool,
    /// Whether there is an answer that isn't looked through yet.
    answered: bool,
    over: bool,
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

/// The frames of a watch, until it ends.
pub(super) fn frames(open: Open) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let start = Instant::now() + BOOKMARKS;
    let mut bookmark = tokio::time::interval_at(start, BOOKMARKS);
    bookmark.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ask_again = tokio::time::interval_at(Instant::now() + REMEMBERED, REMEMBERED);
    ask_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let last_bookmark = open
        .ends
        .checked_sub(LAST_BOOKMARK)
        .filter(|at| open.bookmarks && *at > Instant::now());
    let running = Running {
        open,
        bookmark,
        last_bookmark,
        ask_again,
        ask: false,
        answered: false,
        over: false,
    };
    stream::unfold(running, |mut running| async {
        let bytes = running.next().await?;
        Some((Ok(Frame::data(bytes)), running))
    })
}

impl Running {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.over {
            let disbelieved = self.open.believed.has_changed().unwrap_or(true);
            if *self.open.closing.borrow() || disbelieved || Instant::now() >= self.open.ends {
                return None;
            }
            if std::mem::take(&mut self.ask) {
                self.ask_where_to_join().await;
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
            if !self.ask {
                self.wait().await;
            }
        }
        None
    }

    /// Rights change without notice.
    async fn ask_where_to_join(&mut self) {
        let open = &mut self.open;
        let scope = open.namespace.as_deref();
        let (requester, policies) = (&open.requester, &open.policies);
        let asked = open
            .rights
            .of(requester, policies, &open.store, scope)
            .await;
        self.answered |= asked.joins != open.asked.joins;
        open.asked = asked;
    }

    /// Takes in what has happened, as far as it fits a frame.
    fn step(&mut self) {
        let open = &mut self.open;
        // Marked before the index is read: what comes later is noticed.
        open.changes.mark_unchanged();
        let generation = if open.generations.has_changed().unwrap_or_default() {
            open.generations.borrow_and_update().clone()
        } else {
            None
        };
        if let Some(policies) = generation {
            open.policies = policies;
            self.answered = true;
            // By other policies, other sessions may be joined.
            self.ask = true;
        }
        let index = open.store.index();
        if std::mem::take(&mut self.answered) {
            let joins = open.asked.joins.clone();
            let viewer = open.policies.viewer(&open.requester, joins);
            let refused = viewer.refuses(Verb::List);
            if let Err(gone) = open.watch.decide_anew(&index, viewer) {
                open.events.error(&gone);
                self.over = true;
                return;
            }
            // Who may see nothing any more is told what went, and that it is over.
            if let Some(why) = refused {
                while open.watch.step(&index, &mut open.events, usize::MAX) == Step::More {}
                let failure = Failure::forbidden(&open.requester.username, "watch", &why);
                open.events.error(&failure);
                self.over = true;
                return;
            }
        }
        if let Step::Gone(failure) = open.watch.step(&index, &mut open.events, FRAME) {
            open.events.error(&failure);
            self.over = true;
        }
        // Where there was nothing to join until now, nobody was asked.
        let withheld = open.watch.take_withheld();
        self.ask |= !withheld.is_subset(&open.asked.about);
    }

    async fn wait(&mut self) {
        let open = &mut self.open;
        let last = self.last_bookmark;
        tokio::select! {
            _ = open.changes.changed() => {}
            _ = open.generations.changed() => open.generations.mark_changed(),
            _ = open.closing.changed() => {}
            _ = open.believed.changed() => open.believed.mark_changed(),
            _ = self.ask_again.tick() => self.ask = true,
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
