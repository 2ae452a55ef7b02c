//! The end of a session.

use mirrord_sessions_crds::{
    CONTROLLER_USERNAME,
    session_tracker::{DELETED, EXPIRED},
};

/// The end of a session, as reported by the cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ending {
    pub(crate) reason: Option<String>,
    pub(crate) by: Option<String>,
}

impl Ending {
    /// Returns the user who stopped the session, unless the controller deleted it on behalf of no
    /// user.
    pub(crate) fn user(&self) -> Option<&str> {
        let by = self.by.as_deref();
        by.filter(|by| *by != CONTROLLER_USERNAME)
    }

    /// Returns whether no later information can change the meaning of the end.
    pub(super) fn is_settled(&self) -> bool {
        self.user().is_some() || self.reason.as_deref() == Some(EXPIRED)
    }

    /// Returns whether the absence of the session is the only information.
    pub(super) fn is_missing_only(&self) -> bool {
        self.reason.is_none() && self.by.is_none()
    }

    /// Returns whether the reason is unknown. The definition of Sessions may have been deleted.
    pub(crate) fn is_unexplained(&self) -> bool {
        self.user().is_none() && matches!(self.reason.as_deref(), None | Some(DELETED))
    }
}
