//! How mirrord-sessions is doing: from what could be read to what there is to do, without I/O.

pub(crate) mod assess;
pub(crate) mod certificate;
mod guard;
mod webhook;

use mirrord_sessions_core::auditor::Report;
use serde::Serialize;
use serde_json::Value;

use crate::{
    error::{ApiError, Error},
    server::Trackers,
};

/// Something that was asked for.
#[derive(Debug)]
pub(crate) enum Reading<T> {
    /// It is this.
    Known(T),
    /// The requester's roles don't show it.
    Hidden,
    /// It couldn't be had, and this is why.
    Failed(String),
}

impl<T> Reading<T> {
    /// Tells what may not be seen from what went wrong.
    pub(crate) fn of(result: Result<T, Error>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(error) if error.api_error().is_some_and(ApiError::is_rbac) => Self::Hidden,
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// All that is asked for.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Kubernetes' version.
    pub(crate) version: Reading<Value>,
    /// Whether Sessions are served.
    pub(crate) has_sessions: Reading<bool>,
    /// The configuration of the webhook.
    pub(crate) configuration: Reading<Option<Value>>,
    /// The list of admission policies.
    pub(crate) policies: Reading<Option<Value>>,
    /// The list of their bindings.
    pub(crate) policy_bindings: Reading<Option<Value>>,
    /// The configuration by which the webhook is asked who may stop a Session.
    pub(crate) stopping: Reading<Option<Value>>,
    /// The Deployment.
    pub(crate) deployment: Reading<Option<Value>>,
    /// The APIService of trackers.
    pub(crate) api_service: Reading<Option<Value>>,
    /// What became of a request for trackers.
    pub(crate) trackers: Reading<Trackers>,
    /// A Session that was created for a try.
    pub(crate) created: Reading<Value>,
    /// The auditor role, as it is and as the leader reported it.
    pub(crate) auditor: Reading<(Option<Report>, Option<Report>)>,
}

/// How one thing is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// Not there, and needn't be.
    Off,
    /// Not to be seen by the requester.
    Unknown,
    /// Worth a look.
    Warning,
    /// Something has to be done.
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

/// One thing, and how it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Check {
    /// What it is.
    pub(crate) name: &'static str,
    /// How it is.
    pub(crate) state: State,
    /// The same in a sentence.
    pub(crate) message: String,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}
