//! Construction of the checks of `status`.

use super::{Check, Reading, State};

/// The remedy of a missing or modified object of the manifests.
pub(super) const REAPPLY_MANIFESTS: &str =
    "apply the manifests of this release again (README.md, \"Install it on a cluster\")";

pub(super) const HIDDEN: &str = "your roles don't show it";

impl Check {
    pub(super) fn new(name: &'static str, state: State, message: impl Into<String>) -> Self {
        Self { name, state, message: message.into(), remedy: None }
    }

    /// Returns the check of a value that could not be read.
    pub(super) fn unread<T>(name: &'static str, reading: &Reading<T>) -> Self {
        match reading {
            Reading::Failed(reason) => {
                Self::new(name, State::Problem, reason.clone()).with_remedy("try again later")
            }
            Reading::Unavailable(reason) => {
                Self::new(name, State::Problem, format!("not available now: {reason}"))
                    .with_remedy("try again later")
            }
            Reading::Known(_) | Reading::Hidden => Self::new(name, State::Unknown, HIDDEN),
        }
    }

    pub(super) fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
