//! Reasons of deletions that this process knows of before they happen.

use std::sync::{MutexGuard, PoisonError};

use mirrord_sessions_core::sessions::{Ending, PendingDeletions};

use super::Store;
use crate::clock::unix_now;

/// The time to live of the reason of a deletion, in seconds. Admission takes 30 s at most, and a
/// foreground deletion takes longer.
const REASON_TTL: i64 = 120;

impl Store {
    /// Records why a Session is about to be deleted, so that its tracker can report it.
    ///
    /// Every part of this process that deletes a Session calls this first.
    pub(crate) fn announce_deletion(&self, uid: &str, reason: &str, user: Option<&str>) {
        let now = unix_now();
        let ending = Ending { reason: reason.into(), by: user.map(Into::into), at: now };
        self.pending_deletions().insert(uid, ending, now + REASON_TTL, now);
    }

    /// Withdraws the reason of a deletion that will not happen.
    pub(crate) fn withdraw_deletion(&self, uid: &str, reason: &str) {
        self.pending_deletions().withdraw(uid, reason);
    }

    /// Returns how the session of this uid ends if its Session is deleted now.
    pub(crate) fn pending_ending(&self, uid: &str) -> Ending {
        self.pending_deletions().ending(uid, unix_now())
    }

    pub(super) fn pending_deletions(&self) -> MutexGuard<'_, PendingDeletions> {
        self.pending_deletions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
