//! Consecutive failures of requests, and the notices about them.

use super::heartbeat::{Notice, RequestFailure};

/// The number of consecutive failures after which the user is notified.
const NOTIFY_AFTER: u32 = 3;

/// The failures since the last contact with the cluster.
#[derive(Clone, Debug)]
pub(super) struct Failures {
    count: u32,
    /// The number of the last failures that have the same cause.
    same_count: u32,
    cause: RequestFailure,
    notified: Option<Notice>,
}

impl Default for Failures {
    fn default() -> Self {
        Self { count: 0, same_count: 0, cause: RequestFailure::Unreachable, notified: None }
    }
}

impl Failures {
    /// Returns whether the last request succeeded.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the cause of the last failure.
    pub(super) fn cause(&self) -> RequestFailure {
        self.cause
    }

    /// Adds a failure, and returns a notice if there are enough of them. Another cause is worth
    /// another notice once it lasts.
    pub(super) fn add(&mut self, cause: RequestFailure) -> Option<Notice> {
        self.count = self.count.saturating_add(1);
        self.same_count = if self.cause == cause { self.same_count.saturating_add(1) } else { 1 };
        self.cause = cause;
        let is_due = self.count == NOTIFY_AFTER || self.same_count == NOTIFY_AFTER;
        let notice = match cause {
            RequestFailure::Unauthenticated => Notice::Unauthenticated,
            _ => Notice::Unreachable,
        };
        let is_new = self.notified != Some(notice);
        (is_due && is_new).then(|| *self.notified.insert(notice))
    }

    /// Ends the failures, and returns a notice if the user was notified of them.
    pub(super) fn end(&mut self) -> Option<Notice> {
        let ended = std::mem::take(self);
        ended.notified.map(|_| Notice::Reachable)
    }
}
