//! Reasons of deletions that this process knows of before they happen.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use mirrord_sessions_core::sessions::{Ending, PendingDeletions, ReportRates, TrackerKey};
use tokio::time::{MissedTickBehavior, interval};

use super::Store;
use crate::clock::unix_now;

/// The time to live of the reason of a deletion, in seconds. Admission takes 30 s at most, and a
/// foreground deletion takes longer.
const REASON_TTL: i64 = 120;

/// The interval at which expired reasons are removed.
const PURGE_INTERVAL: Duration = Duration::from_secs(10);

impl Store {
    /// Records why a Session is about to be deleted, so that its tracker can report it.
    ///
    /// Every part of this process that deletes a Session calls this first. A Session that the index
    /// does not hold is ignored: any client can post reviews of Sessions that do not exist.
    pub(crate) fn announce_deletion(
        &self,
        key: &TrackerKey,
        uid: &str,
        reason: &str,
        user: Option<&str>,
    ) {
        let is_live = {
            let index = self.index();
            let tracker = index.get(key);
            tracker.is_some_and(|tracker| tracker.uid == uid && tracker.ended_at.is_none())
        };
        if !is_live {
            return;
        }
        let now = unix_now();
        let ending = Ending { reason: reason.into(), by: user.map(Into::into), at: now };
        self.pending_deletions().insert(uid, ending, now + REASON_TTL, now);
    }

    /// Withdraws the reason of a deletion that will not happen.
    pub(crate) fn withdraw_deletion(&self, uid: &str, reason: &str) {
        self.pending_deletions().withdraw(uid, reason);
    }

    /// Keeps the reason of a Session that is being deleted and waits for a finalizer.
    pub(crate) fn hold_deletion(&self, uid: &str) {
        self.pending_deletions().hold(uid);
    }

    /// Returns how the session of this uid ends if its Session is deleted now.
    pub(crate) fn pending_ending(&self, uid: &str) -> Ending {
        self.pending_deletions().ending(uid, unix_now())
    }

    /// Forgets the reasons of deletions that did not happen, and old reports. Never returns.
    pub(crate) async fn remove_expired_reasons(&self) {
        let mut ticks = interval(PURGE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.pending_deletions().remove_expired(unix_now());
            self.report_rates().remove_idle(unix_now());
        }
    }

    /// Returns whether a report of the session may be stored now, and counts it.
    pub(crate) fn allow_report(&self, uid: &str) -> bool {
        self.report_rates().allow(uid, unix_now())
    }

    fn report_rates(&self) -> MutexGuard<'_, ReportRates> {
        self.report_rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pending_deletions(&self) -> MutexGuard<'_, PendingDeletions> {
        self.pending_deletions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
