//! The state that requests are served from: the index of trackers and the active policies.

mod deletions;
mod ended;
mod policies;

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use ended::Retention;
use mirrord_sessions_core::{
    identity::Requester,
    policy::PolicySet,
    sessions::{
        Index, PendingDeletions, PolicyHistory, ReportRates, Tracker, TrackerKey,
        VersionNotReached, concurrent_sessions,
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// Timeout of requests for a version that the index has not reached, as in the API server.
const VERSION_TIMEOUT: Duration = Duration::from_secs(3);

/// Timeout of reports that wait for the tracker of their session.
const APPEARANCE_TIMEOUT: Duration = Duration::from_secs(1);

/// A prerequisite of serving trackers that is still missing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NotReady {
    #[error("the session policies have not been read yet")]
    Policies,
    #[error("the sessions have not been listed yet")]
    Sessions,
    #[error(transparent)]
    Version(#[from] VersionNotReached),
}

/// The index, the policies and the shutdown signal, each with a channel that notifies watchers.
#[derive(Debug)]
pub(crate) struct Store {
    index: RwLock<Index>,
    index_version: watch::Sender<u64>,
    policies: watch::Sender<Option<Arc<PolicySet>>>,
    /// Locked before `index` where both are locked.
    policy_history: Mutex<PolicyHistory>,
    shutdown: watch::Sender<bool>,
    pending_deletions: Mutex<PendingDeletions>,
    report_rates: Mutex<ReportRates>,
    /// `None` if ended sessions are not shown.
    retention: Option<Retention>,
}

impl Store {
    /// Creates a store that does not show ended sessions.
    #[cfg(test)]
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::with(None))
    }

    /// Creates a store that shows ended sessions for this duration.
    ///
    /// The channel receives the tracker of every session that ends.
    pub(crate) fn with_retention(
        retention: Duration,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Arc<Tracker>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let seconds = i64::try_from(retention.as_secs()).unwrap_or(i64::MAX / 2);
        let retention = (seconds > 0).then_some(Retention { seconds, ended: sender });
        (Arc::new(Self::with(retention)), receiver)
    }

    fn with(retention: Option<Retention>) -> Self {
        Self {
            index: RwLock::default(),
            index_version: watch::Sender::new(0),
            policies: watch::Sender::new(None),
            policy_history: Mutex::default(),
            shutdown: watch::Sender::new(false),
            pending_deletions: Mutex::default(),
            report_rates: Mutex::default(),
            retention,
        }
    }

    /// Locks the index for reading. The guard must not be held across an await.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index and notifies its watchers.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Index)) {
        let version = {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut index);
            index.version()
        };
        self.index_version.send_replace(version);
    }

    /// Returns a channel that is notified of changes of the index.
    pub(crate) fn watch_index(&self) -> watch::Receiver<u64> {
        self.index_version.subscribe()
    }

    /// Ends all watches, since the process shuts down.
    pub(crate) fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    /// Returns a channel that becomes true when the process shuts down.
    pub(crate) fn watch_shutdown(&self) -> watch::Receiver<bool> {
        self.shutdown.subscribe()
    }

    /// Returns the warning for a user who starts a session on the target of other users.
    ///
    /// Never waits for policies or Sessions that are not synced yet.
    pub(crate) fn concurrent_sessions_warning(
        &self,
        namespace: &str,
        target_names: &[&str],
        requester: &Requester,
    ) -> Option<String> {
        let index = self.index();
        let trackers = index.in_namespace(namespace).map(AsRef::as_ref);
        concurrent_sessions::warning(trackers, target_names, requester)
    }

    /// Returns whether any user other than `user` has a session with a target.
    pub(crate) fn has_sessions_of_others(&self, user: &str) -> bool {
        let index = self.index();
        index.trackers().any(|tracker| concurrent_sessions::is_concurrent(tracker, user))
    }

    /// Waits until the index no longer holds this version of a tracker.
    ///
    /// Returns false on a timeout.
    pub(crate) async fn wait_for_change_of(&self, tracker: &Tracker) -> bool {
        let is_unchanged = |index: &Index| {
            let current = index.get(&tracker.key);
            current.is_some_and(|current| {
                current.version == tracker.version && current.uid == tracker.uid
            })
        };
        self.wait_until(VERSION_TIMEOUT, |index| (!is_unchanged(index)).then_some(()))
            .await
            .is_some()
    }

    /// Waits briefly until the index holds a tracker with this key.
    ///
    /// A client that has just created a Session may be faster than the watch.
    pub(crate) async fn wait_for_tracker(&self, key: &TrackerKey) {
        self.wait_until(APPEARANCE_TIMEOUT, |index| index.get(key).map(|_| ())).await;
    }

    /// Waits until the index is synced and has reached a version.
    ///
    /// # Errors
    /// Returns an error on a timeout.
    pub(crate) async fn wait_for_version(&self, version: u64) -> Result<(), NotReady> {
        let check = |index: &Index| {
            if !index.is_synced() {
                return Err(NotReady::Sessions);
            }
            Ok(index.check_reached(version)?)
        };
        match self.wait_until(VERSION_TIMEOUT, |index| check(index).ok()).await {
            Some(()) => Ok(()),
            None => check(&self.index()),
        }
    }

    /// Waits until a condition on the index yields a value; returns `None` on a timeout.
    async fn wait_until<T>(
        &self,
        timeout: Duration,
        condition: impl Fn(&Index) -> Option<T>,
    ) -> Option<T> {
        let mut changes = self.watch_index();
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(value) = condition(&self.index()) {
                return Some(value);
            }
            let notified = tokio::time::timeout_at(deadline, changes.changed()).await;
            if !matches!(notified, Ok(Ok(()))) {
                return None;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
