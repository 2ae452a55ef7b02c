//! Health of mirrord-sessions: from readings to checks with remedies, without I/O.

pub(crate) mod assess;
pub(crate) mod certificate;
mod check;
mod guard;
mod webhook;

use mirrord_sessions_core::auditor::Report;
use serde::Serialize;
use serde_json::Value;

use crate::{
    error::{ApiError, Error, FailureKind},
    server::TrackerAvailability,
};

/// The result of a reading.
#[derive(Debug)]
pub(crate) enum Reading<T> {
    /// The value was read.
    Known(T),
    /// RBAC hides the value from the requester.
    Hidden,
    /// The cluster cannot reach the server of the value now, for this reason.
    Unavailable(String),
    /// The reading failed for this reason.
    Failed(String),
}

impl<T> Reading<T> {
    /// Distinguishes values hidden by RBAC from failures.
    pub(crate) fn from_result(result: Result<T, Error>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(error) => match FailureKind::from_error(&error) {
                FailureKind::Unavailable(reason) => Self::Unavailable(reason),
                _ if error.api_error().is_some_and(ApiError::is_rbac) => Self::Hidden,
                _ => Self::Failed(error.to_string()),
            },
        }
    }
}

/// All readings of a cluster.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The version of Kubernetes.
    pub(crate) version: Reading<Value>,
    /// Whether Sessions are served.
    pub(crate) has_sessions: Reading<bool>,
    /// The mutating webhook configuration.
    pub(crate) configuration: Reading<Option<Value>>,
    /// The list of admission policies.
    pub(crate) policies: Reading<Option<Value>>,
    /// The list of policy bindings.
    pub(crate) policy_bindings: Reading<Option<Value>>,
    /// The validating webhook configuration, which reviews deletions.
    pub(crate) validating_configuration: Reading<Option<Value>>,
    /// The Deployment of the webhook.
    pub(crate) deployment: Reading<Option<Value>>,
    /// The APIService of trackers.
    pub(crate) api_service: Reading<Option<Value>>,
    /// The result of a request for trackers.
    pub(crate) trackers: Reading<TrackerAvailability>,
    /// The result of a dry-run creation of a Session.
    pub(crate) dry_run_creation: Reading<Value>,
    /// The reports about the auditor role: the current state, and that of the leader.
    pub(crate) auditor: Reading<(Option<Report>, Option<Report>)>,
}

/// The state of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// The component works as intended.
    Ok,
    /// The component is not installed, and optional.
    Off,
    /// The requester may not read the state.
    Unknown,
    /// The state deserves attention.
    Warning,
    /// The state needs a remedy.
    Problem,
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Off => "off",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Check {
    /// The name of the component.
    pub(crate) name: &'static str,
    /// The state of the component.
    pub(crate) state: State,
    /// The state in one sentence.
    pub(crate) message: String,
    /// The remedy of a problem.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}
