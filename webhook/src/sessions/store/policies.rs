//! The active policies and their history.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use mirrord_sessions_core::{policy::PolicySet, sessions::PolicyHistory};
use tokio::{sync::watch, time::Instant};

use super::{NotReady, Store};

impl Store {
    /// Returns the active policies.
    ///
    /// # Errors
    /// Returns an error until the policies have been read: no tracker is served before that.
    pub(crate) fn policies(&self) -> Result<Arc<PolicySet>, NotReady> {
        self.policies.borrow().clone().ok_or(NotReady::Policies)
    }

    /// Returns a channel that is notified of changes of the policies.
    pub(crate) fn watch_policies(&self) -> watch::Receiver<Option<Arc<PolicySet>>> {
        self.policies.subscribe()
    }

    /// Replaces the active policy set and notifies open watches.
    ///
    /// `relisted` means that intermediate sets may have been missed.
    pub(crate) fn set_policies(&self, policies: PolicySet, relisted: bool) {
        let mut history = self.policy_history();
        let previous = self.policies.send_replace(Some(Arc::new(policies)));
        // Read the version after the replacement: no client receives a newer one under the
        // previous set.
        let (synced, version) = {
            let index = self.index();
            (index.is_synced(), index.version())
        };
        // Before the initial list no client has received a version.
        if synced || previous.is_some() {
            let previous = previous.filter(|_| !relisted);
            history.record_replaced(previous, version, Instant::now().into_std());
        }
    }

    /// Returns the policy sets other than `current` that may have been active at a version.
    ///
    /// Sets that are no longer known are `None`.
    pub(crate) fn policies_active_at(
        &self,
        version: u64,
        current: &Arc<PolicySet>,
    ) -> Vec<Option<Arc<PolicySet>>> {
        let history = self.policy_history();
        let active = self.policies.borrow().clone();
        let mut sets: Vec<_> = history.active_at(version).map(Option::<&_>::cloned).collect();
        sets.extend(active.map(Some));
        sets.retain(|set| set.as_ref().is_none_or(|set| !Arc::ptr_eq(set, current)));
        sets
    }

    /// Waits until a list of the Sessions is due.
    ///
    /// A list that begins then returns a version that no client has received under a replaced
    /// policy set. See [`PolicyHistory`].
    pub(crate) async fn wait_for_list_due(&self) {
        let mut changes = self.watch_policies();
        loop {
            let due = self.policy_history().next_list_due();
            let Some(due) = due else {
                // The channel stays open as long as the store exists.
                let _ = changes.changed().await;
                continue;
            };
            if due <= Instant::now().into_std() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => return,
                _ = changes.changed() => {}
            }
        }
    }

    /// Records a list of the Sessions that began at `began` and has been stored.
    pub(crate) fn record_list(&self, began: Instant, version: u64) {
        let now = Instant::now().into_std();
        self.policy_history().record_list(began.into_std(), version, now);
    }

    /// Waits until the policies have been read, or until a timeout.
    pub(crate) async fn wait_for_policies(&self, timeout: Duration) {
        let mut changes = self.watch_policies();
        let read = changes.wait_for(Option::is_some);
        // After a timeout, versions sent before the first policies count as sent under unknown
        // ones.
        let _ = tokio::time::timeout(timeout, read).await;
    }

    fn policy_history(&self) -> MutexGuard<'_, PolicyHistory> {
        self.policy_history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
