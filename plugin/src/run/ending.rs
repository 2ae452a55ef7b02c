//! How a session ended.

use mirrord_sessions_crds::{
    CONTROLLER_USERNAME,
    session_tracker::{DELETED, EXPIRED},
};

/// How a session ended, as far as the cluster says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ending {
    pub(crate) reason: Option<String>,
    pub(crate) by: Option<String>,
}

impl Ending {
    /// Who stopped it, unless the controller did so for nobody.
    pub(crate) fn person(&self) -> Option<&str> {
        let by = self.by.as_deref();
        by.filter(|by| *by != CONTROLLER_USERNAME)
    }

    /// Whether nothing more is to be expected that would matter.
    pub(super) fn is_settled(&self) -> bool {
        self.person().is_some() || self.reason.as_deref() == Some(EXPIRED)
    }

    /// Whether nothing tells of it but that the session isn't there.
    pub(super) fn is_bare(&self) -> bool {
        self.reason.is_none() && self.by.is_none()
    }

    /// Whether nobody says why: the end of all Sessions may be.
    pub(crate) fn is_unexplained(&self) -> bool {
        self.person().is_none() && matches!(self.reason.as_deref(), None | Some(DELETED))
    }
}
