//! How a session ended.

use mirrord_sessions_crds::session_tracker::{DELETED, DISPUTED, STOPPED};

/// Reason and time of a session's end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ending {
    /// The reason, in a word or a line.
    pub reason: Box<str>,
    /// The Kubernetes user that stopped the session, if known.
    pub by: Option<Box<str>>,
    /// Time in seconds since 1970.
    pub at: i64,
}

impl Ending {
    /// Returns the ending of a session deleted for an unknown reason.
    #[must_use]
    pub fn unknown(at: i64) -> Self {
        Self { reason: DELETED.into(), by: None, at }
    }

    /// Returns the ending of a session that a user stopped.
    #[must_use]
    pub fn stopped(by: &str, at: i64) -> Self {
        Self { reason: STOPPED.into(), by: Some(by.into()), at }
    }

    /// Returns the ending of a session for which sources reported different reasons.
    #[must_use]
    pub fn disputed(at: i64) -> Self {
        Self { reason: DISPUTED.into(), by: None, at }
    }

    /// Returns whether both endings have the same reason and user.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        self.reason == other.reason && self.by == other.by
    }

    /// Returns whether the reason or the user is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.by.is_some() || *self.reason != *DELETED
    }
}
