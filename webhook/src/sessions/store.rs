//! What requests are answered from: the index, and who decides what of it is seen.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use mirrord_sessions_core::{
    apiserver::{Failure, options::Version},
    controller::{Agent, Endings, Past, Recorded, Reporting, Target, session_names},
    identity::Requester,
    policy::{JoinRights, PolicySet},
    sessions::{
        AGENT_ENDED, EXPIRED, Ending, Index, Key, Notes, Restored, Tracker, concurrent_sessions,
        policy_history::Decided,
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::apiserver::watch_stream::now;

/// How long a request waits for a version that is still to come, as in the API server.
const FRESHNESS: Duration = Duration::from_secs(3);

/// How long a report waits for the session that it is about.
const APPEARANCE: Duration = Duration::from_secs(1);

/// The index, the policies, and whether the process is ending; each with those who wait for it.
#[derive(Debug)]
pub(crate) struct Store {
    index: RwLock<Index>,
    changed: watch::Sender<u64>,
    policies: watch::Sender<Option<Arc<PolicySet>>>,
    /// Locked before the index, where both are.
    decided: Mutex<Decided>,
    closing: watch::Sender<bool>,
    notes: Mutex<Notes>,
    kept: Option<Kept>,
}

/// Sessions that have ended are shown for a while, and told to whoever keeps them.
#[derive(Debug)]
struct Kept {
    seconds: i64,
    ended: mpsc::UnboundedSender<Arc<Tracker>>,
}

/// How long after the word that a session is to be deleted it counts: admission takes 30 s at most,
/// and what deletes in the foreground some more.
const NOTED: i64 = 120;

impl Endings for Store {
    fn over(&self, session: &Recorded) {
        self.closing_session(&session.uid, AGENT_ENDED, None);
    }

    fn doubled(&self, session: &Recorded) {
        self.closing_session(&session.uid, "its agent has an older one", None);
    }

    fn expired(&self, session: &Reporting) {
        self.closing_session(&session.uid, EXPIRED, None);
    }

    fn spared(&self, session: &Reporting) {
        self.notes().take_back(&session.uid, EXPIRED);
    }

    fn ending(&self, namespace: &str, name: &str, uid: &str) -> Option<Ending> {
        if self.kept.is_none() {
            let ending = self.notes().ending(uid, now());
            return Some(ending).filter(Ending::is_known);
        }
        let key = Key { namespace: namespace.into(), name: name.into() };
        let index = self.index();
        let tracker = index.get(&key).filter(|tracker| tracker.uid == uid)?;
        tracker.ending().filter(Ending::is_known)
    }

    fn are_shared(&self) -> bool {
        self.kept.is_some()
    }

    fn past(&self, agent: &Agent) -> Option<Past> {
        let names = session_names(agent);
        let index = self.index();
        index.ended_as(&names).find_map(|tracker| Past::of(tracker, agent))
    }

    fn shares(&self, session: &Recorded, target: &Target) -> bool {
        let index = self.index();
        let there = index.of_namespace(&session.namespace).map(AsRef::as_ref);
        concurrent_sessions::on(there, &target.names(), &session.owner)
            .any(|tracker| tracker.uid != session.uid)
    }

    fn are_read(&self) -> bool {
        // Where none is kept there is nothing to wait for.
        self.kept.is_none() || self.index().is_synced()
    }
}

impl Store {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            index: RwLock::default(),
            changed: watch::Sender::new(0),
            policies: watch::Sender::new(None),
            decided: Mutex::default(),
            closing: watch::Sender::new(false),
            notes: Mutex::default(),
            kept: None,
        })
    }

    /// One that shows sessions which have ended for so long, and tells of each.
    pub(crate) fn keeping(
        terminated: Duration,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Arc<Tracker>>) {
        let (ended, receiver) = mpsc::unbounded_channel();
        let seconds = i64::try_from(terminated.as_secs()).unwrap_or(i64::MAX / 2);
        let mut store = Self::new();
        if seconds > 0
            && let Some(store) = Arc::get_mut(&mut store)
        {
            store.kept = Some(Kept { seconds, ended });
        }
        (store, receiver)
    }

    /// The index, for as long as nothing is waited for.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index, and tells those who watch it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Index)) {
        let version = {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut index);
            index.version()
        };
        self.changed.send_replace(version);
    }

    /// The session of that identifier is about to be deleted, for this reason and on behalf of
    /// somebody: its tracker will say so. Whoever in this process deletes a Session calls this
    /// first.
    pub(crate) fn closing_session(&self, uid: &str, reason: &str, by: Option<&str>) {
        let now = now();
        let ending = Ending { reason: reason.into(), by: by.map(Into::into), at: now };
        self.notes().note(uid, ending, now + NOTED, now);
    }

    /// A Session was deleted, at this version.
    pub(crate) fn deleted(&self, key: &Key, version: u64) {
        let Some(kept) = &self.kept else {
            return self.update(|index| index.remove(key, version));
        };
        let mut ended = None;
        self.update(|index| {
            let Some(tracker) = index.get(key) else {
                return;
            };
            let ending = self.notes().take(&tracker.uid, now());
            ended = index.close(key, version, &ending);
        });
        kept.tell(ended);
    }

    /// All Sessions were listed anew, at this version; and these have ended, as somebody kept them.
    pub(crate) fn replace(
        &self,
        trackers: Vec<Arc<Tracker>>,
        ended: &[Arc<Tracker>],
        version: u64,
    ) {
        let mut closed = Vec::new();
        let mut disputed = Vec::new();
        let now = now();
        let shown = |tracker: &&Arc<Tracker>| {
            let kept = self.kept.as_ref();
            kept.is_some_and(|kept| kept.shows(tracker, now).is_some())
        };
        self.update(|index| {
            for tracker in ended.iter().filter(shown) {
                if let Restored::Disputed(tracker) = index.restore(tracker) {
                    disputed.push(tracker);
                }
            }
            closed = index.replace_closing(trackers, version, |tracker| {
                self.kept.as_ref()?;
                Some(self.notes().take(&tracker.uid, now))
            });
        });
        if let Some(kept) = &self.kept {
            for tracker in closed.into_iter().chain(disputed) {
                kept.tell(Some(tracker));
            }
        }
    }

    /// Somebody kept the tracker of a session that has ended.
    pub(crate) fn restore(&self, tracker: &Arc<Tracker>) {
        let Some(kept) = &self.kept else {
            return;
        };
        let now = now();
        let Some(ending) = kept.shows(tracker, now) else {
            return;
        };
        let lives = {
            let index = self.index();
            let shown = index.get(&tracker.key);
            shown.is_some_and(|shown| shown.ended.is_none() && shown.uid == tracker.uid)
        };
        if lives {
            // Its end isn't seen here yet.
            let until = ending.at + kept.seconds;
            self.notes().note(&tracker.uid, ending, until, now);
        }
        let mut restored = Restored::Hidden;
        self.update(|index| restored = index.restore(tracker));
        if let Restored::Disputed(tracker) = restored {
            kept.tell(Some(tracker));
        }
    }

    /// Nobody keeps it any more.
    pub(crate) fn forget(&self, key: &Key, uid: &str) {
        self.update(|index| index.forget(key, uid));
    }

    /// What ended too long ago is shown no more.
    pub(crate) fn lapse(&self) {
        let Some(kept) = &self.kept else {
            return;
        };
        let before = now() - kept.seconds;
        let due = self.index().lapses(before);
        if due {
            self.update(|index| {
                index.lapse(before);
            });
        }
    }

    /// For how long sessions that have ended are shown, if at all.
    pub(crate) fn keeps(&self) -> Option<i64> {
        self.kept.as_ref().map(|kept| kept.seconds)
    }

    /// What is noted of the end of the session of that identifier.
    #[cfg(test)]
    pub(crate) fn noted(&self, uid: &str) -> Ending {
        self.notes().take(uid, now())
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, these decide. Open watches follow. Where they were listed anew, there may have
    /// been others in between.
    pub(crate) fn decide_by(&self, policies: PolicySet, listed: bool) {
        let mut decided = self.decided();
        let before = self.policies.send_replace(Some(Arc::new(policies)));
        // Read after that: nothing newer is told by what decided before.
        let (synced, version) = {
            let index = self.index();
            (index.is_synced(), index.version())
        };
        // Before the first list there was nothing to tell.
        if synced || before.is_some() {
            let before = before.filter(|_| !listed);
            decided.replaced(before, version, Instant::now().into_std());
        }
    }

    /// By which policies something may have been told at a version, beside these; none for those
    /// that aren't known any more.
    pub(crate) fn told_by(
        &self,
        version: u64,
        these: &Arc<PolicySet>,
    ) -> Vec<Option<Arc<PolicySet>>> {
        let decided = self.decided();
        let now = self.policies.borrow().clone();
        let mut sets: Vec<_> = decided.at(version).map(Option::<&_>::cloned).collect();
        sets.extend(now.map(Some));
        sets.retain(|set| set.as_ref().is_none_or(|set| !Arc::ptr_eq(set, these)));
        sets
    }

    /// Waits until a list of the Sessions would tell what was told by the present policies from
    /// what was told by those before.
    pub(crate) async fn unsettled(&self) {
        let mut generations = self.generations();
        loop {
            let due = self.decided().due();
            let Some(due) = due else {
                // Never closed while there is a store.
                let _ = generations.changed().await;
                continue;
            };
            if due <= Instant::now().into_std() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => return,
                _ = generations.changed() => {}
            }
        }
    }

    /// A list of the Sessions that was asked for then is there, and the index at its version.
    pub(crate) fn listed(&self, began: Instant, version: u64) {
        let now = Instant::now().into_std();
        self.decided().listed(began.into_std(), version, now);
    }

    /// Waits until somebody decides, for a while.
    pub(crate) async fn wait_for_policies(&self, patience: Duration) {
        let mut generations = self.generations();
        let known = generations.wait_for(Option::is_some);
        // Without it, what is told until then is as if by unknown policies.
        let _ = tokio::time::timeout(patience, known).await;
    }

    fn decided(&self) -> MutexGuard<'_, Decided> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to tell who starts a run on a target where others are already. Nothing is waited for:
    /// what isn't known yet isn't told.
    pub(crate) fn neighbours(
        &self,
        namespace: &str,
        names: &[&str],
        requester: &Requester,
    ) -> Option<String> {
        let policies = self.policies.borrow().clone();
        let viewer = policies.map(|policies| policies.viewer(requester, JoinRights::Nowhere));
        let index = self.index();
        let there = index.of_namespace(namespace).map(AsRef::as_ref);
        concurrent_sessions::warning(there, names, requester, viewer.as_ref())
    }

    /// Whether anybody but this user has a session on any target.
    pub(crate) fn has_others(&self, user: &str) -> bool {
        let index = self.index();
        index.all().any(|tracker| concurrent_sessions::is_others(tracker, user))
    }

    /// Ends all watches, since the process is about to.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn generations(&self) -> watch::Receiver<Option<Arc<PolicySet>>> {
        self.policies.subscribe()
    }

    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Who decides. Until that is known nothing is shown.
    pub(crate) fn policies(&self) -> Result<Arc<PolicySet>, Failure> {
        let policies = self.policies.borrow().clone();
        policies.ok_or_else(|| Failure::not_ready("the policies of visibility aren't read yet"))
    }

    /// Waits until the index has another tracker in this one's place, or none; for a while.
    pub(crate) async fn wait_for_another(&self, than: &Tracker) -> Result<(), Failure> {
        let mut changes = self.changes();
        let deadline = Instant::now() + FRESHNESS;
        loop {
            let same = {
                let index = self.index();
                let now = index.get(&than.key);
                now.is_some_and(|now| now.version == than.version && now.uid == than.uid)
            };
            if !same {
                return Ok(());
            }
            if !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return Err(Failure::contended(&than.key.name));
            }
        }
    }

    /// Waits until the index has a tracker there, for a moment: who has just created a session may
    /// be faster than the watch.
    pub(crate) async fn wait_for_tracker(&self, key: &Key) {
        let mut changes = self.changes();
        let deadline = tokio::time::Instant::now() + APPEARANCE;
        while self.index().get(key).is_none() {
            let waited = tokio::time::timeout_at(deadline, changes.changed()).await;
            if !matches!(waited, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// Waits until the index is filled and has this version, for a while.
    pub(crate) async fn wait_for(&self, version: Version) -> Result<(), Failure> {
        let mut changes = self.changes();
        let reached = || {
            let index = self.index();
            if index.is_synced() {
                index.reached(version)
            } else {
                Err(Failure::not_ready("the sessions aren't read yet"))
            }
        };
        let deadline = Instant::now() + FRESHNESS;
        loop {
            let Err(failure) = reached() else {
                return Ok(());
            };
            if !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return Err(failure);
            }
        }
    }
}

impl Kept {
    /// How a session ended whose tracker is still to be shown.
    fn shows(&self, tracker: &Tracker, now: i64) -> Option<Ending> {
        let ending = tracker.ending()?;
        (ending.at.saturating_add(self.seconds) >= now).then_some(ending)
    }

    fn tell(&self, ended: Option<Arc<Tracker>>) {
        if let Some(tracker) = ended {
            // Nobody listens where nobody can keep them.
            let _ = self.ended.send(tracker);
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
pub(crate) mod tests;
